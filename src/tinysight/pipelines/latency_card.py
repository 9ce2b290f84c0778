"""The latency of a bundle on a machine: `latency.json`, which lies in the bundle's folder.

It is about a machine, not about results, so it is no part of what the manifest seals: it may be
missing, replaced or made again without changing the bundle. The only thing that is taken from it
without measuring again is how many images to work on at the same time.
"""

from __future__ import annotations

import os
import platform
from contextlib import suppress
from pathlib import Path
from typing import Any

from tinysight.concurrency import usable_cores
from tinysight.disk import read_regular
from tinysight.errors import BundleError
from tinysight.pipelines.pipeline import CARD_FILE

_MAX_SIZE = 1 << 20
_MAX_WORKERS = 256


def machine() -> dict[str, Any]:
    """What tells this machine from others: processor, its cores that may be used, system."""
    system = f"{platform.system()} {platform.machine()}"
    return {"processor": _processor(), "cores": usable_cores(), "system": system}


def read_card(folder: Path) -> dict[str, Any]:
    """The card in `folder`.

    Raises:
        BundleError: there is none, or it cannot be understood.
    """
    import json

    path = folder / CARD_FILE
    try:
        card: dict[str, Any] = json.loads(read_regular(path, _MAX_SIZE))
        if not isinstance(card["machine"], dict) or type(card["settings"]["workers"]) is not int:
            raise ValueError("not a latency card")
    except FileNotFoundError:
        raise BundleError(str(path), "missing", "tinysight bench BUNDLE --card makes it") from None
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        what = f"not readable: {error}"
        raise BundleError(str(path), what, "make it again: tinysight bench BUNDLE --card") from None
    return card


def recorded_workers(folder: Path) -> int | None:
    """Number of images at a time that the card found fastest; None if it is not about this machine."""
    try:
        card = read_card(folder)
    except BundleError:
        return None  # `bench` says what is wrong with it; a prediction does without
    if card["settings"].get("threads") != 1 or card["machine"] != machine():
        return None
    return int(min(max(1, card["settings"]["workers"]), _MAX_WORKERS))


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    with suppress(OSError), info.open(encoding="utf-8", errors="replace") as lines:  # on Linux
        for line in lines:
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return os.environ.get("PROCESSOR_IDENTIFIER", "") or platform.processor() or "unknown"
