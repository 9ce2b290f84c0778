"""What a run is: the schema of a recipe and how one is found, merged, overridden and checked."""

from tinysight.compat.paddle.dialect import Translation, is_paddleclas
from tinysight.config.load import (
    find_recipe,
    list_recipes,
    load_recipe,
    minimal_yaml,
    recipe_yaml,
    translated,
)
from tinysight.config.schema import Component, Recipe

__all__ = [
    "Component",
    "Recipe",
    "Translation",
    "find_recipe",
    "is_paddleclas",
    "list_recipes",
    "load_recipe",
    "minimal_yaml",
    "recipe_yaml",
    "translated",
]
