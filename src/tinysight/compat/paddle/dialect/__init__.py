"""PaddleClas' YAML as a native recipe. Nothing behind this package knows that there is another language."""

from tinysight.compat.paddle.dialect.folders import find_run, find_weights, run_folder
from tinysight.compat.paddle.dialect.origins import to_source_paths
from tinysight.compat.paddle.dialect.translate import Translation, translate
from tinysight.compat.paddle.dialect.tree import is_paddleclas

__all__ = [
    "Translation",
    "find_run",
    "find_weights",
    "to_source_paths",
    "is_paddleclas",
    "run_folder",
    "translate",
]
