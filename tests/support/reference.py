"""Sections of the reference's configurations in our words, for comparing with recorded numbers."""

from __future__ import annotations

from typing import Any


def translate_schedule(config: dict[str, Any]) -> tuple[dict[str, Any], float] | None:
    """A learning-rate section of the reference as ours and the peak; None: nothing like it here."""
    config = dict(config)
    name, peak = config.pop("name"), config.pop("learning_rate", None)
    words = {"warmup_epoch": "warmup_epochs", "eta_min": "end_lr", "gamma": "factor"}
    spec = {words.get(k, k): v for k, v in config.items()}
    match name:
        case "Cosine":
            spec["name"] = "cosine"
        case "Linear":
            spec["name"] = "linear"
        case "ConstLR" | "Constant":
            spec["name"] = "constant"
        case "Step":
            spec |= {"name": "step", "step_epochs": spec.pop("step_size")}
        case "MultiStepDecay":
            spec |= {"name": "piecewise", "factors": [spec.pop("factor")]}
        case "Piecewise" if peak is None:
            peak, *rest = spec.pop("values")
            spec |= {"name": "piecewise", "milestones": spec.pop("decay_epochs")}
            spec["factors"] = [v / peak for v in rest]
        case "Piecewise":  # the reference ignores the table, with a warning
            del spec["values"], spec["decay_epochs"]
            spec |= {"name": "step", "step_epochs": 30, "factor": 0.1}
        case _:
            return None
    return spec, peak
