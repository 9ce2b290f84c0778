"""The certificate's files: enough of every kind, read or refused as their kind says."""

from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from tinysight.certificate.compare import (
    EDITION,
    REFUSED,
    EdgeCaseFile,
    edge_case_files,
    write_edge_case_files,
)
from tinysight.errors import ImageError
from tinysight.transforms import decode
from tinysight.transforms.header import read_header

FILES = edge_case_files()


def test_there_are_enough_of_every_kind() -> None:
    kinds = Counter(file.kind for file in FILES)
    assert sum(kinds.values()) - kinds[REFUSED] >= 300
    assert min(kinds.values()) >= 8
    assert len({file.name for file in FILES}) == len({file.data for file in FILES}) == len(FILES)


def test_no_file_of_edition_1_changed() -> None:
    """Recorded certificates are about exactly these names and bytes, in this order."""
    digest = hashlib.sha256()
    for file in FILES:
        digest.update(f"{file.name} {file.kind} {hashlib.sha256(file.data).hexdigest()}\n".encode())
    assert (EDITION, digest.hexdigest()[:16]) == (1, "6b1fb60b27e10fd2")


@pytest.mark.parametrize("file", [f for f in FILES if f.kind == REFUSED], ids=lambda f: f.name)
def test_refused(file: EdgeCaseFile) -> None:
    with pytest.raises(ImageError):
        decode(file.data)


def test_the_others_are_read_and_show_something() -> None:
    sizes = []
    for file in FILES:
        if file.kind != REFUSED:
            image = decode(file.data)
            sizes.append(image.shape[0] * image.shape[1])
            assert file.kind == "tiny" or np.ptp(image[::7]) > 0, file.name
    assert min(sizes) == 1
    assert max(sizes) > 12_000_000


def test_every_turn_in_every_format() -> None:
    turns = Counter(
        (header.format, header.orientation)
        for header in (read_header(f.data) for f in FILES if f.kind == "exif")
    )
    for format in ("JPEG", "PNG", "WebP"):
        assert all(turns[format, turn] >= 2 for turn in range(1, 9))


def test_written_for_others(tmp_path: Path) -> None:
    paths = write_edge_case_files(tmp_path / "new" / "folder")
    assert [p.read_bytes() for p in paths] == [f.data for f in FILES]
