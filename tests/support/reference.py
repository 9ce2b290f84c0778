"""Sections of PaddleClas' configurations in our words, for comparing with recorded numbers."""

from __future__ import annotations

from typing import Any

from tinysight.compat.paddle.dialect.rules import Reader
from tinysight.compat.paddle.dialect.training import optimizer_section


def translate_schedule(config: dict[str, Any]) -> tuple[dict[str, Any], float] | None:
    """A learning-rate section of PaddleClas as ours and the peak; None: nothing like it here.

    That is the dialect's translation, but for what it refuses or mends on purpose.
    """
    config = dict(config)
    match config["name"]:
        case "CosineFixmatch":  # belongs to semi-supervised training, which has no recipe
            words = {"num_warmup_steps": "warmup_steps", "num_cycles": "cycles"}
            peak = config.pop("learning_rate")
            spec = {words.get(key, key): value for key, value in config.items()}
            return {**spec, "name": "cosine_fixmatch"}, peak
        case "Piecewise" if (
            "learning_rate" in config
        ):  # PaddleClas ignores the table, with a warning
            config = {k: v for k, v in config.items() if k not in ("values", "decay_epochs")}
            config |= {"name": "Step", "step_size": 30, "gamma": 0.1}
        case "OneCycleLR":
            config = {"end_learning_rate": 1e-10, **config}
    reader, native = Reader(), dict[str, Any]()
    optimizer_section(reader, {"name": "Momentum", "lr": config}, native)
    return None if reader.problems else (native["train"]["schedule"], native["train"]["lr"])
