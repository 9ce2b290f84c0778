"""A student and its teachers: steps against the same by hand, where teachers come from, images without labels."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from support.golden import own_path
from support.tiny import make_images, recipe_tree
from tinysight.bundle import Bundle
from tinysight.config import Recipe
from tinysight.config.load import check_tree, recipe_yaml
from tinysight.data.lists import read_split
from tinysight.data.loader import Batch
from tinysight.data.samplers import Shuffle, WithUnlabelled
from tinysight.errors import CheckpointError, ConfigError
from tinysight.export.bundle import export_bundle
from tinysight.files import parse_yaml
from tinysight.models import create_model, run_network
from tinysight.registry import distillation_losses
from tinysight.training import Callback, FitResult, fit, load_model
from tinysight.training.checkpoint import load_checkpoint
from tinysight.training.objective import total
from tinysight.training.objective.distill import Distillation, distillation
from tinysight.training.run import Run

SMALL = {"name": "pplcnet_x0_25", "dropout": 0.0}
TWIN = {"twin": {"backbone": SMALL, "learns": True}}
UDML = [
    {"name": "cross_entropy", "of": ["student", "twin"]},
    {"name": "dml", "between": ["student", "twin"]},
    {"name": "distance", "mode": "l2", "between": ["student.blocks4", "twin.blocks4"]},
]
SKL = [{"name": "dml", "between": ["student", "teacher"]}]
LOGITS = ("dml", "soft_cross_entropy", "kl_div", "dkd", "wsl", "skd", "dist")
MAPS = ("distance", "rkd_distance", "rkd_angle", "mgd", "pefd")


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = make_images(tmp_path_factory.mktemp("taught"), train=12)
    (root / "few.txt").write_text("".join(f"train_{i}.png {i % 2}\n" for i in range(4)), "utf-8")
    (root / "more.txt").write_text("".join(f"train_{i}.png\n" for i in range(4, 12)), "utf-8")
    return root


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Of a network that is already trained a little, so that its statistics differ from fresh ones."""
    path = tmp_path_factory.mktemp("weights") / "teacher.pt"
    with torch.random.fork_rng():
        torch.manual_seed(3)
        model = create_model("pplcnet_x0_25", 2)
        for _ in range(5):
            model(torch.randn(8, 3, 32, 32))
    torch.save(model.state_dict(), path)
    return str(path)


def recipe(root: Path, teachers: Any, losses: Any, **data: Any) -> Recipe:
    tree = recipe_tree(root)
    tree.pop("loss")
    tree["data"]["train"] = {"list": "train.txt", **data}
    tree["model"] = {"backbone": SMALL}
    tree["train"]["epochs"] = 1
    found, problems = check_tree({**tree, "teachers": teachers, "losses": losses})
    assert not problems, problems
    assert found is not None
    assert check_tree(parse_yaml(recipe_yaml(found), "recipe"))[0] == found
    return found


def objective(of: Recipe) -> Distillation:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return distillation(of, read_split(of.data, of.data.train))


def batch(labels: tuple[int, ...] = (0, 1, 1, 0, 1, 0)) -> Batch:
    pixels = torch.randn(len(labels), 3, 32, 32, generator=torch.Generator().manual_seed(2))
    return Batch(pixels, torch.tensor(labels), ())


def symmetric(p: Tensor, q: Tensor) -> Tensor:
    """K / 2 times the mean of (p - q) log(p / q)."""
    a, b = p.softmax(1), q.softmax(1)
    return ((a - b) * (a.log() - b.log())).mean() * p.shape[1] / 2


def gradients(module: nn.Module) -> list[Tensor | None]:
    return [p.grad for p in module.parameters()]


def close(found: nn.Module, by_hand: nn.Module) -> None:
    for a, b in zip(gradients(found), gradients(by_hand), strict=True):
        assert (a is None) == (b is None)
        if a is not None and b is not None:
            assert torch.allclose(a, b, rtol=1e-5, atol=1e-6 * max(1.0, float(b.abs().max())))
    for x, y in zip(found.buffers(), by_hand.buffers(), strict=True):
        assert torch.allclose(x, y, rtol=1e-6, atol=1e-6)


def test_a_step_of_mutual_learning_is_the_one_by_hand(images: Path) -> None:
    made, given = objective(recipe(images, TWIN, UDML)), batch()
    student, twin = copy.deepcopy(made.networks["student"]), copy.deepcopy(made.networks["twin"])
    loss = total(made.train()(given))
    loss.backward()
    a, b = (
        run_network(n.train(), given.images, None, ("logits", "blocks4")) for n in (student, twin)
    )
    expected = sum(F.cross_entropy(o.get("logits"), given.targets) for o in (a, b))
    expected = expected + symmetric(a.get("logits"), b.get("logits"))
    expected = expected + (a.get("blocks4") - b.get("blocks4")).square().mean()
    expected.backward()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)
    close(made.networks["student"], student)
    close(made.networks["twin"], twin)


def test_a_step_with_a_frozen_teacher_is_the_one_by_hand(images: Path, weights: str) -> None:
    teachers = {"teacher": {"backbone": SMALL, "pretrained": weights}}
    made, given = objective(recipe(images, teachers, SKL)), batch()
    teacher = made.networks["teacher"]
    before = copy.deepcopy(teacher.state_dict())
    student = copy.deepcopy(made.networks["student"]).train()
    loss = total(made.train()(given))
    loss.backward()
    with torch.no_grad():
        taught = copy.deepcopy(teacher).eval()(given.images)
    expected = symmetric(student(given.images), taught)
    expected.backward()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)
    close(made.networks["student"], student)
    assert all(g is None for g in gradients(teacher))
    assert all(torch.equal(v, before[k]) for k, v in teacher.state_dict().items())
    assert not any(name.startswith("networks.teacher") for name in made.own_state())


def test_a_teacher_left_in_training_mode_moves_as_in_paddleclas(images: Path, weights: str) -> None:
    section = {"backbone": SMALL, "pretrained": weights, "batch_statistics": True}
    made, given = objective(recipe(images, {"teacher": section}, SKL)), batch()
    teacher = made.networks["teacher"]
    before = copy.deepcopy(teacher.state_dict())
    loss = total(made.train()(given))
    loss.backward()
    moved = {k for k, v in teacher.state_dict().items() if not torch.equal(v, before[k])}
    assert moved
    assert all(k.endswith(("running_mean", "running_var", "num_batches_tracked")) for k in moved)
    assert all(g is None for g in gradients(teacher))
    assert "networks.teacher.conv1.bn.running_mean" in made.own_state()  # a resumed run goes on


@pytest.mark.parametrize("name", distillation_losses.names())
def test_every_loss_trains(name: str, images: Path, weights: str) -> None:
    output = "" if name in LOGITS else ".blocks5"
    between: Any = [f"student{output}", f"teacher{output}"]
    if name == "afd":
        between = [[f"{n}.blocks{i}" for i in (3, 5)] for n in ("student", "teacher")]
    else:
        assert name in (*LOGITS, *MAPS)
    teachers = {"teacher": {"backbone": SMALL, "pretrained": weights}}
    made = objective(recipe(images, teachers, [{"name": name, "between": between}]))
    (term,) = made.train()(batch()).values()
    term.value.backward()
    assert torch.isfinite(term.value)
    assert any(g is not None and g.abs().max() > 0 for g in gradients(made.networks["student"]))
    assert all(g is not None for g in gradients(made.losses))


def test_outputs_may_be_any_module(images: Path, weights: str) -> None:
    pair = ["student.blocks5.1.pw_conv", "teacher.avg_pool"]
    teachers = {"teacher": {"backbone": SMALL, "pretrained": weights}}
    losses = [{"name": "pefd", "between": pair, "pool": "mean", "projectors": 2}]
    made = objective(recipe(images, teachers, losses))
    assert made.losses["pefd"].projectors[0].conv.weight.shape == (128, 64)
    assert made(batch())["pefd"].value.item() > 0


@pytest.fixture(scope="module")
def taught(images: Path, weights: str, tmp_path_factory: pytest.TempPathFactory) -> FitResult:
    """A run with a frozen teacher, some images without a label, and a loss that learns."""
    losses = [
        {"name": "cross_entropy"},
        {"name": "dml", "between": ["student", "teacher"], "weight": 0.5},
        {"name": "mgd", "between": ["student.blocks6", "teacher.blocks6"]},
    ]
    teachers = {"teacher": {"backbone": SMALL, "pretrained": weights}}
    more = {"list": "few.txt", "unlabelled": ["more.txt"], "ratio": 1.0}
    out = tmp_path_factory.mktemp("runs") / "taught"
    return fit(recipe(images, teachers, losses, **more), out)


@pytest.fixture(scope="module")
def bundle(taught: FitResult, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exported") / "bundle"
    export_bundle(taught.out, folder)
    return folder


def test_the_best_and_the_export_are_the_plain_student(taught: FitResult, bundle: Path) -> None:
    plain = set(create_model("pplcnet_x0_25", 2).state_dict())
    best, last = load_checkpoint(taught.best), load_checkpoint(taught.last)
    assert set(best.model) == set(last.model) == plain
    assert {name.split(".")[0] for name in last.objective} == {"losses"}
    model, own = load_model(taught.out)
    assert list(own.teachers) == ["teacher"]
    assert Bundle.load(bundle).manifest.labels == ("red", "blue")
    line = (taught.out / "metrics.jsonl").read_text("utf-8")
    assert '"terms": {"cross_entropy"' in line and '"dml"' in line and '"mgd"' in line
    assert not model.training


class Stop(Callback):
    """Ends the run after its second step."""

    def on_step(self, run: Run) -> None:
        if run.state.step == 2:
            run.stop("enough")


def test_a_run_of_two_networks_resumes_to_the_same_bytes(images: Path, tmp_path: Path) -> None:
    """Both networks, a loss that learns, and the statistics of a teacher in training mode."""
    mgd = {"name": "mgd", "between": ["student.blocks3", "twin.blocks3"]}
    found = recipe(images, TWIN, [*UDML, mgd])
    fit(found, tmp_path / "whole")
    fit(found, tmp_path / "run", callbacks=[Stop()])
    fit(found, tmp_path / "run", resume=True)
    last = "checkpoints/last.safetensors"
    assert (tmp_path / "run" / last).read_bytes() == (tmp_path / "whole" / last).read_bytes()
    kept = load_checkpoint(tmp_path / "run" / last).objective
    assert {name.split(".")[1] for name in kept} == {"twin", "mgd"}


def test_teachers_from_everywhere_give_the_same_logits(
    taught: FitResult, bundle: Path, images: Path
) -> None:
    sources: list[dict[str, Any]] = [
        {"run": str(taught.out)},
        {"run": str(taught.best)},
        {"bundle": str(bundle)},
        {"onnx": str(bundle / "model.onnx")},
        {"backbone": SMALL, "pretrained": str(taught.best)},
    ]
    model, _ = load_model(taught.out)
    given = batch()
    with torch.no_grad():
        expected = model(given.images).log_softmax(1)
    for source in sources:
        made = objective(recipe(images, {"teacher": source}, SKL)).train()
        logits = made.outputs("teacher", given).get("logits").log_softmax(1)
        assert torch.allclose(logits, expected, atol=1e-4), source
        total(made(given)).backward()


def test_a_teacher_with_another_normalisation_sees_its_own(taught: FitResult, images: Path) -> None:
    tree = recipe(images, {"teacher": {"run": str(taught.out)}}, SKL).model_dump(mode="json")
    for steps in (tree["transforms"]["train"], tree["transforms"]["eval"]):
        steps[-1] = {"name": "normalize", "mean": [127.0] * 3, "std": [128.0] * 3, "scale": 1.0}
    other, problems = check_tree(tree)
    assert other is not None, problems
    made = objective(other)
    pixels = torch.rand(2, 3, 32, 32)
    model, _ = load_model(taught.out)
    given = Batch((pixels * 255.0 - 127.0) / 128.0, torch.tensor([0, 1]), ())
    with torch.no_grad():
        expected = model((pixels - 0.5) / 0.25)
    assert torch.allclose(made.outputs("teacher", given).get("logits"), expected, atol=1e-4)


@pytest.mark.golden
def test_a_program_of_paddle_teaches(images: Path) -> None:
    section = {"program": str(own_path("pdparams", "export_legacy"))}
    made = objective(recipe(images, {"teacher": section}, SKL))
    terms = made.train()(batch())
    assert torch.isfinite(terms["dml"].value)


def test_paddle_weights_teach(images: Path) -> None:
    section = {
        "backbone": {"name": "pplcnet_x0_25"},
        "pretrained": str(own_path("pdparams", "PPLCNet_x0_25_cls2.pdparams")),
    }
    made = objective(recipe(images, {"teacher": section}, SKL))
    assert "networks.teacher.fc.weight" in made.state_dict()


def test_unlabelled_images_teach_by_the_teacher_alone(images: Path, weights: str) -> None:
    losses = [{"name": "cross_entropy"}, {"name": "dml", "between": ["student", "teacher"]}]
    teachers = {"teacher": {"backbone": SMALL, "pretrained": weights}}
    more = {"list": "few.txt", "unlabelled": ["more.txt"]}
    made = objective(recipe(images, teachers, losses, **more)).eval()
    given = batch((0, -1, 1, -1, -1, 1))
    terms = made(given)
    logits = made.networks["student"](given.images)
    known = given.targets >= 0
    expected = F.cross_entropy(logits[known], given.targets[known])
    assert terms["cross_entropy"].value.item() == pytest.approx(expected.item(), rel=1e-6)
    taught = made.outputs("teacher", given).get("logits")
    assert terms["dml"].value.item() == pytest.approx(symmetric(logits, taught).item(), rel=1e-5)
    assert list(made(batch((-1, -1, -1)))) == ["dml"]


def test_a_frozen_teacher_sees_each_view_once(images: Path, weights: str, tmp_path: Path) -> None:
    """Four epochs of two views: the teacher runs in two of them, and the weights are those without a memory."""
    teachers = {"teacher": {"backbone": SMALL, "pretrained": weights}}
    found = recipe(images, teachers, SKL)
    train = found.train.model_copy(update={"epochs": 4, "views": 2})
    found = found.model_copy(update={"train": train})
    calls = dict[bool, int]()

    def counted(remember: bool) -> Any:
        def factory(of: Recipe, samples: Any) -> Distillation:
            made = distillation(of, samples)
            if not remember:
                made._seen.clear()
            calls[remember] = 0

            def count(*_: Any) -> None:
                calls[remember] += 1

            made.networks["teacher"].register_forward_hook(count)
            return made

        return factory

    runs = [fit(found, tmp_path / str(m), objective=counted(m)).last for m in (True, False)]
    assert calls == {True: 6, False: 12}
    first, second = (load_checkpoint(path).model for path in runs)
    assert all(torch.allclose(v, second[k], rtol=1e-4, atol=1e-5) for k, v in first.items())


def test_unlabelled_images_are_drawn_anew_at_their_ratio() -> None:
    labels = np.array([0, 1] * 5 + [-1] * 7)
    sampler = WithUnlabelled(Shuffle(), 0.5)
    epochs = [sampler.batches(labels, 6, np.random.default_rng(seed)) for seed in range(3)]
    for parts in epochs:
        assert [len(part) for part in parts] == [6, 6, 3]
        assert sorted(np.concatenate(parts)[labels[np.concatenate(parts)] >= 0]) == list(range(10))
        for part in parts:
            assert abs((labels[part] < 0).sum() - (labels[part] >= 0).sum() / 2) <= 0.5
        drawn = [i for part in parts for i in part if labels[i] < 0]
        assert len(drawn) == len(set(drawn)) == 5
    assert len({tuple(np.concatenate(parts)) for parts in epochs}) == 3
    many = WithUnlabelled(Shuffle(), 3.0).batches(labels, 8, np.random.default_rng(0))
    counts = np.bincount(np.concatenate(many), minlength=17)[10:]
    assert counts.sum() == 30 and set(counts) <= {4, 5}


def test_an_embedding_learns_from_images_without_an_identity(images: Path, weights: str) -> None:
    """A head with a margin needs labels; the embedding does not."""
    losses = [
        {"name": "cross_entropy"},
        {"name": "distance", "mode": "l2", "between": ["student.embedding", "twin.embedding"]},
    ]
    parts = {"neck": {"name": "fc", "features": 8}, "head": {"name": "arc_margin"}}
    tree = recipe(
        images, {"twin": {"backbone": SMALL, **parts, "learns": True}}, losses
    ).model_dump(mode="json")
    tree["model"] |= parts
    tree["data"] |= {"target": "identity", "train": {"list": "few.txt", "unlabelled": ["more.txt"]}}
    tree |= {"metrics": [{"name": "retrieval"}], "export": {"postprocess": {"name": "embedding"}}}
    found, problems = check_tree(tree)
    assert found is not None, problems
    terms = objective(found).train()(batch((0, -1, 1, -1, 1, 0)))
    assert list(terms) == ["cross_entropy", "distance"]
    tree["losses"].append({"name": "dml", "between": ["student", "twin"]})
    with pytest.raises(ConfigError, match="a head with a margin has no logits"):
        objective(check_tree(tree)[0])  # type: ignore[arg-type]
    tree["losses"][-1] = {"name": "dml", "between": ["student", "twin"], "on": "labelled"}
    del tree["model"]["head"]
    with pytest.raises(ConfigError, match="gives no tensor logits|no logits without a head"):
        objective(check_tree(tree)[0])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("teachers", "losses", "data", "message"),
    [
        ({"teacher": {"backbone": SMALL}}, SKL, {}, "teacher without weights would teach noise"),
        ({"teacher": {"run": "nowhere"}}, SKL, {}, "nowhere: no such run or checkpoint"),
        ({"teacher": {"onnx": "no.onnx"}}, SKL, {}, "no.onnx: no such file"),
        (TWIN, [{"name": "dml", "between": ["student", "twni"]}], {}, "did you mean 'twin'"),
        (TWIN, [{"name": "dml", "between": ["student", "twin.block4"]}], {}, "did you mean 'blocks4'"),
        (TWIN, [{"name": "dml", "between": ["student", "twin.blocks4"]}], {}, r"shapes \(2,\) and"),
        (TWIN, [{"name": "mgd", "between": ["student.blocks3", "twin.blocks4"]}], {}, "maps of one size"),
        (TWIN, [{"name": "afd", "between": ["student", "twin"]}], {}, "compares lists of feature maps"),
        (TWIN, [{"name": "cross_entropy"}], {}, "no term of `losses` uses it"),
        (TWIN, [{"name": "cross_entropy", "of": ["student", "twin"], "on": "all"}],
         {"list": "few.txt", "unlabelled": ["more.txt"]}, "needs labels, which some of the images do not"),
        (TWIN, [{"name": "cross_entropy", "of": ["student", "twin"]}],
         {"list": "few.txt", "unlabelled": ["more.txt"]}, "no term is on images without a label"),
    ],
)  # fmt: skip
def test_mistakes(
    teachers: Any, losses: Any, data: Any, message: str, images: Path, tmp_path: Path
) -> None:
    with pytest.raises((ConfigError, CheckpointError), match=message):
        fit(recipe(images, teachers, losses, **data), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"teachers": {"t": {"run": "a", "bundle": "b"}}}, "give one of run, bundle"),
        ({"teachers": {"t": {}}}, "give one of run, bundle"),
        ({"teachers": {"t": {"bundle": "b", "learns": True}}}, "run by an engine, which cannot learn"),
        ({"teachers": {"t": {"run": "a", "pretrained": True}}}, "has its own network and weights"),
        ({"teachers": {"student": {"run": "a"}}, "loss": None, "losses": SKL}, "no teacher can be called student"),
        ({"teachers": {"a.b": {"run": "a"}}}, "teachers"),
        ({"teachers": {"t": {"run": "a"}}}, "teachers need losses"),
        ({"loss": None, "losses": [{"name": "dml", "between": ["student"]}]}, "between"),
        ({"data": {"root": ".", "train": {"list": "a"}, "eval": {"list": "a", "unlabelled": ["b"]}}},
         "unlabelled images are for training"),
        ({"data": {"root": ".", "train": {"coco": "a", "unlabelled": ["b"]}, "eval": {"coco": "a"}}},
         "unlabelled images go with list or folder"),
    ],
)  # fmt: skip
def test_sections_are_checked_with_the_recipe(change: Any, message: str, images: Path) -> None:
    found, problems = check_tree({**recipe_tree(images), **change})
    assert found is None
    assert message in "; ".join(map(str, problems))


@pytest.mark.parametrize(
    ("sampler", "message"),
    [
        ({"name": "pk", "per_identity": 2}, "unlabelled images are of no identity"),
        ({"name": "multi_scale", "sizes": [32]}, "multi_scale sizes whole batches"),
    ],
)
def test_samplers_that_cannot_take_unlabelled_images(
    sampler: Any, message: str, images: Path, weights: str, tmp_path: Path
) -> None:
    teachers = {"teacher": {"backbone": SMALL, "pretrained": weights}}
    more = {"list": "few.txt", "unlabelled": ["more.txt"]}
    ratio = {} if sampler["name"] == "pk" else {"ratio": 1.0}
    tree = recipe(images, teachers, SKL, **more, **ratio).model_dump(mode="json")
    tree["data"]["sampler"] = sampler
    found, problems = check_tree(tree)
    assert found is not None, problems
    with pytest.raises(ConfigError, match=message):
        fit(found, tmp_path / "run")


def test_label_losses_alone_refuse_unlabelled_images(images: Path, tmp_path: Path) -> None:
    tree = recipe_tree(images)
    tree["data"]["train"] = {"list": "few.txt", "unlabelled": ["more.txt"]}
    found, _ = check_tree(tree)
    assert found is not None
    with pytest.raises(
        ConfigError, match=r"data\.train\.unlabelled: there are images without a label"
    ):
        fit(found, tmp_path / "run")
