"""The `paddleclas` command and its class: what their arguments mean, and the bundle that answers by them.

The arguments become a deploy configuration, which is that of the model with some keys changed, as PaddleClas' package
does it; `-o` changes any of its keys.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from tinysight.bundle import MANIFEST, Bundle, is_local
from tinysight.bundle.manifest import Manifest, ShippedThreshold
from tinysight.compat.paddle.catalog import IMAGENET, imagenet_names
from tinysight.compat.paddle.deploy_run import translated
from tinysight.compat.paddle.dialect.deploy import deploy_of
from tinysight.compat.paddle.dialect.rules import Reader, Spec, tables
from tinysight.compat.paddle.dialect.tree import Tree
from tinysight.compat.paddle.dialect.values import literal
from tinysight.compat.paddle.named_bundle import fetched_bundle
from tinysight.config.load import apply_override
from tinysight.errors import ConfigError, DataError, WeightsError
from tinysight.fetch.download import download
from tinysight.fetch.transport import Policy
from tinysight.pipelines.pipeline import Pipeline, open_bundle
from tinysight.transforms import Compose

if TYPE_CHECKING:
    from tinysight.pipelines.recognize import Recognizer

_HERE = "paddleclas"
MAX_IMAGE_BYTES = 32 << 20  # of an image at an address


class Configured(NamedTuple):
    """The bundle, and how it is run."""

    bundle: Bundle
    batch_size: int
    threads: int


def configured_bundle(arguments: Mapping[str, Any], overrides: Sequence[str] = ()) -> Configured:
    """What the arguments of PaddleClas' command describe.

    Args:
        arguments: by their names; `model_name` or `inference_model_dir` is one. None counts as not given.
        overrides: `-o KEY=VALUE` of the deploy configuration.

    Raises:
        ConfigError: an argument that is unknown or not available, a value that does not fit: all of them.
        BundleError: no such model.
        WeightsError: the folder holds no network that can be translated.
    """
    reader = Reader()
    found = reader.section(arguments, "", "command")
    _stop(reader)
    bundle = _named(found.get("model_name"), found.get("inference_model_dir"))
    if found.keys() <= _RUNNING and not overrides:  # also a detector or a recognition network
        return Configured(bundle, *(max(int(found.get(key, 1)), 1) for key in _COUNTS))
    tree = _tree_of(bundle.manifest)
    before = repr(tree["PreProcess"]), repr(tree["PostProcess"])
    (main, block), *_ = ((k, v) for k, v in tree["PostProcess"].items() if isinstance(v, dict))
    known = tables()["postprocessors"][main][1]
    block |= {key: found[key] for key in known if key in found}
    for key, (operator, option) in _STEPS.items():
        steps = [op[operator] for op in tree["PreProcess"]["transform_ops"] if operator in op]
        if key in found and not steps:
            reader.wrong(key, f"this model has no {operator}")
        for step in steps if key in found else ():
            step[option] = found[key]
    for text in overrides:
        apply_override(tree, text, lambda value, _: literal(value))
    _stop(reader)
    changed = repr(tree["PreProcess"]) != before[0], repr(tree["PostProcess"]) != before[1]
    general = reader.section(tree["Global"], "Global", "deploy_global")
    own, deploy = bundle.manifest, deploy_of(reader, tree, Path(_HERE))
    reader.problems += [_missing(note) for note in reader.notes if "no such file" in note]
    _stop(reader)
    if changed[0]:
        height, width, _ = Compose.from_specs(deploy.transforms, "PreProcess").output_shape()
        if (height, width) != own.input.shape[2:]:
            takes = " x ".join(map(str, own.input.shape[:1:-1]))
            what = f"gives images of {width} x {height}, the model takes {takes}"
            raise ConfigError("PreProcess", what)
        own = own._replace(transforms=deploy.transforms)
    if changed[1]:
        alike = deploy.postprocess["name"] == own.postprocess["name"]
        kept = (
            {"positive": own.postprocess["positive"]}
            if alike and "positive" in own.postprocess
            else {}
        )
        own = own._replace(postprocess={**deploy.postprocess, **kept})
        threshold = own.postprocess.get("threshold")
        if threshold is not None and threshold != bundle.manifest.postprocess.get("threshold"):
            own = own._replace(threshold=ShippedThreshold(float(threshold), "set by an argument"))
        if deploy.labels and len(deploy.labels) != len(own.labels):
            what = f"names {len(deploy.labels)} classes, the model has {len(own.labels)}"
            raise ConfigError("class_id_map_file", what)
        own = own._replace(labels=deploy.labels or own.labels)
    size, threads = (int({**general, **found}[key]) for key in _COUNTS)
    return Configured(replace(bundle, manifest=own), max(size, 1), max(threads, 1))


_COUNTS = ("batch_size", "cpu_num_threads")
_RUNNING = {"model_name", "inference_model_dir", *_COUNTS}  # change no result
_STEPS = {"resize_short": ("ResizeImage", "resize_short"), "crop_size": ("CropImage", "size")}


def _stop(reader: Reader) -> None:
    if reader.problems:
        raise ConfigError.of(_HERE, reader.problems)


def _missing(note: str) -> Any:
    where, _, what = note.partition(": ")
    return ConfigError(where, what).problems[0]


def _named(name: str | None, folder: str | None) -> Bundle:
    """The bundle of a public model or of a folder, unchanged."""
    if name:
        return Bundle.load(name if is_local(name) else fetched_bundle(name))
    if not folder:
        raise ConfigError("model_name", "is missing", "or name a folder with inference_model_dir")
    if (Path(folder) / MANIFEST).is_file():
        return Bundle.load(folder)
    if not Path(folder).exists():
        raise WeightsError(folder, "inference_model_dir: no such folder")
    bundle = Bundle.load(translated(Path(folder)))
    if list(bundle.manifest.labels) == [*map(str, range(IMAGENET))]:
        bundle = replace(bundle, manifest=bundle.manifest._replace(labels=imagenet_names()))
    return bundle


def _tree_of(manifest: Manifest) -> Tree:
    """The deploy configuration that means what the manifest says."""
    try:
        name, block = _theirs("postprocessors", manifest.postprocess)
    except LookupError:
        what = f"is no classifier: its results are its {manifest.postprocess['name']}"
        raise ConfigError(manifest.task, what) from None
    ops: list[Tree] = []
    for spec in manifest.transforms:
        if spec["name"] == "append_channels" and ops and "NormalizeImage" in ops[-1]:
            ops[-1]["NormalizeImage"]["channel_num"] = spec["channels"]
            continue
        try:
            ops.append(dict([_theirs("operators", spec)]))
        except LookupError as error:
            what = f"prepares its images by {error}, which these arguments cannot say"
            raise ConfigError(manifest.task, what, "leave them out") from None
    post = {"main_indicator": name, name: block}
    return {"Global": {}, "PreProcess": {"transform_ops": ops}, "PostProcess": post}


def _theirs(table: str, spec: Spec) -> tuple[str, Spec]:
    """PaddleClas' name of a component of ours, and its keys."""
    rows = ((k, row) for k, row in tables()[table].items() if isinstance(row, list))
    name, row = next(((k, row) for k, row in rows if row[0] == spec["name"]), ("", []))
    if not name:
        raise LookupError(spec["name"])
    places = {rule["to"]: key for key, rule in row[1].items() if "to" in rule}
    return name, {places[k]: v for k, v in spec.items() if k in places and v is not None}


class PaddleClas:
    """PaddleClas' class of that name: a public model or an exported folder that labels images, or PP-ShiTuV2.

    With `index_dir` or `build_gallery=True` it recognises by a gallery, which the latter builds first.

    Args:
        model_name: a public model (`tinysight models list`) or a bundle.
        inference_model_dir: an exported folder, or a bundle.
        allow_urls: images may be addresses, which are downloaded, up to 32 MiB each.
        override: `KEY=VALUE` of the deploy configuration that the model comes with.
        **arguments: those of PaddleClas' command: topk, threshold, batch_size, class_id_map_file, ...; of a system
            index_dir, build_gallery, gallery_image_root, gallery_data_file.

    Raises:
        ConfigError: see `configured_bundle`, also for the other errors.
    """

    def __init__(
        self, model_name: str | None = None, inference_model_dir: str | None = None, *,
        allow_urls: bool = False, override: Sequence[str] | None = None, **arguments: Any,
    ) -> None:  # fmt: skip
        named = {"model_name": model_name, "inference_model_dir": inference_model_dir}
        self.allow_urls = allow_urls
        self._pipeline: Pipeline[Any] | None = None
        self._recognizer: Recognizer | None = None
        if build := arguments.pop("build_gallery", None) or arguments.get("index_dir"):
            from tinysight.compat.paddle.shitu import change, read_package, recognizer_of

            config = read_package(None, {**named, **arguments})
            assert config  # of this package
            if build is True:
                change(config)
            self._recognizer = recognizer_of(config, threads=config.threads)
            return
        bundle, size, threads = configured_bundle({**named, **arguments}, override or ())
        self._pipeline = open_bundle(bundle, batch_size=size, threads=threads)

    def predict(
        self, input_data: Any, print_pred: bool = False, predict_type: str = "cls"
    ) -> Iterator[list[dict[str, Any]]]:
        """Results of each batch: dictionaries with `class_ids`, `scores`, `label_names` and, for a file, `filename`.

        Args:
            input_data: an image file, a folder, an address, pixels, uint8 RGB (H, W, 3), or a list of these but
                addresses.
            print_pred: print each result.
            predict_type: "cls"; or "shitu": for each image dictionaries with `bbox`, `rec_docs` and `rec_scores`.

        Raises:
            ConfigError: another `predict_type`.
            DataError: no such file, or an address that may not be used; raised by the iteration, like the next.
            FetchError: the address gives no image of up to 32 MiB.
        """
        there = {"cls": self._pipeline, "shitu": self._recognizer}
        if not there.get(predict_type):
            known = ", ".join(name for name, pipeline in there.items() if pipeline)
            raise ConfigError("predict_type", f"{predict_type!r} is not available here", known)
        return self._predict(input_data, print_pred)

    predict_cls = predict

    def _predict(self, input_data: Any, print_pred: bool) -> Iterator[list[dict[str, Any]]]:
        if isinstance(input_data, str) and "://" in input_data:
            with downloaded(input_data, self.allow_urls) as file:
                yield from self._batches(file, print_pred)
        else:
            yield from self._batches(input_data, print_pred)

    def _batches(self, source: Any, print_pred: bool) -> Iterator[list[dict[str, Any]]]:
        if self._recognizer:
            for (result,) in self._recognizer.predict(source):
                if print_pred:
                    sys.stdout.write(f"{result.to_deploy_text()}\n")
                yield result.to_deploy()
        for batch in self._pipeline.predict(source) if self._pipeline else ():
            rows = [result.to_json() for result in batch]
            for row in rows:
                if isinstance(source, np.ndarray):
                    del row["filename"]
                if print_pred:
                    line = ", ".join(f"{key}: {value}" for key, value in row.items())
                    sys.stdout.write(f"{line}\n")
            yield rows


@contextmanager
def downloaded(url: str, allowed: bool) -> Iterator[str]:
    """The image at an address as a temporary file, for as long as the block lasts.

    Raises:
        DataError: addresses are not allowed.
        FetchError: it cannot be downloaded, or has more than 32 MiB.
    """
    if not allowed:
        hint = "download it first, or allow it: --allow_urls, in Python allow_urls=True"
        raise DataError(url, "addresses are not fetched unasked", hint)
    with tempfile.TemporaryDirectory(prefix="tinysight-") as folder:
        file = Path(folder) / (url.rsplit("/", 1)[-1].partition("?")[0] or "image")
        download(url, file, policy=Policy(attempts=2, max_bytes=MAX_IMAGE_BYTES))
        yield str(file)
