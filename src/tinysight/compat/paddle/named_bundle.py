"""Public models by their names: files for an import, and bundles, made once for each content of the published file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from tinysight import __version__
from tinysight.bundle import MANIFEST, list_bundles
from tinysight.compat.paddle.bundle import import_paddle, opened
from tinysight.compat.paddle.catalog import fetch_named, find, search
from tinysight.compat.paddle.folder import read_paddle_inference
from tinysight.compat.paddle.kinds import kind_of
from tinysight.errors import BundleError, ConfigError, UnknownName, WeightsError, nearest
from tinysight.fetch import Artifact, cache_folder, fetch
from tinysight.fetch.cache import locked, recorded
from tinysight.fetch.download import Report
from tinysight.fetch.transport import DEFAULT, Policy
from tinysight.foreign import TrainableProgram
from tinysight.graph.builder import to_model


def fetched_bundle(
    name: str, *, cache: Path | None = None, policy: Policy = DEFAULT, report: Report | None = None
) -> Path:
    """The folder of the bundle of a public classifier.

    It lies in the cache under the SHA-256 of the file that it was made of and the version that made it. Where it is
    there, nothing is fetched; several processes that want it at once make it once.

    Args:
        name: an exported classifier of the catalogue (`safety_helmet`), case and separators do not matter.
        cache: the cache folder; default `cache_folder()`.
        policy: limits of the download.
        report: progress of it, called with the bytes so far and the size.

    Raises:
        BundleError: no bundle and no public model has that name.
        FetchError: it is not in the cache and cannot be fetched.
        WeightsError: the program is no classifier, or holds operators that are not covered.
    """
    folder = cache or cache_folder()
    try:
        row = find(name, "inference")
    except UnknownName:
        close = nearest(name, [*list_bundles(), *(row.name for row in search(kind="inference"))])
        what = "no such bundle, and no public model of that name"
        raise BundleError(name, what, _hint(close)) from None
    for url in row.urls:
        known = recorded(url, folder)
        if known and (made := _place(row.name, known.sha256, folder) / MANIFEST).is_file():
            return made.parent
    done = fetch(row, cache=folder, policy=policy, report=report)
    return made_once(done.path, row.name, done.sha256, folder, row=row)


def _hint(close: str) -> str:
    return close if close.startswith("did") else "`tinysight models list` shows the public ones"


def made_once(source: Path, name: str, sha256: str, folder: Path, **given: Any) -> Path:
    """The bundle of that name and content in the cache `folder`; translated from `source` where it is not there."""
    place = _place(name, sha256, folder)
    if not (place / MANIFEST).is_file():
        with locked(place):
            if not (place / MANIFEST).is_file():
                import_paddle(source, place, **given)
    return place


def _place(name: str, sha256: str, folder: Path) -> Path:
    return folder / "bundles" / f"{name}-{sha256[:16]}-{__version__}"


def locate(
    name: str, kind: str, *, cache: Path | None = None, report: Report | None = None
) -> tuple[Path, Artifact | None]:
    """A file or folder by its path, its address or its public name; fetched where it is not on this machine.

    Returns:
        Its path, and its row if it was found by name.

    Raises:
        ConfigError: no such file or folder, and no row of that name.
        FetchError: it cannot be fetched.
    """
    path = Path(name)
    if path.exists() or (path.name != name and "://" not in name):
        return path, None
    try:
        done = fetch_named(name, kind, cache=cache, report=report)
    except UnknownName as error:
        what = "no such file or folder, and no public model of that name"
        raise ConfigError(name, what, _hint(error.problems[0].hint)) from None
    return done.path, None if "://" in name else done.artifact


def trainable_program(name: str) -> TrainableProgram:
    """The program of an exported folder, an archive or a public name; its float weights are inputs of the graph.

    Raises:
        ConfigError: no such file or folder, and no public model of that name.
        FetchError: it cannot be fetched.
        WeightsError: damaged files, operators that are not covered, or no classifier or recognition network.
    """
    from tinysight.compat.paddle.to_onnx.translate import translate

    with opened(locate(name, "inference")[0]) as folder:
        paddle = read_paddle_inference(folder)
        if kind_of(paddle.program, name, named=False).output == "boxes":
            raise WeightsError(name, "is a detector, which cannot be trained as a classifier")
        graph = translate(paddle, ("images",), ("logits",), open_weights=True)
        taken = {tensor.name for tensor in graph.inputs}
        weights = {n: np.array(a) for n, a in paddle.weights.items() if n in taken}
    return TrainableProgram(to_model(graph), weights)
