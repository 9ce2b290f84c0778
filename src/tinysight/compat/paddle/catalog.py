"""What can be fetched by name: the public files of PaddleClas that the scenarios point to; rows of `catalog.yaml`.

Nothing here is downloaded or promised: an address is where the publisher has put a file. No checksum is published for
any of them, so a file's hash is recorded at its first use and verified afterwards (`tinysight.fetch.store`).

Addresses of network weights follow one rule, those of their exported programs another:

    <host>/dygraph[/legendary_models]/<Name>[_ssld|_ssld_stage1]_pretrained.pdparams
    <host>/dygraph/inference/<Name>[_ssld]_infer.tar
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from fnmatch import fnmatchcase
from functools import cache as cached_call
from pathlib import Path
from typing import Any

from tinysight.errors import ConfigError, UnknownName
from tinysight.fetch import Artifact, Fetched, cache_folder, cached, fetch
from tinysight.fetch.cache import recorded
from tinysight.fetch.download import Report
from tinysight.files import read_yaml
from tinysight.registry import fold

PULC_HOST = "https://paddleclas.bj.bcebos.com"
NETWORK_HOST = "https://paddle-imagenet-models-name.bj.bcebos.com"
_DOCS = "https://github.com/PaddlePaddle/PaddleClas/blob/develop/docs/zh_CN"
_LICENCE = "Apache-2.0, as the PaddleClas repository; the file itself carries no notice"
_DATA_LICENCE = "not stated by the publisher"

_FOLDER = "dygraph/legendary_models"
# ResNet18 with `layer_type: DiverseBranchBlock`, the only one that is published; not a name of its own.
BRANCHED_WEIGHTS = f"{NETWORK_HOST}/{_FOLDER}/ResNet18_dbb_pretrained.pdparams"
IMAGENET = 1000  # classes
KINDS = ("inference", "weights", "data")


@cached_call
def _tables() -> dict[str, dict[str, Any]]:
    """The tables of `catalog.yaml`."""
    found: dict[str, dict[str, Any]] = read_yaml(Path(__file__).with_name("catalog.yaml"))
    return found


def _about(row: dict[str, Any]) -> dict[str, Any]:
    given = {key: row[key] for key in row if key in ("threshold", "note", "exact")}
    return {**given, "labels": tuple(row.get("labels", ()))}


def _tasks() -> Iterator[Artifact]:
    base = f"{PULC_HOST}/models/PULC"
    for task, row in _tables()["tasks"].items():
        page = f"{_DOCS}/models/PULC/PULC_{task}.md"
        # The scenario documents give the first address, PaddleClas' own command uses the second.
        urls = (f"{base}/{task}_infer.tar", f"{base}/inference/{task}_infer.tar")
        about = _about(row)
        yield Artifact(task, "inference", urls, page, _LICENCE, **about)
        if row.get("weights", True):
            url = f"{base}/pretrained/{task}_pretrained.pdparams"
            yield Artifact(f"{task}_pretrained", "weights", (url,), page, _LICENCE, **about)


def _networks() -> Iterator[Artifact]:
    for file, family in _tables()["networks"].items():
        page, folder = f"{_DOCS}/models/ImageNet1k/{file}", family.get("folder", _FOLDER)
        keys = ("plain", "ssld", "stage1", "without_program")
        plain, ssld, stage1, without = (family.get(key, "").split() for key in keys)
        exported = [*plain, *(f"{name}_ssld" for name in ssld)]
        for name in (*exported, *(f"{name}_ssld_stage1" for name in stage1)):
            url = f"{NETWORK_HOST}/{folder}/{name}_pretrained.pdparams"
            yield Artifact(name, "weights", (url,), page, _LICENCE)
        for name in (name for name in exported if name not in without):
            url = f"{NETWORK_HOST}/dygraph/inference/{name}_infer.tar"
            yield Artifact(f"{name}_infer", "inference", (url,), page, _LICENCE)


def _programs() -> Iterator[Artifact]:
    page = f"{_DOCS}/models/ImageNet1k/README.md"
    for name in str(_tables()["programs"]).split():
        url = f"{NETWORK_HOST}/dygraph/inference/{name}_infer.tar"
        yield Artifact(name, "inference", (url,), page, _LICENCE)


def class_names(row: Artifact, classes: int) -> tuple[str, ...]:
    """Names of the classes of a row's network: its own, or those of ImageNet for a thousand that it does not name."""
    if row.labels or classes != IMAGENET or "/dygraph/inference/" not in row.urls[0]:
        return row.labels
    return imagenet_names()


def imagenet_names() -> tuple[str, ...]:
    """Names of the thousand classes of ImageNet's challenge, as PaddleClas' list has them."""
    return tuple(Path(__file__).with_name("imagenet1k.txt").read_text("utf-8").splitlines())


def _others() -> Iterator[Artifact]:
    stems = {"pulc": PULC_HOST, "rec": f"{NETWORK_HOST}/dygraph/rec", "docs": _DOCS}
    for name, row in _tables()["others"].items():
        url, page = row["url"].format(**stems), row["page"].format(**stems)
        licence = _DATA_LICENCE if row["kind"] == "data" else _LICENCE
        yield Artifact(name, row["kind"], (url,), page, licence, **_about(row))


@cached_call
def artifacts() -> tuple[Artifact, ...]:
    """Every row, sorted by name."""
    rows = (*_tasks(), *_networks(), *_programs(), *_others())
    return tuple(sorted(rows, key=lambda row: row.name.lower()))


def search(pattern: str = "*", kind: str | None = None) -> list[Artifact]:
    """Rows that `pattern` matches, whatever the case.

    With `*` or `?` it is held against the name; without either it is a part of the name or of the address (`pulc`).
    """
    wanted = pattern.lower()
    if set("*?[") & set(wanted):
        found = [row for row in artifacts() if fnmatchcase(row.name.lower(), wanted)]
    else:
        found = [row for row in artifacts() if wanted in " ".join((row.name, *row.urls)).lower()]
    return [row for row in found if kind in (None, row.kind)]


def find(name: str, kind: str | None = None, where: str = "") -> Artifact:
    """The row called `name`, whatever its case and separators; the file's own name works too.

    Args:
        name: `safety_helmet`, `PPLCNet_x1_0_ssld`, `PPHGNetV2_B0_ssld_infer.tar`.
        kind: only rows of this kind (one of `KINDS`); then the ending that tells kinds apart may be left out, so that
            `find("PPLCNet_x1_0", "inference")` gives the exported program and without `kind` the weights.
        where: where the name was written, for the error.

    Raises:
        UnknownName: no such row; names the nearest.
    """
    folded = fold(_tables()["aliases"].get(name, name))
    for row in artifacts():
        stem = re.sub(r"(\.pdparams)?(\.tar)?(\.zip)?$", "", row.filename)
        spellings = {row.name, stem, row.filename}
        if kind is not None:
            spellings |= {re.sub(r"(_pretrained)?(_infer)?$", "", s) for s in (row.name, stem)}
        if kind in (None, row.kind) and folded in map(fold, spellings):
            return row
    known = [row.name for row in artifacts() if kind in (None, row.kind)]
    raise UnknownName(f"{kind} file" if kind else "file to fetch", name, known, where)


def network_of(name: str) -> str:
    """The name of the network that a file of the catalogue is for; empty for a task's or a data set's."""
    data = any(row.name == name and row.kind == "data" for row in artifacts())
    if data or any(map(name.startswith, _tables()["tasks"])):
        return ""
    return re.sub(r"(_ssld)?(_stage1)?(_pretrained)?(_infer)?$", "", name)


def describe(row: Artifact, cache: Path | None = None) -> dict[str, Any]:
    """A row as plain data: its fields, its file in the cache, and what was recorded when it was first fetched."""
    folder = cache or cache_folder()
    known = [entry for url in row.urls if (entry := recorded(url, folder))]
    file = cached(row, folder)
    return {
        **{k: list(v) if isinstance(v, tuple) else v for k, v in row._asdict().items()},
        "cached": str(file) if file else None,
        "sha256": known[0].sha256 if known else None,
        "recorded": known[0].date if known else None,
    }


def fetch_named(
    name: str, kind: str | None = None, *, cache: Path | None = None,
    report: Report | None = None, accept_change: bool = False,
) -> Fetched:  # fmt: skip
    """Fetch the row called `name`, or the file at the address `name`; see `find` and `fetch`."""
    source = name if "://" in name else find(name, kind, "fetch")
    options: dict[str, Any] = {"cache": cache, "report": report, "accept_change": accept_change}
    return fetch(source, kind=kind or "file", **options)


# Variants for recognition that begin with the weights of another network.
_TRUNKS = {"pplcnetv2baseshitu": "PPLCNetV2_base", "resnet50laststagestride1": "ResNet50"}


def pretrained(network: str, which: bool | str = True, where: str = "") -> Artifact:
    """The ImageNet weights of a network, as a recipe's `pretrained: true | ssld | ssld_stage1` asks for them.

    `true` means what it means in PaddleClas: the plain weights, and for PP-HGNetV2, which has none, those of the
    first distillation stage.

    Raises:
        UnknownName: no weights of any sort are published for `network`.
        ConfigError: others are, but not these; the error lists them.
    """
    network = _TRUNKS.get(fold(network), network)
    rows = {fold(row.name): row for row in artifacts() if row.kind == "weights"}
    endings = {ending: fold(network + ending) for ending in ("", "ssld", "ssld_stage1")}
    offered = {ending: rows[name] for ending, name in endings.items() if name in rows}
    if not offered:
        names = {network_of(row.name) for row in _networks()}
        raise UnknownName("network with public weights", network, sorted(names), where)
    usual = "" if "" in offered or "ssld_stage1" not in offered else "ssld_stage1"
    wanted = usual if which is True else str(which)
    if wanted not in offered:
        choice = ", ".join(ending or "true" for ending in offered)
        what = f"no {wanted or 'plain'} weights of {network} are published"
        raise ConfigError(where, what, f"there are: {choice}")
    return offered[wanted]
