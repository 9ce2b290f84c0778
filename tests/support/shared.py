"""What several tests use and none may change: made once for a test process. Copy a folder before it is changed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tinysight.training import FitResult  # the tests of predictions do not import PyTorch


@pytest.fixture(scope="session")
def tiny_images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The images of `support.tiny.make_images`, their lists and the recipe `recipe.yaml`."""
    from support.tiny import make_images, write_recipe

    return write_recipe(make_images(tmp_path_factory.mktemp("tiny") / "images")).parent


@pytest.fixture(scope="session")
def tiny_run(tiny_images: Path) -> FitResult:
    """A run of two epochs on `tiny_images`, in the folder `run` beside them."""
    from support.tiny import tiny_recipe
    from tinysight.training import fit

    return fit(tiny_recipe(tiny_images), tiny_images.parent / "run")
