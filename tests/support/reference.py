"""Sections of PaddleClas' configurations in our words, for comparing with recorded numbers."""

from __future__ import annotations

from typing import Any

_WORDS = {
    "warmup_epoch": "warmup_epochs",
    "eta_min": "end_lr",
    "gamma": "factor",
    "num_warmup_steps": "warmup_steps",
    "num_cycles": "cycles",
    "anneal_strategy": "anneal",
    "phase_pct": "rise",
    "divide_factor": "start_divisor",
    "end_learning_rate": "end_lr",
    "step_size_up": "up_steps",
    "step_size_down": "down_steps",
    "base_learning_rate": "base_lr",
    "exp_gamma": "gamma",
}


def translate_schedule(config: dict[str, Any]) -> tuple[dict[str, Any], float] | None:
    """A learning-rate section of PaddleClas as ours and the peak; None: nothing like it here."""
    config = dict(config)
    name = config.pop("name")
    peak = config.pop("learning_rate", None) or config.pop("max_learning_rate", None)
    spec = {_WORDS.get(k, k): v for k, v in config.items()}
    match name:
        case "Cosine":
            spec["name"] = "cosine"
        case "Linear":
            spec["name"] = "polynomial"
        case "ConstLR" | "Constant":
            spec["name"] = "constant"
        case "Step":
            spec |= {"name": "step", "step_epochs": spec.pop("step_size")}
        case "MultiStepDecay":
            spec["name"] = "multi_step"
        case "Piecewise" if peak is None:
            peak, *rest = spec.pop("values")
            spec |= {"name": "piecewise", "milestones": spec.pop("decay_epochs")}
            spec["factors"] = [v / peak for v in rest]
        case "Piecewise":  # PaddleClas ignores the table, with a warning
            del spec["values"], spec["decay_epochs"]
            spec |= {"name": "step", "step_epochs": 30, "factor": 0.1}
        case "ReduceOnPlateau":
            spec = {"mode": "min", **spec, "name": "plateau"}
        case "CosineFixmatch":
            spec["name"] = "cosine_fixmatch"
        case "OneCycleLR":
            spec = {"end_lr": 1e-10, **spec, "name": "one_cycle"}
        case "Cyclic":
            spec["name"] = "cyclic"
        case _:
            return None
    return spec, peak
