"""Exported Paddle folders and the archives that they are published as, made of the golden fixtures."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

from support.golden import case_named
from support.paddle import write_program

CASE = "PPLCNet_x0_5"  # ten classes


def export(folder: Path, case: str = CASE, file: str = "inference.pdmodel") -> Path:
    """Lay out the recorded program `case` in `folder`."""
    write_program(case_named("programs", case), file, folder)
    return folder


def tar_of(folder: Path, name: str) -> bytes:
    """A published archive: one folder called `name`."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for path in sorted(folder.iterdir()):
            info = tarfile.TarInfo(f"{name}/{path.name}")
            info.size = path.stat().st_size
            archive.addfile(info, io.BytesIO(path.read_bytes()))
    return buffer.getvalue()
