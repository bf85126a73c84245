"""The recipes by name: trainings that are known to work. Importing it is cheap."""

from models.entries import add_entry, find_entry
from models.recipes.digits import CNN_DIGITS, MLP_DIGITS
from models.recipes.fashion_mnist import CNN_FASHION_MNIST, MLP_FASHION_MNIST
from models.recipes.recipe import Figure, Recipe

__all__ = ["Figure", "Recipe", "recipe", "recipes", "register"]

_RECIPES: dict[str, Recipe] = {}


def register(entry: Recipe) -> None:
    """Makes a recipe known under its name.

    Raises:
        ValueError: The name is taken.
    """
    add_entry(_RECIPES, "recipe", entry.name, entry)


def recipes() -> dict[str, Recipe]:
    """All recipes by name, in the order of registration; the dict is the caller's own."""
    return dict(_RECIPES)


def recipe(name: str) -> Recipe:
    """The recipe called `name`.

    Raises:
        UnknownNameError: There is none; the text lists the known ones.
    """
    return find_entry(_RECIPES, "recipe", name)


for _entry in (CNN_DIGITS, MLP_DIGITS, CNN_FASHION_MNIST, MLP_FASHION_MNIST):
    register(_entry)
