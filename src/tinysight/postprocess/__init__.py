"""From probabilities to answers: NumPy in, plain data out; the last stage that a bundle names."""

from tinysight.postprocess.answers import Answer, AnyAnswer, Attributes, Code, Scores
from tinysight.postprocess.attributes import (
    FaceAttribute,
    PersonAttribute,
    TableAttribute,
    VehicleAttribute,
)
from tinysight.postprocess.boxes import Boxes
from tinysight.postprocess.embedding import Embedding
from tinysight.postprocess.multilabel import AllScores, Binarize, MultiLabel
from tinysight.postprocess.threshold import Threshold
from tinysight.postprocess.topk import TopK

__all__ = [
    "AllScores",
    "Answer",
    "AnyAnswer",
    "Attributes",
    "Binarize",
    "Boxes",
    "Code",
    "Embedding",
    "FaceAttribute",
    "MultiLabel",
    "PersonAttribute",
    "Scores",
    "TableAttribute",
    "Threshold",
    "TopK",
    "VehicleAttribute",
]
