"""A PaddleClas deploy configuration in terms of ours: transforms, post-processing, labels.

Read are `PreProcess` and `PostProcess` of the YAML that lies in PaddleClas' `deploy/configs`, and of the
`inference.yml` that its newer exports carry. What is in them and not understood is an error that names it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tinysight.compat.paddle.dialect.operators import transform
from tinysight.compat.paddle.dialect.postprocess import written_names
from tinysight.compat.paddle.dialect.rules import Reader, Spec
from tinysight.compat.paddle.dialect.tree import read_tree
from tinysight.data.labels import read_label_names
from tinysight.errors import ConfigError, nearest
from tinysight.registry import postprocesses, transforms

SCALE = 0.00392157  # 1/255 as deploy configurations write it; the last bits of a score depend on it
_MEAN, _STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
_QUIET = ("SavePreLabel",)  # sorts images into folders; no part of a result
_DEPLOYED = ("DecodeImage", "ResizeImage", "CropImage", "NormalizeImage", "ToCHWImage")
_PIPELINES = ("DetPreProcess", "RecPreProcess", "IndexProcess")


class Deploy(NamedTuple):
    """How a network is used: specs of transforms and of the post-processor, and label names if it says them."""

    transforms: tuple[Spec, ...]
    postprocess: Spec
    labels: tuple[str, ...] | None


def read_deploy_config(path: Path | str, overrides: Sequence[str] = ()) -> Deploy:
    """Read the YAML file `path`; label files in it are looked for relative to it, then to the working folder.

    Raises:
        ConfigError: not readable, no classifier's configuration, or with entries that are not understood: all of them.
    """
    path, reader = Path(path), Reader()
    found = deploy_of(reader, read_tree(path, overrides), path)
    for note in reader.notes:
        where, _, what = note.partition(": ")
        reader.wrong(where, what, "name labels with --labels")
    if reader.problems:
        raise ConfigError.of(str(path), reader.problems)
    return found


def deploy_of(reader: Reader, tree: Mapping[str, Any], path: Path) -> Deploy:
    """What `PreProcess` and `PostProcess` of a deploy configuration say; a missing file of labels is noted.

    Raises:
        ConfigError: it is no classifier's configuration.
    """
    section = tree.get("PreProcess")
    if not isinstance(section, dict):
        what, hint = "it has no PreProcess", "those of PaddleClas lie in deploy/configs"
        if parts := [key for key in _PIPELINES if key in tree]:
            what = f"{what}, but {', '.join(parts)}"
            hint = "`tinysight predict -c` takes it"
        raise ConfigError(str(path), f"no deploy configuration of a classifier: {what}", hint)
    steps = steps_of(reader, section.get("transform_ops"), "PreProcess.transform_ops")
    section, labels, spec = tree.get("PostProcess"), None, Spec()
    if isinstance(section, dict):
        name = main_indicator(section)
        place, given = f"PostProcess.{name}", section.get(name)
        if name == "ThreshOutput" and isinstance(given, dict | None):
            given = {"threshold": 0.0, **(given or {})}  # its default in deploy files alone
        if made := reader.component("post-processor", "postprocessors", name, given, place):
            spec, problems = postprocesses.check(made[0], place)
            reader.problems += problems
            labels = _labels(reader, made[1], f"{place}.class_id_map_file", path.parent)
    else:
        reader.wrong("PostProcess", "missing: is it the configuration of a classifier?")
    return Deploy(tuple(steps), spec, labels)


def default_transforms(height: int, width: int, *, exact: bool = False) -> tuple[Spec, ...]:
    """What the deploy configurations do for a network input of that size, in pixels.

    A square input is the middle of an image whose short side is 256/224 of it; another one, or `exact`, is the whole
    image brought to that size. Every default is written out: a bundle depends on no default of the version that reads
    it.
    """
    steps: list[Spec] = [{"name": "resize", "size": [width, height]}]
    if height == width and not exact:
        short = round(height * 256 / 224)
        steps = [{"name": "resize", "short": short}, {"name": "center_crop", "size": height}]
    steps.append({"name": "normalize", "mean": _MEAN, "std": _STD, "scale": SCALE})
    return tuple(transforms.check(step, "transforms")[0] for step in steps)


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


def main_indicator(section: Mapping[str, Any]) -> str:
    """The post-processor that makes the result; where none is named, the only one there is."""
    main = section.get("main_indicator")
    names = [n for n in section if n not in ("main_indicator", *_QUIET)]
    return str(names[0] if main is None and len(names) == 1 else main)


def steps_of(reader: Reader, ops: Any, place: str) -> list[Spec]:
    """The transforms that a list of operators means."""
    listed = reader.items(ops, place)
    if not listed:
        reader.wrong(place, "expected a list of operators")
    names = [name for _, name, _ in listed]
    if "ToCHWImage" in names[:-1]:  # which `to_batch` does with us
        reader.wrong(f"{place}.{names.index('ToCHWImage')}.ToCHWImage", "put it last")
    found: list[Spec] = []
    for where, name, arguments in listed:
        if name not in _DEPLOYED:
            reader.wrong(where, "an operator that is not understood", nearest(name, _DEPLOYED))
            continue
        for spec in transform(reader, where, name, arguments):
            full, problems = transforms.check(spec, where)
            reader.problems += problems
            found.append(full)
    return found


def _labels(reader: Reader, found: Spec, place: str, folder: Path) -> tuple[str, ...] | None:
    name = found.get("class_id_map_file")
    if not name or "label_list" in found:
        return tuple(written_names(found)) or None
    paths = [path for path in (folder / name, Path(name)) if path.is_file()]
    if not paths:
        reader.note(place, f"no such file: {name}")
        return None
    try:
        return read_label_names(paths[0], found.get("delimiter") or " ")
    except ConfigError as error:
        reader.problems += error.problems
        return None
