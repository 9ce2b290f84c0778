"""Public files by name: fetched once, resumed, verified, unpacked safely, kept in a cache.

Importing this touches no network; `TINYSIGHT_OFFLINE=1` keeps everything away from it.
"""

from __future__ import annotations

from tinysight.fetch.archive import Limits, extract

__all__ = ["Limits", "extract"]
