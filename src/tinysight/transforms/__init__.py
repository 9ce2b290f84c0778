"""Pixels, on NumPy and OpenCV alone: decoding, geometry, photometry, blur, and pipelines of them.

One implementation for training, evaluation, export check, prediction and serving. `decode` makes
RGB pixels of a file, `Compose` runs the transforms that a recipe or a bundle lists, `InputPipeline`
makes a network's input of a file. `resample` holds Pillow's arithmetic of resizing,
`augment` the random transforms.
"""

from tinysight.transforms import geometry, photometric  # noqa: F401 - they register transforms
from tinysight.transforms.base import MAX_PIXELS, Image, Transform
from tinysight.transforms.compose import Compose, InputPipeline, to_batch
from tinysight.transforms.decode import decode

__all__ = ["Compose", "Image", "InputPipeline", "MAX_PIXELS", "Transform", "decode", "to_batch"]
