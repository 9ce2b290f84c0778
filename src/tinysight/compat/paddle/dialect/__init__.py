"""PaddleClas' YAML as a native recipe. Nothing behind this package knows that there is another language."""

from tinysight.compat.paddle.dialect.config import PaddleConfig, read_config
from tinysight.compat.paddle.dialect.translate import Translation, translate

__all__ = ["PaddleConfig", "Translation", "read_config", "translate"]
