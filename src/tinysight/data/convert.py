"""Copies of images in formats that are not read here: TIFF, GIF, AVIF, HEIC and others, as PNG or JPEG.

Decoders of these formats differ in the pixels that they give, so none of them is used to train or to predict. A copy
is made once, and everything reads the same copy. What is read already is copied byte by byte.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from tinysight.concurrency import ordered_map, thread_count
from tinysight.data.folders import walk
from tinysight.data.rows import refuse_image
from tinysight.disk import reserved_folder
from tinysight.errors import DataError, ImageError, Problem
from tinysight.files import write_atomic
from tinysight.transforms.base import EXTENSIONS, MAX_PIXELS
from tinysight.transforms.decode import read_file
from tinysight.transforms.header import HeaderError, read_header

MANIFEST = "converted.json"
_ENDINGS = "|".join(re.escape(ending) for ending in EXTENSIONS)
_PATH = re.compile(rf"[^\t,;\"]*?(?:{_ENDINGS})(?=[\s,;\"]|$)", re.IGNORECASE)
_LOSSY = (
    "AVIF",
    "HEIF",
    "JPEG2000",
    "JXL",
)  # photographs, which as PNG would be ten times as large
_READ = ("JPEG", "PNG", "BMP", "MPO")  # what is wrong with these stays wrong


class Converted(NamedTuple):
    """What was made of a folder or a list.

    Attributes:
        copied: number of images that were read here already.
        made: name of each copy by the name of what it is a copy of.
        notes: what a copy does not show, such as further frames.
        passed_over: names of the files that are no images by their names.
        problems: images that could not be read, and lines without one.
    """

    copied: int
    made: dict[str, str]
    notes: list[str]
    passed_over: list[str]
    problems: list[Problem]


class _Copy(NamedTuple):
    data: bytes = b""
    ending: str = ""  # empty: that of the original
    note: str = ""
    problem: str = ""


def convert(
    source: Path, out: Path, *, root: Path | None = None, threads: int | None = None
) -> Converted:
    """Copy the images of a folder or a list to a new folder, in formats that are read here.

    Args:
        source: a folder, whose tree is kept; or a list file, of lines or CSV, which is rewritten to name the copies.
        out: folder to make; it appears whole or not at all.
        root: folder that the paths in a list are relative to; default: that of the list.
        threads: number of threads, >= 1; default: one for each processor.

    Raises:
        DataError: there is no such source, no image in it, or `out` exists or lies in the source.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise DataError(str(out), "exists and is not empty", "choose another folder")
    if source.is_dir() and out.resolve().is_relative_to(source.resolve()):
        what = f"lies in {source}, whose images the copies would be among"
        raise DataError(str(out), what, "choose a folder beside it")
    problems, lines = list[Problem](), list[str]()
    if source.is_dir():
        root, found = source, [path for path, is_file in walk(source) if is_file]
        names = [name for name in found if name.lower().endswith(EXTENSIONS)]
        others = [name for name in found if not name.lower().endswith(EXTENSIONS)]
    else:
        root, others = root or source.parent, []
        lines = _lines(source)
        names = _listed(source, lines, root, problems)
    if not names:
        raise DataError(str(source), "no image in it")
    with reserved_folder(out) as part:
        new, notes, made, copied = part / "new", list[str](), dict[str, str](), 0
        taken = set(names)

        def one(name: str) -> _Copy:
            return _copy(root / name)

        for name, copy in zip(
            names, ordered_map(one, names, thread_count(threads), 16), strict=True
        ):
            if copy.problem:
                problems.append(Problem(str(root / name), copy.problem))
                continue
            there = _free(name, copy.ending, taken) if copy.ending else name
            taken.add(there)
            write_atomic(new / there, copy.data)
            notes += [f"{root / name}: {copy.note}"] if copy.note else []
            copied += not copy.ending
            if copy.ending:
                made[name] = there
        if not copied and not made:
            raise DataError.of(str(source), problems)
        if lines:
            text = "\n".join(_PATH.sub(lambda m: made.get(m[0], m[0]), line) for line in lines)
            write_atomic(new / source.name, text + "\n")
        done = Converted(copied, made, notes, others, problems)
        tree = {**done._asdict(), "problems": [problem._asdict() for problem in problems]}
        write_atomic(new / MANIFEST, json.dumps(tree, indent=2, ensure_ascii=False) + "\n")
        if out.exists():
            out.rmdir()
        new.rename(out)
    return done


def _lines(source: Path) -> list[str]:
    refuse_image(source)
    try:
        return source.read_text("utf-8-sig").splitlines()
    except FileNotFoundError:
        raise DataError(str(source), "no such file or folder") from None
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(str(source), f"cannot be read as a list: {error}") from None


def _listed(source: Path, lines: Sequence[str], root: Path, problems: list[Problem]) -> list[str]:
    """The paths in a list, each once; lines without one, or with one outside of `root`, are problems."""
    found = dict[str, None]()
    header = source.suffix.lower() == ".csv"
    for number, line in enumerate(lines, 1):
        paths = [match[0] for match in _PATH.finditer(line)]
        where = f"{source}:{number}"
        if not paths and line.strip() and not (header and number == 1):
            problems.append(Problem(where, "no path of an image in this line"))
        for path in paths:
            if PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts:
                hint = "write it relative to --root"
                problems.append(Problem(where, f"{path} may lie outside of {root}", hint))
            else:
                found[path] = None
    return list(found)


def _free(name: str, ending: str, taken: Iterable[str]) -> str:
    """`name` with another ending, or that behind its own where another image has the name."""
    short = str(PurePosixPath(name).with_suffix(ending))
    return short if short not in taken else name + ending


def _copy(path: Path) -> _Copy:
    try:
        data = read_file(path)
        read_header(data)
    except ImageError as error:
        return _Copy(problem=error.problems[0].what)
    except HeaderError as error:
        return _by_pillow(data, str(error))
    return _Copy(data)


def _by_pillow(data: bytes, reason: str) -> _Copy:
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        import pillow_heif  # registers what it reads
    except ImportError:
        if "HEIC" in reason:
            return _Copy(problem=f"{reason}; pip install 'tinysight[heic]'")
    else:
        pillow_heif.register_heif_opener()
    try:
        with Image.open(io.BytesIO(data)) as opened:
            kind, frames = opened.format, getattr(opened, "n_frames", 1)
            if kind in _READ or opened.width * opened.height > MAX_PIXELS:
                return _Copy(problem=reason if kind in _READ else "too many pixels")
            opened.seek(0)
            upright: Any = ImageOps.exif_transpose(opened)
            if upright.mode == "F":
                return _Copy(problem="holds real numbers, which have no 8 bits")
            if upright.mode.startswith("I"):  # 16 bits: the high ones, as everywhere here
                upright = Image.fromarray(_high_bytes(upright))
            out = io.BytesIO()
            form, more = (
                ("JPEG", {"quality": 95, "subsampling": 0}) if kind in _LOSSY else ("PNG", {})
            )
            upright.convert("RGB").save(out, form, **more)
    except UnidentifiedImageError:
        return _Copy(problem=reason)
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        return _Copy(problem=f"{reason}; {str(error).splitlines()[0][:100]}")
    note = f"the first of {frames} images" if frames > 1 else ""
    return _Copy(out.getvalue(), ".jpg" if form == "JPEG" else ".png", note)


def _high_bytes(image: Any) -> Any:
    import numpy as np

    values = np.asarray(image).astype(np.int64)
    return (values >> 8 if values.max(initial=0) > 255 else values).clip(0, 255).astype(np.uint8)
