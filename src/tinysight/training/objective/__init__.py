"""What a run trains: networks, losses and how they are combined, behind one interface."""

from tinysight.training.objective.base import Objective, Term, Terms, total
from tinysight.training.objective.supervised import Supervised

__all__ = ["Objective", "Supervised", "Term", "Terms", "total"]
