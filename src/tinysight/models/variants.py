"""Variants of a family: its constructor with some of the parameters fixed, each registered under a name of its own."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, get_type_hints

from tinysight.models.base import Backbone
from tinysight.registry import backbones


def register_variant(
    name: str,
    network: type[Backbone],
    summary: str,
    fixed: Mapping[str, Any],
    defaults: Mapping[str, Any] | None = None,
) -> None:
    """Register `network` with `fixed` arguments as `name`; the other parameters stay a recipe's to set.

    Args:
        name: the registered name.
        network: the class; the ranges in its constructor's signature are those of the recipe.
        summary: what the variant is, for the documentation.
        fixed: arguments that no recipe may change.
        defaults: parameters with a default of this variant's own.
    """
    hints = get_type_hints(network.__init__, include_extras=True)
    own = dict(defaults or {})
    parameters = [
        p.replace(annotation=hints[p.name], default=own.get(p.name, p.default))
        for p in list(inspect.signature(network).parameters.values())
        if p.name not in fixed
    ]

    def build(*args: Any, **options: Any) -> Backbone:
        given = dict(zip((p.name for p in parameters), args, strict=False))
        return network(**{**own, **given, **options, **fixed})

    build.__name__, build.__module__ = name, network.__module__
    build.__doc__ = f"{summary}; the arguments are those of `{network.__name__}`."
    build.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    build.__annotations__ = {p.name: p.annotation for p in parameters}
    backbones.register(name)(build)
