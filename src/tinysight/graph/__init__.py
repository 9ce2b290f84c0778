"""ONNX graphs: read, simplified and written without the onnx package."""
