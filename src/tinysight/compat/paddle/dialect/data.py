"""`DataLoader`: lists, transforms, batches."""

from __future__ import annotations

import os
from typing import Any, NamedTuple

from tinysight.compat.paddle.dialect.operators import batch_transforms, transforms
from tinysight.compat.paddle.dialect.rules import (
    RECOGNITION,
    Dead,
    Key,
    Quiet,
    Reader,
    Refused,
    Rule,
    Table,
    put,
)
from tinysight.compat.paddle.dialect.values import anything, flag, integer, one_of, several, text
from tinysight.errors import nearest

_SINGLE, _MULTI, _ONLINE = "class", "multilabel", "transform"
DATASETS = {
    "ImageNetDataset": _SINGLE,
    "ClsDataset": _SINGLE,
    "ShiTuRecDataset": _SINGLE,
    "MultiLabelDataset": _MULTI,
    "MLClsDataset": _MULTI,
    "CustomLabelDataset": _ONLINE,
}
_OTHER_DATASETS = {
    **dict.fromkeys(
        ("VeriWild", "Market1501", "DukeMTMC", "MSMT17", "CompCars", "ICartoonDataset", "LogoDataset",
         "AdaFaceDataset", "FiveValidationDataset"), RECOGNITION,
    ),
    "MultiScaleDataset": "images of several sizes in one run are not available",
    "MixDataset": "several data sets mixed by a ratio are not available",
    "Cifar10": "write its images to a folder and a list", "Cifar100": "write its images to a folder and a list",
}  # fmt: skip
_SAMPLERS = ("DistributedBatchSampler", "BatchSampler")
_OTHER_SAMPLERS = {
    **dict.fromkeys(
        ("PKSampler", "DistributedRandomIdentitySampler", "NaiveIdentityBatchSampler", "DomainShuffleBatchSampler"),
        RECOGNITION,
    ),
    "MultiScaleSampler": "images of several sizes in one run are not available",
    "RASampler": "repeated augmentation is not available",
    "MixSampler": "several data sets mixed by a ratio are not available",
}  # fmt: skip

_DATASET: dict[str, Rule] = {
    "name": Key(text),
    "image_root": Key(text),
    "cls_label_path": Key(several(text)),
    "sample_list_path": Key(several(text)),
    "label_key": Key(text),
    "transform_ops": Key(anything),
    "batch_transform_ops": Key(anything),
    "delimiter": Key(text),
    "relabel": Key(flag, "", False),
    "label_ratio": Quiet("the loss that asks for it counts the labels itself"),
    "backend": Key(one_of(cv2="cv2", pil="pillow")),
    "bbox_crop": Refused("`tinysight data prepare` crops once, before the training"),
    "label_root": Refused("`tinysight data prepare` crops once, before the training"),
    **{
        key: Refused("this data set is not available")
        for key in (
            "mode", "download", "sample_per_label", "expand_labels", "transform_ops_weak", "transform_ops_strong",
            "transform_ops_strong2", "root_dir", "label_path", "transform", "val_data_path", "concat_mem_file_name",
        )
    },
}  # fmt: skip
_SAMPLER: dict[str, Rule] = {
    "name": Key(text, "", "BatchSampler"),
    "batch_size": Key(integer),
    "drop_last": Key(flag, "", False),
    "shuffle": Key(flag, "", False),
    **dict.fromkeys(
        ("sample_per_id", "sample_method", "id_list", "ratio", "num_instances", "max_iters"), Refused(RECOGNITION)
    ),
    **dict.fromkeys(
        ("scales", "first_bs", "divided_factor", "is_training"),
        Refused("images of several sizes in one run are not available"),
    ),
    "num_repeats": Refused("repeated augmentation is not available"),
}  # fmt: skip
_LOADER: Table = {
    "num_workers": Key(integer),
    "use_shared_memory": Quiet("used where there is enough of it"),
    "prefetch_factor": Quiet("how far the loader reads ahead"),
    "persistent_workers": Quiet("loader processes live as long as the run"),
}
_LABEL_KEYS = ("blur_image", "random_rot90_orientation")  # set by BlurImage, RandomRot90


class _Part(NamedTuple):
    """One of the two lists."""

    root: str
    lists: list[str]
    found: dict[str, Any]
    target: str


def data_section(reader: Reader, values: Any, native: dict[str, Any]) -> bool:
    """Write `DataLoader`; whether the labels of a training batch are mixed."""
    table: Table = {
        "Train": Key(anything),
        "Eval": Key(anything),
        "UnLabelTrain": Refused("semi-supervised training is not available"),
        "Metalearning": Refused(RECOGNITION),
        "class_num": Dead("the number of classes is Arch.class_num"),
        "epochs": Dead("the number of epochs is Global.epochs"),
    }
    found = reader.section(values, "DataLoader", table)
    train = _part(reader, found.get("Train"), "DataLoader.Train", native, "train")
    eval_ = _part(reader, found.get("Eval"), "DataLoader.Eval", native, "eval")
    if train is None or eval_ is None:
        return bool(native.get("transforms", {}).get("batch"))
    data = native.setdefault("data", {})
    data["root"] = train.root
    if train.target == _MULTI:
        data["target"] = _MULTI
    for name, part in (("train", train), ("eval", eval_)):
        split: dict[str, Any] = {} if part.root == train.root else {"root": part.root}
        if part.target == _ONLINE:
            split["target"] = _ONLINE
        lists = [_below(part.root, path) for path in part.lists]
        data[name] = {**split, "list": lists[0] if len(lists) == 1 else lists}
    delimiters = {part.found.get("delimiter") for part in (train, eval_)} - {None, " "}
    if delimiters:
        data["delimiter"] = delimiters.pop()
    if train.found["relabel"]:
        data["relabel"] = True
    if train.found.get("label_key") not in (None, *_LABEL_KEYS):
        where = "DataLoader.Train.dataset.label_key"
        reader.wrong(
            where, "no transform sets this label", nearest(train.found["label_key"], _LABEL_KEYS)
        )
    return bool(native.get("transforms", {}).get("batch"))


def _part(
    reader: Reader, values: Any, where: str, native: dict[str, Any], name: str
) -> _Part | None:
    if isinstance(values, dict) and {"Query", "Gallery"} & values.keys():
        reader.wrong(where, f"queries and a gallery: {RECOGNITION}")
        return None
    table: Table = {
        "dataset": Key(anything),
        "sampler": Key(anything),
        "loader": Key(anything),
        "batch_transform_ops": Key(anything),
    }
    sections = reader.section(values, where, table)
    if "dataset" not in sections:
        reader.wrong(f"{where}.dataset", "is needed")
        return None
    place = f"{where}.dataset"
    found = reader.section(sections["dataset"], place, _DATASET)
    ops = f"{place}.transform_ops"
    put(native, f"transforms.{name}", transforms(reader, found.get("transform_ops"), ops))
    mix = found.get("batch_transform_ops") or sections.get("batch_transform_ops")
    if mix and name == "train":
        specs = batch_transforms(reader, mix, f"{place}.batch_transform_ops")
        put(native, "transforms.batch", specs)
    _sampler(reader, sections.get("sampler"), f"{where}.sampler", native, name)
    workers = reader.section(sections.get("loader"), f"{where}.loader", _LOADER).get("num_workers")
    if workers is not None and name == "train":
        put(native, "data.workers", workers)
    if found.get("backend") == "pillow":
        reader.note(f"{place}.backend", "images are decoded by OpenCV, turned as their EXIF says")
    kind = found.get("name", "")
    if kind not in DATASETS:
        if kind in _OTHER_DATASETS:
            reader.wrong(f"{place}.name", f"{kind}: {_OTHER_DATASETS[kind]}")
        else:
            known = [*DATASETS, *_OTHER_DATASETS]
            reader.wrong(f"{place}.name", f"unknown data set {kind!r}", nearest(kind, known))
        return None
    key = "sample_list_path" if DATASETS[kind] == _ONLINE else "cls_label_path"
    for needed in ("image_root", key):
        if needed not in found:
            reader.wrong(f"{place}.{needed}", "is needed")
    return _Part(found.get("image_root", "."), found.get(key, []), found, DATASETS[kind])


def _sampler(reader: Reader, values: Any, where: str, native: dict[str, Any], part: str) -> None:
    found = reader.section(values, where, _SAMPLER)
    name = found.get("name", "")
    if name not in _SAMPLERS:
        if name in _OTHER_SAMPLERS:
            reader.wrong(f"{where}.name", f"{name}: {_OTHER_SAMPLERS[name]}")
        else:
            known = [*_SAMPLERS, *_OTHER_SAMPLERS]
            reader.wrong(f"{where}.name", f"unknown sampler {name!r}", nearest(name, known))
    size = found.get("batch_size")
    if size is None:
        reader.wrong(f"{where}.batch_size", "is needed")
    elif part == "train":
        put(native, "data.batch_size", size)
    else:
        put(native, "data.eval_batch_size", size)
    if part == "train" and found.get("shuffle") is False:
        reader.note(f"{where}.shuffle", "training shuffles all the same")
    if part == "train" and found.get("drop_last"):
        reader.note(
            f"{where}.drop_last", "the last, smaller batch of an epoch is used all the same"
        )


def _below(root: str, path: str) -> str:
    """`path`, given from where the command runs, as seen from `root`."""
    return path if os.path.isabs(path) else os.path.relpath(path, root)  # noqa: PTH117 - text in a YAML
