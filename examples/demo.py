"""What `make demo` shows: predict with the shipped bundle, then make a model of one's own, and use it without torch.

Every step is a command that a user could type; it is printed before it runs. The images are those in
`samples/clarity`; the work goes to `runs/demo`.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import time
from pathlib import Path

REPO = Path(__file__).resolve().parent.parent
RUN = Path("runs/demo")


def main() -> None:
    """Run the steps; stops at the first that fails."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--base", required=True, help="the tinysight command of an environment without torch"
    )
    base = parser.parse_args().base
    tinysight = str(Path(sys.executable).with_name("tinysight"))
    start = time.perf_counter()

    say("1  The shipped model on the shipped images, in an environment without torch")
    images = ("samples/clarity/blurred", "samples/clarity/sharp/[a-d]*")
    run(base, "predict", *images, "--model", "clarity_assessment")

    say("2  A data set from the sample photographs: some blurred, split by photograph")
    shutil.rmtree(REPO / RUN, ignore_errors=True)
    photos = ("--photos", "samples/clarity/sharp", "--train-windows", 8, "--test-windows", 4)
    run(sys.executable, "datasets/clarity/build.py", RUN / "data", *photos)

    say("3  Train a small network on it (half a minute to a minute)")
    run(tinysight, "train", "-c", "examples/clarity_demo.yaml", "--out", RUN / "run")

    say("4  Export it: ONNX and everything that a prediction needs, checked against torch")
    run(tinysight, "export", "--run", RUN / "run", "--out", RUN / "bundle")

    say("5  Evaluate the bundle, and predict with it where there is no torch")
    run(
        tinysight,
        "eval",
        "--bundle",
        RUN / "bundle",
        "--list",
        RUN / "data/val_list.txt",
        "--root",
        RUN / "data",
    )
    run(base, "predict", "samples/clarity/blurred", "--model", RUN / "bundle")

    say(f"Done in {time.perf_counter() - start:.0f} s. What it made:")
    for what, path in (
        ("run", RUN / "run"),
        ("bundle", RUN / "bundle"),
        ("report", RUN / "run/report.html"),
    ):
        if not (REPO / path).exists():
            sys.exit(f"error: {path} was not made")
        print(f"  {what:7s} {path}")


def say(text: str) -> None:
    """A heading."""
    print(f"\n== {text}", flush=True)


def run(*words: object) -> None:
    """Print one command and run it from the repository's root."""
    command = [str(w) for w in words]
    shown = [Path(command[0]).name, *command[1:]]
    print("$ " + " ".join(shown), flush=True)
    done = subprocess.run(command, cwd=REPO, check=False)
    if done.returncode:
        sys.exit(f"error: this step failed with exit code {done.returncode}")


if __name__ == "__main__":
    main()
