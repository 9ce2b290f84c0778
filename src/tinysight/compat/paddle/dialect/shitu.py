"""A deploy configuration of PP-ShiTu in terms of ours: two networks, rules, and what is done to the index."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from tinysight.bundle.system import Rules
from tinysight.compat.paddle.dialect.deploy import Deploy, main_indicator, steps_of
from tinysight.compat.paddle.dialect.detector import transforms_of
from tinysight.compat.paddle.dialect.rules import Reader, Spec
from tinysight.compat.paddle.dialect.tree import Tree
from tinysight.errors import ConfigError
from tinysight.gallery.base import Metric
from tinysight.registry import postprocesses

logger = logging.getLogger(__name__)

_SECTIONS = ("DetPreProcess", "RecPreProcess", "IndexProcess")
_OTHERS = ("Global", "DetPostProcess", "RecPostProcess", "Eval")
_METHODS = ("HNSW32", "Flat", "IVF")
OPERATIONS = ("new", "append", "remove")
_DETECTOR_STEPS = {
    "DetResize": ("Resize", ("interp", "keep_ratio", "target_size")),
    "DetNormalizeImage": ("NormalizeImage", ("is_scale", "mean", "std")),
    "DetPermute": ("Permute", ()),
}


class NetworkAt(NamedTuple):
    """An exported network, and how it is used."""

    folder: str
    deploy: Deploy


class IndexSettings(NamedTuple):
    """`IndexProcess`: the folder of the index, and what is done to it.

    Attributes:
        folder: of the index.
        metric: of a new one.
        operation: "new", "append", "remove".
        image_root: that the paths of the list are relative to.
        list: a line an image, with its label.
        delimiter: between the two.
        batch_size: images a batch.
        size: numbers of a vector; None: as the network gives.
    """

    folder: str
    metric: Metric
    operation: str
    image_root: str
    list: str | None
    delimiter: str
    batch_size: int
    size: int | None


class EvalSettings(NamedTuple):
    """`Eval`: labelled images of the whole system."""

    name: str
    image_root: str
    list: str
    output_dir: str | None


class ShituConfig(NamedTuple):
    """What the configuration says; what is None stands in none of its sections."""

    images: str | None
    output_dir: str | None
    batch_size: int
    threads: int
    detector: NetworkAt | None
    embedder: NetworkAt | None
    rules: Rules
    gallery: IndexSettings | None
    evaluation: EvalSettings | None


def is_shitu(tree: Mapping[str, Any]) -> bool:
    """Whether a configuration is one of PP-ShiTu's, of its whole or of a part."""
    return any(section in tree for section in _SECTIONS) and "PreProcess" not in tree


def shitu_of(tree: Tree, path: Path) -> ShituConfig:
    """What the sections say; logs what the user should know.

    Raises:
        ConfigError: entries that are not understood: all of them.
    """
    reader = Reader()
    reader.unknown(tree, (*_SECTIONS, *_OTHERS))
    found = reader.section(tree.get("Global"), "Global", "shitu_global")
    index = reader.section(tree.get("IndexProcess"), "IndexProcess", "shitu_index")
    evaluation = reader.section(tree.get("Eval"), "Eval", "shitu_eval")
    detector, embedder = found.get("det_inference_model_dir"), found.get("rec_inference_model_dir")
    boxes = NetworkAt(detector, _detector(reader, tree, found)) if detector else None
    vectors = NetworkAt(embedder, _embedder(reader, tree)) if embedder else None
    if not (boxes or vectors):
        reader.wrong("Global", "names no network", "det_ or rec_inference_model_dir")
    metric = _metric(reader, index, vectors)
    if reader.problems:
        raise ConfigError.of(str(path), reader.problems)
    threshold, most = found["threshold"], found["max_det_results"]
    limit = index["hamming_radius"] if metric == "hamming" else index["score_thres"]
    most = 0 if threshold > 1 else max(most, 0)  # no score is above 1
    overlap, nearest = found["rec_nms_thresold"], max(index["return_k"], 1)
    rules = Rules(min(max(threshold, 0.0), 1.0), most, overlap, True, nearest, limit)
    if metric == "l2" and "IndexProcess" in tree:
        reader.note("IndexProcess.dist_type", "distances from score_thres on are matches")
    for note in reader.notes:
        logger.warning("%s: %s", path, note)
    settings = IndexSettings(
        index.get("index_dir", ""), metric, index["index_operation"], index["image_root"],
        index.get("data_file"), index["delimiter"], index["batch_size"], index.get("embedding_size"),
    )  # fmt: skip
    asked, listed = None, evaluation.get("cls_label_path")
    if listed:
        name, root, out = evaluation["name"], evaluation["image_root"], evaluation.get("output_dir")
        asked = EvalSettings(name, root, listed, out)
    return ShituConfig(
        found.get("infer_imgs"), found.get("output_dir"), max(found["batch_size"], 1),
        max(1, min(found["cpu_num_threads"], os.cpu_count() or 1)), boxes, vectors, rules,
        settings if "IndexProcess" in tree else None, asked,
    )  # fmt: skip


def _metric(reader: Reader, index: Spec, embedder: NetworkAt | None) -> Metric:
    """The metric of the index; bits need the post-processor that makes them."""
    kind = "hamming" if index.get("binary_index") else str(index.get("dist_type", "IP"))
    metric: Metric = {"IP": "inner_product", "hamming": "hamming"}.get(kind, "l2")  # type: ignore[assignment]
    bits = embedder is not None and embedder.deploy.postprocess["name"] == "binarize"
    if embedder and bits is not (metric == "hamming"):
        what = "makes bits" if bits else "makes no bits"
        reader.wrong("RecPostProcess", f"{what}, and IndexProcess.dist_type is {kind}")
    if index.get("index_method", "Flat").removeprefix("B") not in _METHODS:
        reader.wrong("IndexProcess.index_method", "unknown", f"one of {', '.join(_METHODS)}")
    if index.get("index_operation", "new") not in OPERATIONS:
        reader.wrong("IndexProcess.index_operation", "unknown", f"one of {', '.join(OPERATIONS)}")
    return metric


def _detector(reader: Reader, tree: Tree, found: Mapping[str, Any]) -> Deploy:
    where, steps = "DetPreProcess.transform_ops", list[dict[str, Any]]()
    section = tree.get("DetPreProcess")
    for place, name, given in reader.items((section or {}).get("transform_ops"), where):
        kind, keys = _DETECTOR_STEPS.get(name, ("", ()))
        if not kind or not set(given) <= set(keys):
            known = f"its keys are {', '.join(keys)}" if kind else ", ".join(_DETECTOR_STEPS)
            reader.wrong(place, "is not understood", known)
            continue
        steps.append(
            {"type": kind, "keep_ratio": True, **given}
            if kind == "Resize"
            else {"type": kind, **given}
        )
    labels = found.get("label_list")
    names = tuple(map(str, labels)) if isinstance(labels, list | tuple) else None
    try:
        transforms, _ = transforms_of(steps, where)
    except ConfigError as error:
        reader.problems += error.problems
        transforms = []
    spec, _ = postprocesses.check({"name": "boxes", "threshold": 0.0}, "DetPostProcess")
    return Deploy(tuple(transforms), spec, names)


def _embedder(reader: Reader, tree: Tree) -> Deploy:
    section, post = tree.get("RecPreProcess"), tree.get("RecPostProcess")
    ops = section.get("transform_ops") if isinstance(section, dict) else None
    steps = steps_of(reader, ops, "RecPreProcess.transform_ops")
    spec: Spec = {"name": "embedding"}
    if isinstance(post, dict) and (name := main_indicator(post)) != "None":
        where = f"RecPostProcess.{name}"
        made = reader.component(
            "post-processor", "shitu_postprocessors", name, post.get(name), where
        )
        spec = made[0] if made else spec
    full, problems = postprocesses.check(spec, "RecPostProcess")
    reader.problems += problems
    return Deploy(tuple(steps), full, None)
