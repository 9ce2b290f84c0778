"""A PaddleClas deploy configuration in terms of ours: transforms, post-processing, labels.

Read are `PreProcess` and `PostProcess` of the YAML that lies in the reference's `deploy/configs`, and of the
`inference.yml` that its newer exports carry. What is in them and not understood is an error that names it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tinysight.data.labels import read_label_names
from tinysight.errors import ConfigError, Problem, nearest
from tinysight.files import read_yaml
from tinysight.registry import postprocesses, transforms

SCALE = (
    0.00392157  # as the deploy configurations write 1/255; the last bits of a score depend on it
)
_MEAN, _STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
_BACKENDS = {"cv2": "cv2", "pil": "pillow"}
_CV2_CODES: dict[Any, str] = dict(enumerate(("nearest", "bilinear", "bicubic", "area", "lanczos")))
_QUIET = ("SavePreLabel",)  # sorts pictures into folders; no part of an answer


class Deploy(NamedTuple):
    """How a network is used: specs of transforms and of the post-processor, and label names if it says them."""

    transforms: tuple[dict[str, Any], ...]
    postprocess: dict[str, Any]
    labels: tuple[str, ...] | None


class _Reader:
    """Collects what is wrong, so that one message says all of it."""

    def __init__(self, where: str, folder: Path) -> None:
        self.where, self.folder = where, folder
        self.problems: list[Problem] = []

    def wrong(self, place: str, what: str, hint: str = "") -> None:
        self.problems.append(Problem(place, what, hint))

    def only(self, values: Mapping[str, Any], known: Sequence[str], place: str) -> None:
        for key in values:
            if key not in known:
                self.wrong(f"{place}.{key}", "not understood", nearest(str(key), known))


def read_deploy_config(path: Path | str) -> Deploy:
    """Read the YAML file `path`; label files in it are looked for relative to it, then to the working folder.

    Raises:
        ConfigError: not readable, no classifier's configuration, or with entries that are not understood: all of them.
    """
    path = Path(path)
    try:
        tree = read_yaml(path)
    except OSError as error:
        raise ConfigError(str(path), (error.strerror or str(error)).lower()) from None
    if not isinstance(tree, dict) or not isinstance(tree.get("PreProcess"), dict):
        what = "no deploy configuration of a classifier: it has no PreProcess"
        raise ConfigError(str(path), what, "those of PaddleClas lie in deploy/configs")
    reader = _Reader(str(path), path.parent)
    steps = _transforms(reader, tree["PreProcess"])
    postprocess, labels = _postprocess(reader, tree.get("PostProcess"))
    if reader.problems:
        raise ConfigError.of(str(path), reader.problems)
    return Deploy(tuple(steps), postprocess, labels)


def default_transforms(
    height: int, width: int, *, exact: bool = False
) -> tuple[dict[str, Any], ...]:
    """What the deploy configurations do for a network input of that size, in pixels.

    A square input is the middle of a picture whose short side is 256/224 of it; another one, or `exact`, is the whole
    picture brought to that size.
    """
    steps: list[dict[str, Any]] = [{"name": "resize", "size": [width, height]}]
    if height == width and not exact:
        steps = [
            {"name": "resize", "short": round(height * 256 / 224)},
            {"name": "center_crop", "size": height},
        ]
    return tuple(map(_complete, [*steps, _normalize_spec(SCALE, _MEAN, _STD)]))


def read_labels(text: str) -> tuple[str, ...]:
    """Label names from `a,b,c`, or from a file with one name a line.

    A file whose every line begins with its class id (`0 nobody`) loses the ids; they must then count up from 0.

    Raises:
        ConfigError: no such file, ids out of order, or no label.
    """
    path = Path(text)
    if not path.is_file():
        if "," not in text:
            raise ConfigError(text, "no such file of labels", "or write the names as a,b,c")
        return tuple(name.strip() for name in text.split(","))
    return read_label_names(path, " ")


def _transforms(reader: _Reader, section: Mapping[str, Any]) -> list[dict[str, Any]]:
    place = "PreProcess.transform_ops"
    ops = section.get("transform_ops")
    if not isinstance(ops, list):
        reader.wrong(place, "expected a list of operators")
        return []
    found: list[dict[str, Any]] = []
    planar = False  # behind ToCHWImage, which `to_batch` does with us
    for i, op in enumerate(ops):
        name, values = _operator(op)
        here = f"{place}.{i}.{name}"
        if name == "ToCHWImage":
            planar = True
        elif name not in _OPERATORS or values is None:
            reader.wrong(
                here,
                "an operator that is not understood",
                nearest(name, (*_OPERATORS, "ToCHWImage")),
            )
        elif planar:
            reader.wrong(here, "behind ToCHWImage", "put ToCHWImage last")
        elif spec := _OPERATORS[name](reader, values, here):
            full, problems = transforms.check(spec, here)
            reader.problems += problems
            found.append(full)
    return found


def _operator(op: Any) -> tuple[str, dict[str, Any] | None]:
    if isinstance(op, str):
        return op, {}
    if isinstance(op, dict) and len(op) == 1:
        ((name, values),) = op.items()
        return str(name), values if isinstance(values, dict) else None if values else {}
    return str(op)[:40], None


def _decode(reader: _Reader, a: dict[str, Any], here: str) -> None:
    reader.only(a, ("to_rgb", "to_np", "channel_first", "backend"), here)
    if a.get("to_rgb", True) is not True or a.get("channel_first", False):
        reader.wrong(here, "pictures are decoded to RGB, channels last")


def _resize(reader: _Reader, a: dict[str, Any], here: str) -> dict[str, Any]:
    reader.only(a, ("resize_short", "size", "interpolation", "backend", "return_numpy"), here)
    backend, how = a.get("backend") or "cv2", a.get("interpolation") or "bilinear"
    how = _CV2_CODES.get(how, how)
    if backend not in _BACKENDS:
        reader.wrong(f"{here}.backend", f"unknown: {backend!r}", nearest(str(backend), _BACKENDS))
    size = {"short": a["resize_short"]} if a.get("resize_short") else {"size": a.get("size")}
    return {
        "name": "resize",
        **size,
        "interpolation": how,
        "backend": _BACKENDS.get(backend, "cv2"),
    }


def _crop(reader: _Reader, a: dict[str, Any], here: str) -> dict[str, Any]:
    reader.only(a, ("size",), here)
    return {"name": "center_crop", "size": a.get("size")}


def _normalize(reader: _Reader, a: dict[str, Any], here: str) -> dict[str, Any]:
    reader.only(a, ("scale", "mean", "std", "order", "channel_num", "output_fp16"), here)
    if a.get("order", "hwc") not in ("", "hwc", None):  # the reference takes all but "chw" for HWC
        reader.wrong(f"{here}.order", f"{a['order']!r}: pictures are height, width, channels here")
    if a.get("channel_num", 3) != 3 or a.get("output_fp16"):
        reader.wrong(here, "only three channels of float32 are understood")
    scale = _number(a.get("scale"))
    if scale is None:
        reader.wrong(f"{here}.scale", f"not a number: {a['scale']!r}")
    return _normalize_spec(scale or SCALE, a.get("mean") or _MEAN, a.get("std") or _STD)


def _normalize_spec(scale: float, mean: Any, std: Any) -> dict[str, Any]:
    return {"name": "normalize", "mean": mean, "std": std, "scale": scale}


def _number(value: Any) -> float | None:
    """A number, or one written as a quotient (`1.0/255.0`), which the reference would evaluate."""
    if value is None:
        return 1 / 255
    match = re.fullmatch(r"\s*([0-9.eE+-]+)\s*(?:/\s*([0-9.eE+-]+)\s*)?", str(value))
    try:
        return float(match[1]) / float(match[2] or 1) if match else None
    except (ValueError, ZeroDivisionError):
        return None


_OPERATORS: dict[str, Callable[[_Reader, dict[str, Any], str], dict[str, Any] | None]] = {
    "DecodeImage": _decode,
    "ResizeImage": _resize,
    "CropImage": _crop,
    "NormalizeImage": _normalize,
}


def _complete(spec: dict[str, Any]) -> dict[str, Any]:
    """`spec` with every default written out: a bundle depends on no default of the version that reads it."""
    full, problems = transforms.check(spec, "transforms")
    assert not problems, problems
    return full


def _postprocess(reader: _Reader, section: Any) -> tuple[dict[str, Any], tuple[str, ...] | None]:
    if not isinstance(section, dict):
        reader.wrong("PostProcess", "missing: is it the configuration of a classifier?")
        return {}, None
    main = section.get("main_indicator")
    names = [n for n in section if n not in ("main_indicator", *_QUIET)]
    if main is None and len(names) == 1:
        main = names[0]
    if main not in _ANSWERS:
        hint = nearest(str(main), _ANSWERS)
        reader.wrong("PostProcess.main_indicator", f"{main!r} is not understood", hint)
        return {}, None
    values, place = section.get(main) or {}, f"PostProcess.{main}"
    if not isinstance(values, dict):
        reader.wrong(place, "expected a mapping")
        return {}, None
    spec, labels = _ANSWERS[main](reader, values, place)
    full, problems = postprocesses.check(spec, place)
    reader.problems += problems
    return full, labels


_MAPS = ("class_id_map_file", "delimiter", "label_list")


def _topk(
    reader: _Reader, a: dict[str, Any], here: str
) -> tuple[dict[str, Any], tuple[str, ...] | None]:
    reader.only(a, ("topk", *_MAPS), here)
    return {"name": "topk", "k": a.get("topk", 5)}, _labels(reader, a, here)


def _threshold(
    reader: _Reader, a: dict[str, Any], here: str
) -> tuple[dict[str, Any], tuple[str, ...] | None]:
    reader.only(a, ("threshold", "label_0", "label_1", "default_label_index", *_MAPS), here)
    labels = _labels(reader, a, here)
    if labels is None and {"label_0", "label_1"} & a.keys():
        labels = str(a.get("label_0", "0")), str(a.get("label_1", "1"))
    spec = {"threshold": a.get("threshold", 0.5), "default": a.get("default_label_index", 0)}
    return {"name": "threshold", "positive": 1, **spec}, labels


_ANSWERS = {"Topk": _topk, "ThreshOutput": _threshold}


def _labels(reader: _Reader, a: dict[str, Any], here: str) -> tuple[str, ...] | None:
    if isinstance(a.get("label_list"), list):
        return tuple(map(str, a["label_list"]))
    name = a.get("class_id_map_file")
    if not name:
        return None
    for path in (reader.folder / str(name), Path(str(name))):
        if path.is_file():
            try:
                return read_label_names(path, a.get("delimiter") or " ")
            except ConfigError as error:
                reader.problems += error.problems
                return None
    reader.wrong(f"{here}.class_id_map_file", f"no such file: {name}", "name labels with --labels")
    return None
