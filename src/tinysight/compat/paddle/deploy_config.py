"""A PaddleClas deploy configuration in terms of ours: transforms, post-processing, labels.

Read are `PreProcess` and `PostProcess` of the YAML that lies in PaddleClas' `deploy/configs`, and of the
`inference.yml` that its newer exports carry. What is in them and not understood is an error that names it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tinysight.compat.paddle.dialect.answers import answer
from tinysight.compat.paddle.dialect.operators import MEAN, STD, transform
from tinysight.compat.paddle.dialect.rules import RECOGNITION, Reader
from tinysight.compat.paddle.dialect.tree import read_tree
from tinysight.data.labels import read_label_names
from tinysight.errors import ConfigError, nearest
from tinysight.registry import postprocesses, transforms

SCALE = (
    0.00392157  # as the deploy configurations write 1/255; the last bits of a score depend on it
)
_QUIET = ("SavePreLabel",)  # sorts images into folders; no part of an answer
_DEPLOYED = ("DecodeImage", "ResizeImage", "CropImage", "NormalizeImage", "ToCHWImage")
_PIPELINES = ("DetPreProcess", "RecPreProcess", "IndexProcess")


class Deploy(NamedTuple):
    """How a network is used: specs of transforms and of the post-processor, and label names if it says them."""

    transforms: tuple[dict[str, Any], ...]
    postprocess: dict[str, Any]
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
    if not isinstance(tree.get("PreProcess"), dict):
        parts = [key for key in _PIPELINES if key in tree]
        what = "no deploy configuration of a classifier: it has no PreProcess"
        if parts:
            raise ConfigError(str(path), f"{what}, but {', '.join(parts)}; that {RECOGNITION}")
        raise ConfigError(str(path), what, "those of PaddleClas lie in deploy/configs")
    steps = _transforms(reader, tree["PreProcess"])
    postprocess, labels = _postprocess(reader, tree.get("PostProcess"), path.parent)
    return Deploy(tuple(steps), postprocess, labels)


def default_transforms(
    height: int, width: int, *, exact: bool = False
) -> tuple[dict[str, Any], ...]:
    """What the deploy configurations do for a network input of that size, in pixels.

    A square input is the middle of an image whose short side is 256/224 of it; another one, or `exact`, is the whole
    image brought to that size.
    """
    steps: list[dict[str, Any]] = [{"name": "resize", "size": [width, height]}]
    if height == width and not exact:
        steps = [
            {"name": "resize", "short": round(height * 256 / 224)},
            {"name": "center_crop", "size": height},
        ]
    return tuple(map(_complete, [*steps, _normalize_spec(SCALE, MEAN, STD)]))


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


def _transforms(reader: Reader, section: Mapping[str, Any]) -> list[dict[str, Any]]:
    place = "PreProcess.transform_ops"
    listed = reader.items(section.get("transform_ops"), place)
    if not listed:
        reader.wrong(place, "expected a list of operators")
    names = [name for _, name, _ in listed]
    if "ToCHWImage" in names[:-1]:  # which `to_batch` does with us
        reader.wrong(f"{place}.{names.index('ToCHWImage')}.ToCHWImage", "put it last")
    found: list[dict[str, Any]] = []
    for where, name, arguments in listed:
        if name not in _DEPLOYED:
            reader.wrong(where, "an operator that is not understood", nearest(name, _DEPLOYED))
            continue
        for spec in transform(reader, where, name, arguments):
            full, problems = transforms.check(spec, where)
            reader.problems += problems
            found.append(full)
    return found


def _normalize_spec(scale: float, mean: Any, std: Any) -> dict[str, Any]:
    return {"name": "normalize", "mean": mean, "std": std, "scale": scale}


def _complete(spec: dict[str, Any]) -> dict[str, Any]:
    """`spec` with every default written out: a bundle depends on no default of the version that reads it."""
    full, problems = transforms.check(spec, "transforms")
    assert not problems, problems
    return full


def _postprocess(
    reader: Reader, section: Any, folder: Path
) -> tuple[dict[str, Any], tuple[str, ...] | None]:
    if not isinstance(section, dict):
        reader.wrong("PostProcess", "missing: is it the configuration of a classifier?")
        return {}, None
    main = main_indicator(section)
    place = f"PostProcess.{main}"
    spec, said = answer(reader, main, section.get(main), place)
    if not spec:
        return {}, None
    full, problems = postprocesses.check(spec, place)
    reader.problems += problems
    return full, _labels(reader, said, place, folder)


def main_indicator(section: Mapping[str, Any]) -> str:
    """The post-processor that answers; where none is named, the only one there is."""
    main = section.get("main_indicator")
    names = [n for n in section if n not in ("main_indicator", *_QUIET)]
    return str(names[0] if main is None and len(names) == 1 else main)


def _labels(
    reader: Reader, said: Mapping[str, Any], place: str, folder: Path
) -> tuple[str, ...] | None:
    if isinstance(said.get("label_list"), list):
        return tuple(map(str, said["label_list"]))
    name = said.get("class_id_map_file")
    if not name:
        if {"label_0", "label_1"} & said.keys():
            return said.get("label_0", "0"), said.get("label_1", "1")
        return None
    for path in (folder / name, Path(name)):
        if path.is_file():
            try:
                return read_label_names(path, said.get("delimiter") or " ")
            except ConfigError as error:
                reader.problems += error.problems
                return None
    reader.note(f"{place}.class_id_map_file", f"no such file: {name}")
    return None
