"""Reads the annotated boxes of VOC, COCO and plain lists."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree import ElementTree

from tinysight.errors import DataError, Problem

_DEEPEST = 20  # levels of an XML file; VOC has four


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

    Args:
        annotations: folder of XML files.
        images: folder of photographs.

    Raises:
        DataError: no such folder, or no XML file in it.
    """
    if not (files := sorted(annotations.glob("*.xml"))):
        raise DataError(str(annotations), "no XML file in this folder")
    photographs, bad = [], []
    for file in files:
        try:
            root = ElementTree.XML(file.read_bytes(), ElementTree.XMLParser(target=_Plain()))
            name = _text(root, "filename", "") or f"{file.stem}.jpg"
            size = [int(float(_text(root, f"size/{side}", "0"))) for side in ("width", "height")]
            found = []
            for thing in root.findall("object"):
                x0, y0 = (float(_text(thing, f"bndbox/{k}")) - 1 for k in ("xmin", "ymin"))
                x1, y1 = (float(_text(thing, f"bndbox/{k}")) for k in ("xmax", "ymax"))
                found.append(Box(_text(thing, "name"), x0, y0, x1, y1))
        except (OSError, ValueError, ElementTree.ParseError) as error:
            bad.append(Problem(str(file), f"not readable as VOC annotation: {error}"))
            continue
        photographs.append(Photograph(images / name, tuple(found), (size[0], size[1])))
    return photographs, bad


def read_coco(annotations: Path, images: Path, *, crowds: bool = False) -> Read:
    """COCO: one JSON file; a box is `[x, y, width, height]`. Crowds are left out, unless `crowds`.

    Raises:
        DataError: the file is missing, or not of this form.
    """
    boxes: dict[Any, list[Box]] = defaultdict(list)
    photographs, bad = [], []
    try:
        tree = json.loads(_read_text(annotations))
        names = {c["id"]: str(c["name"]) for c in tree["categories"]}
        for i, found in enumerate(tree["annotations"]):
            crowd = bool(found.get("iscrowd"))
            if crowd and not crowds:
                continue
            try:
                x, y, width, height = map(float, found["bbox"])
                name = names[found["category_id"]]
                area = None if found.get("area") is None else float(found["area"])
            except (KeyError, TypeError, ValueError) as error:
                bad.append(Problem(f"{annotations}: annotation {i}", f"no such box: {error!r}"))
                continue
            boxes[found["image_id"]].append(Box(name, x, y, x + width, y + height, area, crowd))
        for image in tree["images"]:
            size = int(image.get("width", 0)), int(image.get("height", 0))
            own = tuple(boxes[image["id"]])
            photographs.append(Photograph(images / image["file_name"], own, size))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DataError(str(annotations), f"not readable as COCO: {error!r}") from None
    return photographs, bad


def coco_names(annotations: Path) -> tuple[str, ...]:
    """The names of a COCO file's categories, in the order of their ids; raises as `read_coco`."""
    try:
        found = {c["id"]: str(c["name"]) for c in json.loads(_read_text(annotations))["categories"]}
        return tuple(found[i] for i in sorted(found))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DataError(str(annotations), f"not readable as COCO: {error!r}") from None


def read_boxes(annotations: Path, images: Path) -> Read:
    """A list: `path x0 y0 x1 y1 name` a line, separated by blanks or tabs; edges in pixels from 0.

    Raises:
        DataError: the file is missing or not UTF-8.
    """
    boxes: dict[str, list[Box]] = defaultdict(list)
    bad = []
    for n, line in enumerate(_read_text(annotations).splitlines(), 1):
        if not line.strip():
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
