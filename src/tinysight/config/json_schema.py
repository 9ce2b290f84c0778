"""The JSON Schema of a recipe, for editors: sections from their types, components from the registered signatures."""

from __future__ import annotations

from typing import Any

from tinysight.config.schema import Recipe
from tinysight.registry import REGISTRIES, Registry


def recipe_schema() -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of a recipe file; needs the training extra, since it lists the networks too."""
    schema = Recipe.model_json_schema()
    schema["$defs"].pop("Component", None)
    schema = _with_kinds(schema)
    for kind in _kinds(schema):
        schema["$defs"][kind] = _component_schema(REGISTRIES[kind])
    schema["properties"]["base"] = {
        "type": "string",
        "description": "One parent recipe, relative to this file or to the shipped recipes",
    }
    record = schema["properties"]["plugins"]["items"]
    schema["properties"]["plugins"]["items"] = {"anyOf": [{"type": "string"}, record]}
    schema.pop("required", None)  # a parent may hold any section
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    return {**head, **schema, "title": "tinysight recipe"}


def _component_schema(registry: Registry[Any]) -> dict[str, Any]:
    choices = []
    for name in registry:
        properties = registry.schema(name).model_json_schema()
        choices.append({
            "type": "object",
            "description": registry.summary(name),
            "properties": {"name": {"const": name}, **properties.get("properties", {})},
            "required": ["name", *properties.get("required", [])],
            "additionalProperties": False,
        })  # fmt: skip
    return {"description": f"One {registry.kind}", "oneOf": choices}


def _with_kinds(node: Any) -> Any:
    if isinstance(node, dict):
        if "$kind" in node:
            rest = {k: v for k, v in node.items() if k in ("default", "description")}
            return {"$ref": f"#/$defs/{node['$kind']}", **rest}
        return {k: _with_kinds(v) for k, v in node.items()}
    return [_with_kinds(v) for v in node] if isinstance(node, list) else node


def _kinds(node: Any) -> set[str]:
    if isinstance(node, dict):
        own = {ref.rsplit("/", 1)[-1]} if isinstance(ref := node.get("$ref"), str) else set()
        return own.intersection(REGISTRIES).union(*map(_kinds, node.values()))
    return set().union(*map(_kinds, node)) if isinstance(node, list) else set()
