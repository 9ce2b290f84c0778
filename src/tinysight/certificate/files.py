"""The certificate's edge-case files: every kind of image that reaches a classifier, and some that must not.

They are shipped as `edge_cases.zip`, so results that were recorded at an export can be compared anywhere. `tools/
edge_case_files` makes them. `EDITION` changes whenever a file does.
"""

from __future__ import annotations

import zipfile
from functools import cache
from pathlib import Path
from typing import NamedTuple

from tinysight.pipelines.sources import ImageInput

EDITION = 1
REFUSED = "refused"  # the kind of invalid files, which every engine must reject
_ARCHIVE = Path(__file__).with_name("edge_cases.zip")


class EdgeCaseFile(NamedTuple):
    """One file; those of the kind `REFUSED` hold no readable image.

    Attributes:
        name: unique name that says what is special, after the kind and an underscore.
        kind: group in the certificate's table, such as "16 bits".
        data: content.
    """

    name: str
    kind: str
    data: bytes


@cache
def edge_case_files() -> tuple[EdgeCaseFile, ...]:
    """All files, always in the same order."""
    with zipfile.ZipFile(_ARCHIVE) as archive:
        names = archive.namelist()
        return tuple(EdgeCaseFile(name, _kind(name), archive.read(name)) for name in names)


def edge_case_inputs() -> list[ImageInput]:
    """All files as images that are not yet read."""
    return [ImageInput(file.name, file.data) for file in edge_case_files()]


def kinds() -> dict[str, list[str]]:
    """Names of the certificate's files by their kind, those that must be rejected left out."""
    found: dict[str, list[str]] = {}
    for name in readable():
        found.setdefault(_kind(name), []).append(name)
    return found


def readable() -> list[str]:
    """Names of the files that every engine must read, in their order."""
    return [file.name for file in edge_case_files() if file.kind != REFUSED]


def write_edge_case_files(folder: str | Path) -> list[Path]:
    """Write the files to `folder`, which is made, for other programs to read."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    paths = [Path(folder, file.name) for file in edge_case_files()]
    for path, file in zip(paths, edge_case_files(), strict=True):
        path.write_bytes(file.data)
    return paths


def _kind(name: str) -> str:
    return name.split("_", 1)[0].replace("-", " ")
