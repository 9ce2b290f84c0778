"""Every command and every Python block of the README and the docs is run, in order, page by page.

A page's blocks share one folder, which holds the sample images, a small data set `images/` and the YAML and Python
blocks whose first line names a file. `make` and `pip` lines set up the environment that this suite already runs in;
lines with a program in `build/` run where `make` has built it. A server runs until its page ends, on free ports.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import sys
from contextlib import ExitStack
from pathlib import Path

import cv2
import numpy as np
import pytest

from support.commands import execute
from support.cpp import BUILD
from support.serving import Server

REPO = Path(__file__).resolve().parents[2]
LONG = {  # twenty seconds and more: run by `make test-all`
    *("coming_from.md", "deploy.md", "detection.md", "distillation.md", "evaluation.md"),
    *("examples.md", "first_hour.md", "gallery.md", "plugins.md", "python.md", "recognition.md"),
    *("recognize.md", "runs.md", "training.md", "verify.md"),
}
PAGES = [REPO / "README.md", *sorted((REPO / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
SET_UP = ("make", "pip", "git")


def commands(text: str) -> list[list[str]]:
    """The command lines of a shell block, comments and continuation lines resolved."""
    joined = text.replace("\\\n", " ")
    return [words for line in joined.splitlines() if (words := shlex.split(line, comments=True))]


def make_images(folder: Path) -> None:
    """Twelve images of two kinds that a network tells apart, and their lists."""
    rng = np.random.default_rng(0)
    folder.mkdir()
    lines = []
    for i in range(12):
        label = i % 2
        image = rng.integers(0, 80, (48, 64, 3)) + 150 * label
        cv2.imwrite(str(folder / f"{i}.png"), image)
        lines.append(f"{i}.png {label}")
    (folder / "train_list.txt").write_text("\n".join(lines[:8]), encoding="utf-8")
    (folder / "val_list.txt").write_text("\n".join(lines[8:]), encoding="utf-8")


@pytest.mark.parametrize(
    "page",
    [pytest.param(p, marks=pytest.mark.slow) if p.name in LONG else p for p in PAGES],
    ids=[p.name for p in PAGES],
)
def test_the_blocks_of_a_page_run(page: Path, tmp_path: Path) -> None:
    (tmp_path / "samples").symlink_to(REPO / "samples")
    (tmp_path / "my_folder").symlink_to(REPO / "samples" / "clarity" / "blurred")
    (tmp_path / "build").symlink_to(BUILD)
    make_images(tmp_path / "images")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    ports: dict[str, str] = {}  # of the page, and those that they became
    with ExitStack() as stack:
        for language, text in BLOCK.findall(page.read_text("utf-8")):
            if name := re.match(r"# (\S+\.(?:yaml|py))\n", text):
                (tmp_path / name[1]).write_text(text, encoding="utf-8")
                continue
            for there, here in ports.items():
                text = text.replace(f"127.0.0.1:{there}", f"127.0.0.1:{here}")
            for words in jobs(language, text):
                built = [word for word in words if word.startswith("build/")]
                if words[0] in SET_UP or not all((tmp_path / word).is_file() for word in built):
                    continue
                if words[:2] == ["tinysight", "serve"] and not words[2].startswith("--"):
                    here = [tmp_path / w if (tmp_path / w).exists() else w for w in words[2:]]
                    server = stack.enter_context(Server(tmp_path, *here))
                    ports = {"8000": str(server.port), "8001": str(server.grpc_port)}
                    continue
                done = execute(words, cwd=tmp_path, PATH=path, no_proxy="127.0.0.1")
                assert done.code == 0, f"{page.name}: {' '.join(words)}\n{done.out}{done.err}"


def jobs(language: str, text: str) -> list[list[str]]:
    """The commands of a block; those of programs that are not installed here are left out."""
    one = {
        "python": [sys.executable, "-c", text],
        "js": ["node", "--input-type=module", "-e", text],
    }
    words = commands(text) if language == "sh" else [one[language]] if language in one else []
    return [w for w in words if w[0] not in ("curl", "node") or shutil.which(w[0])]
