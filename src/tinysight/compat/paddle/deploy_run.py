"""A PaddleClas deploy configuration as a run: which network, which images, and a bundle that predicts as it says."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from tinysight.bundle import MANIFEST, Bundle
from tinysight.bundle.manifest import ShippedThreshold
from tinysight.compat.paddle.bundle import onnx_file, opened
from tinysight.compat.paddle.catalog import find
from tinysight.compat.paddle.dialect.deploy import Deploy, deploy_of, main_indicator
from tinysight.compat.paddle.dialect.rules import Reader
from tinysight.compat.paddle.dialect.tree import Tree, read_tree
from tinysight.compat.paddle.folder import find_files
from tinysight.compat.paddle.named_bundle import made_once
from tinysight.errors import ConfigError, UnknownName, WeightsError
from tinysight.fetch import cache_folder, cached, fetch
from tinysight.files import sha256

logger = logging.getLogger(__name__)

CONFIGS = Path(__file__).with_name("configs")  # of documents that name files that no release has
_PARTS = ("PreProcess", "PostProcess", "Global")
_THRESHOLD = "threshold"


class DeployRun(NamedTuple):
    """What the configuration says; `fixed`: the threshold was set on the command line."""

    deploy: Deploy
    images: str | None
    model: str
    batch_size: int
    threads: int
    fixed: bool


def read_deploy_run(path: Path | str, overrides: Sequence[str] = ()) -> DeployRun:
    """The configuration at `path`; logs what the user should know.

    Raises:
        ConfigError: no deploy configuration of a classifier, or entries that are not understood: all of them.
    """
    path, reader = config_file(path), Reader()
    overrides = _where_they_belong(reader, read_tree(path), overrides)
    tree = read_tree(path, overrides)
    if "Arch" in tree:
        what = "a training configuration, which has no exported network"
        raise ConfigError(str(path), what, "`tinysight infer -c` takes it")
    deploy = deploy_of(reader, tree, path)
    reader.unknown(tree, _PARTS)
    found = reader.section(tree.get("Global"), "Global", "deploy_global")
    if "inference_model_dir" not in found:
        reader.wrong("Global.inference_model_dir", "is needed")
    if reader.problems:
        raise ConfigError.of(str(path), reader.problems)
    for note in reader.notes:
        logger.warning("%s: %s", path, note)
    images, model = found.get("infer_imgs"), found["inference_model_dir"]
    threads = max(1, min(found["cpu_num_threads"], os.cpu_count() or 1))
    fixed = any(key.partition("=")[0].endswith(f".{_THRESHOLD}") for key in overrides)
    return DeployRun(deploy, images, model, max(found["batch_size"], 1), threads, fixed)


def config_file(path: Path | str) -> Path:
    """The file at `path`; where there is none, the one of its name that comes with this package."""
    path = Path(path)
    shipped = CONFIGS / path.name
    if not path.exists() and shipped.is_file():
        logger.warning("%s: no such file, so it is the one that comes with this package", path)
        return shipped
    return path


def deployed_bundle(run: DeployRun) -> Bundle:
    """The network of `run`, to answer as its configuration says.

    Where its folder is missing, a public model of the folder's name is taken that was fetched before. A folder of
    PaddleClas' is translated, once: it lies in the cache from then on. A bundle keeps its own transforms, which are
    those that it was validated with, and a threshold that was chosen on data.

    Raises:
        WeightsError: there is no network in the folder, or it cannot be translated.
    """
    folder = exported(Path(run.model), "Global.inference_model_dir")
    if (folder / MANIFEST).is_file():
        return _as_configured(Bundle.load(folder), run)
    return Bundle.load(translated(folder, run.deploy))


def translated(folder: Path, deploy: Deploy | None = None) -> Path:
    """The bundle of an exported folder, made once for its content and its configuration; it lies in the cache."""
    with opened(folder) as inside:
        file = onnx_file(inside)
        parts = [path.read_bytes() for path in ([file] if file else find_files(inside))]
    digest = sha256("".join([*map(sha256, parts), repr(deploy)]).encode())
    return made_once(folder, folder.name, digest, cache_folder(), deploy=deploy)


def _as_configured(bundle: Bundle, run: DeployRun) -> Bundle:
    manifest, deploy = bundle.manifest, run.deploy
    if not _alike(list(deploy.transforms), list(manifest.transforms)):
        logger.warning("PreProcess: differs from the bundle's own, which is used")
    spec, own, point = dict(deploy.postprocess), manifest.postprocess, None
    if spec["name"] == own["name"] == _THRESHOLD and not run.fixed:
        if spec[_THRESHOLD] != own[_THRESHOLD]:
            logger.warning("PostProcess: the bundle's own threshold, %g, is used", own[_THRESHOLD])
        spec, point = own, manifest.threshold
    elif _THRESHOLD in spec:
        point = ShippedThreshold(float(spec[_THRESHOLD]), "set in a deploy configuration")
    names = deploy.labels or ()
    labels = names if len(names) == len(manifest.labels) else manifest.labels
    changed = manifest._replace(postprocess=spec, threshold=point, labels=labels)
    return replace(bundle, manifest=changed)


def _alike(a: Any, b: Any) -> bool:
    """Whether two pieces of plain data are equal up to how 1/255 is written."""
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(_alike(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) == len(b) and all(map(_alike, a, b))
    if isinstance(a, float) and isinstance(b, float):
        return math.isclose(a, b, rel_tol=1e-5)
    return bool(a == b)


def _where_they_belong(reader: Reader, tree: Tree, overrides: Sequence[str]) -> list[str]:
    """`Infer.PostProcess.threshold=...`, as PaddleClas' documents say, is `PostProcess.<Name>.threshold`."""
    section, wrong = tree.get("PostProcess"), "Infer.PostProcess."
    found = [*overrides]
    for i, override in enumerate(overrides):
        if override.startswith(wrong) and isinstance(section, dict):
            found[i] = f"PostProcess.{main_indicator(section)}.{override.removeprefix(wrong)}"
            reader.note(override.partition("=")[0], f"is {found[i].partition('=')[0]} here")
    return found


def exported(folder: Path, key: str, *, download: bool = False) -> Path:
    """An exported folder; where it is missing, the public model that is called so.

    Args:
        folder: its path.
        key: of the configuration that names it.
        download: True to fetch what `models fetch` has not brought into the cache.

    Raises:
        WeightsError: it is neither there nor in the cache.
        FetchError: it cannot be fetched.
    """
    if folder.exists():
        return folder
    what, hint = "no such folder", "export a network to it first, or name another"
    try:
        row = find(folder.name, "inference")
    except UnknownName:
        row = None
    if row and (download or cached(row, cache_folder())):
        logger.warning("%s: %s is the one that was fetched", key, row.name)
        return fetch(row).path
    if row:
        hint = f"`tinysight models fetch {row.name}` gets it"
    raise WeightsError(str(folder), f"{key}: {what}", hint)
