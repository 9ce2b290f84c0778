"""A native run imports what it uses: no PaddleClas, no other families of networks or losses."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from support.tiny import make_images, write_recipe

LIMIT = 100

CODE = """
import sys
from tinysight.cli import main
code = main(sys.argv[1:])
print(*(name for name in sys.modules if name.split(".")[0] == "tinysight"), file=sys.stderr)
sys.exit(code)
"""


def test_a_native_run_imports_no_more_than_it_uses(tmp_path: Path) -> None:
    recipe = write_recipe(make_images(tmp_path / "pictures"))
    words = ["train", "-c", str(recipe), "--out", str(tmp_path / "run"), "-o", "train.epochs=1"]
    done = subprocess.run(
        [sys.executable, "-c", CODE, *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    names = done.stderr.splitlines()[-1].split()
    assert [name for name in names if name.startswith("tinysight.compat")] == []
    assert len(names) <= LIMIT, "\n".join(sorted(names))
