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
            kinds = ["convolution"]
            layers = ["block1_*"]
            gamma = 0.5

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
    bias, attention = content.get("bias", "absorb"), content.get("attention", "gate")
    structure = content.get("structure", "gate")
    if bias not in BIAS_MODES or attention not in ATTENTION_MODES or structure not in STRUCTURE_MODES:
        raise CompositeError(
            f"`bias` must be one of {', '.join(BIAS_MODES)}, `attention` one of {', '.join(ATTENTION_MODES)}, "
            f"`structure` one of {', '.join(STRUCTURE_MODES)}. Received in {path}: {bias=}, {attention=}, {structure=}."
        )
    assignments = tuple(_assignment(entry) for entry in entries)
    name, reason = str(content.get("name", path.stem)), f"asked for by {path.name}"
    return Composite(name, assignments, bias, attention, reason, structure)


def _assignment(entry: dict[str, Any]) -> Assignment:
    if not isinstance(entry, dict) or not isinstance(entry.get("rule"), str):
        raise CompositeError(f"Each entry of `rules` names its `rule`. Received: {entry!r}.")
    matchers = {"rule", "kinds", "layers", "first"}
    rule = Rule(entry["rule"], {key: value for key, value in entry.items() if key not in matchers})
    kinds = frozenset(entry.get("kinds", ()))
    if not kinds <= KINDS:
        raise CompositeError(f"`kinds` are {', '.join(sorted(KINDS))}. Received: {', '.join(sorted(kinds))}.")
    return Assignment(rule, kinds, tuple(entry.get("layers", ())), bool(entry.get("first", False)))
