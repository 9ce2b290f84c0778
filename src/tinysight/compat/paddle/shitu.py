"""PP-ShiTu from its deploy configurations: the system, ready to recognise, and its evaluation."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tinysight.bundle import MANIFEST, Bundle
from tinysight.bundle.system import System, SystemManifest
from tinysight.compat.paddle.deploy_run import CONFIGS, config_file, exported, translated
from tinysight.compat.paddle.dialect.shitu import NetworkAt, ShituConfig, is_shitu, shitu_of
from tinysight.compat.paddle.dialect.tree import read_tree
from tinysight.compat.paddle.shitu_index import Changed, change_index, open_index, read_list
from tinysight.errors import ConfigError, DataError
from tinysight.files import write_atomic
from tinysight.pipelines.recognize import DETECTOR, EMBEDDER, Recognizer, limited
from tinysight.registry import fold
from tinysight.tasks.results import Unreadable

_NAME = "PP-ShiTuV2"
_SYSTEM = CONFIGS / "pp_shituv2.yaml"
_EVALUATED = "eval_resutls.txt"  # PaddleClas' spelling


def read_shitu(path: Path | str | None, overrides: Sequence[str] = ()) -> ShituConfig | None:
    """The configuration at `path`, or that of the published system; None if it is none of PP-ShiTu's.

    Raises:
        ConfigError: entries that are not understood: all of them.
    """
    file = config_file(path) if path else _SYSTEM
    if not is_shitu(read_tree(file)):
        return None
    return shitu_of(read_tree(file, overrides), file)


def network(at: NetworkAt, key: str) -> Bundle:
    """The bundle of an exported folder, made once; of a folder that is a bundle, that.

    Raises:
        WeightsError: there is no network in the folder, or it cannot be translated.
    """
    public = at.folder in (f"PPShiTuV2_{part}" for part in ("detector", "recogniser"))
    folder = exported(Path(at.folder), f"Global.{key}", download=public)
    if (folder / MANIFEST).is_file():
        return Bundle.load(folder)
    return Bundle.load(translated(folder, at.deploy))


def system_of(config: ShituConfig) -> System:
    """The networks and rules of a configuration, as a system that is nowhere on disk."""
    members = {}
    if config.detector:
        members[DETECTOR] = network(config.detector, "det_inference_model_dir")
    if config.embedder:
        members[EMBEDDER] = network(config.embedder, "rec_inference_model_dir")
    manifest = SystemManifest("PP-ShiTu", {}, config.rules)
    return System(Path(DETECTOR), manifest, members)


def part_of(config: ShituConfig) -> Bundle:
    """The only network of a configuration, to answer as `predict_det.py` or `predict_rec.py` does."""
    members = system_of(config).members
    return members.get(EMBEDDER) or limited(members[DETECTOR], config.rules)


def recognizer_of(config: ShituConfig, **options: Any) -> Recognizer:
    """The system and its gallery, ready to recognise.

    Raises:
        ConfigError: the configuration names no embedder or no index.
        DataError: there is no index.
    """
    if not config.embedder or not config.gallery or not config.gallery.folder:
        missing = "IndexProcess.index_dir" if config.embedder else "Global.rec_inference_model_dir"
        raise ConfigError(missing, "is needed to recognise")
    store = open_index(config.gallery)
    return Recognizer(system_of(config), store, as_paddleclas=True, **options)


def change(config: ShituConfig) -> Changed:
    """Build, add to or remove from the gallery of a configuration; see `shitu_index.change_index`."""
    if not config.gallery:
        raise ConfigError("IndexProcess", "is needed to build a gallery")
    at, removing = config.embedder, config.gallery.operation == "remove"
    bundle = None if removing or not at else network(at, "rec_inference_model_dir")
    return change_index(config.gallery, bundle, config.threads)


def recall_at_k(config: ShituConfig) -> list[float]:
    """Share of the images of `Eval` whose label is among the first 1, 2, ... results; the gallery is built first.

    The list is as long as the most results of an image. `eval_resutls.txt` in `Eval.output_dir` gets it too.

    Raises:
        ConfigError: there is no `Eval`; see `change`.
        DataError: an image or a list cannot be read.
    """
    asked = config.evaluation
    if not asked or not config.gallery:
        raise ConfigError("Eval.cls_label_path", "is needed to evaluate")
    built = change(config._replace(gallery=config.gallery._replace(operation="new")))
    if built.unreadable:
        raise DataError(*built.unreadable[0])
    recognizer, places, most = recognizer_of(config, threads=config.threads), list[int](), 0
    lines = list(read_list(asked.list, None))
    paths = [str(Path(asked.image_root) / source) for source, _ in lines]
    for (_, label), result in zip(lines, recognizer.stream(paths), strict=True):
        if isinstance(result, Unreadable):
            raise DataError(*result)
        names, most = result.label_names, max(most, len(result.label_names))
        places.append(names.index(label) if label in names else sys.maxsize)
    shares = [sum(place < k for place in places) / len(places) for k in range(1, most + 1)]
    if asked.output_dir:
        path = Path(asked.output_dir) / _EVALUATED
        path.parent.mkdir(parents=True, exist_ok=True)
        before = path.read_text("utf-8") if path.exists() else ""
        own = [f"Dataset name: {asked.name}", *recall_lines(shares), "", ""]
        write_atomic(path, (before + "\n".join(own)).encode())
    return shares


def evaluate(path: Path | str, overrides: Sequence[str]) -> list[str]:
    """The lines that `eval_shitu_pipeline.py` prints for a configuration; see `recall_at_k`."""
    config = read_shitu(path, overrides)
    if not config:
        raise ConfigError(str(path), "has PreProcess beside IndexProcess")
    return recall_lines(recall_at_k(config))


def recall_lines(shares: Sequence[float]) -> list[str]:
    """The lines that PaddleClas' script prints, in its spelling."""
    return [f"recal_{k}: {share:.4f}" for k, share in enumerate(shares, 1)]


def read_package(
    path: Path | str | None, arguments: Mapping[str, Any], overrides: Sequence[str] = ()
) -> ShituConfig | None:
    """As `read_shitu`, for the arguments of PaddleClas' command and class.

    Raises:
        ConfigError: a name that is no system's, or an argument that means nothing here.
    """
    name = str(arguments.get("model_name") or _NAME)
    if not path and fold(name) != fold(_NAME):
        raise ConfigError("model_name", f"{name!r} is no system", f"the one that there is: {_NAME}")
    keys = [f"{_ARGUMENTS[k]}={v}" for k, v in arguments.items() if k in _ARGUMENTS]
    return read_shitu(path, [*keys, *overrides])


_ARGUMENTS = {
    "index_dir": "IndexProcess.index_dir",
    **dict.fromkeys(("data_file", "gallery_data_file"), "IndexProcess.data_file"),
    "gallery_image_root": "IndexProcess.image_root",
    "cpu_num_threads": "Global.cpu_num_threads",
}
