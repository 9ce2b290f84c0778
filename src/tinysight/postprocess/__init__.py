"""From probabilities to answers: NumPy in, plain data out; the last stage that a bundle names."""

from tinysight.postprocess.answers import Answer
from tinysight.postprocess.boxes import Boxes
from tinysight.postprocess.embedding import Embedding
from tinysight.postprocess.threshold import Threshold
from tinysight.postprocess.topk import TopK

__all__ = ["Answer", "Boxes", "Embedding", "Threshold", "TopK"]
