"""A bundle: the folder that determines a prediction."""

from tinysight.bundle.folder import CARD, MANIFEST, MODEL, SHIPPED, Bundle, fill, new_bundle
from tinysight.bundle.folder import is_local as is_local
from tinysight.bundle.folder import list_bundles as list_bundles

__all__ = ["Bundle", "CARD", "MANIFEST", "MODEL", "SHIPPED", "fill", "new_bundle"]
