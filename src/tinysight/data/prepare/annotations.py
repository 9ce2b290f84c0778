"""Reads the annotated boxes of VOC, COCO and plain lists."""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree import ElementTree

from tinysight.concurrency import by_key
from tinysight.errors import DataError, Problem
from tinysight.transforms.base import EXTENSIONS

_DEEPEST = 20  # levels of an XML file; VOC has four
_ENCODING = re.compile(rb"\s*<\?xml\b[^>]*?\bencoding\s*=\s*[\"']([A-Za-z][\w.-]*)[\"'][^>]*>")
_SHOWN = 10  # names in a message


class Box(NamedTuple):
    """A named box in pixels: left and top edge, right and bottom edge, which are outside."""

    name: str
    x0: float
    y0: float
    x1: float
    y1: float
    area: float | None = None  # of its object, as the annotation says it
    crowd: bool = False  # several objects in one box


class Photograph(NamedTuple):
    """A photograph with its boxes; `size` (width, height) as the annotation says it, (0, 0) if not."""

    path: Path
    boxes: tuple[Box, ...]
    size: tuple[int, int] = (0, 0)


Read = tuple[list[Photograph], list[Problem]]  # and what cannot be read, which is left out


def read_voc(annotations: Path, images: Path) -> Read:
    """Pascal VOC: one XML file a photograph; pixels are counted from 1, the last one is inside.

    A file that was copied and renamed still names the old photograph. So of several files that name one, only the file
    with its name counts, and a file does not count if a photograph with its own name is there.

    Args:
        annotations: folder of XML files.
        images: folder of photographs.

    Raises:
        DataError: no such folder, or no XML file in it.
    """
    files = [path for path in _listed(annotations) if path.suffix.lower() == ".xml"]
    if not files:
        raise DataError(str(annotations), "no XML file in this folder")
    read: dict[Path, Photograph] = {}
    bad = []
    for file in files:
        try:
            read[file] = _read_voc_file(file, images)
        except (OSError, ValueError, LookupError, ElementTree.ParseError) as error:
            bad.append(Problem(str(file), f"not readable as VOC annotation: {error}"))
    for folder in (path for path in _listed(annotations) if path.is_dir()):
        if count := sum(path.suffix.lower() == ".xml" for path in folder.rglob("*")):
            bad.append(Problem(str(folder), f"{count} XML files in a folder below are not read"))
    there = [path.name for path in _listed(images) if path.name.lower().endswith(EXTENSIONS)]
    named = by_key((Path(name).stem, name) for name in there)
    for path, of in by_key((photo.path, file) for file, photo in read.items()).items():
        for file in of:
            own = file.stem == path.stem
            if not own and (own_names := named.get(file.stem)):
                what = f"names {path.name}, but {own_names[0]} is there"
            elif not own and len(of) > 1:
                what = f"names {path.name}, as {next(f for f in of if f != file).name} does"
            else:
                continue
            bad.append(Problem(str(file), what, "correct its <filename>"))
            del read[file]
    return list(read.values()), bad


def _listed(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError as error:
        raise DataError(str(folder), f"cannot be listed: {error.strerror}") from None


def _read_voc_file(file: Path, images: Path) -> Photograph:
    root = ElementTree.XML(_xml(file.read_bytes()), ElementTree.XMLParser(target=_Plain()))
    name = _text(root, "filename", "") or f"{file.stem}.jpg"
    sides = [int(float(_text(root, f"size/{side}", "") or 0)) for side in ("width", "height")]
    boxes = []
    for thing in root.findall("object"):
        x0, y0 = (float(_text(thing, f"bndbox/{k}")) - 1 for k in ("xmin", "ymin"))
        x1, y1 = (float(_text(thing, f"bndbox/{k}")) for k in ("xmax", "ymax"))
        boxes.append(Box(_text(thing, "name"), x0, y0, x1, y1))
    return Photograph(images / name, tuple(boxes), (sides[0], sides[1]))


def _xml(data: bytes) -> bytes | str:
    """`data`, as text where it declares an encoding that the XML parser lacks and Python has, such as GB2312.

    Raises:
        LookupError: nobody has it.
        UnicodeDecodeError: it is in another one.
    """
    if not (declared := _ENCODING.match(data)):
        return data
    name = declared[1].decode().lower()
    if name in ("utf-8", "utf-16"):
        return data
    # GB18030 also has the characters that files of its elders use without saying so.
    return data[declared.end() :].decode("gb18030" if name in ("gb2312", "gbk") else name)


def read_coco(annotations: Path, images: Path, *, crowds: bool = False) -> Read:
    """COCO: one JSON file; a box is `[x, y, width, height]`. Crowds are left out, unless `crowds`.

    Ids are numbers or text, "2" and 2 being the same one. A size that is null is not said.

    Raises:
        DataError: the file is missing, not of this form, or an id, a file name or a category name occurs twice.
    """
    where, bad = str(annotations), list[Problem]()
    try:
        tree = json.loads(_read_text(annotations))
        parts = [list(tree[part]) for part in ("categories", "images", "annotations")]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise DataError(where, f"not readable as COCO: {error!r}") from None
    names = _by_id(where, "category", parts[0], "name", bad)
    listed = _by_id(where, "image", parts[1], "file_name", bad)
    boxes: dict[str, list[Box]] = defaultdict(list)
    for i, found in enumerate(parts[2]):
        try:
            crowd = bool(found.get("iscrowd"))
            if crowd and not crowds:
                continue
            x, y, width, height = map(float, found["bbox"])
            name = str(names[_id(found["category_id"])]["name"])
            area = None if found.get("area") is None else float(found["area"])
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            bad.append(Problem(f"{where}: annotation {i}", f"no such box: {error!r}"))
            continue
        if (image := _id(found.get("image_id"))) in listed:
            boxes[image].append(Box(name, x, y, x + width, y + height, area, crowd))
        else:
            what = f"its image {found.get('image_id')!r} is not listed"
            bad.append(Problem(f"{where}: annotation {i}", what))
    photographs = []
    for key, image_record in listed.items():
        try:
            size = [int(image_record.get(side) or 0) for side in ("width", "height")]
        except (TypeError, ValueError, OverflowError):
            bad.append(Problem(f"{where}: image {key}", "its width or height is no number"))
            continue
        path, known = (
            images / image_record["file_name"],
            (size[0], size[1]) if all(size) else (0, 0),
        )
        photographs.append(Photograph(path, tuple(boxes[key]), known))
    return photographs, bad


def coco_names(annotations: Path) -> tuple[str, ...]:
    """The names of a COCO file's categories, in the order of their ids; raises as `read_coco`."""
    try:
        records = list(json.loads(_read_text(annotations))["categories"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise DataError(str(annotations), f"not readable as COCO: {error!r}") from None
    names = _by_id(str(annotations), "category", records, "name", [])
    order = sorted(
        names, key=lambda key: (not key.isdecimal(), int(key) if key.isdecimal() else 0, key)
    )
    return tuple(str(names[key]["name"]) for key in order)


def _by_id(
    where: str, kind: str, records: list[Any], field: str, bad: list[Problem]
) -> dict[str, dict[str, Any]]:
    """The images or categories by their ids; those without an id or a name are noted as bad.

    Raises:
        DataError: an id or a name occurs twice: nobody knows which one is meant.
    """
    found: dict[str, dict[str, Any]] = {}
    counts: dict[str, Counter[str]] = {"id": Counter(), field: Counter()}
    for i, record in enumerate(records):
        key, name = (
            _id(record.get(k) if isinstance(record, dict) else None) for k in ("id", field)
        )
        if (
            key
            and name
            and "\0" not in name
            and (field == "name" or isinstance(record[field], str))
        ):
            found[key] = record
            counts["id"][key] += 1
            counts[field][name] += 1
        else:
            bad.append(Problem(f"{where}: {kind} {i}", f"no id, or no {field}"))
    for what, values in counts.items():
        if twice := [value for value, count in values.items() if count > 1]:
            shown = ", ".join(twice[:_SHOWN]) + (", ..." if len(twice) > _SHOWN else "")
            problem = f"several {kind} records with the same {what}: {shown}"
            raise DataError(where, problem, "number them anew")
    return found


def _id(value: Any) -> str:
    """An id or a name as text; empty for what is none."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        return ""
    text = str(value).strip()
    return text.lstrip("0") or "0" if text.isdecimal() else text


def read_boxes(annotations: Path, images: Path) -> Read:
    """A list: `path x0 y0 x1 y1 name` a line, separated by blanks or tabs; edges in pixels from 0.

    Raises:
        DataError: the file is missing or not UTF-8.
    """
    boxes: dict[str, list[Box]] = defaultdict(list)
    bad = []
    for n, text in enumerate(_read_text(annotations).splitlines(), 1):
        if not (line := text.strip().lstrip("\ufeff")):  # a mark of each file that was joined
            continue
        try:
            path, *edges, name = line.rsplit(None, 5)
            x0, y0, x1, y1 = map(float, edges)
        except ValueError:
            bad.append(Problem(f"{annotations}:{n}", "expected a path, four numbers and a name"))
            continue
        boxes[path].append(Box(name, x0, y0, x1, y1))
    return [Photograph(images / path, tuple(found)) for path, found in boxes.items()], bad


def _read_text(path: Path) -> str:
    try:
        return path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        what = "no such file" if isinstance(error, FileNotFoundError) else f"not readable: {error}"
        raise DataError(str(path), what) from None


class _Plain(ElementTree.TreeBuilder):
    """Refuses what could hide anything, or fill the memory.

    An XML file can declare entities that expand to gigabytes or name other files; both need a document type, which no
    annotation has.
    """

    depth = 0

    def doctype(self, *_: object) -> None:
        raise ValueError("it declares a document type, which could hide anything")

    def start(self, tag: Any, attrs: Any) -> ElementTree.Element:
        self.depth += 1
        if self.depth > _DEEPEST:
            raise ValueError(f"more than {_DEEPEST} levels deep")
        return super().start(tag, attrs)

    def end(self, tag: Any) -> ElementTree.Element:
        self.depth -= 1
        return super().end(tag)


def _text(element: ElementTree.Element, path: str, default: str | None = None) -> str:
    if (text := element.findtext(path, default)) is None:
        raise ValueError(f"no {path}")
    return text.strip()
