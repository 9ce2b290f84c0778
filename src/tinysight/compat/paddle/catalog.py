"""What can be fetched by name: the public files of PaddleClas that the scenarios point to, as immutable rows.

Nothing here is downloaded or promised: an address is where the publisher has put a file. No checksum is published for
any of them, so a file's hash is recorded at its first use and verified afterwards (`tinysight.fetch.store`).

Addresses of network weights follow one rule, those of their exported programs another; `FAMILIES` lists the names:

    <host>/dygraph[/legendary_models]/<Name>[_ssld|_ssld_stage1]_pretrained.pdparams
    <host>/dygraph/inference/<Name>[_ssld]_infer.tar
"""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatchcase
from functools import cache as cached_call
from pathlib import Path
from typing import Any, NamedTuple

from tinysight.errors import ConfigError, UnknownName
from tinysight.fetch import Artifact, Fetched, cache_folder, cached, fetch
from tinysight.fetch.cache import recorded
from tinysight.fetch.download import Report

PULC_HOST = "https://paddleclas.bj.bcebos.com"
NETWORK_HOST = "https://paddle-imagenet-models-name.bj.bcebos.com"
_DOCS = "https://github.com/PaddlePaddle/PaddleClas/blob/develop/docs/zh_CN"
_LICENCE = "Apache-2.0, as the PaddleClas repository; the file itself carries no notice"
_DATA_LICENCE = "not stated by the publisher"

KINDS = ("inference", "weights", "data")


class Pulc(NamedTuple):
    """One task of PULC (PP-LCNet x1.0 each)."""

    task: str
    labels: tuple[str, ...] = ()
    threshold: float | None = None
    weights: bool = True
    note: str = ""
    exact: bool = False


PULC = (
    Pulc("car_exists", ("nocar", "contains_car"), 0.5),
    Pulc(
        "clarity_assessment", ("clear", "blur"), 0.5, weights=False,
        note="the scenario document spells the labels clarity and blured",
    ),
    Pulc("code_exists", ("no_code", "contains_code"), 0.5, weights=False),
    Pulc("image_orientation", ("0°", "90°", "180°", "270°"), weights=False),
    Pulc(
        "language_classification",
        ("arabic", "chinese_cht", "cyrillic", "devanagari", "japan", "ka", "korean", "ta", "te", "latin"),
    ),
    Pulc("person_attribute", note="26 outputs that make 10 attributes"),
    Pulc("person_exists", ("nobody", "someone"), 0.5),
    Pulc("safety_helmet", ("wearing_helmet", "unwearing_helmet"), 0.5),
    Pulc("table_attribute", note="6 binary attributes", exact=True),
    Pulc("text_image_orientation", ("0", "90", "180", "270")),
    Pulc("textline_orientation", ("0_degree", "180_degree")),
    Pulc("traffic_sign", note="232 classes; the label list comes with the data set"),
    Pulc("vehicle_attribute", note="19 outputs: 10 colours and 9 types"),
)  # fmt: skip


class Family(NamedTuple):
    """Names of one family of networks, and which of them have which weights."""

    page: str
    plain: tuple[str, ...]
    ssld: tuple[str, ...] = ()
    stage1: tuple[str, ...] = ()
    folder: str = "dygraph/legendary_models"
    without_program: tuple[str, ...] = ()  # no exported program is published


_B0_B6 = tuple(f"PPHGNetV2_B{i}" for i in range(7))
FAMILIES = (
    Family(
        "PP-LCNet.md",
        tuple(f"PPLCNet_{x}" for x in ("x0_25", "x0_35", "x0_5", "x0_75", "x1_0", "x1_5", "x2_0", "x2_5")),
        tuple(f"PPLCNet_{x}" for x in ("x0_25", "x0_5", "x1_0", "x2_5")),
        without_program=("PPLCNet_x0_25_ssld",),
    ),
    Family(
        "PP-LCNetV2.md", ("PPLCNetV2_small", "PPLCNetV2_base", "PPLCNetV2_large"), ("PPLCNetV2_base",),
        without_program=("PPLCNetV2_small", "PPLCNetV2_large"),
    ),
    Family(
        "PP-HGNet.md", ("PPHGNet_tiny", "PPHGNet_small"), ("PPHGNet_tiny", "PPHGNet_small", "PPHGNet_base")
    ),
    Family("PP-HGNetV2.md", (), _B0_B6, _B0_B6),
    Family(
        "ResNet.md",
        (*(f"ResNet{d}{v}" for d in (18, 34, 50, 101, 152) for v in ("", "_vd")), "ResNet200_vd"),
        ("ResNet34_vd", "ResNet50_vd", "ResNet101_vd"),
    ),
    Family(
        "Res2Net.md", ("Res2Net50_vd_26w_4s", "Res2Net101_vd_26w_4s", "Res2Net200_vd_26w_4s"),
        ("Res2Net50_vd_26w_4s", "Res2Net101_vd_26w_4s", "Res2Net200_vd_26w_4s"), folder="dygraph",
    ),
    Family(
        "MobileNetV1.md", tuple(f"MobileNetV1{x}" for x in ("_x0_25", "_x0_5", "_x0_75", "")), ("MobileNetV1",)
    ),
    Family(
        "MobileNetV3.md",
        tuple(
            f"MobileNetV3_{size}_{x}"
            for size in ("small", "large")
            for x in ("x0_35", "x0_5", "x0_75", "x1_0", "x1_25")
        ),
        ("MobileNetV3_small_x0_35", "MobileNetV3_small_x1_0", "MobileNetV3_large_x1_0"),
    ),
    Family(
        "SwinTransformer.md", tuple(f"SwinTransformer_{size}_patch4_window7_224" for size in ("tiny", "small", "base"))
    ),
)  # fmt: skip

_REC = f"{NETWORK_HOST}/dygraph/rec"
_SHITU = f"{_DOCS}/training/PP-ShiTu/feature_extraction.md"
OTHERS = (
    Artifact(
        "person_cls", "inference", (f"{PULC_HOST}/models/cls_demo/person_cls_infer.tar",),
        f"{_DOCS}/models/PULC/PULC_person_exists.md", _LICENCE, ("nobody", "someone"),
        note="the cls_demo network; its later form is person_exists",
    ),
    Artifact(
        "PPShiTuV2_detector", "inference",
        (f"{_REC}/models/inference/picodet_PPLCNet_x2_5_mainbody_lite_v1.0_infer.tar",),
        f"{_DOCS}/training/PP-ShiTu/mainbody_detection.md", _LICENCE, ("foreground",),
    ),
    Artifact(
        "PPShiTuV2_recogniser", "inference",
        (f"{_REC}/models/inference/PP-ShiTuV2/general_PPLCNetV2_base_pretrained_v1.0_infer.tar",), _SHITU, _LICENCE,
        exact=True,
    ),
    Artifact(
        "PPShiTuV2_recogniser_pretrained", "weights",
        (f"{_REC}/models/pretrain/PPShiTuV2/general_PPLCNetV2_base_pretrained_v1.0.pdparams",), _SHITU, _LICENCE,
    ),
    *(
        Artifact(name, "data", (url,), page, _DATA_LICENCE)
        for name, url, page in (
            ("safety_helmet_data", f"{PULC_HOST}/data/PULC/safety_helmet.tar",
             f"{_DOCS}/models/PULC/PULC_safety_helmet.md"),
            ("clarity_assessment_data", f"{PULC_HOST}/data/PULC/clarity_assessment.tar",
             f"{_DOCS}/models/PULC/PULC_clarity_assessment.md"),
            ("person_data", f"{PULC_HOST}/data/cls_demo/person.tar", f"{_DOCS}/models/PULC/PULC_person_exists.md"),
            ("pulc_demo_imgs", f"{PULC_HOST}/data/PULC/pulc_demo_imgs.zip", f"{_DOCS}/models/PULC/README.md"),
            ("drink_dataset", f"{_REC}/data/drink_dataset_v2.0.tar", _SHITU),
        )
    ),
)  # fmt: skip


def _pulc() -> Iterator[Artifact]:
    base = f"{PULC_HOST}/models/PULC"
    for row in PULC:
        page = f"{_DOCS}/models/PULC/PULC_{row.task}.md"
        # The scenario documents give the first address, PaddleClas' own command uses the second.
        urls = (f"{base}/{row.task}_infer.tar", f"{base}/inference/{row.task}_infer.tar")
        about = (row.labels, row.threshold, row.note, row.exact)
        yield Artifact(row.task, "inference", urls, page, _LICENCE, *about)
        if row.weights:
            url = f"{base}/pretrained/{row.task}_pretrained.pdparams"
            yield Artifact(f"{row.task}_pretrained", "weights", (url,), page, _LICENCE, *about)


def _networks() -> Iterator[Artifact]:
    for family in FAMILIES:
        page = f"{_DOCS}/models/ImageNet1k/{family.page}"
        ssld, stage1 = (
            tuple(f"{n}{end}" for n in names)
            for end, names in (("_ssld", family.ssld), ("_ssld_stage1", family.stage1))
        )
        for name in (*family.plain, *ssld, *stage1):
            url = f"{NETWORK_HOST}/{family.folder}/{name}_pretrained.pdparams"
            yield Artifact(name, "weights", (url,), page, _LICENCE)
        for name in (*family.plain, *ssld):
            if name not in family.without_program:
                url = f"{NETWORK_HOST}/dygraph/inference/{name}_infer.tar"
                yield Artifact(f"{name}_infer", "inference", (url,), page, _LICENCE)


@cached_call
def artifacts() -> tuple[Artifact, ...]:
    """Every row, sorted by name."""
    return tuple(sorted((*_pulc(), *_networks(), *OTHERS), key=lambda row: row.name.lower()))


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
    folded = _fold(name)
    for row in artifacts():
        stem = row.filename.removesuffix(".pdparams").removesuffix(".tar").removesuffix(".zip")
        spellings = {row.name, stem, row.filename}
        if kind is not None:
            spellings |= {
                s.removesuffix("_infer").removesuffix("_pretrained") for s in (row.name, stem)
            }
        if kind in (None, row.kind) and folded in map(_fold, spellings):
            return row
    known = [row.name for row in artifacts() if kind in (None, row.kind)]
    what = f"{kind} file" if kind else "file to fetch"
    raise UnknownName(what, name, known, where)


def network_of(name: str) -> str:
    """The name of the network that a file of the catalogue is for; empty for a task's or a data set's."""
    if any(row.name == name and row.kind == "data" for row in artifacts()):
        return ""
    if any(name.startswith(row.task) for row in PULC):
        return ""
    for end in ("_infer", "_pretrained", "_stage1", "_ssld"):
        name = name.removesuffix(end)
    return name


def describe(row: Artifact, cache: Path | None = None) -> dict[str, Any]:
    """A row as plain data: its fields, its file in the cache, and what was recorded when it was first fetched."""
    folder = cache_folder() if cache is None else cache
    known = [entry for url in row.urls if (entry := recorded(url, folder))]
    file = cached(row, cache)
    return {
        **{k: list(v) if isinstance(v, tuple) else v for k, v in row._asdict().items()},
        "cached": str(file) if file else None,
        "sha256": known[0].sha256 if known else None,
        "recorded": known[0].date if known else None,
    }


def fetch_named(
    name: str,
    kind: str | None = None,
    *,
    cache: Path | None = None,
    report: Report | None = None,
    accept_change: bool = False,
) -> Fetched:
    """Fetch the row called `name`, or the file at the address `name`; see `find` and `fetch`."""
    source = name if "://" in name else find(name, kind, "fetch")
    return fetch(
        source, kind=kind or "file", cache=cache, report=report, accept_change=accept_change
    )


def pretrained(network: str, which: bool | str = True, where: str = "") -> Artifact:
    """The ImageNet weights of a network, as a recipe's `pretrained: true | ssld | ssld_stage1` asks for them.

    `true` means what it means in PaddleClas: the plain weights, and for PP-HGNetV2, which has none, those of the
    first distillation stage.

    Raises:
        UnknownName: no weights of any sort are published for `network`.
        ConfigError: others are, but not these; the error lists them.
    """
    offered = {
        ending: row
        for ending in ("", "ssld", "ssld_stage1")
        for row in artifacts()
        if row.kind == "weights" and _fold(row.name) == _fold(network + ending)
    }
    if not offered:
        raise UnknownName("network with public weights", network, _network_names(), where)
    wanted = "" if which is True else str(which)
    if which is True and not offered.keys() - {"ssld", "ssld_stage1"} and "ssld_stage1" in offered:
        wanted = "ssld_stage1"
    if wanted not in offered:
        choice = ", ".join(ending or "true" for ending in offered)
        what = f"no {wanted or 'plain'} weights of {network} are published"
        raise ConfigError(where, what, f"there are: {choice}")
    return offered[wanted]


def _network_names() -> list[str]:
    return sorted({name for f in FAMILIES for name in (*f.plain, *f.ssld)})


def _fold(name: str) -> str:
    return "".join(c for c in name.lower() if c.isalnum())
