"""Bundles are read whole or refused, and written whole or not at all."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from support.bundles import tiny_bundle, tiny_detector, tiny_manifest, tiny_onnx
from tinysight.bundle import MANIFEST, MODEL, SHIPPED, Bundle, list_bundles, new_bundle
from tinysight.bundle import folder as module
from tinysight.bundle.manifest import FORMAT, parse_manifest
from tinysight.errors import BundleError
from tinysight.files import to_yaml


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tiny_bundle(tmp_path / "brightness").folder


def resealed(folder: Path, change: Any) -> None:
    """Change the manifest as somebody would who can compute its digest."""
    path = folder / MANIFEST
    tree = json.loads(path.read_text("utf-8"))
    del tree["digest"]
    change(tree)
    text = json.dumps(tree, sort_keys=True, separators=(",", ":"))
    tree["digest"] = hashlib.sha256(text.encode()).hexdigest()
    path.write_text(json.dumps(tree), "utf-8")


def refusal(source: str | Path) -> str:
    with pytest.raises(BundleError) as caught:
        Bundle.load(source)
    assert caught.value.problems[0].hint, "an error says the way out"
    return str(caught.value)


def test_what_was_written_is_read(tmp_path: Path) -> None:
    written = tiny_bundle(tmp_path / "deep" / "down")
    read = Bundle.load(tmp_path / "deep" / "down")
    assert read == written
    assert read.model == tiny_onnx()
    assert read.manifest.labels == ("dark", "bright")
    assert read.manifest.threshold is not None
    assert read.manifest.threshold.interval == (0.4, 0.6)
    assert read.manifest.files[MODEL].size == len(tiny_onnx())


def test_the_same_contents_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        tiny_bundle(tmp_path / name)
    for file in (MANIFEST, MODEL):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_the_manifest_is_yaml_and_json(folder: Path) -> None:
    import yaml

    text = (folder / MANIFEST).read_text("utf-8")
    assert yaml.safe_load(text) == json.loads(text)
    assert max(map(len, text.splitlines())) <= 110


def test_a_manifest_laid_out_as_yaml_is_the_same_manifest(folder: Path) -> None:
    before = Bundle.load(folder)
    tree = json.loads((folder / MANIFEST).read_text("utf-8"))
    (folder / MANIFEST).write_text(to_yaml(dict(reversed(tree.items()))), "utf-8")
    assert Bundle.load(folder) == before


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_one_changed_byte_is_refused_by_name(folder: Path, data: st.DataObject) -> None:
    path = folder / data.draw(st.sampled_from([MODEL, MANIFEST]))
    whole = path.read_bytes()
    at = data.draw(st.integers(0, len(whole) - 1))
    changed = bytearray(whole)
    changed[at] ^= data.draw(st.integers(1, 255))
    path.write_bytes(changed)
    try:
        text = (folder / MANIFEST).read_bytes()
        same = path.name == MANIFEST and _means_the_same(whole, text)
        if not same:
            assert str(folder) in refusal(folder)
    finally:
        path.write_bytes(whole)


def _means_the_same(before: bytes, after: bytes) -> bool:
    """A blank for a line end, say: the digest seals what a manifest says, not its layout."""
    from tinysight.errors import ConfigError
    from tinysight.files import parse_yaml

    try:
        return bool(parse_yaml(before, "") == parse_yaml(after, ""))
    except ConfigError:
        return False


@pytest.mark.parametrize("file", [MODEL, MANIFEST])
@pytest.mark.parametrize("kept", [0, 1, 100, -100, -3])
def test_a_truncated_file_is_refused(folder: Path, file: str, kept: int) -> None:
    whole = (folder / file).read_bytes()
    (folder / file).write_bytes(whole[:kept])
    message = refusal(folder)
    assert str(folder / file) in message
    if file == MODEL:
        assert f"truncated: {len(whole[:kept])} bytes" in message


@pytest.mark.parametrize("file", [MODEL, MANIFEST])
def test_a_missing_file_is_named(folder: Path, file: str) -> None:
    (folder / file).unlink()
    message = refusal(folder)
    assert file in message
    assert "missing" in message or f"no {MANIFEST}" in message


def test_an_appended_byte_is_refused(folder: Path) -> None:
    with (folder / MODEL).open("ab") as file:
        file.write(b"\0")
    assert "altered" in refusal(folder)


def test_an_edited_manifest_is_refused(folder: Path) -> None:
    text = (folder / MANIFEST).read_text("utf-8")
    (folder / MANIFEST).write_text(text.replace('"threshold": 0.5', '"threshold": 0.1'), "utf-8")
    assert "edited after it was sealed" in refusal(folder)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t.update(format=FORMAT + 1), "reads up to"),
        (lambda t: t.update(format="1"), "format '1' does not exist"),
        (lambda t: t.update(lables=["a"]), "unknown key; did you mean 'labels'?"),
        (lambda t: t.pop("labels"), "labels: required key is missing"),
        (lambda t: t.update(labels="dark"), "expected a list"),
        (lambda t: t.update(labels=["a", 1]), "labels.1: expected a text, got '1'"),
        (lambda t: t.update(transforms=[{"size": 3}]), "transforms.0: expected a mapping with a"),
        (lambda t: t["metrics"].update(top1=True), "metrics.top1: expected a number"),
        (lambda t: t["input"].update(layout="NHWC"), "input: expected a mapping of name, shape"),
        (lambda t: t["threshold"].update(interval=[0.1]), "threshold.interval: expected two"),
        (lambda t: t["threshold"].update(value=0.7), "differs from the post-processor's"),
        (lambda t: t["files"].clear(), "lists no model.onnx"),
        (lambda t: t["files"][MODEL].update(size=-1), "expected a whole number"),
    ],
)
def test_a_manifest_that_makes_no_sense_is_refused(folder: Path, change: Any, words: str) -> None:
    resealed(folder, change)
    message = refusal(folder)
    assert words in message
    assert str(folder / MANIFEST) in message


@pytest.mark.parametrize("name", ["../x", "/etc/hostname", "..", "a/b", "a\\b", "C:x", "", "x\0"])
def test_a_path_out_of_the_folder_is_refused(folder: Path, name: str) -> None:
    (folder.parent / "x").write_bytes(b"secret")
    entry = {"size": 6, "sha256": hashlib.sha256(b"secret").hexdigest()}
    resealed(folder, lambda t: t["files"].update({name: entry}))
    assert "reads nothing outside its folder" in refusal(folder)


def test_a_link_out_of_the_folder_is_refused(folder: Path) -> None:
    outside = folder.parent / "outside.onnx"
    (folder / MODEL).rename(outside)
    (folder / MODEL).symlink_to(outside)
    assert "leads out of the bundle" in refusal(folder)


def test_a_linked_folder_is_a_bundle(folder: Path) -> None:
    link = folder.parent / "link"
    link.symlink_to(folder)
    assert Bundle.load(link).manifest == Bundle.load(folder).manifest


def test_an_enormous_manifest_is_not_read(folder: Path) -> None:
    with (folder / MANIFEST).open("ab") as file:
        file.truncate(32 << 20)
    assert "far too large" in refusal(folder)


@pytest.mark.parametrize(
    "text",
    [
        b"[]",
        b"{}",
        b"",
        b"\xff\xfe",
        b"{" * 100_000,
        b'{"format": NaN}',
        b'{"a":1,"a":2}',
        b"a: *b",
    ],
)
def test_a_manifest_of_another_kind_is_refused(folder: Path, text: bytes) -> None:
    (folder / MANIFEST).write_bytes(text)
    assert str(folder / MANIFEST) in refusal(folder)


def test_a_source_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SHIPPED", tmp_path / "shipped")
    tiny_bundle(tmp_path / "shipped" / "clarity_assessment")
    assert "did you mean 'clarity_assessment'?" in refusal("clarity_asessment")
    assert "no bundle.yaml" in refusal(tmp_path)
    (tmp_path / "file").write_bytes(b"")
    assert "is a file" in refusal(tmp_path / "file")


@pytest.mark.parametrize("name", ["clarity_assessment", "Clarity-Assessment", "clarityassessment"])
def test_shipped_bundles_are_found_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(module, "SHIPPED", tmp_path / "shipped")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "clarity_assessment").mkdir()  # the data set of the same name is no bundle
    tiny_bundle(tmp_path / "shipped" / "clarity_assessment")
    assert list_bundles() == ["clarity_assessment"]
    assert Bundle.load(name).folder == tmp_path / "shipped" / "clarity_assessment"


@pytest.mark.parametrize("name", list_bundles())
def test_every_shipped_bundle_is_whole(name: str) -> None:
    assert Bundle.load(name).manifest.task == name


def test_nothing_is_overwritten_unasked(folder: Path) -> None:
    with pytest.raises(BundleError, match="a bundle already exists here; pass --force"):
        tiny_bundle(folder)
    written = Bundle.write(
        folder, tiny_manifest(task="other"), {MODEL: tiny_onnx()}, overwrite=True
    )
    assert Bundle.load(folder) == written
    assert [p.name for p in folder.parent.iterdir()] == [folder.name]


@pytest.mark.parametrize("overwrite", [False, True])
def test_what_is_no_bundle_is_never_replaced(tmp_path: Path, overwrite: bool) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").write_text("years")
    with pytest.raises(BundleError, match="exists and is no bundle"):
        Bundle.write(
            tmp_path / "thesis", tiny_manifest(), {MODEL: tiny_onnx()}, overwrite=overwrite
        )
    assert (tmp_path / "thesis" / "chapter.tex").read_text() == "years"


def test_an_empty_folder_is_filled(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    assert tiny_bundle(tmp_path / "out").manifest.task == "brightness"


@pytest.mark.parametrize(
    ("changes", "files", "words"),
    [
        ({}, {}, "needs a model.onnx"),
        ({"metrics": {"top1": float("nan")}}, {MODEL: b"x"}, "cannot be sealed"),
        ({}, {MODEL: b"x", "../card.md": b""}, "no plain file name"),
        ({"labels": ()}, {MODEL: b"x"}, "labels"),
    ],
)
def test_a_failed_write_leaves_nothing(
    tmp_path: Path, changes: dict[str, Any], files: dict[str, bytes], words: str
) -> None:
    with pytest.raises(BundleError, match=words):
        Bundle.write(tmp_path / "out", tiny_manifest(**changes), files)
    assert list(tmp_path.iterdir()) == []


def test_a_crash_while_replacing_keeps_the_old_one(folder: Path) -> None:
    before = Bundle.load(folder)

    def crash() -> None:
        with new_bundle(folder, overwrite=True) as draft:
            (draft / MODEL).write_bytes(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        crash()
    assert Bundle.load(folder) == before
    assert [p.name for p in folder.parent.iterdir()] == [folder.name]


def test_what_older_versions_read_is_still_format_1(tmp_path: Path) -> None:
    """A classifier's manifest says format 1; only what format 1 cannot say makes it 2."""
    text = tiny_manifest().to_text()
    assert '"format": 1,' in text
    assert not {"feeds", "more_outputs"} & set(json.loads(text))
    for name in list_bundles():
        assert json.loads((SHIPPED / name / MANIFEST).read_text())["format"] == 1
    later = tiny_detector(tmp_path / "d")
    tree = json.loads((later.folder / MANIFEST).read_text())
    assert (tree["format"], tree["feeds"]) == (2, {"scale_factor": "scale_factor"})
    assert later.manifest.more_outputs == ("counts",)
    assert '"format": 2,' in tiny_manifest(labels=(), postprocess={"name": "embedding"}).to_text()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t.update(labels=[]), "labels: expected a list of 1 or more"),
        (lambda t: t.update(feeds={}), "feeds: unknown key"),
        (
            lambda t: t.update(format=2, feeds={"x": "colour"}),
            "expected one of im_shape, scale_factor",
        ),
        (lambda t: t.update(format=2, more_outputs=[1]), "more_outputs.0: expected a text"),
    ],
)
def test_each_format_has_its_own_keys(folder: Path, change: Any, words: str) -> None:
    resealed(folder, change)
    assert words in refusal(folder)


@pytest.mark.parametrize("name", ["boxes", "embedding", "binarize", "of_a_plugin"])
def test_without_labels_where_results_are_no_classes(name: str) -> None:
    text = tiny_manifest(labels=(), threshold=None, postprocess={"name": name}).to_text()
    assert parse_manifest(text.encode(), "b").labels == ()


@pytest.mark.parametrize("name", ["topk", "threshold", "scores", "multilabel", "face_attribute"])
def test_classes_have_names(name: str) -> None:
    text = tiny_manifest(labels=(), threshold=None, postprocess={"name": name}).to_text()
    with pytest.raises(BundleError, match="labels: expected a list of 1 or more"):
        parse_manifest(text.encode(), "b")


@pytest.mark.parametrize(
    ("plugins", "words"),
    [
        (5, "recipe.plugins: expected a list"),
        ([5], "recipe.plugins.0: expected a mapping of name, sha256, needed_for"),
        ([{"name": 3, "sha256": "", "needed_for": []}], "recipe.plugins.0.name: expected a text"),
        ([{"name": "a.py", "sha256": "", "needed_for": "ab"}], "needed_for: expected a list"),
    ],
)
def test_plugins_that_are_none(folder: Path, plugins: Any, words: str) -> None:
    resealed(folder, lambda t: t["recipe"].update(plugins=plugins))
    assert words in refusal(folder)


def test_an_error_while_writing_names_the_folder_that_was_asked_for(tmp_path: Path) -> None:
    with pytest.raises(BundleError) as caught:
        Bundle.write(tmp_path / "b", tiny_manifest(labels=()), {MODEL: tiny_onnx()})
    assert str(caught.value).startswith(f"{tmp_path / 'b' / 'bundle.yaml'}: labels: ")
