"""What one would write by hand: OpenCV, NumPy and ONNX Runtime, one image after the other.

    python benchmarks/naive.py bundle/model.onnx clarity,blured area IMAGE...

The yardstick of benchmarks/predict.py; preprocessing as in the PULC recipes, the interpolation as
given.
"""

import sys

import cv2
import numpy as np
import onnxruntime

MEAN = np.array([0.485, 0.456, 0.406], np.float32)
STD = np.array([0.229, 0.224, 0.225], np.float32)


def main():
    """Print label and score of each image."""
    model, labels, interpolation, *paths = sys.argv[1:]
    labels = labels.split(",")
    flag = {"area": cv2.INTER_AREA, "bilinear": cv2.INTER_LINEAR}[interpolation]
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    for path in paths:
        image = cv2.cvtColor(cv2.imread(path), cv2.COLOR_BGR2RGB)
        height, width = image.shape[:2]
        scale = 256 / min(height, width)
        size = (round(width * scale), round(height * scale))
        image = cv2.resize(image, size, interpolation=flag)
        top, left = (image.shape[0] - 224) // 2, (image.shape[1] - 224) // 2
        image = image[top : top + 224, left : left + 224]
        image = (image.astype(np.float32) * np.float32(1 / 255) - MEAN) / STD
        batch = np.ascontiguousarray(image.transpose(2, 0, 1)[None])
        scores = session.run(None, {name: batch})[0][0]
        best = int(scores.argmax())
        print(f"{path}\t{labels[best]}\t{scores[best]:.6f}")


main()
