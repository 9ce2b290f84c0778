"""What a run trains: sums of losses, recognition networks, several evaluation splits, callbacks."""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from support.tiny import make_images, recipe_tree, tiny_recipe, write_recipe
from support.twins import Twins
from tinysight.config import Recipe, load_recipe
from tinysight.config.load import check_tree, recipe_yaml
from tinysight.data.loader import Batch
from tinysight.errors import CheckpointError, ConfigError
from tinysight.files import parse_yaml
from tinysight.models import RecognitionNetwork, create_model, run_network
from tinysight.training import Callback, fit, load_model
from tinysight.training.checkpoint import load_checkpoint
from tinysight.training.networks import freeze_all, initial_model
from tinysight.training.objective import Objective, Supervised, Term, total
from tinysight.training.objective.supervised import LossTerm
from tinysight.training.run import Run


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_images(tmp_path_factory.mktemp("pictures"))


def checked(tree: dict[str, Any]) -> Recipe:
    recipe, problems = check_tree(tree)
    assert not problems, problems
    assert recipe is not None
    return recipe


def lines(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text("utf-8").splitlines()]


def test_terms_are_weighted_and_summed() -> None:
    terms = {"a": Term(1.0, torch.tensor(2.0)), "b": Term(0.5, torch.tensor(6.0))}
    assert total(terms).item() == 5.0


def test_a_backbone_gives_its_outputs_by_name() -> None:
    model = create_model("pplcnet_x0_25", 3).eval()
    x = torch.randn(2, 3, 64, 64)
    found = run_network(model, x, wanted=("logits", "embedding", "blocks3", "blocks5"))
    assert torch.equal(found.get("logits"), model(x))
    assert torch.equal(model.fc(found.get("embedding")), found.get("logits"))
    stages = model.forward_stages(x)
    assert found.stages.keys() == {"blocks3", "blocks5"}
    assert all(torch.equal(found.get(name), stages[name]) for name in found.stages)
    assert run_network(model, x).embedding is None  # nobody wanted it
    with pytest.raises(KeyError, match="blocks2"):
        found.get("blocks2")
    plain = nn.Flatten()
    assert run_network(plain, x).get("logits").shape == (2, 3 * 64 * 64)


def test_a_loss_may_ask_for_the_logits_too() -> None:
    class Both(nn.Module):
        def forward(self, x: torch.Tensor, labels: torch.Tensor, logits: torch.Tensor) -> Any:
            return x.shape[1] + logits.shape[1] + 0.0 * logits.sum()

    objective = Supervised(
        create_model("pplcnet_x0_25", 3), {"x": LossTerm(Both(), "embedding", 2.0)}
    )
    terms = objective(Batch(torch.randn(2, 3, 32, 32), torch.tensor([0, 1]), ()))
    assert (terms["x"].weight, terms["x"].value.item()) == (2.0, 1283.0)


def recognition_tree(root: Path) -> dict[str, Any]:
    """Identities, batches of two of them with two images each, and losses of logits and embedding."""
    tree = recipe_tree(root)
    tree["data"] |= {"target": "identity", "sampler": {"name": "pk", "per_identity": 2}}
    tree["model"] |= {
        "neck": {"name": "fc", "features": 8},
        "head": {"name": "arc_margin", "scale": 8.0},
    }
    del tree["loss"]
    tree["losses"] = [
        {"name": "cross_entropy", "label_smoothing": 0.1},
        {"name": "center", "weight": 5e-4, "of": ["embedding", "pooled"]},
        {"name": "contrastive_xbm", "size": 16},
    ]
    tree["metrics"] = [{"name": "retrieval"}]
    tree["export"] = {"postprocess": {"name": "embedding"}}
    return tree


def test_a_recogniser_trains_from_a_recipe(images: Path, tmp_path: Path) -> None:
    recipe = checked(recognition_tree(images))
    outputs = [term.spec["of"] for term in recipe.losses]
    assert outputs == ["logits", ["embedding", "pooled"], "embedding"]
    assert checked(parse_yaml(recipe_yaml(recipe), "recipe")) == recipe
    run = fit(recipe, tmp_path / "run").out
    first, _ = lines(run)
    assert first["step"] == 5  # ten images of each of the two identities
    assert list(first["terms"]) == ["cross_entropy", "center", "center_2", "contrastive_xbm"]
    weights = (1.0, 5e-4, 5e-4, 1.0)
    parts = zip(first["terms"].values(), weights, strict=True)
    assert first["loss"] == pytest.approx(sum(value * weight for value, weight in parts))
    model, _ = load_model(run)
    assert isinstance(model, RecognitionNetwork)
    assert model(torch.randn(2, 3, 32, 32)).embedding.shape == (2, 8)
    last = load_checkpoint(run / "checkpoints" / "last.safetensors")
    assert last.objective["losses.center_2.centers"].shape == (2, 1280)
    assert last.objective["losses.contrastive_xbm.memory.labels"].shape == (16,)
    learnt = len(list(model.parameters())) + 2  # momentum of each, and of both kinds of centres
    assert len(last.optimizer) == learnt


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("losses.0.of", "logit", r"losses\.0\.of: the network has no output 'logit'; did you mean"),
        ("losses.1.of", "blocks9", r"losses\.1\.of: .* did you mean 'blocks"),
        ("model.head", None, r"losses\.0\.of: there are no logits without a head"),
        (
            "losses.0",
            {"name": "dml", "between": ["logits", "twin.logits"]},
            r"losses\.0\.between: compares the outputs of two networks, and there is one",
        ),
    ],
)
def test_an_output_that_the_network_does_not_have(
    images: Path, tmp_path: Path, key: str, value: Any, message: str
) -> None:
    tree = recognition_tree(images)
    part, *places = key.split(".")
    here = tree[part]
    for place in places[:-1]:
        here = here[int(place)]
    here[int(places[-1]) if isinstance(here, list) else places[-1]] = value
    with pytest.raises(ConfigError, match=message):
        fit(checked(tree), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_batch_that_a_loss_cannot_be_computed_of(images: Path, tmp_path: Path) -> None:
    tree = recognition_tree(images)
    tree["data"]["sampler"] = {"name": "shuffle"}
    tree["losses"] = [{"name": "npairs"}]
    message = r"losses \(npairs\): npairs takes batches of pairs.*see data\.sampler"
    with pytest.raises(ConfigError, match=message):
        fit(checked(tree), tmp_path / "run")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"loss": None}, "give either loss or losses"),
        ({"losses": [{"name": "cross_entropy"}]}, "give either loss or losses"),
        ({"loss": None, "losses": [{"name": "cros_entropy"}]}, "did you mean 'cross_entropy'"),
        (
            {"loss": None, "losses": [{"name": "center", "features": 3}]},
            "set by the program, not by a recipe",
        ),
        ({"loss": None, "losses": [{"name": "center", "weight": -1}]}, "greater than or equal"),
        ({"loss": None, "losses": [{"name": "center", "of": []}]}, "at least 1 item"),
        ({"loss": None, "losses": [{"name": "dml"}]}, "between"),
        ({"loss": None, "losses": [{"name": "dml", "between": ["a"]}]}, "between"),
    ],
)
def test_losses_are_checked_with_the_recipe(
    images: Path, change: dict[str, Any], message: str
) -> None:
    recipe, problems = check_tree({**recipe_tree(images), **change})
    assert recipe is None
    assert message in "; ".join(map(str, problems))


def test_losses_replace_the_loss_of_a_base(images: Path, tmp_path: Path) -> None:
    write_recipe(images)
    (tmp_path / "sum.yaml").write_text(
        f"base: {images / 'recipe.yaml'}\nlosses: [{{name: cross_entropy, weight: 2}}]\n", "utf-8"
    )
    recipe = load_recipe(tmp_path / "sum.yaml")
    assert recipe.loss is None
    assert recipe.losses[0].spec["weight"] == 2.0
    (tmp_path / "one.yaml").write_text("base: sum.yaml\nloss: {name: cross_entropy}\n", "utf-8")
    assert load_recipe(tmp_path / "one.yaml").losses == ()


def test_several_evaluation_splits(images: Path, tmp_path: Path) -> None:
    tree = recipe_tree(images)
    tree["data"]["eval"] = {"held_out": {"list": "val.txt"}, "seen": {"list": "train.txt"}}
    recipe = checked(tree)
    assert checked(parse_yaml(recipe_yaml(recipe), "recipe")) == recipe
    result = fit(recipe, tmp_path / "run")
    single = fit(tiny_recipe(images), tmp_path / "single")
    assert list(result.metrics) == ["held_out/top1", "seen/top1"]
    assert result.metrics["held_out/top1"] == single.metrics["top1"]
    notes = json.loads((tmp_path / "run" / "environment.json").read_text("utf-8"))
    assert list(notes["data"]["eval"]) == ["held_out", "seen"]
    moved = images.rename(tmp_path / "moved")
    try:
        tree["data"]["eval"]["seen"]["root"] = tree["data"]["root"] = str(moved)
        fit(checked(tree), tmp_path / "run", resume=True)
    finally:
        moved.rename(images)
    recipe, problems = check_tree({**tree, "data": {**tree["data"], "eval": {"a": {"lst": "x"}}}})
    assert recipe is None
    assert {p.where for p in problems} >= {"data.eval.a.lst"}


class Watch(Callback):
    """Notes what it is told, and stops where it is meant to."""

    def __init__(self, stop_at: int = 0) -> None:
        self.stop_at, self.calls = stop_at, list[str]()

    def on_begin(self, run: Run) -> None:
        self.calls.append(f"begin {run.state.step}")

    def on_step(self, run: Run) -> None:
        self.calls.append(f"step {run.state.step}")
        if run.state.step == self.stop_at:
            run.stop("seen enough")

    def on_epoch(self, run: Run, record: Mapping[str, Any]) -> None:
        self.calls.append(f"epoch {record['epoch']}")

    def on_end(self, run: Run) -> None:
        self.calls.append("end")


def test_a_callback_stops_the_run_which_resumes_to_the_same_bytes(
    images: Path, tmp_path: Path
) -> None:
    recipe, whole = tiny_recipe(images), Watch()
    fit(recipe, tmp_path / "whole", callbacks=[whole])
    steps = [f"step {i}" for i in range(1, 11)]
    assert whole.calls == ["begin 0", *steps[:5], "epoch 1", *steps[5:], "epoch 2", "end"]
    stopped = fit(recipe, tmp_path / "run", callbacks=[Watch(stop_at=3)])
    assert (stopped.stop_reason, stopped.epoch, stopped.metrics) == ("seen enough", 0, {})
    rest = Watch()
    again = fit(recipe, tmp_path / "run", resume=True, callbacks=[rest])
    assert rest.calls[:2] == ["begin 3", "step 4"]
    assert (again.stop_reason, again.epoch > 0) == ("", True)
    last = "checkpoints/last.safetensors"
    assert (tmp_path / "run" / last).read_bytes() == (tmp_path / "whole" / last).read_bytes()


def test_an_error_in_a_callback_ends_the_run_and_all_are_told(images: Path, tmp_path: Path) -> None:
    class Fails(Callback):
        def on_step(self, run: Run) -> None:
            raise ValueError("enough")

        def on_end(self, run: Run) -> None:
            raise ValueError("even then")

    watch = Watch()
    with pytest.raises(ValueError, match="even then") as caught:
        fit(tiny_recipe(images, "data.workers=1"), tmp_path / "run", callbacks=[Fails(), watch])
    assert str(caught.value.__context__) == "enough"
    assert watch.calls == ["begin 0", "end"]
    assert not multiprocessing.active_children(), "the loader's processes ended too"


def test_an_empty_reason_stops_too(images: Path, tmp_path: Path) -> None:
    class Silent(Callback):
        def on_step(self, run: Run) -> None:
            run.stop("")

    found = fit(tiny_recipe(images), tmp_path / "run", callbacks=[Silent()])
    assert (found.stop_reason, found.epoch) == ("stopped by a callback", 0)


def test_a_run_is_not_resumed_with_another_objective(images: Path, tmp_path: Path) -> None:
    recipe = tiny_recipe(images, "train.epochs=1")
    fit(recipe, tmp_path / "run")
    with pytest.raises(CheckpointError, match="of another objective"):
        fit(recipe, tmp_path / "run", resume=True, objective=Twins)

    class Terms(Plain):
        """Nothing to keep, but other terms."""

        def __init__(self, recipe: Recipe, samples: Any) -> None:
            super().__init__(recipe, samples)
            self.register_parameter("log_variance", None)

    with pytest.raises(CheckpointError, match=r"of another objective \(labels, own\)"):
        fit(recipe, tmp_path / "run", resume=True, objective=Terms)


class Plain(Objective):
    """One network, two terms, and a parameter of the objective's own, which learns to be 0."""

    def __init__(self, recipe: Recipe, samples: Any) -> None:
        super().__init__({"model": initial_model(recipe)}, ("labels", "own"))
        self.log_variance = nn.Parameter(torch.ones(1))

    def forward(self, batch: Batch) -> Any:
        logits = self.outputs("model", batch).get("logits")
        own = torch.square(self.log_variance).sum()
        return {"labels": Term(1.0, cross_entropy(logits, batch.targets)), "own": Term(1.0, own)}


def test_an_own_parameter_and_second_names_of_networks(images: Path, tmp_path: Path) -> None:
    """All parameters learn, each once; tensors with two names are saved once."""

    class Named(Plain):
        def __init__(self, recipe: Recipe, samples: Any) -> None:
            super().__init__(recipe, samples)
            self.student, self.again = self.network, self.network
            self.first = nn.Linear(2, 2)
            self.second = self.first

    recipe = tiny_recipe(images)
    fit(recipe, tmp_path / "whole", objective=Named)
    fit(recipe, tmp_path / "run", objective=Named, callbacks=[Watch(stop_at=3)])
    fit(recipe, tmp_path / "run", objective=Named, resume=True)
    files = [tmp_path / run / "checkpoints" / "last.safetensors" for run in ("whole", "run")]
    assert files[0].read_bytes() == files[1].read_bytes()
    kept = load_checkpoint(files[0]).objective
    assert set(kept) == {"log_variance", "first.weight", "first.bias"}
    assert abs(kept["log_variance"].item()) < 0.9


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "objective: expected a mapping of terms"),
        ({"label": Term(1.0, torch.zeros(()))}, "unknown term 'label'; did you mean 'labels'"),
        (
            {"labels": Term(1.0, torch.zeros(4))},
            r"objective.labels: expected a Term with a value of shape \(\)",
        ),
        ({"labels": torch.zeros(())}, "objective.labels: expected a Term"),
    ],
)
def test_terms_that_are_none(images: Path, tmp_path: Path, given: Any, message: str) -> None:
    class Wrong(Plain):
        def forward(self, batch: Batch) -> Any:
            return given

    with pytest.raises(ConfigError, match=message):
        fit(tiny_recipe(images), tmp_path / "run", objective=Wrong)


def test_objectives_and_callbacks_that_are_none(images: Path, tmp_path: Path) -> None:
    network = create_model("pplcnet_x0_5", 2)
    for make, message in (
        (lambda: Objective({"a.b": network}, ("x",)), "names without a dot"),
        (lambda: Objective({}, ("x",)), "names without a dot"),
        (lambda: Objective({"a": network}, ("x",), evaluated="b"), "'b' among them, got \\['a'\\]"),
        (lambda: Objective({"a": network}, ("x",)), "'a' is not the recipe's model"),
        (lambda: network, "expected an Objective, got PPLCNet"),
    ):
        with pytest.raises(ConfigError, match=message):
            fit(tiny_recipe(images), tmp_path / "run", objective=lambda *_, make=make: make())
    with pytest.raises(ConfigError, match="expected a Callback"):
        fit(tiny_recipe(images), tmp_path / "run", callbacks=[Watch])  # type: ignore[list-item]
    assert not (tmp_path / "run").exists()


def test_a_frozen_network_is_in_no_checkpoint() -> None:
    class Taught(Objective):
        """A teacher that does not learn."""

    student, teacher = (create_model("pplcnet_x0_25", 2) for _ in range(2))
    networks = {"student": student, "teacher": teacher}
    objective = Taught(networks, ("x",), frozen=freeze_all(teacher))
    assert objective.own_state() == {}
    assert set(objective.learning) == {"student"}
    objective.train()
    assert not any(m.training for m in teacher.modules())
    assert objective.network.training
