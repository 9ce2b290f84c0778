"""Three recorded training steps of students and teachers, through the dialect and the objective that a run has.

Frozen networks are in training mode there (`batch_statistics`). Later steps amplify rounding: they are held to five
times the noise that the recording measured.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from support.golden import Case, each_case, rng_for, synth, synth_input
from support.networks import fill
from support.tiny import recipe_tree
from support.weights import load_reference
from tinysight.compat.paddle.dialect.distillation import container_section, distill_section
from tinysight.compat.paddle.dialect.rules import Reader
from tinysight.compat.paddle.dialect.training import optimizer_section
from tinysight.config import Recipe
from tinysight.config.load import check_tree
from tinysight.config.schema import STUDENT
from tinysight.data.loader import Batch
from tinysight.data.samples import Gathered
from tinysight.files import parse_yaml11
from tinysight.models import run_network
from tinysight.models.layers import DownscaleDropout
from tinysight.models.weights import reference_entries
from tinysight.registry import backbones
from tinysight.training.objective.distill import distillation
from tinysight.training.optim import set_lr
from tinysight.training.run import _optimizers

AFD = {"queries": "Teacher.LinearTransformTeacher.query_layer", "p": "attention",
       "keys": "Student.LinearTransformStudent.key_layer",
       "bilinear": "Student.LinearTransformStudent.bilinear"}  # fmt: skip


HEAVY = ("ResNet101", "ResNet34", "PPHGNet", "Res2Net", "Swin")


def _recorded(heavy: bool) -> Callable[[Case], bool]:
    return lambda c: "config_yaml" in c and heavy == any(n in c["config_yaml"] for n in HEAVY)


@pytest.mark.slow
@each_case("distill", _recorded(True))
def test_steps_of_large_networks(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_steps(case, tmp_path, monkeypatch)


@each_case("distill", _recorded(False))
def test_steps(case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check_steps(case, tmp_path, monkeypatch)


def check_steps(case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Replay(case, tmp_path)
    noise, exact = case["rounding_noise"], case["float32_vs_float64"]
    for i, expected in enumerate(case["steps"]):
        _masks(case, i, monkeypatch)
        found = run.step(i)
        slack = 1e-5 + (5 * (exact["loss_rel_diff"][i] + noise["loss_rel"][i]) if i else 0.0)
        recorded = {k: v for k, v in expected["losses"].items() if k != "loss"}
        assert len(found) == len(recorded)
        for name, value in zip((*recorded, "loss"), (*found, run.loss), strict=True):
            # PaddleClas' own float32 may be further than that from the same step in float64.
            theirs = (expected["losses"][name], exact["losses64"][i][name])
            error = min(abs(value - other) / max(1.0, abs(other)) for other in theirs)
            assert error < slack, (i, name, value, theirs)
        if i == 0:
            run.check_outputs()
            run.check_gradients(expected)
    run.check_after()


def _masks(case: Case, step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The channels that masked generation leaves out, as they were recorded."""
    if "mgd_mask" in (case.get("patched") or ()):
        draw = rng_for(f"{case['case']}/mgd#{step}")
        monkeypatch.setattr(
            "tinysight.losses.features.torch.rand",
            lambda size, **_: torch.from_numpy(draw.uniform(0, 1, size).astype(np.float32)),
        )


class Replay:
    """The recorded run, rebuilt."""

    def __init__(self, case: Case, folder: Path) -> None:
        self.case, self.config = case, parse_yaml11(case["config_yaml"].encode(), "recorded")
        self.prefixes = dict(_prefixes(self.config["Arch"]))
        self.recipe = _recipe(case, self.config, self.prefixes, folder)
        labels = _labels(case, 0)
        into = Gathered(
            labels.shape[1] if labels.ndim == 2 else None, "b" if labels.ndim == 2 else "i"
        )
        into.begin(Path("list"), Path())
        for label in labels.tolist():
            into.add(b"a", [int(v) for v in label] if isinstance(label, list) else label)
        self.objective = distillation(self.recipe, into.done())
        for module in self.objective.modules():
            if isinstance(module, DownscaleDropout):
                module.p = 0.0
        for component in self.recipe.losses:
            smoothing = component.spec.get("label_smoothing")
            if component.name == "soft_cross_entropy" and smoothing:
                # PaddleClas smooths the teacher's logits and takes them for a distribution.
                loss = self.objective.losses[component.name]
                loss.measure = partial(F.cross_entropy, label_smoothing=smoothing)
        for name, prefix in self.prefixes.items():
            fill(self.objective.networks[name], prefix)
        for module, names in self._losses():
            values = {ours: synth(full, shape) for ours, (full, shape) in names.items()}
            load_reference(module, {k: v for k, v in values.items() if v is not None}, "rule")
        self.before = self.entries()
        (self.optimizer,) = _optimizers(self.objective, self.recipe.train)
        self.loss = 0.0

    def step(self, i: int) -> list[float]:
        """The weighted terms of step `i`."""
        n, (h, w) = self.case["batch_sizes"][i], self.case["input_hw"]
        images = torch.from_numpy(synth_input(n, h, w, name=self.case["input_names"][i]))
        targets = torch.from_numpy(_labels(self.case, i))
        for loss in self.objective.losses.values():
            if getattr(loss, "weights", None) is not None:
                loss.weights = torch.tensor(self.case["labels"][i][0][1])
        self.objective.train()
        self.batch = Batch(images, targets, ())
        if i == 0:
            self._record()
        terms = self.objective(self.batch)
        values = [term.value * term.weight for term in terms.values()]
        lone = len(self.config["Loss"]["Train"]) == 1  # whose first value is all that counts there
        loss = values[0] if lone else torch.stack(values).sum()
        set_lr(self.optimizer, self.case["steps"][i]["lr"][0])
        self.optimizer.zero_grad()
        loss.backward()
        self.loss = float(loss.detach())
        if i == 0:
            self.gradients = {
                full: None if p.grad is None else p.grad.clone().numpy()
                for full, p in self.parameters()
            }
        self.optimizer.step()
        return [float(v.detach()) for v in values]

    def _record(self) -> None:
        """Keep the training-mode outputs of the first step."""
        self.outputs: dict[str, np.ndarray] = {}
        of = {name: prefix.split(".")[0] for name, prefix in self.prefixes.items()}
        for name, network in self.objective.networks.items():

            def keep(_: nn.Module, given: Any, output: Any, theirs: str = of[name]) -> None:
                logits = output if isinstance(output, torch.Tensor) else output.logits
                self.outputs[theirs] = logits.detach().numpy().copy()

            network.register_forward_hook(keep)

    def check_outputs(self) -> None:
        """Logits of both networks in training mode, and no gradient where a network is frozen."""
        for key, recorded in self.case.arrays.items():
            name, _, output = key.removeprefix("out#0|").partition("/")
            if key.startswith("out#0|") and output in ("", "logits") and name in self.outputs:
                found = self.outputs[name].reshape(-1)[: recorded.size]
                assert np.abs(found - recorded.reshape(-1)).max() < 1e-4 * recorded.std(), key

    def check_gradients(self, expected: dict[str, Any]) -> None:
        """Norms of whole networks, single tensors, and which have none."""
        noise = self.case["rounding_noise"]
        norms: dict[str, float] = {}
        for name, value in self.gradients.items():
            network = name.split(".")[0]
            norms[network] = norms.get(network, 0.0) + (
                0.0 if value is None else float((value.astype(np.float64) ** 2).sum())
            )
        for network, recorded in expected["grad_norm"].items():
            limit = max(1e-3, 5 * noise["grad0_rel"].get(network, 0.0))
            assert norms[network] ** 0.5 == pytest.approx(recorded, rel=limit, abs=1e-9), network
        for key, recorded in self.case.arrays.items():
            if not key.startswith("grad#0|"):
                continue
            name = key.removeprefix("grad#0|")
            found = self.gradients[name]
            assert found is not None, name
            worst = noise["grad0_per_tensor_worst"].get(name.split(".")[0], 0.0)
            found = found.reshape(-1)[: recorded.size]
            error = np.linalg.norm(found - recorded.reshape(-1))
            assert error <= max(1e-2, 5 * worst) * np.linalg.norm(recorded) + 1e-7, name

    def check_after(self) -> None:
        """Weights and running statistics after three steps, those of the frozen networks too."""
        after, arrays = self.entries(), self.case.arrays
        exact, noise = self.case["float32_vs_float64"], self.case["rounding_noise"]
        for name in self.case.get("sampled_unchanged", ()):
            assert np.array_equal(after[name], self.before[name]), name
        for key, recorded in arrays.items():
            if not key.startswith("after|"):
                continue
            name = key.removeprefix("after|")
            most = max(
                part["sampled_max_abs_diff" if part is exact else "sampled_max_abs"].get(name, 0.0)
                for part in (exact, noise)
            )
            limit = 5 * most + 1e-5 * float(np.abs(recorded).max())
            found = after[name].reshape(-1)[: recorded.size]
            assert np.abs(found - recorded.reshape(-1)).max() <= limit, name
        h, w = self.case["input_hw"]
        images = torch.from_numpy(synth_input(4, h, w, name=self.case["eval_input_name"]))
        for name, prefix in self.prefixes.items():
            theirs = prefix.split(".")[0]
            for key in (f"eval|{theirs}", f"eval|{theirs}/logits"):
                if key not in arrays:
                    continue
                with torch.no_grad():
                    logits = run_network(self.objective.networks[name].eval(), images).get("logits")
                recorded = arrays[key]
                rel = _worst(exact["eval_rel_diff"]) + _worst(noise["eval_rel"])
                limit = (5 * rel + 1e-5) * max(float(np.abs(recorded).max()), float(recorded.std()))
                found = logits.numpy().reshape(-1)[: recorded.size]
                assert np.abs(found - recorded.reshape(-1)).max() <= limit, key

    def _losses(self) -> Iterator[tuple[nn.Module, dict[str, tuple[str, tuple[int, ...]]]]]:
        """Losses with entries, and PaddleClas' full name and shape of each."""
        modules = iter(self.objective.losses.values())
        for i, entry in enumerate(self.config["Loss"]["Train"]):
            ((kind, options),) = entry.items()
            for _ in range(_count(kind, options)):
                module, lead = next(modules), f"loss.loss_func.{i}."
                names = {}
                for e in reference_entries(module):
                    part, _, rest = e.name.partition(".")
                    full = f"{lead}loss_func.{e.name}"
                    if kind == "AFDLoss":
                        full = f"{AFD[part]}.{rest}" if part in AFD else f"{lead}attention.{e.name}"
                    names[e.name] = (full, e.shape)
                if names:
                    yield module, names

    def parameters(self) -> Iterator[tuple[str, torch.Tensor]]:
        """Every parameter under PaddleClas' full name, in its layout."""
        for full, module, entry in self._all():
            named = dict(module.named_parameters())
            if entry.ours in named:
                yield full, Turned(named[entry.ours], entry.transposed)  # type: ignore[misc]

    def entries(self) -> dict[str, np.ndarray]:
        """Every entry under PaddleClas' full name, in its layout."""
        found = {}
        for full, module, entry in self._all():
            value = module.state_dict()[entry.ours].detach().numpy()
            found[full] = (value.T if entry.transposed else value).copy()
        return found

    def _all(self) -> Iterator[tuple[str, nn.Module, Any]]:
        for name, prefix in self.prefixes.items():
            network = self.objective.networks[name]
            for entry in reference_entries(network):
                yield prefix + entry.name, network, entry
        for module, names in self._losses():
            for entry in reference_entries(module):
                yield names[entry.name][0], module, entry


class Turned:
    """A parameter whose gradient is read in PaddleClas' layout."""

    def __init__(self, parameter: torch.Tensor, transposed: bool) -> None:
        self._parameter, self._transposed = parameter, transposed

    @property
    def grad(self) -> torch.Tensor | None:
        """Its gradient."""
        grad = self._parameter.grad
        return grad.T if self._transposed and grad is not None else grad


def _count(kind: str, options: dict[str, Any]) -> int:
    """Terms that one entry of the loss list becomes."""
    if kind == "AFDLoss":
        return 1
    if "model_names" in options:
        return len(options["model_names"])
    keys = len(options["student_keepkeys"]) * 2 if "student_keepkeys" in options else 1
    return len(options["model_name_pairs"]) * keys


def _prefixes(arch: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Prefix of PaddleClas' names of each network, by our name."""
    for member in arch["models"]:
        ((name, options),) = member.items()
        ours = STUDENT if name == arch.get("infer_model_name", "Student") else name.lower()
        inner = ""
        if options["name"] == "AttentionModel":
            inner = (
                next(n for m in options["models"] for n in m if not n.startswith("LinearTransform"))
                + "."
            )
        yield ours, f"{name}.{inner}"


def _labels(case: Case, step: int) -> np.ndarray:
    found = np.asarray(case["labels"][step])
    return found[:, 0].astype(np.float32) if found.ndim == 3 else found.reshape(-1)


def _recipe(case: Case, config: dict[str, Any], prefixes: dict[str, str], folder: Path) -> Recipe:
    """By the dialect; PaddleClas ignores synchronised normalisation on a CPU."""
    text = case["config_yaml"].replace("use_sync_bn: true", "use_sync_bn: false")
    tree = parse_yaml11(text.encode(), "recorded")
    reader, native = Reader(), dict[str, Any](train={"epochs": 1})
    container = container_section(reader, tree["Arch"], {}, native)
    distill_section(reader, tree, native, container)
    optimizer_section(reader, tree["Optimizer"], native)
    assert reader.problems == []
    base = recipe_tree(Path())
    base.pop("loss")
    base["data"]["labels"] = [str(i) for i in range(container.classes)]
    if np.asarray(case["labels"][0]).ndim == 3:
        base["data"]["target"] = "multilabel"
        base["metrics"], base["export"] = (
            [{"name": "hamming"}],
            {"postprocess": {"name": "multilabel"}},
        )
    h, w = case["input_hw"]
    for steps in base["transforms"].values():
        steps[0] = {"name": "resize", "size": [w, h]}
    recipe, problems = check_tree({**base, **native})
    assert problems == []
    assert recipe is not None
    teachers = {}
    for name, teacher in recipe.teachers.items():
        change: dict[str, Any] = {}
        if not teacher.learns:
            network = backbones.build(teacher.backbone.spec, num_classes=container.classes)
            fill(network, prefixes[name])
            path = folder / f"{name}.pt"
            torch.save(network.state_dict(), path)
            change = {"pretrained": str(path), "batch_statistics": True}
        teachers[name] = teacher.model_copy(update=change)
    return recipe.model_copy(update={"teachers": teachers})


def _worst(value: Any) -> float:
    values = (
        value.values() if isinstance(value, dict) else value if isinstance(value, list) else [value]
    )
    return max(float(v) for v in values)
