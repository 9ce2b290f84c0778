from __future__ import annotations

import json
import logging
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from support.tiny import make_images, recipe_tree, tiny_recipe
from tinysight.config import Recipe, load_recipe
from tinysight.config.load import check_tree
from tinysight.errors import CheckpointError, ConfigError, DataError
from tinysight.evaluation.predictor import evaluate
from tinysight.training import FitResult, evaluate_run, fit, load_model, load_predictor
from tinysight.training.checkpoint import load_checkpoint
from tinysight.training.networks import initial_model
from tinysight.training.step import seed
from tinysight.transforms import Compose


@pytest.fixture
def images(tiny_images: Path) -> Path:
    return tiny_images


@pytest.fixture
def finished(tiny_run: FitResult) -> FitResult:
    return tiny_run


@pytest.fixture
def copied(tiny_run: FitResult, tmp_path: Path) -> FitResult:
    """The finished run in a folder of its own, to be changed."""
    out = shutil.copytree(tiny_run.out, tmp_path / "run")
    best, last = (out / path.relative_to(tiny_run.out) for path in (tiny_run.best, tiny_run.last))
    return replace(tiny_run, out=out, best=best, last=last)


def lines(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text("utf-8").splitlines()]


def last_weights(run: Path) -> dict[str, torch.Tensor]:
    return load_checkpoint(run / "checkpoints" / "last.safetensors").model


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def test_a_tiny_network_separates_two_colours(tmp_path: Path) -> None:
    recipe = tiny_recipe(make_images(tmp_path, 64, 32), "train.epochs=12", "train.lr=0.02")
    result = fit(recipe, tmp_path / "run")
    assert result.metrics["top1"] > 0.85
    losses = [line["loss"] for line in lines(result.out)]
    assert losses[-1] < losses[0] / 2


def test_what_a_run_leaves(images: Path, finished: FitResult) -> None:
    run = finished.out
    assert sorted(p.relative_to(run).as_posix() for p in run.rglob("*") if p.is_file()) == [
        "checkpoints/best.safetensors",
        "checkpoints/last.safetensors",
        "checkpoints/previous.safetensors",
        "environment.json",
        "metrics.jsonl",
        "recipe.yaml",
        "tensorboard/events.out.tfevents.0.tinysight",
    ]
    assert load_recipe(run / "recipe.yaml") == tiny_recipe(images)
    assert json.loads((run / "environment.json").read_text())["torch"] == torch.__version__
    first, second = lines(run)
    assert (first["epoch"], first["step"], second["epoch"], second["step"]) == (1, 5, 2, 10)
    assert first["best"]
    assert set(first) == {
        "epoch", "step", "loss", "lr", "metrics", "unreadable", "best", "seconds", "time",
    }  # fmt: skip
    assert finished.unreadable == ()
    assert finished.best == run / "checkpoints" / "best.safetensors"
    best = load_checkpoint(finished.best)
    assert best.optimizer == {}
    assert best.state.best == {"epoch": finished.epoch, "metrics": finished.metrics}
    assert finished.metrics == lines(run)[finished.epoch - 1]["metrics"]


def test_the_same_seed_gives_the_same_weights(
    images: Path, finished: FitResult, tmp_path: Path
) -> None:
    torch.manual_seed(1234)  # what the caller did with the generator does not matter
    fit(tiny_recipe(images, "data.workers=2"), tmp_path / "again")
    assert same(last_weights(tmp_path / "again"), last_weights(finished.out))


def test_another_seed_gives_other_weights(
    images: Path, finished: FitResult, tmp_path: Path
) -> None:
    fit(tiny_recipe(images, "train.seed=1"), tmp_path / "run")
    ours, theirs = last_weights(tmp_path / "run"), last_weights(finished.out)
    assert not torch.equal(ours["fc.weight"], theirs["fc.weight"])


def test_the_global_generator_is_left_alone(images: Path, tmp_path: Path) -> None:
    before = torch.get_rng_state()
    fit(tiny_recipe(images, "train.epochs=1"), tmp_path / "run")
    assert torch.equal(torch.get_rng_state(), before)


def test_the_predictor_scores_what_the_run_measured(images: Path, finished: FitResult) -> None:
    predict, recipe = load_predictor(finished.out)
    assert recipe == tiny_recipe(images)
    found = evaluate(
        predict,
        samples_of(images),
        Compose.from_specs([t.spec for t in recipe.transforms.eval]),
        [m.spec for m in recipe.metrics],
        batch_size=3,
        labels=recipe.data.labels,
    )
    assert found.metrics == finished.metrics
    assert np.allclose(found.scores.sum(axis=1), 1, atol=1e-6)


def samples_of(root: Path) -> Any:
    from tinysight.data.lists import read_list

    return read_list(root / "val.txt", root, 2)


def test_a_model_is_loaded_from_a_run_or_a_checkpoint(finished: FitResult) -> None:
    best, _ = load_model(finished.out)
    assert same(best.state_dict(), load_checkpoint(finished.best).model)
    assert not best.training
    last, _ = load_model(finished.last)
    assert same(last.state_dict(), last_weights(finished.out))


def test_there_is_nothing_to_load(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no checkpoint in this folder yet"):
        load_model(tmp_path)
    with pytest.raises(CheckpointError, match="no such run or checkpoint"):
        load_predictor(tmp_path / "gone")


def test_a_run_is_never_overwritten(images: Path, finished: FitResult) -> None:
    before = finished.last.read_bytes()
    with pytest.raises(CheckpointError, match=r"already holds a run.*--resume"):
        fit(tiny_recipe(images), finished.out)
    assert finished.last.read_bytes() == before


def test_a_folder_with_other_things_in_it_may_be_used(images: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    fit(tiny_recipe(images, "train.epochs=1"), tmp_path)
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_another_recipe_is_not_resumed(images: Path, finished: FitResult) -> None:
    other = tiny_recipe(images, "train.lr=0.5", "model.backbone.name=pplcnet_x0_35")
    with pytest.raises(CheckpointError) as caught:
        fit(other, finished.out, resume=True)
    message = str(caught.value)
    assert "model.backbone.name: 'pplcnet_x0_25' there, 'pplcnet_x0_35' here" in message
    assert "train.lr: 0.05 there, 0.5 here" in message


def test_a_run_is_resumed_with_fields_that_are_new_since_it_began(
    images: Path, tmp_path: Path
) -> None:
    recipe = tiny_recipe(images, "train.epochs=1")
    run = fit(recipe, tmp_path / "run").out
    stored = (run / "recipe.yaml").read_text("utf-8")
    older = "".join(line for line in stored.splitlines(True) if "eval_from" not in line)
    assert older != stored
    (run / "recipe.yaml").write_text(older, "utf-8")
    assert fit(recipe, run, resume=True).epoch == 1


def test_a_finished_run_resumes_to_itself(images: Path, copied: FitResult) -> None:
    first, before = copied, copied.last.read_bytes()
    again = fit(tiny_recipe(images), first.out, resume=True)
    assert first.last.read_bytes() == before
    assert (again.epoch, again.metrics) == (first.epoch, first.metrics)
    assert [line["epoch"] for line in lines(first.out)] == [1, 2]


def test_resume_begins_where_there_is_no_run(
    images: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fit(tiny_recipe(images, "train.epochs=1"), tmp_path / "run", resume=True)
    assert "no run to resume, so this one begins" in caplog.text


def test_moved_images_are_the_same_run_and_another_list_is_not(tmp_path: Path) -> None:
    old = make_images(tmp_path / "old")
    result = fit(tiny_recipe(old), tmp_path / "run")
    new = old.rename(tmp_path / "new")
    recipe = tiny_recipe(new)
    fit(recipe, tmp_path / "run", resume=True)
    assert load_recipe(result.out / "recipe.yaml") == recipe  # where they are now
    listed = (new / "train.txt").read_text("utf-8")
    (new / "train.txt").write_text(listed.replace(" 0\n", " 1\n", 1), "utf-8")
    with pytest.raises(CheckpointError, match=r"train\.txt has changed since this run began"):
        fit(recipe, tmp_path / "run", resume=True)


def test_a_damaged_checkpoint_says_what_to_do(images: Path, copied: FitResult) -> None:
    recipe, whole = tiny_recipe(images), copied
    weights = last_weights(whole.out)
    whole.last.write_bytes(whole.last.read_bytes()[:-100])
    with pytest.raises(CheckpointError) as caught:
        fit(recipe, whole.out, resume=True)
    assert str(whole.last) in str(caught.value)
    assert "delete it, and --resume continues from previous.safetensors" in str(caught.value)
    whole.last.unlink()  # what it says
    fit(recipe, whole.out, resume=True)
    assert same(last_weights(whole.out), weights)
    assert [line["step"] for line in lines(whole.out)] == [5, 10]


def test_evaluation_every_few_epochs_and_at_the_end(images: Path, tmp_path: Path) -> None:
    fit(tiny_recipe(images, "train.epochs=3", "train.eval_every=2"), tmp_path / "run")
    assert ["metrics" in line for line in lines(tmp_path / "run")] == [False, True, True]


def test_unreadable_images_are_skipped_counted_and_named_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = make_images(tmp_path / "pictures")
    (root / "train_3.png").write_bytes(b"not an image")
    (root / "val_2.png").unlink()
    recipe = tiny_recipe(root, "data.max_bad_fraction=0.2", "train.checkpoint_every=1")
    result = fit(recipe, tmp_path / "run")
    assert [Path(path).name for path, _ in result.unreadable] == ["train_3.png", "val_2.png"]
    named = [r for r in caplog.records if "train_3.png" in r.getMessage()]
    assert len(named) == 1  # in two epochs
    assert [line["unreadable"] for line in lines(tmp_path / "run")] == [1, 1]
    again = fit(recipe, tmp_path / "run", resume=True)
    assert [Path(path).name for path, _ in again.unreadable] == ["train_3.png"]


@pytest.mark.parametrize("split", ["train", "val"])
def test_too_many_unreadable_images_stop_the_run(tmp_path: Path, split: str) -> None:
    root = make_images(tmp_path / "pictures")
    for i in range(3):
        (root / f"{split}_{i}.png").write_bytes(b"not an image")
    with pytest.raises(DataError) as caught:
        fit(tiny_recipe(root, "data.max_bad_fraction=0.05"), tmp_path / "run")
    message = str(caught.value)
    assert f"{split}.txt: " in message
    assert f"{split}_" in message
    assert "data.max_bad_fraction (0.05)" in message


def test_a_batch_left_with_one_image_is_no_step(tmp_path: Path) -> None:
    """Two of three images are gone; the network stays as it was built, and the run ends."""
    root = make_images(tmp_path / "pictures", train=3)
    for i in range(2):
        (root / f"train_{i}.png").unlink()
    recipe = tiny_recipe(root, "data.max_bad_fraction=1", "train.epochs=1")
    fit(recipe, tmp_path / "run")
    (line,) = lines(tmp_path / "run")
    assert line["loss"] == 0.0
    assert last_weights(tmp_path / "run")["conv1.bn.num_batches_tracked"] == 0


@pytest.mark.parametrize(
    ("label", "message"), [(1, "no negatives"), (0, "tpr of perfect answers is 0 on these labels")]
)
def test_a_list_that_lacks_what_a_metric_needs_stops_before_the_first_step(
    tmp_path: Path, label: int, message: str
) -> None:
    root = make_images(tmp_path / "pictures")
    (root / "val.txt").write_text(f"val_0.png {label}\nval_1.png {label}\n", "utf-8")
    tree = {**recipe_tree(root), "metrics": [{"name": "tpr_at_fpr", "max_fpr": 0.1}]}
    with pytest.raises(DataError, match=r"val\.txt") as caught:
        fit(checked(tree), tmp_path / "run")
    assert message in str(caught.value)
    assert not (tmp_path / "run").exists()


def checked(tree: dict[str, Any]) -> Recipe:
    recipe, problems = check_tree(tree)
    assert not problems
    assert recipe is not None
    return recipe


def test_a_recipe_that_cannot_be_exported_stops_before_the_first_step(tmp_path: Path) -> None:
    tree = recipe_tree(make_images(tmp_path / "pictures"))
    tree["transforms"]["eval"] = [{"name": "normalize"}]
    with pytest.raises(ConfigError, match="resize to a size"):
        fit(checked(tree), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_loss_that_is_no_number_stops_the_run(images: Path, tmp_path: Path) -> None:
    recipe = tiny_recipe(images, "train.lr=1e30")
    with pytest.raises(ConfigError, match=r"train\.lr: the loss became (nan|inf)"):
        fit(recipe, tmp_path / "run")
    assert not (tmp_path / "run" / "checkpoints").exists()


@pytest.mark.parametrize(
    "options",
    [
        ("train.precision=bf16",),
        ("train.precision=fp16", "train.clip_norm=1"),
        ("train.channels_last=true",),
        ("train.lr=0.01",),
        ("train.accumulate=2",),
        ("train.clip_norm=0.1", "train.clip=tensor"),
        ("train.ema.decay=0.5",),
        ("data.sampler.name=balanced",),
        ("transforms.batch=[{name: mixup, p: 1}]",),
        ("train.deterministic=true", "train.seed=1"),
    ],
)
def test_options_of_the_run_change_it_and_are_repeatable(
    images: Path, finished: FitResult, tmp_path: Path, options: tuple[str, ...]
) -> None:
    for name in ("a", "b"):
        fit(tiny_recipe(images, *options), tmp_path / name)
    weights = last_weights(tmp_path / "a")
    assert same(weights, last_weights(tmp_path / "b"))
    assert all(t.dtype in (torch.float32, torch.int64) for t in weights.values())
    if "channels_last" not in options[0]:  # which may or may not change the last bits
        assert not same(weights, last_weights(finished.out))


def test_the_variance_convention_of_the_recipe_is_used(
    images: Path, finished: FitResult, tmp_path: Path
) -> None:
    fit(tiny_recipe(images, "model.batch_norm_variance=biased"), tmp_path / "run")
    ours, theirs = last_weights(tmp_path / "run"), last_weights(finished.out)
    assert torch.equal(ours["fc.weight"], theirs["fc.weight"])  # training itself is the same
    assert not torch.equal(ours["conv1.bn.running_var"], theirs["conv1.bn.running_var"])


def test_an_epoch_is_one_log_line_where_there_is_no_terminal(
    images: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: Any
) -> None:
    with caplog.at_level(logging.INFO, "tinysight"):
        fit(tiny_recipe(images), tmp_path / "run")
    told = [r.getMessage() for r in caplog.records]
    assert len(told) == 2
    assert told[0].startswith("epoch 1/2  loss ")
    assert capfd.readouterr().err == ""


def test_a_bar_on_demand(images: Path, tmp_path: Path, capfd: Any) -> None:
    fit(tiny_recipe(images), tmp_path / "run", progress=True)
    shown = capfd.readouterr().err
    assert "epoch 1/2" in shown
    assert "top1" in shown


def test_a_group_of_batches_is_one_step_and_the_last_may_be_smaller(
    images: Path, tmp_path: Path
) -> None:
    """Five batches of an epoch in groups of two: three steps, and a schedule of as many."""
    fit(tiny_recipe(images, "train.accumulate=2", "train.schedule.name=linear"), tmp_path / "run")
    assert [line["step"] for line in lines(tmp_path / "run")] == [3, 6]
    assert lines(tmp_path / "run")[0]["lr"] == pytest.approx(0.05 * (1 - 2 / 6))


def test_two_batches_of_two_are_one_of_four(tmp_path: Path) -> None:
    """With normalisation at rest, so that it does not matter which images are beside each other."""
    root = make_images(tmp_path / "pictures", train=16)
    still = ("train.epochs=1", "model.backbone.dropout=0", f"model.freeze={TRUNK}")
    fit(tiny_recipe(root, *still), tmp_path / "four")
    halves = ("data.batch_size=2", "train.accumulate=2")
    fit(tiny_recipe(root, *still, *halves), tmp_path / "two")
    ours, theirs = last_weights(tmp_path / "two"), last_weights(tmp_path / "four")
    for name in ours:
        torch.testing.assert_close(ours[name], theirs[name], rtol=1e-5, atol=1e-7)


TRUNK = "[conv1, blocks2, blocks3, blocks4, blocks5, blocks6]"


def test_frozen_parts_are_as_they_were(images: Path, tmp_path: Path) -> None:
    fit(tiny_recipe(images, f"model.freeze={TRUNK}"), tmp_path / "run")
    recipe = tiny_recipe(images)
    with torch.random.fork_rng():
        torch.manual_seed(seed(3, recipe.train.seed))
        fresh = initial_model(recipe).state_dict()
    found = last_weights(tmp_path / "run")
    moved = {name for name in found if not torch.equal(found[name], fresh[name])}
    assert moved == {"last_conv.weight", "fc.weight", "fc.bias"}


def test_averaged_weights_are_kept_and_the_others_go_on(
    images: Path, finished: FitResult, tmp_path: Path
) -> None:
    options = ("train.ema.decay=0.5", "train.ema.warmup=false")
    fit(tiny_recipe(images, *options), tmp_path / "run")
    last = load_checkpoint(tmp_path / "run" / "checkpoints" / "last.safetensors")
    assert last.model.keys() == last.training.keys()
    assert not same(last.model, last.training)
    assert same(last.training, last_weights(finished.out))  # averaging does not steer
    best = load_checkpoint(tmp_path / "run" / "checkpoints" / "best.safetensors")
    assert best.training == {}


def test_the_averaged_weights_are_what_is_evaluated(images: Path, tmp_path: Path) -> None:
    result = fit(tiny_recipe(images, "train.ema.decay=0.5"), tmp_path / "run")
    found = evaluate_run(result.out)
    assert found.metrics == result.metrics


def test_a_run_without_progress_ends_early_and_stays_so(images: Path, tmp_path: Path) -> None:
    options = ("train.epochs=9", "train.lr=1e-9", "train.early_stopping.patience=2")
    result = fit(tiny_recipe(images, *options), tmp_path / "run")
    assert [line["epoch"] for line in lines(result.out)] == [1, 2, 3]
    again = fit(tiny_recipe(images, *options), tmp_path / "run", resume=True)
    assert (again.epoch, len(lines(again.out))) == (1, 3)


def test_the_rate_of_the_real_batch_is_used_and_told(
    images: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    options = ("train.lr_batch_size=16", "train.accumulate=2", "train.schedule.name=constant")
    with caplog.at_level(logging.INFO, "tinysight"):
        fit(tiny_recipe(images, *options, "train.epochs=1"), tmp_path / "run")
    assert lines(tmp_path / "run")[0]["lr"] == pytest.approx(0.05 * 8 / 16)
    assert "train.lr 0.05 is for batches of 16; 4 x 1 (processes) x 2 (accumulate) = 8" in (
        caplog.text
    )


def test_one_process_has_nothing_to_synchronise(
    images: Path, finished: FitResult, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "tinysight"):
        fit(tiny_recipe(images, "train.sync_bn=true"), tmp_path / "run")
    assert "train.sync_bn: one process normalises over its own batch" in caplog.text
    assert same(last_weights(tmp_path / "run"), last_weights(finished.out))


def test_a_part_that_is_not_there_cannot_be_frozen(images: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"model\.freeze\.0: .* did you mean 'blocks3'"):
        fit(tiny_recipe(images, "model.freeze=[block3]"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_curves_are_there_for_tensorboard(finished: FitResult) -> None:
    (events,) = (finished.out / "tensorboard").iterdir()
    content = events.read_bytes()
    assert [content.count(tag) for tag in (b"train/loss", b"train/lr", b"eval/top1")] == [2, 2, 2]


def test_the_lists_are_hashed(images: Path, finished: FitResult) -> None:
    notes = json.loads((finished.out / "environment.json").read_text("utf-8"))
    assert notes["processes"] == 1
    assert notes["data"]["eval"] == samples_of(images).fingerprint()
    assert notes["data"]["train"] == load_checkpoint(finished.last).state.data


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*script_method.*:DeprecationWarning")  # torch's own
def test_a_compiled_network_learns_the_same_under_the_same_names(
    images: Path, tmp_path: Path
) -> None:
    """Images that are large enough for steps that do not blow up the last bits, and no dropout, which draws anew."""
    calm = ("transforms.train.0.size=[96, 96]", "train.lr=0.005", "model.backbone.dropout=0")
    runs = {}
    for compiled in ("true", "false"):
        recipe = tiny_recipe(images, *calm, f"train.compile={compiled}", "train.epochs=1")
        runs[compiled] = fit(recipe, tmp_path / compiled).out
    ours, theirs = (last_weights(run) for run in runs.values())
    assert ours.keys() == theirs.keys()
    first, second = (lines(run)[0]["loss"] for run in runs.values())
    assert first == pytest.approx(second, rel=1e-2)
