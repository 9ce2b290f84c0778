"""A system is read whole or refused: its manifest, its rules and every member."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from support.bundles import tiny_bundle, tiny_detector, tiny_manifest, tiny_onnx
from tinysight.bundle import MANIFEST, MODEL, Bundle
from tinysight.bundle.system import SYSTEM, Rules, System, SystemManifest
from tinysight.errors import BundleError

RULES = Rules(threshold=0.3, max_detections=2, top_k=1, append_whole_image=False)


def write(folder: Path, **changes: Any) -> System:
    parts = folder.parent / "parts"
    if not parts.exists():
        tiny_detector(parts / "detector")
        manifest = tiny_manifest(labels=(), postprocess={"name": "embedding"}, threshold=None)
        Bundle.write(parts / "embedder", manifest, {MODEL: tiny_onnx()})
    members = {name: Bundle.load(parts / name) for name in ("detector", "embedder")}
    system = SystemManifest("things", {}, RULES, description="Which thing is it?")
    return System.write(folder, system, members, **changes)


@pytest.fixture
def system(tmp_path: Path) -> System:
    return write(tmp_path / "deep" / "system")


def resealed(folder: Path, change: Any) -> None:
    path = folder / SYSTEM
    tree = json.loads(path.read_text("utf-8"))
    del tree["digest"]
    change(tree)
    text = json.dumps(tree, sort_keys=True, separators=(",", ":"))
    tree["digest"] = hashlib.sha256(text.encode()).hexdigest()
    path.write_text(json.dumps(tree), "utf-8")


def refusal(folder: Path) -> str:
    with pytest.raises(BundleError) as caught:
        System.load(folder)
    return str(caught.value)


def test_what_was_written_is_read(system: System) -> None:
    read = System.load(system.folder)
    assert read == system
    assert read.manifest.rules == RULES
    assert list(read.members) == ["detector", "embedder"]
    assert read.members["embedder"].folder == system.folder / "embedder"
    assert read.members["detector"] == Bundle.load(system.folder / "detector")


def test_the_same_contents_give_the_same_bytes(system: System) -> None:
    before = (system.folder / SYSTEM).read_bytes()
    assert (write(system.folder, overwrite=True).folder / SYSTEM).read_bytes() == before


def test_an_edited_system_is_refused(system: System) -> None:
    path = system.folder / SYSTEM
    path.write_text(path.read_text("utf-8").replace('"top_k": 1', '"top_k": 2'), "utf-8")
    assert "edited after it was sealed" in refusal(system.folder)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t.update(format=2), "reads up to 1"),
        (lambda t: t.update(rulez={}), "unknown key; did you mean 'rules'?"),
        (lambda t: t.pop("members"), "members: required key is missing"),
        (lambda t: t.update(members={}), "members: expected a mapping of 1 or more bundles"),
        (
            lambda t: t["rules"].update(threshold=1.5),
            "rules.threshold: expected a number from 0 to 1",
        ),
        (lambda t: t["rules"].update(top_k=0), "rules.top_k: expected a whole number from 1"),
        (lambda t: t["rules"].update(append_whole_image=1), "expected true or false, got '1'"),
        (lambda t: t["rules"].pop("top_k"), "rules: expected a mapping of threshold, "),
        (
            lambda t: t["members"]["detector"].update(size="3"),
            "members.detector.size: expected a whole",
        ),
        (
            lambda t: t["members"].update({"../x": t["members"]["detector"]}),
            "reads nothing outside",
        ),
        (lambda t: t["members"].update(gallery={"size": 1, "sha256": ""}), "missing"),
    ],
)
def test_a_manifest_that_makes_no_sense_is_refused(system: System, change: Any, words: str) -> None:
    resealed(system.folder, change)
    message = refusal(system.folder)
    assert words in message
    assert str(system.folder) in message


@pytest.mark.parametrize("file", [MANIFEST, MODEL])
def test_a_member_that_was_altered_is_refused(system: System, file: str) -> None:
    with (system.folder / "embedder" / file).open("ab") as stream:
        stream.write(b" ")
    message = refusal(system.folder)
    assert str(system.folder / "embedder" / file) in message
    assert "altered" in message


def test_a_member_that_was_exchanged_for_another_bundle_is_refused(system: System) -> None:
    shutil.rmtree(system.folder / "detector")
    shutil.copytree(system.folder / "embedder", system.folder / "detector")
    assert "detector" in refusal(system.folder)


def test_a_member_that_is_missing_or_elsewhere_is_refused(system: System) -> None:
    outside = system.folder.parent / "detector"
    (system.folder / "detector").rename(outside)
    assert "detector" in refusal(system.folder)
    (system.folder / "detector").symlink_to(outside)
    assert "leads out of the system" in refusal(system.folder)


def test_a_folder_without_a_system(tmp_path: Path) -> None:
    assert f"{tmp_path / SYSTEM}: missing" in refusal(tmp_path)


def test_nothing_is_overwritten_unasked(system: System) -> None:
    with pytest.raises(BundleError, match="a system already exists here"):
        write(system.folder)
    with pytest.raises(BundleError, match="exists and is no system"):
        write(system.folder / "detector", overwrite=True)


def test_a_failed_write_leaves_nothing(tmp_path: Path) -> None:
    bundle = tiny_bundle(tmp_path / "part")
    for members in ({}, {"a/b": bundle}):
        with pytest.raises(BundleError):
            System.write(tmp_path / "system", SystemManifest("none", {}), members)
    assert [p.name for p in tmp_path.iterdir()] == ["part"]
