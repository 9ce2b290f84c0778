"""Several processes: the same step as one, the same curve, and the real error when one of them dies."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from support import together
from support.commands import Completed, execute
from support.tiny import make_images, make_weights, tiny_recipe, write_recipe
from tinysight.errors import CheckpointError, ConfigError
from tinysight.training import fit
from tinysight.training.distributed import Processes, processes
from tinysight.training.run import build_run

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked")

LAUNCH = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]


def steps(folder: Path, world: int) -> dict[str, torch.Tensor]:
    """The weights after three steps on `world` processes."""
    out = folder / f"{world}.safetensors"
    words = [sys.executable, together.__file__, world, out]
    done = execute(words, timeout=120, PYTHONPATH=os.pathsep.join(sys.path))
    assert done.code == 0, done.err
    return load_file(out)


def test_processes_make_the_step_of_one(tmp_path: Path) -> None:
    """With accumulation, clipping, an unreadable image, and fewer images than two for each process."""
    one = steps(tmp_path, 1)
    for world in (2, 3):
        found = steps(tmp_path, world)
        for name in found:
            if "norm" not in name:
                torch.testing.assert_close(found[name], one[name], rtol=1e-5, atol=1e-6)
        # Momentum 1: the statistics of the last batch, which one process had to itself.
        torch.testing.assert_close(found["norm.running_mean"], one["norm.running_mean"])
    assert one["totals"][1].item() == 23 + 24 + 3


def launch(root: Path, *words: str, timeout: int = 120) -> Completed:
    path = os.pathsep.join(sys.path)
    return execute([*LAUNCH, *words], cwd=root, timeout=timeout, PYTHONPATH=path)


def curve(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text("utf-8").splitlines()]


PROBE = ("model.pretrained={weights}", "model.skip=[classifier]", "model.linear_probe=true")
TRUNK = "[conv1, blocks2, blocks3, blocks4, blocks5, blocks6]"


@pytest.mark.parametrize(
    ("options", "tolerance"),
    [
        ((f"model.freeze={TRUNK}", *PROBE), 1e-5),  # normalisation at rest: rounding alone
        (("transforms.train.0.size=[96, 96]",), 0.1),  # each over its own half of a batch
    ],
)
def test_torchrun_trains_the_same_curve(
    tmp_path: Path, options: tuple[str, ...], tolerance: float
) -> None:
    recipe = write_recipe(make_images(tmp_path / "pictures", train=64))
    weights = make_weights(tmp_path / "weights.pth")
    options = tuple(option.format(weights=weights) for option in options)
    options += ("train.lr=0.005", "train.epochs=3", "train.lr_batch_size=32")
    options += ("model.backbone.dropout=0",)  # which draws otherwise in each process
    words = ["-m", "tinysight", "train", "-c", str(recipe), "--out", "two"]
    done = launch(tmp_path, *words, "-o", *options, "data.batch_size=16")
    assert done.code == 0, done.err
    assert done.out.count("best epoch") == 1  # the first process tells
    assert done.err.count("16 x 2 (processes) x 1 (accumulate) = 32, so the rate is") == 1
    fit(tiny_recipe(tmp_path / "pictures", *options, "data.batch_size=32"), tmp_path / "one")
    one, two = curve(tmp_path / "one"), curve(tmp_path / "two")
    assert [line["lr"] for line in two] == [line["lr"] for line in one]
    for a, b in zip(one, two, strict=True):
        assert b["loss"] == pytest.approx(a["loss"], rel=tolerance)
    assert json.loads((tmp_path / "two" / "environment.json").read_text())["processes"] == 2
    alone = tiny_recipe(tmp_path / "pictures", *options, "data.batch_size=16")
    with pytest.raises(CheckpointError, match=r"of 2 processes, now there are 1; resume with as"):
        fit(alone, tmp_path / "two", resume=True)


FAULT = """
import os, signal, sys, torch
from tinysight.cli import main
from tinysight.errors import DataError

def fail(*args, **options):
    {what}

if os.environ["RANK"] == "1":
    torch.Tensor.backward = fail
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize(
    ("what", "told"),
    [
        ("raise DataError('disk', 'is on fire')", "error: disk: is on fire"),
        ("os.kill(os.getpid(), signal.SIGKILL)", "Signal 9 (SIGKILL) received by PID"),
    ],
)
def test_a_process_that_dies_ends_the_run_with_the_real_error(
    tmp_path: Path, what: str, told: str
) -> None:
    recipe = write_recipe(make_images(tmp_path / "pictures"))
    (tmp_path / "fault.py").write_text(FAULT.format(what=what))
    done = launch(tmp_path, "fault.py", "train", "-c", str(recipe), "--out", "run")
    assert done.code != 0
    assert told in done.err
    cause = done.err.split("Root Cause")[1]
    assert "rank      : 1" in cause
    assert "[rank0]: Traceback" not in done.err  # the process that was left alone says why


def test_an_environment_that_is_not_complete(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.delenv("RANK", raising=False)
    with (
        pytest.raises(ConfigError, match="RANK: should be a whole number, got ''"),
        processes(),
    ):
        pass


def test_synchronised_normalisation_needs_gpus(tmp_path: Path) -> None:
    recipe = tiny_recipe(make_images(tmp_path / "pictures"), "train.sync_bn=true")
    two = Processes(0, 2, torch.device("cpu"))
    with pytest.raises(ConfigError, match=r"train\.sync_bn: .* needs a GPU .*; set it to false"):
        build_run(recipe, None, False, two)
