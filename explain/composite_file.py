"""Composites of one's own from TOML files."""

import tomllib
from pathlib import Path
from typing import Any

from explain.composites import ATTENTION_MODES, KINDS, STRUCTURE_MODES, Assignment, Composite
from explain.errors import CompositeError
from explain.rules import BIAS_MODES, Rule


def read_composite(path: Path) -> Composite:
    """A composite of one's own from a TOML file; the first entry of `rules` that matches a layer wins.

    Args:
        path: The file.

    Raises:
        CompositeError: The file can't be read as a composite.

    Example:
        A file for a network on pixels::

            name = "mine"
            bias = "ignore"          # of sums with constants outside of layers: absorb | ignore | share
            attention = "gate"       # or "uniform"
            structure = "gate"       # or "share": relevance for edges, too, where they are an input

            [[rules]]
            rule = "z_box"
            first = true
            low = 0.0
            high = 255.0

            [[rules]]
            rule = "gamma"
            types = ["Conv2D"]       # or kinds = ["dense", "convolution", "recurrent"]
            layers = ["block1_*"]
            gamma = 0.5

            [[rules]]
            rule = "zero"
            last = true              # or position = -1

            [[rules]]
            rule = "epsilon"
    """
    try:
        content = tomllib.loads(path.read_text())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise CompositeError(f"Expected a TOML file with a composite. Received: {path} ({error}).") from error
    unknown = set(content) - {"name", "bias", "attention", "structure", "rules"}
    entries = content.get("rules")
    if unknown or not isinstance(entries, list) or not entries:
        raise CompositeError(
            "A composite has `[[rules]]` entries, and may have `name`, `bias`, `attention` and `structure`. "
            f"Received in {path}: {', '.join(sorted(content)) or 'nothing'}."
        )
    name = content.get("name", path.stem)
    if not isinstance(name, str):
        raise CompositeError(f"`name` must be a text. Received in {path}: name = {name!r}.")
    bias, attention = content.get("bias", "absorb"), content.get("attention", "gate")
    structure = content.get("structure", "gate")
    if bias not in BIAS_MODES or attention not in ATTENTION_MODES or structure not in STRUCTURE_MODES:
        raise CompositeError(
            f"`bias` must be one of {', '.join(BIAS_MODES)}, `attention` one of {', '.join(ATTENTION_MODES)}, "
            f"`structure` one of {', '.join(STRUCTURE_MODES)}. Received in {path}: {bias=}, {attention=}, {structure=}."
        )
    assignments = tuple(_assignment(entry) for entry in entries)
    reason = f"asked for by {path.name}"
    return Composite(name, assignments, bias, attention, reason, structure)


def _assignment(entry: Any) -> Assignment:
    if not isinstance(entry, dict) or not isinstance(entry.get("rule"), str):
        raise CompositeError(f"Each entry of `rules` names its `rule`. Received: {entry!r}.")
    parameters = dict(entry)
    rule = parameters.pop("rule")
    kinds = frozenset(_take_names(parameters, "kinds"))
    if not kinds <= KINDS:
        raise CompositeError(f"`kinds` are {', '.join(sorted(KINDS))}. Received: {', '.join(sorted(kinds))}.")
    matched: dict[str, Any] = {"layers": _take_names(parameters, "layers"), "types": _take_names(parameters, "types")}
    matched |= {key: _take(parameters, key, bool, "true or false", False) for key in ("first", "last")}
    matched["position"] = _take(parameters, "position", int, "a whole number, 0 for the first, -1 for the last", None)
    return Assignment(Rule(rule, parameters), kinds, **matched)


def _take(entry: dict[str, Any], key: str, kind: type, expected: str, default: Any) -> Any:
    value = entry.pop(key, default)
    if type(value) is not kind and value is not default:  # not `isinstance`: true is no number
        raise CompositeError(f"`{key}` must be {expected}. Received: {key} = {value!r}.")
    return value


def _take_names(entry: dict[str, Any], key: str) -> tuple[str, ...]:
    names = entry.pop(key, [])
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise CompositeError(f'`{key}` must be a list of texts, as in `{key} = ["..."]`. Received: {key} = {names!r}.')
    return tuple(names)
