"""`Optimizer.lr`: the learning rate as a schedule of ours."""

from __future__ import annotations

from typing import Any

from tinysight.compat.paddle.dialect.operators import Spec
from tinysight.compat.paddle.dialect.rules import Key, Quiet, Reader, Refused, Rule, Table, put
from tinysight.compat.paddle.dialect.values import flag, integer, number, one_of, several, text
from tinysight.errors import nearest

_LR: dict[str, Rule] = {
    "name": Key(text, "", "Constant"),
    "learning_rate": Key(number),
    "warmup_epoch": Key(number, "warmup_epochs"),
    "warmup_start_lr": Key(number, "warmup_start_lr"),
    "by_epoch": Key(flag, "by_epoch"),
    "last_epoch": Quiet("where a run goes on is in its checkpoint"),
    "verbose": Quiet("how often a line is logged"),
}
SCHEDULES: dict[str, tuple[str, Table]] = {
    "Constant": ("constant", _LR),
    "ConstLR": ("constant", _LR),
    "Cosine": ("cosine", {**_LR, "eta_min": Key(number, "end_lr")}),
    "Linear": (
        "polynomial",
        {
            **_LR,
            "end_lr": Key(number, "end_lr"),
            "power": Key(number, "power"),
            "cycle": Key(flag, "cycle"),
        },
    ),
    "ReduceOnPlateau": (
        "plateau",
        {
            **_LR,
            "mode": Key(one_of(min="min", max="max"), "mode", "min"),
            "factor": Key(number, "factor", 0.1),
            "patience": Key(integer, "patience", 10),
            "threshold": Key(number, "threshold", 1e-4),
            "threshold_mode": Key(one_of(rel="rel", abs="abs"), "threshold_mode", "rel"),
            "cooldown": Key(integer, "cooldown", 0),
            "min_lr": Key(number, "min_lr", 0.0),
            "epsilon": Quiet("a fall smaller than 1e-8"),
        },
    ),
    "Cyclic": (
        "cyclic",
        {
            **_LR,
            "base_learning_rate": Key(number, "base_lr"),
            "max_learning_rate": Key(number),
            "step_size_up": Key(integer, "up_steps"),
            "step_size_down": Key(integer, "down_steps"),
            "mode": Key(text, "mode", "triangular"),
            "exp_gamma": Key(number, "gamma", 1.0),
            "scale_fn": Refused("code in a configuration is not available"),
            "scale_mode": Quiet("belongs to scale_fn"),
        },
    ),
    "OneCycleLR": (
        "one_cycle",
        {
            **_LR,
            "max_learning_rate": Key(number),
            "divide_factor": Key(number, "start_divisor", 25.0),
            "phase_pct": Key(number, "rise", 0.3),
            "end_learning_rate": Key(number, "end_lr", 0.0),
            "anneal_strategy": Key(one_of(cos="cos", linear="linear"), "anneal", "cos"),
            "three_phase": Key(flag, "three_phase", False),
        },
    ),
    "Step": (
        "step",
        {**_LR, "step_size": Key(number, "step_epochs"), "gamma": Key(number, "factor", 0.1)},
    ),
    "MultiStepDecay": (
        "multi_step",
        {
            **_LR,
            "milestones": Key(several(integer), "milestones"),
            "gamma": Key(number, "factor", 0.1),
        },
    ),
    "Piecewise": (
        "piecewise",
        {
            **_LR,
            "decay_epochs": Key(several(integer), "milestones"),
            "values": Key(several(number)),
        },
    ),
}
_OTHER_SCHEDULES = ("CosineFixmatch",)


def schedule(reader: Reader, values: Any, native: dict[str, Any]) -> None:
    """Write `Optimizer.lr`."""
    where = "Optimizer.lr"
    name = str((values or {}).get("name", "Constant")) if isinstance(values, dict | None) else ""
    if name not in SCHEDULES:
        if name in _OTHER_SCHEDULES:
            reader.wrong(
                f"{where}.name", f"{name} is for semi-supervised training, which is not available"
            )
        else:
            known = [*SCHEDULES, *_OTHER_SCHEDULES]
            reader.wrong(f"{where}.name", f"unknown schedule {name!r}", nearest(name, known))
        return
    ours, table = SCHEDULES[name]
    spec: Spec = {"name": ours}
    found = reader.section(values, where, table, spec)
    rate = found.get("learning_rate", found.get("max_learning_rate"))
    if name == "Piecewise" and found.get("values"):
        rates = found["values"]
        spec["factors"] = [value / rates[0] for value in rates[1:]]
        rate = rates[0] if rate is None else rate
    if rate is None:
        reader.wrong(f"{where}.learning_rate", "is needed")
    else:
        put(native, "train.lr", rate)
    put(native, "train.schedule", spec)
