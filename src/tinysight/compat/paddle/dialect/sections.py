"""`Global`, `AMP`, `EMA`, `Arch` and `DataLoader`: the run as a whole, the network, and the images."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any, NamedTuple

from tinysight.compat.paddle import catalog
from tinysight.compat.paddle.dialect.operators import batch_transforms, note_decoder, transforms
from tinysight.compat.paddle.dialect.recognition import TANH, parts_of, sampler_spec
from tinysight.compat.paddle.dialect.rules import Reader, Spec, put
from tinysight.compat.paddle.dialect.values import flag
from tinysight.errors import UnknownName, nearest
from tinysight.registry import fold

_IMAGENET = 1000  # classes of the published weights
_CONTAINERS = {"AttentionModel": "is a part of a DistillationModel"}
# Options of a network that not every one has: PaddleClas' spelling and ours.
_OPTIONS = {
    "lr_mult_list": "lr_mults", "stride_list": "strides", "use_last_conv": "use_last_conv",
    "class_expand": "last_channels", "dropout_prob": "dropout", "dropout": "dropout",
    "drop_rate": "dropout", "drop_path_rate": "drop_path",
    "layer_type": "diverse_branches",
}  # fmt: skip
_LABEL_KEYS = ("blur_image", "random_rot90_orientation")  # set by BlurImage, RandomRot90


def run_section(reader: Reader, tree: dict[str, Any], native: Spec) -> dict[str, Any]:
    """Write `Global`, `AMP` and `EMA`; returns the values of `Global`."""
    found = reader.section(tree.get("Global"), "Global", "Global", native)
    if "epochs" not in found:
        reader.wrong("Global.epochs", "is needed")
    epochs = max(found.get("epochs", 1), 1)
    every = found["eval_interval"] if found["eval_during_train"] else epochs
    put(native, "train.eval_every", max(every, 1))
    put(native, "train.eval_from", min(max(found["start_eval_epoch"], 1), epochs))
    if not found["eval_during_train"]:
        reader.note("Global.eval_during_train", "the last epoch is evaluated all the same")
    if found.get("seed"):  # `False` reads as 0
        put(native, "train.seed", found["seed"])
    if "class_num" in found:
        reader.note("Global.class_num", "stands for that of Arch, or of its Head")
        arch = tree.setdefault("Arch", {})
        if arch.get("name") != "RecModel":
            arch.setdefault("class_num", found["class_num"])
    if "AMP" in tree and reader.section(tree["AMP"], "AMP", "AMP").get("use_amp"):
        put(native, "train.precision", "fp16")
    if "EMA" in tree:
        ema: Spec = {"warmup": False}
        reader.section(tree["EMA"], "EMA", "EMA", ema)
        put(native, "train.ema", ema)
    return found


def model_section(
    reader: Reader, values: Any, common: dict[str, Any], native: Spec, where: str = "Arch"
) -> tuple[str, int | None]:
    """Write one network, at `where`; returns its name and its number of classes, None where the lists say it."""
    if isinstance(values, dict) and values.get("name") == "RecModel":
        trunk = values.get("Backbone")
        if isinstance(trunk, dict):
            trunk = {**trunk, "use_sync_bn": values.get("use_sync_bn")}
        _network(reader, trunk, native, f"{where}.Backbone")
        return "RecModel", parts_of(reader, values, common, native, where)
    return _network(reader, values, native, where)


def _network(reader: Reader, values: Any, native: Spec, where: str) -> tuple[str, int]:
    found = reader.section(values, where, "Arch")
    whole = not where.endswith(".Backbone")
    name, classes = found.get("name", ""), found.get("class_num", _IMAGENET)
    name = name if whole else TANH.get(name, name)
    if found.get("data_format"):
        put(native, "train.channels_last", True)
    if not found["infer_add_softmax"]:
        put(native, "export.probabilities", False)
    if found["input_image_channel"] not in (3, 4):
        reader.wrong("Arch.input_image_channel", "should be 3 or 4")
    if found.get("use_sync_bn"):  # whose large batches make the kind of variance meaningless
        put(native, "train.sync_bn", True)
    else:
        put(native, "model.batch_norm_variance", "biased")  # as its framework has it
    if weights := _weights(reader, found, where):
        if weights is True and name == "ResNet18" and found.get("layer_type"):
            weights = catalog.BRANCHED_WEIGHTS
        put(native, "model.pretrained", weights)
        if classes != _IMAGENET and whole:
            put(native, "model.skip", ["classifier"])
    if not name:
        reader.wrong(f"{where}.name", "is needed")
    elif name in _CONTAINERS:
        reader.wrong(f"{where}.name", f"{name} {_CONTAINERS[name]}")
    else:
        put(native, "model.backbone", _backbone(reader, name, found, where))
    return name, classes


def _weights(reader: Reader, found: dict[str, Any], where: str) -> bool | str | None:
    wanted = found.get("pretrained")
    if isinstance(wanted, str) and wanted.lower() not in ("true", "false"):
        return wanted if "://" in wanted or wanted.endswith(".pdparams") else f"{wanted}.pdparams"
    try:
        if not flag(wanted):
            return None
    except ValueError as error:
        what = f"should be {error}, a path or an address, got {wanted!r}"
        reader.wrong(f"{where}.pretrained", what)
        return None
    return "ssld" if found.get("use_ssld") else True


def _backbone(reader: Reader, name: str, found: dict[str, Any], where: str) -> Spec:
    """The network with those options that it has; PaddleClas passes the others over, too."""
    from tinysight.registry import backbones

    try:
        spec: Spec = {"name": backbones.resolve(name, f"{where}.name")}
    except UnknownName as error:
        if near := _same_family(name, backbones.names()):
            reader.wrong("Arch.name", error.problems[0].what, f"did you mean {near!r}?")
        else:
            fetch = f"or `tinysight models fetch {name}` if it is published"
            hint = f"export it with PaddleClas, {fetch}; then name program/FOLDER"
            what = f"{name} is no network of ours, but its exported program can be trained"
            reader.wrong("Arch.name", what, hint)
        return {"name": name}
    known = backbones.schema(name).model_fields
    for key, ours in _OPTIONS.items():
        if key not in found:
            continue
        if ours not in known:
            reader.note(f"{where}.{key}", f"{name} has no such option, so it has no effect")
        elif key == "lr_mult_list" and backbones.check({**spec, ours: found[key]}, "")[1]:
            # PaddleClas' ResNet goes on without them; the others stop.
            what = f"{len(found[key])} values are not for the stages of {name}"
            if spec["name"].startswith("resnet"):
                reader.note(f"{where}.{key}", f"{what}, so every stage has 1")
            else:
                reader.wrong(f"{where}.{key}", what)
        else:
            spec[ours] = found[key]
    if found["stem_act"] not in ("relu", "ReLU"):
        if "stem_relu" in known and found["stem_act"] is None:
            spec["stem_relu"] = False
        else:
            reader.wrong(f"{where}.stem_act", "only relu, and none for a ResNet, are available")
    return spec


def _same_family(name: str, known: Sequence[str]) -> str:
    """The known name that `name` is a misspelling of; empty where it only sounds alike, or is a prefix's own."""
    family = re.match("[a-z]*", fold(name))
    near = get_close_matches(fold(name), map(fold, known), n=1, cutoff=0.8)
    found = next((k for k in known if near and fold(k) == near[0]), "")
    alike = family and fold(found).startswith(family[0][:6])
    return found if alike or get_close_matches(fold(name), near, cutoff=0.9) else ""


class _Split(NamedTuple):
    """The training or the evaluation images."""

    root: str
    lists: list[str]
    found: dict[str, Any]
    target: str


def data_section(reader: Reader, values: Any, native: Spec, searched: bool = False) -> float | None:
    """Write `DataLoader`; the smoothing of the labels of a mixed batch, None where none are mixed.

    `searched`: evaluation is by retrieval, so labels are identities.
    """
    found = reader.section(values, "DataLoader", "DataLoader")
    train = _split(reader, found.get("Train"), "DataLoader.Train", native, "train")
    eval_ = _eval(reader, found.get("Eval"), native)
    batch, data = native.get("transforms", {}).get("batch"), native.setdefault("data", {})
    mixed = sum(spec.pop("smoothing", 0.0) for spec in batch) if batch else None
    if train is None or eval_ is None:
        return mixed
    data["root"] = train.root
    if searched or train.target == "multilabel":
        data["target"] = "identity" if searched else train.target
    data["train"] = _images(train, train.root)
    one = len(eval_) == 1 or eval_[0][:2] == eval_[1][:2]
    data["eval"] = _images(eval_[0], train.root)
    if not one:
        query, gallery = eval_
        data["eval"] = {"query": _lists(query), "gallery": _lists(gallery)}
        if {query.root, gallery.root} != {train.root}:
            sides = [*([query.root] * len(query.lists)), *([gallery.root] * len(gallery.lists))]
            data["eval"]["root"] = sides if query.root != gallery.root else query.root
        for key in ("transform_ops", "sampler"):
            if query.found.get(key) != gallery.found.get(key):
                what = "differs from that of Query, which counts for both"
                reader.note(f"DataLoader.Eval.Gallery.{key}", what)
    if delimiters := {part.found.get("delimiter") for part in (train, *eval_)} - {None, " "}:
        data["delimiter"] = delimiters.pop()
    if train.found["relabel"] or "folder" in train.found:
        data["relabel"] = True
    label_key = train.found.get("label_key")
    if label_key not in (None, *_LABEL_KEYS):
        where = "DataLoader.Train.dataset.label_key"
        reader.wrong(where, "no transform sets this label", nearest(label_key, _LABEL_KEYS))
    return mixed


def _images(part: _Split, root: str) -> Spec:
    """A split of the recipe."""
    found: Spec = {} if part.root == root else {"root": part.root}
    if part.target == "transform":
        found["target"] = part.target
    lists = _lists(part)
    return {**found, "list": lists[0] if len(lists) == 1 else lists}


def _lists(part: _Split) -> list[str]:
    if folder := part.found.get("folder"):  # of images that are named by identity and camera
        return [f"{folder}/{path}" for path in part.lists]
    return [_below(part.root, path) for path in part.lists]


def _eval(reader: Reader, values: Any, native: Spec) -> list[_Split] | None:
    """The images of evaluation; queries and gallery, where the two are apart."""
    where = "DataLoader.Eval"
    if not (isinstance(values, dict) and {"Query", "Gallery"} & values.keys()):
        split = _split(reader, values, where, native, "eval")
        return None if split is None else [split]
    parts = reader.section(values, where, "search")
    found = []
    for name in ("Gallery", "Query"):  # what they share is written last by the queries
        if name not in parts:
            reader.wrong(f"{where}.{name}", "is needed")
        else:
            found.append(_split(reader, parts[name], f"{where}.{name}", native, "eval"))
    sides = [side for side in reversed(found) if side is not None]
    return sides if len(sides) == 2 else None


def _split(reader: Reader, values: Any, where: str, native: Spec, name: str) -> _Split | None:
    sections = reader.section(values, where, "split")
    if "dataset" not in sections:
        reader.wrong(f"{where}.dataset", "is needed")
        return None
    place, ops = f"{where}.dataset", "batch_transform_ops"
    found = reader.section(sections["dataset"], place, "dataset")
    steps = transforms(reader, found.get("transform_ops"), f"{place}.transform_ops")
    put(native, f"transforms.{name}", _three_channels(reader, steps, f"{place}.transform_ops"))
    if name == "train" and (mix := found.get(ops) or sections.get(ops)):
        put(native, "transforms.batch", batch_transforms(reader, mix, f"{place}.{ops}"))
    _sampler(reader, sections.get("sampler"), f"{where}.sampler", native, name)
    workers = reader.section(sections.get("loader"), f"{where}.loader", "loader").get("num_workers")
    if workers is not None and name == "train":
        put(native, "data.workers", workers)
    if found.get("backend") == "pillow":
        note_decoder(reader, f"{place}.backend")
    made = reader.component("data set", "datasets", found.get("name", ""), None, place)
    if made is None:
        return None
    target = made[0]["name"]
    found |= {k: v for k, v in made[0].items() if k != "name"}  # how such a data set is read
    key = "sample_list_path" if target == "transform" else "cls_label_path"
    for needed in ("image_root", key):
        if needed not in found:
            reader.wrong(f"{place}.{needed}", "is needed")
    return _Split(found.get("image_root", "."), found.get(key, []), found, target)


def _sampler(reader: Reader, values: Any, where: str, native: Spec, part: str) -> None:
    found = reader.section(values, where, "sampler")
    spec = sampler_spec(reader, values if isinstance(values, dict) else {}, where)
    train = part == "train"
    if spec and spec["name"] == "multi_scale":
        scales, found["batch_size"] = found.get("scales"), found.get("first_bs")
        for key in ("scales", "first_bs"):
            if key not in found:
                reader.wrong(f"{where}.{key}", "is needed")
        sizes = scales if found["is_training"] or not scales else scales[:1]
        spec |= {"sizes": sizes, "divisor": found["divided_factor"]}
    if found.get("batch_size") is not None:
        put(native, f"data.{'' if train else 'eval_'}batch_size", found["batch_size"])
    else:
        reader.wrong(f"{where}.batch_size", "is needed")
    if train and spec and spec["name"] != "shuffle":
        put(native, "data.sampler", spec)
        if spec["name"] != "repeated":
            return
    if train and found.get("shuffle") is False:
        reader.note(f"{where}.shuffle", "training shuffles all the same")
    if train and found.get("drop_last"):
        put(native, "data.drop_last", True)


def _three_channels(reader: Reader, steps: list[Spec], where: str) -> list[Spec]:
    """Without a fourth channel of zeros, which adds nothing: its weights have no gradient."""
    kept = [step for step in steps if step["name"] != "append_channels"]
    if len(kept) < len(steps):
        reader.note(where, "the fourth channel is all zeros, so images keep their three")
    return kept


def _below(root: str, path: str) -> str:
    """`path`, given from where the command runs, as seen from `root`."""
    return path if os.path.isabs(path) else os.path.relpath(path, root)  # noqa: PTH117 - text in a YAML
