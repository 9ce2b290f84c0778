"""`tinysight gallery` end to end."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from support.commands import tinysight
from support.galleries import embedding_bundle, make_photos


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return embedding_bundle(tmp_path_factory.mktemp("bundle") / "embedder").folder


@pytest.fixture(scope="module")
def built(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("built")
    make_photos(folder / "photos")
    done = tinysight("gallery", "build", "g", "photos", "--model", bundle, cwd=folder)
    assert done.code == 0, done.err
    assert done.out == "g: 6 written, 6 embedded, 0 reused, 0 unchanged, 6 items\n"
    return folder


@pytest.fixture
def here(built: Path, tmp_path: Path) -> Path:
    """A folder with the images and a gallery of its own."""
    shutil.copytree(built, tmp_path / "here")
    return tmp_path / "here"


def test_nothing_to_a_recognised_object(here: Path) -> None:
    done = tinysight("gallery", "query", "g", "photos/cola/1.png", "-k", "2", cwd=here)
    assert done.code == 0, done.err
    first, second = (line.split("\t") for line in done.out.splitlines())
    assert first == ["photos/cola/1.png", "cola", "1.000000"]
    assert second[1] == "cola"
    assert 0.9 < float(second[2]) < 1


def test_building_again_embeds_nothing(here: Path, bundle: Path) -> None:
    done = tinysight("gallery", "build", "g", "photos", "--json", cwd=here)
    assert done.code == 0, done.err
    assert json.loads(done.out) == {
        "written": 0, "embedded": 0, "reused": 0, "unchanged": 6, "items": 6, "unreadable": [],
    }  # fmt: skip
    (here / "photos" / "cola" / "1.png").rename(here / "photos" / "cola" / "new.png")
    done = tinysight("gallery", "add", "g", "photos", "--json", cwd=here)
    assert json.loads(done.out)["embedded"] == 0
    assert json.loads(done.out)["reused"] == 1
