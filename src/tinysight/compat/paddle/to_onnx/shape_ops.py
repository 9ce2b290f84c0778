"""Operators that move, cut and join tensors, and those that compute with shapes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tinysight.compat.paddle.to_onnx.graph import Unsupported, Value, shape_of
from tinysight.compat.paddle.to_onnx.symbols import Side, Sym, as_vector, product, quotient
from tinysight.compat.paddle.to_onnx.table import View, op

_FAR = 2**31 - 1


def reshape_to(v: View, x: Value, sides: Sequence[Side]) -> Value:
    """`x` in another shape (-1 once at most: what is left); nothing is emitted where it has that shape.

    The target becomes a constant when one side at most is open: it is written -1, or 0 where it stays in place.
    """
    old = v.sides(x)
    known_sides = product(s for s in sides if not _open(s))
    rest = quotient(product(old), known_sides)
    if rest is not None:
        sides = [rest if _open(s) else s for s in sides]
    if tuple(sides) == tuple(old):
        return x
    if isinstance(x, np.ndarray):
        return v.emit("Reshape", x, as_vector(sides))
    free = [i for i, s in enumerate(sides) if isinstance(s, Sym) or _open(s)]
    target = list(sides)
    for i in free:
        if len(free) > 1 and i < len(old) and old[i] == sides[i] and not _open(sides[i]):
            target[i] = 0
            free = [f for f in free if f != i]
    if len(free) == 1:
        target[free[0]] = -1
    return v.emit("Reshape", x, as_vector(target))


def _open(side: Side) -> bool:
    return not isinstance(side, Sym) and side == -1


@op("reshape", "reshape2", "view_shape", inputs=("X", "Shape"))
def _reshape(v: View) -> Value:
    name = "dims" if v.type == "view_shape" else "shape"
    x, target = v["X"], v.vector(name, "Shape", "ShapeTensor")
    if not isinstance(target, np.ndarray):
        return v.emit("Reshape", x, target)
    old = v.sides(x)
    if any(not isinstance(s, Sym) and s == 0 and i >= len(old) for i, s in enumerate(target)):
        raise Unsupported("a 0 in a shape that copies no side")
    sides = [
        old[i] if not isinstance(s, Sym) and s == 0 else s for i, s in enumerate(target.tolist())
    ]
    if sum(_open(s) for s in sides) > 1:
        raise Unsupported(f"shape {target.tolist()!r:.60}")
    return reshape_to(v, x, sides)


@op("flatten", "flatten_contiguous_range", inputs=("X",))
def _flatten(v: View) -> Value:
    x = v["X"]
    if v.has("axis") and not v.has("start_axis"):  # the first release of the operator
        return _flatten_to_matrix(v)
    sides = list(v.sides(x))
    if not sides:
        return reshape_to(v, x, [1])
    start, stop = (
        v.axis(v.attribute(n, default=d), x) for n, d in (("start_axis", 1), ("stop_axis", -1))
    )
    return reshape_to(v, x, [*sides[:start], product(sides[start : stop + 1]), *sides[stop + 1 :]])


@op("flatten2", inputs=("X",))
def _flatten_to_matrix(v: View) -> Value:
    x, axis = v["X"], v.attribute("axis", default=1)
    return reshape_to(v, x, [product(v.sides(x)[:axis]), product(v.sides(x)[axis:])])


@op("squeeze", "squeeze2", inputs=("X", "AxesTensor"))
def _squeeze(v: View) -> Value:
    x = v["X"]
    sides = v.sides(x)
    axes = (
        v.constants("axes", "AxesTensor", "AxesTensorList")
        if v.has("axes") or "AxesTensor" in v
        else []
    )
    places = {v.axis(a, x) for a in axes} or set(range(len(sides)))
    return reshape_to(v, x, [s for i, s in enumerate(sides) if not (i in places and s == 1)])


@op("unsqueeze", "unsqueeze2", inputs=("X", "AxesTensor"))
def _unsqueeze(v: View) -> Value:
    x = v["X"]
    sides = list(v.sides(x))
    for axis in v.constants("axes", "AxesTensor", "AxesTensorList"):
        if not -len(sides) - 1 <= axis <= len(sides):
            raise Unsupported(f"axis {axis}")
        sides.insert(axis if axis >= 0 else axis + len(sides) + 1, 1)
    return reshape_to(v, x, sides)


@op("transpose", "transpose2", inputs=("X",))
def _transpose(v: View) -> Value:
    x, order = v["X"], v.integers("perm", "axis")
    order = [v.axis(i, x) for i in order]
    if sorted(order) != list(range(len(v.sides(x)))):
        raise Unsupported(f"order {order}")
    return x if order == sorted(order) else v.emit("Transpose", x, perm=order)


@op("concat", inputs=("X", "AxisTensor"))
def _concat(v: View) -> Value:
    parts = v.all("X")
    if not parts:
        raise Unsupported("nothing to join")
    [axis] = v.constants("axis", "AxisTensor")
    return parts[0] if len(parts) == 1 else v.emit("Concat", *parts, axis=v.axis(axis, parts[0]))


@op("stack", inputs=("X",), outputs=("Y",))
def _stack(v: View) -> Value:
    parts, axis = v.all("X"), v.attribute("axis", default=0)
    rank = len(v.sides(parts[0])) + 1
    axis = axis % rank
    return v.emit("Concat", *(v.emit("Unsqueeze", p, np.array([axis])) for p in parts), axis=axis)


@op("split", "split_with_num", inputs=("X", "SectionsTensor", "AxisTensor"))
def _split(v: View) -> list[Value]:
    x = v["X"]
    if v.type == "split_with_num":
        [axis], sections = v.constants("axis", "SectionsTensor"), []
    else:
        [axis] = v.constants("axis", "AxisTensor")
        given = v.has("sections") or "SectionsTensor" in v or v.all("SectionsTensorList")
        sections = v.constants("sections", "SectionsTensor", "SectionsTensorList") if given else []
    axis = v.axis(axis, x)
    side = v.sides(x)[axis]
    if isinstance(side, Sym):
        raise Unsupported("a cut along a side that is not known")
    if not sections:
        count = v.attribute("num", default=1)
        if not 1 <= count <= side or side % count:
            raise Unsupported(f"{side} in {count} equal parts")
        sections = [side // count] * count
    if -1 in sections:
        sections[sections.index(-1)] = side - sum(s for s in sections if s != -1)
    if sum(sections) != side or min(sections) < 0:
        raise Unsupported(f"{side} in parts of {sections}")
    return v.graph.emit_all("Split", x, np.array(sections), axis=axis) if len(sections) > 1 else [x]


@op("unbind", "unstack", inputs=("X",), outputs=("Y",))
def _unbind(v: View) -> list[Value]:
    x = v["X"]
    axis = v.axis(v.attribute("axis", default=0), x)
    side = v.sides(x)[axis]
    if isinstance(side, Sym):
        raise Unsupported("a cut along a side that is not known")
    if side > 4096:
        raise Unsupported(f"{side} parts")
    return [v.emit("Gather", x, np.array(i), axis=axis) for i in range(side)]


@op("slice", inputs=("Input", "StartsTensor", "EndsTensor"))
def _slice(v: View) -> Value:
    starts = v.vector("starts", "StartsTensor", "StartsTensorList")
    return cut(
        v, v["Input"], v.integers("axes"), starts, v.vector("ends", "EndsTensor", "EndsTensorList")
    )


@op("strided_slice", inputs=("Input", "StartsTensor", "EndsTensor", "StridesTensor"))
def _strided_slice(v: View) -> Value:
    starts = v.vector("starts", "StartsTensor", "StartsTensorList")
    ends = v.vector("ends", "EndsTensor", "EndsTensorList")
    steps = v.constants("strides", "StridesTensor", "StridesTensorList")
    return cut(v, v["Input"], v.integers("axes"), starts, ends, steps)


@op("crop", "crop_tensor", inputs=("X", "Shape", "Offsets"))
def _crop(v: View) -> Value:
    x, sides = v["X"], v.constants("shape", "Shape", "ShapeTensor")
    starts = v.constants("offsets", "Offsets", "OffsetsTensor")
    if len(sides) != len(v.sides(x)) or len(starts) != len(sides) or min(starts) < 0:
        raise Unsupported(f"a crop of {sides} at {starts}")
    ends = [_FAR if side == -1 else start + side for start, side in zip(starts, sides, strict=True)]
    return cut(v, x, list(range(len(sides))), np.array(starts), np.array(ends))


def cut(
    v: View, x: Value, axes: list[int], starts: Value, ends: Value, steps: list[int] | None = None
) -> Value:
    """A slice, without the axes that `decrease_axis` names."""
    axes, steps = [v.axis(a, x) for a in axes], steps or [1] * len(axes)
    if isinstance(starts, np.ndarray) and isinstance(ends, np.ndarray) and starts.dtype != object:
        ends = _inside(v, x, axes, ends)
        if len(axes) == len(starts) == len(ends) and _whole(v, x, axes, starts, ends, steps):
            result = x
        else:
            result = v.emit(
                "Slice", x, starts, ends, np.array(axes, np.int64), np.array(steps, np.int64)
            )
    else:
        result = v.emit(
            "Slice", x, starts, ends, np.array(axes, np.int64), np.array(steps, np.int64)
        )
    drop = {v.axis(a, x) for a in v.integers("decrease_axis", "decrease_axes", default=[])}
    if not drop:
        return result
    return reshape_to(v, result, [s for i, s in enumerate(v.sides(result)) if i not in drop])


def _inside(v: View, x: Value, axes: list[int], ends: np.ndarray) -> np.ndarray:
    """Ends that say "the whole side", as the far end: that needs no value of the running model."""
    sides = v.sides(x)
    return as_vector(
        [
            _FAR if isinstance(e, Sym) and e == sides[a] else e
            for a, e in zip(axes, ends, strict=True)
        ]
    )


def _whole(
    v: View, x: Value, axes: list[int], starts: np.ndarray, ends: np.ndarray, steps: list[int]
) -> bool:
    sides = v.sides(x)
    return all(
        start == 0 and step == 1 and not isinstance(end, Sym) and _reaches(end, sides[axis])
        for axis, start, end, step in zip(axes, starts, ends, steps, strict=True)
    )


def _reaches(end: int, side: Side) -> bool:
    return end >= (_FAR if isinstance(side, Sym) else side)


@op("shape", "shape64", inputs=("Input",))
def _shape(v: View) -> Value:
    return shape_of(v["Input"])


@op("numel", "size", inputs=("Input",))
def _numel(v: View) -> Value:
    return as_vector([product(v.sides(v["X"] if "X" in v else v["Input"]))]).reshape(())


@op("expand", "expand_v2", inputs=("X", "Shape"))
def _expand(v: View) -> Value:
    if v.has("expand_times"):  # the first release of the operator
        return _repeated(v, v.vector("expand_times", "ExpandTimes", "expand_times_tensor"))
    x, target = v["X"], v.vector("shape", "Shape", "expand_shapes_tensor")
    if not isinstance(target, np.ndarray):
        return v.emit("Expand", x, target)
    old = [1] * (len(target) - len(v.sides(x))) + list(v.sides(x))
    sides = [o if _open(s) else s for o, s in zip(old, target.tolist(), strict=True)]
    return x if tuple(sides) == v.sides(x) else v.emit("Expand", x, as_vector(sides))


@op("expand_as", "expand_as_v2", inputs=("X", "Y"))
def _expand_as(v: View) -> Value:
    target = shape_of(v["Y"]) if "Y" in v else np.array(v.integers("target_shape"))
    return v.emit("Expand", v["X"], target)


@op("tile", inputs=("X", "RepeatTimes"))
def _tile(v: View) -> Value:
    return _repeated(v, v.vector("repeat_times", "RepeatTimes", "repeat_times_tensor"))


def _repeated(v: View, times: Value) -> Value:
    x = v["X"]
    if not isinstance(times, np.ndarray):
        raise Unsupported("a number of repeats that depends on the input")
    rank = max(len(times), len(v.sides(x)))
    times = as_vector([1] * (rank - len(times)) + times.tolist())
    x = reshape_to(v, x, [1] * (rank - len(v.sides(x))) + list(v.sides(x)))
    return x if times.dtype != object and np.all(times == 1) else v.emit("Tile", x, times)


@op("roll", inputs=("X", "ShiftsTensor"))
def _roll_op(v: View) -> Value:
    x, shifts = v["X"], v.constants("shifts", "ShiftsTensor")
    axes = v.integers("axis", default=[])
    if not axes:
        flat = v.emit("Reshape", x, np.array([-1]))
        return reshape_to(v, _roll(v, flat, 0, shifts[0]), v.sides(x))
    for axis, shift in zip(axes, shifts, strict=True):
        x = _roll(v, x, v.axis(axis, x), shift)
    return x


def _roll(v: View, x: Value, axis: int, shift: int) -> Value:
    side = v.sides(x)[axis]
    if isinstance(side, int):
        shift %= max(side, 1)
    if shift == 0:
        return x
    tail, head = (
        v.emit("Slice", x, np.array([start]), np.array([end]), np.array([axis]), np.array([1]))
        for start, end in ((-shift, _FAR), (0, -shift))
    )
    return v.emit("Concat", tail, head, axis=axis)


@op("flip", "reverse", inputs=("X",))
def _flip(v: View) -> Value:
    x, axes = v["X"], v.integers("axis")
    far = np.array([-_FAR - 1] * len(axes))
    ones = np.array([-1] * len(axes))
    return v.emit("Slice", x, ones, far, np.array([v.axis(a, x) for a in axes]), ones)


@op(
    "assign",
    "assign_out",
    "share_data",
    "share_buffer",
    "memcpy",
    "memcpy_d2h",
    "memcpy_h2d",
    "shadow_output",
    inputs=("X",),
)
def _assign(v: View) -> Value:
    return v["X"]
