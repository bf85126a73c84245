"""What the three registries (architectures, data sets, recipes) share: a dict, and what a wrong name gets."""

from collections.abc import Mapping
from typing import TypeVar

from models.errors import UnknownNameError

Entry = TypeVar("Entry")


def add_entry(entries: dict[str, Entry], kind: str, name: str, entry: Entry) -> None:
    """Puts an entry into a registry.

    Raises:
        ValueError: `name` is taken.
    """
    if name in entries:
        raise ValueError(f"Each {kind} has one name. Received: name={name!r}, which is registered already. Rename one.")
    entries[name] = entry


def find_entry(entries: Mapping[str, Entry], kind: str, name: str) -> Entry:
    """The entry called `name`.

    Raises:
        UnknownNameError: There is none; the text lists the known ones.
    """
    if name not in entries:
        known = ", ".join(sorted(entries)) or "none"
        raise UnknownNameError(f"Unknown {kind}. Received: {name!r}. Known: {known}.")
    return entries[name]
