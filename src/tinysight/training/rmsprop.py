"""RMSProp as the published mobile networks were trained with it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor


class RMSProp(torch.optim.Optimizer):
    """g += weight_decay * p; s = rho * s + (1 - rho) * g^2; v = momentum * v + lr * g / sqrt(s + eps);
    p -= v.

    With `centered` the mean of g, squared, is taken off s under the root. Everything starts at 0.
    `torch.optim.RMSprop` differs twice: it adds eps outside the root, which at the usual 1e-3
    matters, and applies the learning rate to all of v, so that a fall of the rate also slows what
    goes on from before.

    Source: PaddlePaddle's and TensorFlow's rule.
    """

    def __init__(
        self,
        params: Iterable[dict[str, Any]],
        rho: float,
        momentum: float,
        eps: float,
        centered: bool,
        weight_decay: float,
    ) -> None:
        defaults = {
            "lr": 0.0,
            "rho": rho,
            "momentum": momentum,
            "eps": eps,
            "centered": centered,
            "weight_decay": weight_decay,
        }
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Change every parameter that has a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._step(parameter, parameter.grad, group)
        return loss

    def _step(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state = self.state[parameter]
        if not state:
            names = ["square", "velocity"] + ["mean"] * group["centered"]
            state.update({name: torch.zeros_like(parameter) for name in names})
        if group["weight_decay"]:
            gradient = gradient.add(parameter, alpha=group["weight_decay"])
        rho, square = group["rho"], state["square"]
        square.mul_(rho).addcmul_(gradient, gradient, value=1.0 - rho)
        spread = square
        if group["centered"]:
            mean = state["mean"].mul_(rho).add_(gradient, alpha=1.0 - rho)
            spread = square.addcmul(mean, mean, value=-1.0)
        change = gradient / spread.add(group["eps"]).sqrt_()
        velocity = state["velocity"].mul_(group["momentum"]).add_(change, alpha=group["lr"])
        parameter.sub_(velocity)
