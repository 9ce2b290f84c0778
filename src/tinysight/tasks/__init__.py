"""From scores to results: NumPy in, typed results out; the last stage that a bundle names."""

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
    "Binarize",
    "Boxes",
    "Embedding",
    "FaceAttribute",
    "MultiLabel",
    "PersonAttribute",
    "TableAttribute",
    "Threshold",
    "TopK",
    "VehicleAttribute",
]
