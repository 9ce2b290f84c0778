"""What a run trains: networks, losses and how they are combined, behind one interface."""

from tinysight.config import Recipe
from tinysight.data.samples import SampleList
from tinysight.training.objective.base import Objective, Term, Terms, total
from tinysight.training.objective.supervised import Supervised, supervised

__all__ = ["Objective", "Supervised", "Term", "Terms", "total", "usual_objective"]


def usual_objective(recipe: Recipe, samples: SampleList) -> Objective:
    """What a recipe trains; the arguments and errors are those of `supervised`."""
    if recipe.model.detector:
        from tinysight.training.objective.detect import detect

        return detect(recipe, samples)
    if recipe.teachers:
        from tinysight.training.objective.distill import distillation

        return distillation(recipe, samples)
    return supervised(recipe, samples)
