"""ONNX graphs: read, built, simplified and written without the onnx package, in NumPy alone."""
