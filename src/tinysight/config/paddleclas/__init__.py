"""The reference's YAML as a native recipe. Nothing behind this package knows that there is another language."""

from tinysight.config.paddleclas.folders import find_run, find_weights, run_folder
from tinysight.config.paddleclas.origins import in_their_words
from tinysight.config.paddleclas.translate import Translation, translate
from tinysight.config.paddleclas.tree import is_paddleclas

__all__ = [
    "Translation",
    "find_run",
    "find_weights",
    "in_their_words",
    "is_paddleclas",
    "run_folder",
    "translate",
]
