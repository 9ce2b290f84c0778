"""A public model by its name: fetched from a server, translated once, kept under its hash, used by `predict`."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from support.commands import tinysight
from support.exports import export, tar_of
from support.file_server import FileServer, Page
from support.golden import own_path
from support.paddle import operator, write_legacy
from tinysight.bundle import Bundle
from tinysight.compat.paddle.named_bundle import fetched_bundle
from tinysight.errors import BundleError, FetchError, WeightsError
from tinysight.fetch import Policy

pytestmark = pytest.mark.golden
QUICK = Policy(attempts=2, backoff=0.005, timeout=2.0)
PATH = "/paddleclas.bj.bcebos.com/models/PULC/safety_helmet_infer.tar"
TWO_CLASSES = own_path("pdparams", "export_legacy", "PPLCNet_x0_25_cls2")


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FileServer]:
    monkeypatch.delenv("TINYSIGHT_OFFLINE", raising=False)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("TINYSIGHT_CACHE", str(tmp_path / "cache"))
    with FileServer() as running:
        monkeypatch.setenv("TINYSIGHT_MIRROR", running.url)
        running.pages[PATH] = Page(tar_of(TWO_CLASSES, "safety_helmet_infer"))
        yield running


def test_it_is_made_once(server: FileServer, tmp_path: Path) -> None:
    first = fetched_bundle("Safety-Helmet", policy=QUICK)
    assert first.parent == tmp_path / "cache" / "bundles"
    assert Bundle.load(first).manifest.labels == ("wearing_helmet", "unwearing_helmet")
    made, asked = first.stat().st_mtime_ns, len(server.requests)
    assert fetched_bundle("safety_helmet", policy=QUICK) == first
    assert (first.stat().st_mtime_ns, len(server.requests)) == (made, asked)


def test_a_network_is_needed_only_the_first_time(
    server: FileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TINYSIGHT_OFFLINE", "1")
    with pytest.raises(FetchError, match="TINYSIGHT_OFFLINE forbids the network") as caught:
        fetched_bundle("safety_helmet", policy=QUICK)
    assert "\n" not in str(caught.value)
    monkeypatch.delenv("TINYSIGHT_OFFLINE")
    folder = fetched_bundle("safety_helmet", policy=QUICK)
    monkeypatch.setenv("TINYSIGHT_OFFLINE", "1")
    assert fetched_bundle("safety_helmet", policy=QUICK) == folder


def test_other_content_is_another_bundle(server: FileServer, tmp_path: Path) -> None:
    first = fetched_bundle("safety_helmet", policy=QUICK)
    other = own_path("pdparams", "export_pir", "PPLCNet_x0_25_cls2")
    server.pages[PATH] = Page(tar_of(other, "safety_helmet_infer"), etag='"v2"')
    second = fetched_bundle("safety_helmet", cache=tmp_path / "elsewhere", policy=QUICK)
    assert second.name != first.name


def test_several_at_once_make_it_once(server: FileServer) -> None:
    found: list[Path] = []
    threads = [
        threading.Thread(target=lambda: found.append(fetched_bundle("safety_helmet", policy=QUICK)))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert len(set(found)) == 1
    names = [p.name for p in found[0].parent.iterdir() if not p.name.startswith(".")]
    assert names == [found[0].name]


def test_a_detector_and_a_program_of_no_kind(server: FileServer, tmp_path: Path) -> None:
    export(tmp_path / "detector", "DetectorLike")
    name = "picodet_PPLCNet_x2_5_mainbody_lite_v1.0_infer"
    path = f"/paddle-imagenet-models-name.bj.bcebos.com/dygraph/rec/models/inference/{name}.tar"
    server.pages[path] = Page(tar_of(tmp_path / "detector", name))
    assert (
        Bundle.load(fetched_bundle("PPShiTuV2_detector", policy=QUICK)).manifest.output == "boxes"
    )
    write_legacy(tmp_path / "odd", [operator("relu", {"X": ["x"]}, {"Out": ["y"]})],
                 inputs={"x": [-1, 7]}, outputs=["y"])  # fmt: skip
    server.pages[PATH] = Page(tar_of(tmp_path / "odd", "safety_helmet_infer"))
    with pytest.raises(WeightsError, match="takes no images"):
        fetched_bundle("safety_helmet", policy=QUICK)
    bundles = tmp_path / "cache" / "bundles"
    assert len([p for p in bundles.iterdir() if p.is_dir()]) == 1


def test_a_name_that_nobody_has(server: FileServer) -> None:
    with pytest.raises(BundleError, match="did you mean 'safety_helmet'"):
        fetched_bundle("safty_helmet", policy=QUICK)
    with pytest.raises(BundleError, match="`tinysight models list` shows"):
        fetched_bundle("xyzzy", policy=QUICK)
    assert server.requests == []


def test_the_command_of_the_documents(server: FileServer, tmp_path: Path) -> None:
    image = np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)
    cv2.imwrite(str(tmp_path / "photo.png"), image)
    words = ["--model_name=safety_helmet", "--infer_imgs=photo.png", "--json"]
    for expected in (1, 1):  # the second time from the cache
        done = tinysight("predict", *words, cwd=tmp_path)
        assert (done.code, done.err) == (0, "")
        answer = json.loads(done.out)
        assert answer["label_names"][0] in ("wearing_helmet", "unwearing_helmet")
        assert len([r for r in server.requests if r.path == PATH]) == expected


def test_a_wrong_source_fetches_nothing(server: FileServer, tmp_path: Path) -> None:
    done = tinysight("predict", "gone.jpg", "--model=safety_helmet", cwd=tmp_path)
    assert done.code == 2
    assert done.err.startswith("error: gone.jpg: no such file or folder")
    assert server.requests == []
