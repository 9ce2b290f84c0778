"""From probabilities to answers: NumPy in, plain data out; the last stage that a bundle names."""

from tinysight.tasks.answers import Answer, AnyAnswer, Attributes, Code, Scores
from tinysight.tasks.attributes import (
    FaceAttribute,
    PersonAttribute,
    TableAttribute,
    VehicleAttribute,
)
from tinysight.tasks.detection import Boxes
from tinysight.tasks.embedding import Embedding
from tinysight.tasks.multilabel import AllScores, Binarize, MultiLabel
from tinysight.tasks.threshold import Threshold
from tinysight.tasks.topk import TopK

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
