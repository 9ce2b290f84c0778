"""Galleries behind the server: what is there is found, and its keeping needs an administrator."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import cv2
import pytest

from support.bundles import tiny_detector
from support.commands import tinysight
from support.galleries import draw, embedding_bundle, make_photos
from support.serving import Server
from tinysight.bundle.system import Rules, System, SystemManifest
from tinysight.gallery.gallery import Gallery
from tinysight.pipelines.recognize import Recognizer
from tinysight.serving.limits import new_token


def png(seed: int, label: int) -> bytes:
    image = cv2.cvtColor(draw(seed, label), cv2.COLOR_RGB2BGR)
    return bytes(cv2.imencode(".png", image)[1])


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A system, and the gallery of two labels that its embedder made."""
    embedder = embedding_bundle(tmp_path / "embedder")
    detector = tiny_detector(tmp_path / "detector")
    manifest = SystemManifest("shelf", {}, Rules(threshold=0.9, score_threshold=0.8))
    System.write(tmp_path / "system", manifest, {"detector": detector, "embedder": embedder})
    gallery = Gallery.create(tmp_path / "drinks", model=embedder)
    gallery.add(make_photos(tmp_path / "photos"))
    gallery.close()
    return tmp_path


@pytest.fixture
def server(place: Path, token: dict[str, str]) -> Iterator[Server]:
    words = ["--system", place / "system", "--gallery", place / "drinks"]
    with Server(place, *words, "--admin-token-file", place / "admin", grpc=False) as found:
        yield found


@pytest.fixture
def token(place: Path) -> dict[str, str]:
    return {"authorization": f"Bearer {new_token(place / 'admin')}"}


def test_a_gallery_is_asked_and_kept(place: Path, token: dict[str, str], server: Server) -> None:
    """Found, added to and at once recognised, removed from; and as the same pipeline in this process says."""
    assert server.get("/v1/galleries").json() == {
        "galleries": [{"name": "drinks", "items": 6, "metric": "cosine", "dim": 48}]
    }
    cola, new = png(99, 1), png(7, 2)
    gallery = Gallery(place / "drinks")
    asked = server.post("/v1/galleries/drinks/query?k=2", cola)
    assert asked.json() == {"matches": [m._asdict() for m in gallery.query(cola, 2)]}
    recognizer = Recognizer(place / "system", gallery.store)
    assert server.post("/v1/recognize", cola).json() == recognizer(cola).named("image").to_json()
    assert server.post("/v1/recognize", cola).json()["label_names"] == ["cola"]
    assert server.post("/v1/recognize", new).json()["label_names"] == []

    label = quote("Oolong tea, 500 ml")
    add = f"/v1/galleries/drinks/add?label={label}"
    added = server.post(f"{add}&id=oolong", png(8, 2), **token)
    assert added.json() == {"added": 1, "unchanged": 0}
    assert server.post("/v1/recognize", new).json()["label_names"] == ["Oolong tea, 500 ml"]
    assert gallery.store.get(["oolong"])[0].label == "Oolong tea, 500 ml"
    assert server.post(f"{add}&id=oolong", png(8, 2), **token).json() == {
        "added": 0,
        "unchanged": 1,
    }

    removed = server.post("/v1/galleries/drinks/remove", {"ids": ["oolong", "nobody"]}, **token)
    assert removed.json() == {"removed": 1}
    assert server.post("/v1/recognize", new).json()["label_names"] == []
    assert tinysight("gallery", "verify", place / "drinks").code == 0
    gallery.close()


def test_several_images_and_bad_ones(token: dict[str, str], server: Server) -> None:
    texts = [base64.b64encode(data).decode() for data in (png(1, 0), b"no image")]
    rows = server.post("/v1/recognize", {"images": texts}).json()["results"]
    assert rows[0]["label_names"] == ["green tea"]
    assert "error" in rows[1]
    assert server.post("/v1/galleries/drinks/query", b"no image").status == 422
    bad = server.post("/v1/galleries/drinks/add?label=x", b"no image", **token)
    assert bad.status == 422
    bad = server.post("/v1/galleries/drinks/add?label=x", {"images": texts}, **token)
    assert (bad.status, "not a JPEG" in bad.json()["error"]) == (422, True)
    assert not bad.json()["error"].startswith("not a JPEG")  # but which one
    for label in ("", "%20"):
        path = f"/v1/galleries/drinks/add?label={label}"
        assert server.post(path, png(1, 0), **token).status == 400
    assert server.get("/v1/galleries").json()["galleries"][0]["items"] == 6


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v1/galleries/none/query", 404),
        ("/v1/galleries/..%2fdrinks/query", 404),
        ("/v1/galleries/drinks/query?k=0", 400),
        ("/v1/galleries/drinks/query?k=x", 400),
        ("/v1/galleries/drinks/add?label=x", 401),
        ("/v1/galleries/drinks/remove", 401),
        ("/v1/recognize?gallery=none", 404),
        ("/v1/recognize?threshold=0.9", 400),
    ],
)
def test_refusals(token: dict[str, str], server: Server, path: str, status: int) -> None:
    found = server.post(path, png(1, 0))
    assert found.status == status
    assert "Traceback" not in found.body.decode()


def test_what_does_not_fit_stops_the_start(place: Path) -> None:
    other = embedding_bundle(place / "other", shift=0.1)
    words = ("serve", "--gallery", place / "drinks", "--port", "0", "--no-grpc")
    refused = tinysight(*words, "--system", other.folder)
    assert (refused.code, "not of this other" in refused.err) == (2, True)
    assert tinysight("serve", "--system", place / "system").code == 2
    assert tinysight(*words, "--gallery", f"drinks={place / 'drinks'}").code == 2
    assert tinysight("serve", "--gallery", place / "nothing", "--no-grpc").code == 2
    for name in ("", "a/b"):
        refused = tinysight("serve", "--gallery", f"{name}={place / 'drinks'}", "--no-grpc")
        assert (refused.code, "is no name" in refused.err) == (2, True)


def test_the_contract_names_the_routes(server: Server) -> None:
    """And those of no server that has no gallery."""
    paths = server.get("/openapi.json").json()["paths"]
    assert {"/v1/recognize", "/v1/galleries", "/v1/galleries/{name}/add"} <= paths.keys()
