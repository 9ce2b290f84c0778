"""`Infer` and the post-processors: what an answer looks like, and the names of the classes."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tinysight.compat.paddle.dialect.operators import Spec, transforms
from tinysight.compat.paddle.dialect.rules import Dead, Key, Reader, Table, put
from tinysight.compat.paddle.dialect.values import anything, integer, number, text
from tinysight.config.run import LabelSource
from tinysight.errors import nearest

_MAP: Table = {
    "class_id_map_file": Key(text),
    "delimiter": Key(text, "", " "),
    "label_list": Key(anything),
}
_NAME: Table = {"name": Key(text)}
ANSWERS: dict[str, tuple[str, Table]] = {
    "Topk": ("topk", {**_NAME, **_MAP, "topk": Key(integer, "k", 5)}),
    "ThreshOutput": (
        "threshold",
        {
            **_NAME,
            **_MAP,
            "threshold": Key(number, "threshold", 0.5),
            "default_label_index": Key(integer, "default", 0),
            "label_0": Key(text),
            "label_1": Key(text),
        },
    ),
    "MultiLabelThreshOutput": (
        "multilabel",
        {**_NAME, **_MAP, "threshold": Key(number, "threshold", 0.5)},
    ),
    "PersonAttribute": (
        "person_attribute",
        {
            **_NAME,
            "threshold": Key(number, "threshold", 0.5),
            "glasses_threshold": Key(number, "glasses_threshold", 0.3),
            "hold_threshold": Key(number, "hold_threshold", 0.6),
        },
    ),
    "VehicleAttribute": (
        "vehicle_attribute",
        {
            **_NAME,
            "color_threshold": Key(number, "color_threshold", 0.5),
            "type_threshold": Key(number, "type_threshold", 0.5),
        },
    ),
    "TableAttribute": (
        "table_attribute",
        {
            **_NAME,
            **{
                f"{part}_threshold": Key(number, f"{part}_threshold", 0.5)
                for part in ("source", "number", "color", "clarity", "obstruction", "angle")
            },
        },
    ),
    "ScoreOutput": ("scores", {**_NAME, "decimal_places": Key(integer, "decimals")}),
}
_OTHER_ANSWERS = ("DistillationPostProcess", "FaceAttribute", "Binarize", "SavePreLabel")
INFER: Table = {
    "infer_imgs": Key(text),
    "infer_list": Key(text),
    "batch_size": Key(integer, "", 1),
    "transforms": Key(anything),
    "PostProcess": Key(anything),
    "save_dir": Key(text),
    "threshold": Dead("the key is Infer.PostProcess.threshold"),
}


def answer(reader: Reader, name: str, values: Any, where: str) -> tuple[Spec, dict[str, Any]]:
    """Our post-processor for PaddleClas' `name`, and the values that say what classes are called."""
    if name not in ANSWERS:
        if name in _OTHER_ANSWERS:
            reader.wrong(where, f"{name} is not available")
        else:
            reader.wrong(where, f"unknown post-processor {name!r}", nearest(name, list(ANSWERS)))
        return {}, {}
    native, table = ANSWERS[name]
    spec: Spec = {"name": native}
    found = reader.section(values, where, table, spec)
    if native == "threshold":
        spec["positive"] = 1
    return spec, found


def infer_section(
    reader: Reader, values: Any, native: dict[str, Any], classes: int, beside: Path
) -> LabelSource:
    """Write `Infer`: post-processing and labels.

    Args:
        reader: collects.
        values: the section.
        native: is written to.
        classes: their number.
        beside: the YAML file, for paths in it.
    """
    found = reader.section(values, "Infer", INFER)
    post = found.get("PostProcess")
    where, labels = "Infer.PostProcess", None
    spec: Spec = {"name": "topk", "k": 5}
    if isinstance(post, dict) and post.get("name") is not None:
        spec, said = answer(reader, str(post["name"]), post, where)
        labels = class_names(reader, said, where, classes, beside)
    elif post is not None:
        reader.wrong(where, "expected a mapping with a name")
    put(native, "export.postprocess", spec)
    put(native, "data.labels", labels or [str(i) for i in range(classes)])
    prepare = transforms(reader, found.get("transforms"), "Infer.transforms")
    if prepare and prepare != native.get("transforms", {}).get("eval"):
        reader.note(
            "Infer.transforms",
            "differ from those of DataLoader.Eval; images are prepared as in the evaluation",
        )
    return LabelSource(
        found.get("infer_imgs"),
        found.get("infer_list"),
        max(found.get("batch_size", 1), 1),
        found.get("save_dir"),
    )


def class_names(
    reader: Reader, said: dict[str, Any], where: str, classes: int, beside: Path
) -> list[str] | str | None:
    """Names of the classes, or the file of them; None where nothing fits."""
    if isinstance(said.get("label_list"), list):
        return [str(name) for name in said["label_list"]]
    if classes == 2 and {"label_0", "label_1"} & said.keys():
        return [said.get("label_0", "0"), said.get("label_1", "1")]
    name = said.get("class_id_map_file")
    if not name:
        return None
    place = f"{where}.class_id_map_file"
    path = next((p for p in _places(name, beside) if p.is_file()), None)
    if path is None:
        reader.note(place, f"no such file ({name}), so classes are called by their ids")
        return None
    lines = [line for line in _lines(path) if line.strip()]
    if len(lines) != classes:
        what = f"names {len(lines)} classes, Arch.class_num is {classes}; classes are called by their ids"
        reader.note(place, what)
        return None
    if said.get("delimiter") in (None, " "):
        return str(path)
    return [line.strip().partition(said["delimiter"])[2] for line in lines]


def _places(name: str, beside: Path) -> Iterable[Path]:
    """The file itself, or seen from a folder that the YAML lies in: its paths start at PaddleClas' root."""
    yield Path(name)
    for folder in beside.resolve().parents:
        yield folder / name


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError):
        return []
