"""Operators that move, cut and join tensors, and those that compute with shapes."""

from __future__ import annotations

import numpy as np

from tinysight.compat.paddle.to_onnx.table import OpContext, op
from tinysight.graph.builder import FAR, Unsupported, Value, is_open, known, shape_of
from tinysight.graph.shapes import broadcast
from tinysight.graph.sides import Sym, as_vector, product


@op("reshape reshape2 view_shape", "X Shape")
def _reshape(v: OpContext) -> Value:
    x, name = v["X"], "dims" if v.type == "view_shape" else "shape"
    target = v.vector(name, "Shape", "ShapeTensor")
    if not isinstance(target, np.ndarray):
        return v.emit("Reshape", x, target)
    sides, old = target.tolist(), v.sides(x)
    for i in [i for i, side in enumerate(sides) if not isinstance(side, Sym) and side == 0]:
        if i >= len(old):
            raise Unsupported("a 0 in a shape that copies no side")
        sides[i] = old[i]
    if sum(is_open(s) for s in sides) > 1:
        raise Unsupported(f"shape {target.tolist()!r:.60}")
    return v.reshape(x, sides)


@op("flatten flatten_contiguous_range", "X")
def _flatten(v: OpContext) -> Value:
    x = v["X"]
    if v.has("axis") and not v.has("start_axis"):  # the first release of the operator
        return _flatten_to_matrix(v)
    sides = list(v.sides(x))
    if not sides:
        return v.reshape(x, [1])
    start, stop = (v.axis(v.get(n, d), x) for n, d in (("start_axis", 1), ("stop_axis", -1)))
    return v.reshape(x, [*sides[:start], product(sides[start : stop + 1]), *sides[stop + 1 :]])


@op("flatten2", "X")
def _flatten_to_matrix(v: OpContext) -> Value:
    x, axis = v["X"], v.get("axis", 1)
    return v.reshape(x, [product(v.sides(x)[:axis]), product(v.sides(x)[axis:])])


@op("squeeze squeeze2", "X AxesTensor")
def _squeeze(v: OpContext) -> Value:
    x, given = v["X"], v.has("axes") or "AxesTensor" in v
    axes = v.constants("axes", "AxesTensor", "AxesTensorList") if given else []
    places = {v.axis(a, x) for a in axes} or {*range(len(v.sides(x)))}
    return v.reshape(x, [s for i, s in enumerate(v.sides(x)) if s != 1 or i not in places])


@op("unsqueeze unsqueeze2", "X AxesTensor")
def _unsqueeze(v: OpContext) -> Value:
    x = v["X"]
    sides = list(v.sides(x))
    for axis in v.constants("axes", "AxesTensor", "AxesTensorList"):
        if not -len(sides) - 1 <= axis <= len(sides):
            raise Unsupported(f"axis {axis}")
        sides.insert(axis if axis >= 0 else axis + len(sides) + 1, 1)
    return v.reshape(x, sides)


@op("transpose transpose2", "X")
def _transpose(v: OpContext) -> Value:
    x, order = v["X"], [v.axis(i, v["X"]) for i in v.integers("perm axis")]
    if sorted(order) != list(range(len(v.sides(x)))):
        raise Unsupported(f"order {order}")
    return x if order == sorted(order) else v.emit("Transpose", x, perm=order)


@op("concat", "X AxisTensor")
def _concat(v: OpContext) -> Value:
    parts = v.all("X")
    if not parts:
        raise Unsupported("nothing to join")
    [axis] = v.constants("axis", "AxisTensor")
    return parts[0] if len(parts) == 1 else v.emit("Concat", *parts, axis=v.axis(axis, parts[0]))


@op("stack", "X", "Y")
def _stack(v: OpContext) -> Value:
    parts = v.all("X")
    axis = v.get("axis", 0) % (len(v.sides(parts[0])) + 1)
    return v.emit("Concat", *(v.unsqueeze(part, axis) for part in parts), axis=axis)


@op("split split_with_num", "X SectionsTensor AxisTensor")
def _split(v: OpContext) -> list[Value]:
    x, by_count, sections = v["X"], v.type == "split_with_num", list[int]()
    [axis] = v.constants("axis", "SectionsTensor" if by_count else "AxisTensor")
    if not by_count and (v.has("sections") or "SectionsTensor" in v or v.all("SectionsTensorList")):
        sections = v.constants("sections", "SectionsTensor", "SectionsTensorList")
    axis, count = v.axis(axis, x), v.get("num", 1)
    side = v.side(x, axis)
    if not sections:
        if not 1 <= count <= side or side % count:
            raise Unsupported(f"{side} in {count} equal parts")
        sections = [side // count] * count
    if -1 in sections:
        sections[sections.index(-1)] = side - sum(s for s in sections if s != -1)
    if sum(sections) != side or min(sections) < 0:
        raise Unsupported(f"{side} in parts of {sections}")
    return v.graph.emit_all("Split", x, np.array(sections), axis=axis) if len(sections) > 1 else [x]


@op("unbind unstack", "X", "Y")
def _unbind(v: OpContext) -> list[Value]:
    x, axis = v["X"], v.own_axis(v["X"], 0)
    side = v.side(x, axis)
    if side > 4096:
        raise Unsupported(f"{side} parts")
    return [v.emit("Gather", x, np.array(i), axis=axis) for i in range(side)]


@op("slice strided_slice", "Input StartsTensor EndsTensor StridesTensor")
def _slice(v: OpContext) -> Value:
    """Without the axes that `decrease_axis` names."""
    x, whole = v["Input"], False
    starts = v.vector("starts", "StartsTensor", "StartsTensorList")
    ends = v.vector("ends", "EndsTensor", "EndsTensorList")
    axes, sides = [v.axis(a, x) for a in v.integers("axes")], v.sides(x)
    steps = [1] * len(axes)
    if v.type == "strided_slice":
        steps = v.constants("strides", "StridesTensor", "StridesTensorList") or steps
    if isinstance(starts, np.ndarray) and isinstance(ends, np.ndarray) and starts.dtype != object:
        # An end that says "the whole side", as the far end: that needs no value of the running model.
        far = [isinstance(e, Sym) and e == sides[a] for a, e in zip(axes, ends, strict=True)]
        ends = as_vector([FAR if whole else end for whole, end in zip(far, ends, strict=True)])
        reach = [FAR if isinstance(sides[a], Sym) else sides[a] for a in axes]
        whole = len(axes) == len(starts) and all(
            start == 0 and step == 1 and not isinstance(end, Sym) and end >= last
            for start, end, step, last in zip(starts, ends, steps, reach, strict=True)
        )
    places = np.array(axes, np.int64), np.array(steps, np.int64)
    result = x if whole else v.emit("Slice", x, starts, ends, *places)
    drop = {v.axis(a, x) for a in v.integers("decrease_axis decrease_axes", [])}
    left = [s for i, s in enumerate(v.sides(result)) if i not in drop]
    return v.reshape(result, left) if drop else result


@op("numel size", "Input")
def _numel(v: OpContext) -> Value:
    return as_vector([product(v.sides(v["X"] if "X" in v else v["Input"]))]).reshape(())


@op("expand expand_v2", "X Shape")
def _expand(v: OpContext) -> Value:
    if v.has("expand_times"):  # the first release of the operator
        return _repeated(v, v.vector("expand_times", "ExpandTimes", "expand_times_tensor"))
    x, target = v["X"], v.vector("shape", "Shape", "expand_shapes_tensor")
    if not isinstance(target, np.ndarray):
        return v.emit("Expand", x, target)
    old = [1] * (len(target) - len(v.sides(x))) + list(v.sides(x))
    sides = [o if is_open(s) else s for o, s in zip(old, target.tolist(), strict=True)]
    return x if tuple(sides) == v.sides(x) else v.emit("Expand", x, as_vector(sides))


@op("expand_as expand_as_v2", "X Y")
def _expand_as(v: OpContext) -> Value:
    target = shape_of(v["Y"]) if "Y" in v else np.array(v.integers("target_shape"))
    return v.emit("Expand", v["X"], target)


@op("tile", "X RepeatTimes")
def _tile(v: OpContext) -> Value:
    return _repeated(v, v.vector("repeat_times", "RepeatTimes", "repeat_times_tensor"))


def _repeated(v: OpContext, times: Value) -> Value:
    x = v["X"]
    if not isinstance(times, np.ndarray):
        raise Unsupported("a number of repeats that depends on the input")
    missing = len(times) - len(v.sides(x))
    times = as_vector([1] * -missing + times.tolist())
    x = v.reshape(x, [1] * missing + list(v.sides(x)))
    return x if times.dtype != object and np.all(times == 1) else v.emit("Tile", x, times)


@op("roll", "X ShiftsTensor")
def _roll_op(v: OpContext) -> Value:
    x, shifts = v["X"], v.constants("shifts", "ShiftsTensor")
    axes = v.integers("axis", [])
    if not axes:
        return v.reshape(_roll(v, v.flat(x), 0, shifts[0]), v.sides(x))
    for axis, shift in zip(axes, shifts, strict=True):
        x = _roll(v, x, v.axis(axis, x), shift)
    return x


def _roll(v: OpContext, x: Value, axis: int, shift: int) -> Value:
    side = v.sides(x)[axis]
    if isinstance(side, int):
        shift %= max(side, 1)
    if shift == 0:
        return x
    return v.emit("Concat", v.slice(x, axis, -shift, FAR), v.slice(x, axis, 0, -shift), axis=axis)


@op("flip reverse", "X")
def _flip(v: OpContext) -> Value:
    x, axes = v["X"], v.integers("axis")
    ones, far = np.array([-1] * len(axes)), np.array([-FAR - 1] * len(axes))
    return v.emit("Slice", x, ones, far, np.array([v.axis(a, x) for a in axes]), ones)


@op("meshgrid", "X")
def _meshgrid(v: OpContext) -> list[Value]:
    parts = v.all("X")
    sides = [v.sides(part)[0] if v.sides(part) else 1 for part in parts]
    rank, target = len(parts), as_vector(sides)
    shapes = ([1] * i + [side] + [1] * (rank - 1 - i) for i, side in enumerate(sides))
    both = zip(parts, shapes, strict=True)
    return [v.emit("Expand", v.reshape(part, shape), target) for part, shape in both]


@op("broadcast_tensors", "X")
def _broadcast_tensors(v: OpContext) -> list[Value]:
    parts = v.all("X")
    target = as_vector(broadcast(*(known(part)[1] for part in parts)))
    return [v.emit("Expand", part, target) for part in parts]


_COPIES = "assign assign_out share_data share_buffer memcpy memcpy_d2h memcpy_h2d shadow_output"
op(_COPIES, "X")(lambda v: v["X"])
op("shape shape64", "Input")(lambda v: shape_of(v["Input"]))
