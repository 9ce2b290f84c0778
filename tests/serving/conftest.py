"""One server for the tests that change nothing in it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.bundles import tiny_bundle, tiny_detector
from support.serving import Server


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Serves the clarity model, and tiny ones: `brightness`, `boxes`, `vector` and two versions of `light`."""
    folder = tmp_path_factory.mktemp("serving")
    tiny_bundle(folder / "brightness")
    tiny_detector(folder / "boxes")
    tiny_bundle(folder / "vector", postprocess={"name": "embedding"}, threshold=None)
    tiny_bundle(
        folder / "newer",
        labels=("night", "day"),
        postprocess={"name": "topk", "k": 1},
        threshold=None,
    )
    names = [f"{name}={folder / name}" for name in ("brightness", "boxes", "vector")]
    names += [f"light={folder / 'brightness'}", f"light:10={folder / 'newer'}"]
    with Server(folder, "clarity_assessment", *names, "--compat", "paddlex,paddleserving,hubserving",
                "--metrics", "triton", "--deadline", 30) as found:  # fmt: skip
        yield found


@pytest.fixture(scope="session")
def photo() -> bytes:
    """A JPEG."""
    return next(
        (Path(__file__).parents[2] / "samples" / "clarity" / "sharp").glob("*.jpg")
    ).read_bytes()
