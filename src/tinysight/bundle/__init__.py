"""A bundle: the folder that determines a prediction."""

from tinysight.bundle.folder import (
    CARD,
    MANIFEST,
    MODEL,
    SHIPPED,
    Bundle,
    fill,
    is_local,
    list_bundles,
    new_bundle,
)

__all__ = [
    "Bundle",
    "CARD",
    "MANIFEST",
    "MODEL",
    "SHIPPED",
    "fill",
    "is_local",
    "list_bundles",
    "new_bundle",
]
