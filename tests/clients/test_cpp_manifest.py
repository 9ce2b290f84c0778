"""Sealed manifests in C++: what Python seals is read, what Python refuses is refused, nothing crashes."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from support.bundles import tiny_bundle
from support.cpp import run_cpp
from support.nasty import by_pillow, cloud
from tinysight.bundle import MANIFEST, MODEL, SHIPPED, Bundle
from tinysight.bundle.sealed import digest
from tinysight.errors import BundleError

Edit = Callable[[dict[str, Any]], None]


def image(folder: Path) -> Path:
    path = folder / "a.png"
    path.write_bytes(by_pillow("PNG", cloud(9, 9)))
    return path


def test_seal_over_any_value(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    floats = [x for (x,) in struct.iter_unpack("<d", rng.bytes(8 * 3000)) if np.isfinite(x)]
    floats += [float(f"{m}e{e}") for m in (1, 12, 5.5, 9.999) for e in range(-8, 20)]
    floats += [0.0, -0.0, 5e-324, 1.7976931348623157e308, 2.0**53, 1e22, 1e16, 123456789012345680.0]
    codes = [c for c in rng.integers(0, 0x110000, 3000).tolist() if not 0xD800 <= c < 0xE000]
    recipe = {
        "floats": floats,
        "integers": [0, -1, 2**63, -(2**64), 10**400],
        "text": "".join(map(chr, [*range(256), 0x2028, 0xFFFF, 0x10000, *codes])),
        "deep": json.loads("[" * 90 + "]" * 90),
        "": {"b": None, "a": True, "é": False, "😀": {}, "￿": []},
    }
    bundle = tiny_bundle(tmp_path / "b", recipe=recipe).folder
    ran = run_cpp("predict", image(tmp_path), "--model", bundle)
    assert ran.errors == ""
    # Laid out in another way it is the same manifest.
    tree = json.loads((bundle / MANIFEST).read_text("utf-8"))
    (bundle / MANIFEST).write_text(" \n" + json.dumps(tree, indent=1, sort_keys=True), "utf-8")
    assert run_cpp("predict", image(tmp_path), "--model", bundle).out == ran.out


def _set(*path: str | int, to: Any) -> Edit:
    def edit(tree: Any) -> None:
        for key in path[:-1]:
            tree = tree[key]
        tree[path[-1]] = to

    return edit


@pytest.mark.parametrize("sealed", [False, True])
@pytest.mark.parametrize(
    "edit",
    [
        _set("postprocess", "threshold", to=0.6),
        _set("labels", to=[]),
        _set("labels", 0, to=3),
        _set("input", to={"name": "images"}),
        _set("input", "shape", to=[None, 3]),
        _set("input", "shape", 1, to=-3),
        _set("transforms", 0, to="resize"),
        _set("transforms", 0, to={"size": 8}),
        _set("threshold", "interval", to=[0.1]),
        _set("metrics", "top1", to="good"),
        _set("metrics", "top1", to=True),
        _set("files", MODEL, "size", to=1),
        _set("files", MODEL, "size", to=10**6),
        _set("files", MODEL, "sha256", to="0" * 64),
        _set("files", to={}),
        _set("files", "../secret", to={"size": 1, "sha256": ""}),
        _set("files", "missing.bin", to={"size": 1, "sha256": ""}),
        _set("format", to=0),
        _set("created", to=None),
        lambda tree: tree.pop("licence"),
        lambda tree: tree.pop("digest"),
    ],
)
def test_refused_as_in_python(tmp_path: Path, edit: Edit, sealed: bool) -> None:
    bundle = tiny_bundle(tmp_path / "b").folder
    tree = json.loads((bundle / MANIFEST).read_text("utf-8"))
    edit(tree)
    if sealed and "digest" in tree:
        tree["digest"] = digest({k: v for k, v in tree.items() if k != "digest"}, "")
    (bundle / MANIFEST).write_text(json.dumps(tree), "utf-8")
    with pytest.raises(BundleError) as error:
        Bundle.load(bundle)
    ran = run_cpp("predict", image(tmp_path), "--model", bundle)
    assert (ran.code, ran.out) == (2, "")
    problem = error.value.problems[0]
    assert ran.errors.startswith(f"error: {problem.where}: ")
    if ", got " in problem.what:  # then the value follows, as JSON here
        assert problem.what.split(", got ")[0] in ran.errors
    elif "bytes, sealed" not in problem.what:
        assert ran.errors == f"error: {error.value}\n"


@pytest.mark.parametrize(
    "text",
    [
        b"", b"{", b"[]", b"{}", b"format: 1", b'{"a": NaN}', b'{"a": 1, "a": 1}', b"\xff\xfe{",
        b'{"a": "\x01"}', b'{"a": "\xff"}', b'{"a": 01}', b'{"a": 1}x', b"{" * 100_000,
        b'{"a":' * 100_000, b"[" * 1_000_000, b'{"a": "\\ud8"}', b'{"a": 1e999}',
    ],
)  # fmt: skip
def test_no_manifest_at_all(tmp_path: Path, text: bytes) -> None:
    bundle = tiny_bundle(tmp_path / "b").folder
    (bundle / MANIFEST).write_bytes(text)
    for sanitized in (False, True):
        ran = run_cpp("predict", image(tmp_path), "--model", bundle, sanitized=sanitized)
        assert (ran.code, ran.out) == (2, "")
        assert ran.errors.startswith(f"error: {bundle / MANIFEST}: ")


def test_newer_format(tmp_path: Path) -> None:
    bundle = tiny_bundle(tmp_path / "b").folder
    text = (bundle / MANIFEST).read_text("utf-8").replace('"format": 1', '"format": 99')
    (bundle / MANIFEST).write_text(text, "utf-8")
    ran = run_cpp("predict", image(tmp_path), "--model", bundle)
    assert "written in format 99, this version reads up to " in ran.errors


@pytest.mark.parametrize("bundle", ["tiny", "shipped"])
def test_fuzzed_manifests(tmp_path: Path, bundle: str) -> None:
    path = SHIPPED / "clarity_assessment"
    if bundle == "tiny":
        path = tiny_bundle(tmp_path / "b").folder
    ran = run_cpp("manifest", path / MANIFEST, "2000", name="fuzz-tinysight", sanitized=True)
    assert (ran.code, ran.errors) == (0, "")
    read = int(ran.out.split()[0])
    assert 50 < read < 1950  # it goes far enough to reach transforms and post-processing


@pytest.mark.parametrize("format", ["JPEG", "PNG", "BMP", "WEBP"])
def test_fuzzed_images(tmp_path: Path, format: str) -> None:
    path = tmp_path / "a"
    path.write_bytes(by_pillow(format, cloud(60, 40)))
    ran = run_cpp("image", path, "400", name="fuzz-tinysight", sanitized=True)
    assert (ran.code, ran.errors) == (0, "")
