"""What a run is: the schema of a recipe and how one is found, merged, overridden and checked."""

from tinysight.config.load import (
    find_recipe,
    list_recipes,
    load_recipe,
    load_run,
    minimal_yaml,
    recipe_yaml,
)
from tinysight.config.run import RunConfig
from tinysight.config.schema import Component, Recipe

__all__ = [
    "Component",
    "Recipe",
    "RunConfig",
    "find_recipe",
    "list_recipes",
    "load_recipe",
    "load_run",
    "minimal_yaml",
    "recipe_yaml",
]
