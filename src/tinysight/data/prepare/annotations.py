"""Boxes around things in photographs, as VOC, COCO and plain lists write them."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from xml.parsers import expat

from tinysight.errors import DataError, Problem

_DEEPEST = 20  # levels of an XML file; VOC has four


class Box(NamedTuple):
    """A named box in pixels: left and top edge, right and bottom edge, which are outside."""

    name: str
    x0: float
    y0: float
    x1: float
    y1: float


class Photograph(NamedTuple):
    """A photograph with its boxes; `size` (width, height) as the annotation says it, (0, 0) if not."""

    path: Path
    boxes: tuple[Box, ...]
    size: tuple[int, int] = (0, 0)


Read = tuple[list[Photograph], list[Problem]]  # and what cannot be read, which is left out


def read_voc(annotations: Path, images: Path) -> Read:
    """Pascal VOC: one XML file a photograph; pixels are counted from 1, the last one is inside.

    Args:
        annotations: folder of the XML files.
        images: folder of the photographs.

    Raises:
        DataError: no such folder, or no XML file in it.
    """
    files = sorted(annotations.glob("*.xml"))
    if not files:
        raise DataError(str(annotations), "no XML file in this folder")
    photographs, bad = [], []
    for file in files:
        try:
            tree = _xml(file)
            name = next(iter(tree.get("filename", [])), "") or f"{file.stem}.jpg"
            size = [int(float(_one(tree, f"size/{side}", "0"))) for side in ("width", "height")]
            found = []
            for thing in tree.get("object", []):
                low = (float(_one(thing, f"bndbox/{k}")) - 1 for k in ("xmin", "ymin"))
                high = (float(_one(thing, f"bndbox/{k}")) for k in ("xmax", "ymax"))
                found.append(Box(_one(thing, "name"), *low, *high))
        except (OSError, ValueError, expat.ExpatError) as error:
            bad.append(Problem(str(file), f"not readable as VOC annotation: {error}"))
            continue
        photographs.append(Photograph(images / name, tuple(found), (size[0], size[1])))
    return photographs, bad


def read_coco(annotations: Path, images: Path) -> Read:
    """COCO: one JSON file; a box is `[x, y, width, height]`. Crowds are left out.

    Raises:
        DataError: the file is missing, or not of this form.
    """
    try:
        tree = json.loads(annotations.read_text("utf-8"))
        names = {c["id"]: str(c["name"]) for c in tree["categories"]}
        boxes: dict[Any, list[Box]] = defaultdict(list)
        bad = []
        for i, found in enumerate(tree["annotations"]):
            if found.get("iscrowd"):
                continue
            try:
                x, y, width, height = map(float, found["bbox"])
                name = names[found["category_id"]]
            except (KeyError, TypeError, ValueError) as error:
                bad.append(Problem(f"{annotations}: annotation {i}", f"no such box: {error!r}"))
                continue
            boxes[found["image_id"]].append(Box(name, x, y, x + width, y + height))
        photographs = [
            Photograph(
                images / image["file_name"],
                tuple(boxes[image["id"]]),
                (int(image.get("width", 0)), int(image.get("height", 0))),
            )
            for image in tree["images"]
        ]
    except FileNotFoundError:
        raise DataError(str(annotations), "no such file") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DataError(str(annotations), f"not readable as COCO: {error!r}") from None
    return photographs, bad


def read_boxes(annotations: Path, images: Path) -> Read:
    """A list: `path x0 y0 x1 y1 name` a line, separated by blanks or tabs; edges in pixels from 0.

    Raises:
        DataError: the file is missing or not UTF-8.
    """
    boxes: dict[str, list[Box]] = defaultdict(list)
    bad = []
    try:
        lines = annotations.read_text("utf-8-sig").splitlines()
    except FileNotFoundError:
        raise DataError(str(annotations), "no such list file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(str(annotations), f"not readable as a list: {error}") from None
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        fields = line.rsplit(None, 5)
        try:
            path, *edges, name = fields
            x0, y0, x1, y1 = map(float, edges)
        except ValueError:
            where = f"{annotations}:{number}"
            bad.append(Problem(where, "expected a path, four numbers and a name"))
            continue
        boxes[path].append(Box(name, x0, y0, x1, y1))
    return [Photograph(images / path, tuple(found)) for path, found in boxes.items()], bad


def _xml(file: Path) -> dict[str, list[Any]]:
    """Children of the root by name: text, or a mapping of the same kind.

    An XML file can declare entities that expand to gigabytes or name other files; both need a
    document type, which no annotation has, so one is refused.
    """
    root: dict[str, list[Any]] = {}
    stack: list[tuple[str, dict[str, list[Any]], list[str]]] = [("", root, [])]

    def start(name: str, _: object) -> None:
        if len(stack) > _DEEPEST:
            raise ValueError(f"more than {_DEEPEST} levels deep")
        stack.append((name, {}, []))

    def end(_: str) -> None:
        name, children, text = stack.pop()
        stack[-1][1].setdefault(name, []).append(children or "".join(text).strip())

    def refuse(*_: object) -> None:
        raise ValueError("it declares a document type, which could hide anything")

    parser = expat.ParserCreate()
    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = lambda text: stack[-1][2].append(text)
    parser.StartDoctypeDeclHandler = refuse
    parser.EntityDeclHandler = refuse
    parser.ExternalEntityRefHandler = lambda *_: 0
    parser.Parse(file.read_bytes(), True)
    tree = next(iter(next(iter(root.values()))))
    if not isinstance(tree, dict):
        raise ValueError("nothing in it")  # noqa: TRY004 - a file's fault, not a caller's
    return tree


def _one(tree: Any, path: str, default: str | None = None) -> str:
    for name in path.split("/"):
        found = tree.get(name) if isinstance(tree, dict) else None
        if not found:
            if default is not None:
                return default
            raise ValueError(f"no {path}")
        tree = found[0]
    if not isinstance(tree, str):
        raise ValueError(f"no text in {path}")  # noqa: TRY004 - as above
    return tree


def names_of(photographs: list[Photograph]) -> Iterator[str]:
    """The names of all boxes."""
    return (box.name for photograph in photographs for box in photograph.boxes)
