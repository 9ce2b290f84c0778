"""From a run to a bundle, with a certificate that both give the same answers."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tinysight.export.bundle import export_bundle

__all__ = ["export_bundle"]


def __getattr__(name: str) -> Any:
    if name == "export_bundle":
        return importlib.import_module("tinysight.export.bundle").export_bundle
    raise AttributeError(f"module 'tinysight.export' has no attribute {name!r}")
