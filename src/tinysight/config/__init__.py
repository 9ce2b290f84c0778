"""What a run is: the schema of a recipe and how one is found, merged, overridden and checked."""

from tinysight.config.load import list_recipes, load_recipe, load_run, minimal_yaml, recipe_yaml
from tinysight.config.schema import Recipe

__all__ = ["Recipe", "list_recipes", "load_recipe", "load_run", "minimal_yaml", "recipe_yaml"]
