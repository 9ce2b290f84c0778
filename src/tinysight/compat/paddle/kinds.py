"""What an exported program returns: probabilities of classes, an embedding, or boxes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial

from tinysight.bundle.manifest import FEEDS
from tinysight.compat.paddle.program import Program
from tinysight.errors import WeightsError

_ALONE = "translate it alone: --out NAME.onnx"
_NMS = ("multiclass_nms", "multiclass_nms2", "multiclass_nms3")
CHANNELS = (3, 4)  # the fourth is all zeros: some devices want it
OUTPUTS = {"scores": ("scores",), "embedding": ("embedding",), "boxes": ("boxes", "counts")}


@dataclass(frozen=True)
class ExportKind:
    """Inputs and outputs of a program.

    Attributes:
        output: "scores", "embedding" or "boxes"; the names of the outputs are those of `OUTPUTS`.
        image: index of the input that takes the images.
        height: height of the images in pixels; 0 where the program leaves it open.
        width: width of the images in pixels; 0 where the program leaves it open.
        columns: number of classes, or length of an embedding; 0 for boxes, or where the program leaves it open.
        feeds: meaning of each other input by its name.
        independent: True if each class has a probability of its own (sigmoid).
        boxes: what a detector's outputs are: "rows", "cells" (boxes and scores of all), "raw" (scores and distances of
            each level).
        one: True if it takes one image at a time.
        channels: of the images, 3, or 4 with one of zeros.
    """

    output: str
    image: int
    height: int
    width: int
    columns: int = 0
    feeds: Mapping[str, str] = field(default_factory=dict)
    independent: bool = False
    boxes: str = "rows"
    one: bool = False
    channels: int = 3


def _heads(sides: list[tuple[int, ...]]) -> str:
    """What a detector's outputs of these shapes are, if they are one's and no rows."""
    if not all(len(shape) == 3 for shape in sides) or len(sides) % 2:
        return ""
    if len(sides) == 2:
        return "cells" if sides[0][2] == 4 and sides[0][1] in (sides[1][2], -1) else ""
    scores, distances = sides[: len(sides) // 2], sides[len(sides) // 2 :]
    widths = {shape[2] for shape in scores}, {shape[2] for shape in distances}
    return "raw" if all(len(w) == 1 for w in widths) and max(widths[1]) % 4 == 0 else ""


def kind_of(program: Program, where: str, *, named: bool) -> ExportKind:
    """The kind of `program`, by its last operator, its inputs and its outputs.

    Args:
        program: a program as `read_program` returns it.
        where: path of the program, for messages.
        named: True if its classes have names, so that it can be nothing but a classifier or a detector.

    Raises:
        WeightsError: it is of no such kind.
    """
    shapes = [program.types[port.value].shape for port in program.inputs]
    images = [i for i, shape in enumerate(shapes) if len(shape) == 4 and shape[1] in CHANNELS]
    if len(images) != 1:
        both = zip(program.inputs, shapes, strict=True)
        inputs = ", ".join(f"{port.name} {list(shape)}" for port, shape in both)
        raise WeightsError(where, f"takes no images, or several: its inputs are {inputs}", _ALONE)
    channels, *size = (max(side, 0) for side in shapes[images[0]][1:])
    made = partial(ExportKind, image=images[0], height=size[0], width=size[1], channels=channels)
    last = program.last_operation
    feeds = {p.name: p.name for i, p in enumerate(program.inputs) if i != images[0]}
    unknown = sorted(set(feeds) - set(FEEDS))
    types = [program.types.get(port.value) for port in program.outputs]
    sides = [kind.shape if kind else () for kind in types]  # empty where the program does not say
    if last in _NMS and len(sides) == 2 and not unknown:
        return made("boxes", feeds=feeds)
    if form := _heads(sides):
        own = {n: w for n, w in feeds.items() if w in FEEDS}  # what it takes besides has no effect
        raw = form == "raw"
        return made("boxes", feeds=own, boxes=form, one=raw)
    if feeds:
        what = f"is no detector that ends in {_NMS[-1]}, yet takes {', '.join(feeds)}"
        raise WeightsError(where, what, _ALONE)
    if len(sides) != 1 or (sides[0] and len(sides[0]) != 2):
        raise WeightsError(where, f"{len(sides)} outputs, the first {list(sides[0])}", _ALONE)
    columns = max(sides[0][1], 0) if sides[0] else 0
    if last in ("softmax", "sigmoid"):
        return made("scores", columns=columns, independent=last == "sigmoid")
    if named or last in _NMS:
        what = f"ends in {last}, so its outputs are no probabilities"
        raise WeightsError(where, what, f"export it with softmax, or {_ALONE}")
    return made("embedding", columns=columns)
