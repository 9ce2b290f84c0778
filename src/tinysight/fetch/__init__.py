"""Files from the network: fetched once, resumed, verified, unpacked safely, stored in a cache.

Importing this touches no network; `TINYSIGHT_OFFLINE=1` keeps everything away from it.
"""

from __future__ import annotations

from tinysight.fetch.archive import Limits, extract
from tinysight.fetch.cache import cache_folder
from tinysight.fetch.download import download
from tinysight.fetch.store import Artifact, Fetched, cached, fetch
from tinysight.fetch.transport import Policy

__all__ = [
    "Artifact", "Fetched", "Limits", "Policy", "cache_folder", "cached", "download", "extract", "fetch",
]  # fmt: skip
