"""The architectures by name. Importing it is cheap: Keras is loaded when a model is built."""

from models.architecture import Architecture
from models.cnn import CNN
from models.entries import add_entry, find_entry
from models.mlp import MLP

_ARCHITECTURES: dict[str, Architecture] = {}


def register(architecture: Architecture) -> None:
    """Makes an architecture known under its name.

    Raises:
        ValueError: The name is taken.
    """
    add_entry(_ARCHITECTURES, "architecture", architecture.name, architecture)


def architectures() -> dict[str, Architecture]:
    """All architectures by name, in the order of registration; the dict is the caller's own."""
    return dict(_ARCHITECTURES)


def architecture(name: str) -> Architecture:
    """The architecture called `name`.

    Raises:
        UnknownNameError: There is none; the text lists the known ones.
    """
    return find_entry(_ARCHITECTURES, "architecture", name)


for _entry in (MLP, CNN):
    register(_entry)
