"""A configuration of PaddleClas as a native recipe: one section after the other, all problems in one message."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tinysight.compat.paddle.dialect import distillation
from tinysight.compat.paddle.dialect.postprocess import infer_section
from tinysight.compat.paddle.dialect.rules import Reader, Spec, tables
from tinysight.compat.paddle.dialect.sections import data_section, model_section, run_section
from tinysight.compat.paddle.dialect.training import loss_section, metric_section, optimizer_section
from tinysight.compat.paddle.dialect.tree import kind_of, read_tree
from tinysight.errors import ConfigError
from tinysight.foreign import LabelSource

_SECTIONS = ("Global", "Arch", "Loss", "Optimizer", "DataLoader", "Metric", "Infer", "AMP", "EMA")
_WRONG_KIND = {
    "search": "a configuration of the hyper-parameter search",
    "old": "a configuration of before 2021 (TRAIN, ARCHITECTURE ...), which PaddleClas does not read either",
    "deploy": "a deploy configuration, which trains nothing",
    "slim": "Slim: quantisation and pruning in training are not available; `tinysight export` makes int8 variants",
    "decoder": "the ML-Decoder head is not available",
    "detection": "a configuration of PaddleDetection, which is not translated",
    "semi": "semi-supervised training (FixMatch, CCSSL) is not available",
}
_TAKEN_BY = {
    "deploy": "`tinysight predict -c` takes it",
    "search": "`tinysight search -c` takes it",
    "detection": "docs/detection.md says key by key what a recipe calls them; begin with detection/picodet_s",
}
_DETECTION = re.compile(
    rb"^(?:_BASE_|architecture|PicoDet|TrainDataset|TrainReader)\s*:", re.MULTILINE
)


class GlobalKeys(NamedTuple):
    """What a command needs besides the recipe; paths as they are written."""

    network: str
    output_dir: str
    device: str
    checkpoints: str | None
    pretrained_model: str | None
    save_inference_dir: str


class Translation(NamedTuple):
    """What a configuration says.

    Attributes:
        tree: the native recipe, unchecked, without our defaults where PaddleClas says nothing.
        run: what a command needs besides.
        label_source: which images `infer` labels.
        notes: what the user should know, one line each.
    """

    tree: dict[str, Any]
    run: GlobalKeys
    label_source: LabelSource
    notes: tuple[str, ...]


def translate(path: Path, overrides: Sequence[str] = ()) -> Translation:
    """The training configuration at `path`, with `-o` overrides applied to its own tree.

    Raises:
        ConfigError: keys that are unknown or not available, values that do not fit: all of them.
    """
    of_detection = _DETECTION.search(path.read_bytes()) if path.is_file() else None
    tree = {} if of_detection else read_tree(path, overrides)  # its YAML has tags of its own
    kind = "detection" if of_detection else kind_of(tree)
    if kind != "training":
        hint = _TAKEN_BY.get(kind, "")
        raise ConfigError(str(path), _WRONG_KIND[kind], hint)
    reader = Reader()
    native: Spec = {
        "task": task_name(path),
        "description": f"{path.resolve().parent.name}/{path.name} of PaddleClas",
        **{section: {} for section in ("data", "transforms", "model", "loss", "train")},
    }
    others = tables()["other_sections"]
    reader.unknown(tree, (*_SECTIONS, *others))
    reader.section({k: tree[k] for k in others if k in tree}, "", others)
    common = run_section(reader, tree, native)
    container, searched = None, common["eval_mode"] == "retrieval"
    if isinstance(arch := tree.get("Arch"), dict) and arch.get("name") == distillation.CONTAINER:
        container = distillation.container_section(reader, arch, common, native)
        network, classes = distillation.CONTAINER, container.classes
    else:
        network, classes = model_section(reader, arch, common, native)
    if searched and not {"neck", "head"} & native["model"].keys():
        reader.wrong("Global.eval_mode", "retrieval is for Arch.name: RecModel")
    if common["retrieval_feature_from"] == "backbone" and "neck" in native["model"]:
        what = "backbone: what a bundle gives is compared, the output behind the neck"
        reader.wrong("Global.retrieval_feature_from", what)
    mixed = data_section(reader, tree.get("DataLoader"), native, searched)
    if common.get("use_multilabel"):
        native["data"]["target"] = "multilabel"
    if native["data"].get("target") == "multilabel":
        # Its export ends in a sigmoid, whatever the key says.
        native.get("export", {}).pop("probabilities", None)
    if container:
        distillation.distill_section(reader, tree, native, container._replace(mixed=mixed or 0.0))
    else:
        loss_section(reader, tree, native, mixed)
    optimizer_section(reader, tree.get("Optimizer"), native)
    metric_section(reader, tree, common if searched else None, native)
    infer = infer_section(reader, tree.get("Infer"), native, classes, path, searched)
    if reader.problems:
        raise ConfigError.of(str(path), reader.problems)
    run = GlobalKeys._make([network, *map(common.get, GlobalKeys._fields[1:])])
    return Translation(native, run, infer, tuple(reader.notes))


def task_name(path: Path) -> str:
    """`safety_helmet/PPLCNet_x1_0.yaml` -> `safety_helmet_pplcnet_x1_0`."""
    folder, stem = path.resolve().parent.name, path.stem
    words = stem if stem.lower().startswith(folder.lower()) else f"{folder}_{stem}"
    return re.sub(r"[^a-z0-9]+", "_", words.lower()).strip("_") or "model"
