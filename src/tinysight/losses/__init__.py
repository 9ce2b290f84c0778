"""Losses: modules that give one number, in three registries of `tinysight.registry`.

Those of classification (`losses`) take logits (N, K) and targets; those of metric learning
(`embedding_losses`) embeddings (N, D) and labels (N,), a few also logits or domains; those of
distillation (`distillation_losses`) the outputs of student and teacher, a few also labels.
"""

from tinysight.losses.classification import CrossEntropy, MultiLabel, MultiLabelAsymmetric
from tinysight.losses.distillation import (
    DecoupledKD,
    Distance,
    KLDivergence,
    MutualLearning,
    RelationalMatch,
    SphericalKD,
    WeightedSoftLabels,
)
from tinysight.losses.domains import DomainScatter, DomainShuffle
from tinysight.losses.hashing import DCH, DSHSD, LCDSH
from tinysight.losses.memory import ContrastiveXBM, TripletAngularMarginXBM
from tinysight.losses.pairs import Center, Contrastive, NPairs, PairwiseCosFace, SupCon
from tinysight.losses.relations import RelationalAngle, RelationalDistance
from tinysight.losses.triplet import (
    EMargin,
    MarginSampleMining,
    TriHard,
    Triplet,
    TripletAngularMargin,
)

__all__ = [
    "Center",
    "Contrastive",
    "ContrastiveXBM",
    "CrossEntropy",
    "DCH",
    "DSHSD",
    "DecoupledKD",
    "Distance",
    "DomainScatter",
    "DomainShuffle",
    "EMargin",
    "KLDivergence",
    "LCDSH",
    "MarginSampleMining",
    "MultiLabel",
    "MultiLabelAsymmetric",
    "MutualLearning",
    "NPairs",
    "PairwiseCosFace",
    "RelationalAngle",
    "RelationalDistance",
    "RelationalMatch",
    "SphericalKD",
    "SupCon",
    "TriHard",
    "Triplet",
    "TripletAngularMargin",
    "TripletAngularMarginXBM",
    "WeightedSoftLabels",
]
