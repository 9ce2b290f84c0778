"""A native run imports what it uses: no PaddleClas, no other families of networks or losses."""

from __future__ import annotations

from pathlib import Path

from support.commands import python

LIMIT = 100

CODE = """
import sys
from tinysight.cli import main
code = main(sys.argv[1:])
print(*(name for name in sys.modules if name.split(".")[0] == "tinysight"), file=sys.stderr)
sys.exit(code)
"""


def test_a_native_run_imports_no_more_than_it_uses(tiny_images: Path, tmp_path: Path) -> None:
    recipe = tiny_images / "recipe.yaml"
    words = ["train", "-c", recipe, "--out", tmp_path / "run", "-o", "train.epochs=1"]
    done = python("-c", CODE, *words)
    assert done.code == 0, done.err
    names = done.err.splitlines()[-1].split()
    assert [name for name in names if name.startswith("tinysight.compat")] == []
    assert len(names) <= LIMIT, "\n".join(sorted(names))
