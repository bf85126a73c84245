"""JSON schemas of the parameters of an explanation: which class is explained, and against which."""

from collections.abc import Mapping
from typing import Any

from serving.rest.explain_parameters import NAMES, PREDICTED
from serving.types import Explanation, Signature

Schema = dict[str, Any]

NEVER: Schema = {"not": {}}
"""What nothing fulfills: a member that may not be there."""

# Beyond this many classes the schema leaves the labels out, and the pairs of classes that may be compared are halves.
MAX_LISTED_CLASSES = 64
MAX_LISTED_PAIRS = 16
_LARGEST_INDEX = 2**31 - 1


def parameter_schemas(explanation: Explanation, signature: Signature, *, nulls: bool) -> list[Schema]:
    """The ways to say what is explained, as objects' members; every member may be left out.

    Args:
        explanation: How the model's explanations are to be read.
        signature: The signature `explain`, whose outputs tell how many scores there are.
        nulls: Whether a member may be null in place of being left out; else it is forbidden where others exclude it.

    Returns:
        Members by name, one entry a way.
    """
    absent: Schema = {"type": "null"} if nulls else NEVER
    anyone, known = class_schema(explanation), class_schema(explanation, predicted=False)
    ways: list[Schema] = [{"target": anyone}, {"top_k": _top_k(explanation, signature)}]
    ways.append({"contrast": anyone})
    ways.append({"target": {"const": PREDICTED}, "contrast": known})
    ways += [{"target": target, "contrast": contrast} for target, contrast in _pairs(explanation)]
    return [
        {name: _or_null(way[name], name, way) if nulls and name in way else way.get(name, absent) for name in NAMES}
        for way in ways
    ]


def class_schema(explanation: Explanation, *, predicted: bool = True) -> Schema:
    """A class by index or label; `predicted`: or -1 for the predicted one."""
    index = index_schema(explanation, predicted=predicted)
    return {"enum": [*index["enum"], *dict.fromkeys(explanation.class_labels)]} if "enum" in index else index


def index_schema(explanation: Explanation, *, predicted: bool = True) -> Schema:
    """A class by index; `predicted`: or -1 for the predicted one."""
    return _index_range(PREDICTED if predicted else 0, _last_index(explanation))


def per_instance_schema(explanation: Explanation, count: int) -> Schema:
    """A list with a class for each of `count` instances."""
    return {"type": "array", "items": class_schema(explanation), "minItems": count, "maxItems": count}


def _index_range(first: int, last: int) -> Schema:
    """Whole numbers from first to last."""
    if last < MAX_LISTED_CLASSES:  # 2.0 is an integer to JSON Schema, and no index here
        return {"enum": list(range(first, last + 1))}
    return {"type": "integer", "minimum": first, "maximum": last}


def _or_null(schema: Schema, name: str, way: Mapping[str, Schema]) -> Schema:
    """What stands alone may be null too; of two that go together neither may."""
    return schema if len(way) > 1 else {"anyOf": [schema, {"type": "null"}], "description": f"null: no `{name}`"}


def _last_index(explanation: Explanation) -> int:
    return _LARGEST_INDEX if explanation.num_targets is None else explanation.num_targets - 1


def _top_k(explanation: Explanation, signature: Signature) -> Schema:
    scores = signature.outputs.get(explanation.output_name)
    shape = None if scores is None else scores.shape
    if shape is None or len(shape) != 2:
        return {"const": 1}
    most = _last_index(explanation) + 1 if shape[1] is None else shape[1]
    return {"anyOf": [_index_range(1, most), {"const": -1, "description": "All classes"}]}


def _pairs(explanation: Explanation) -> list[tuple[Schema, Schema]]:
    """Classes that differ: one against all others, or one half against the other where there are many."""
    last = _last_index(explanation)
    if last < 1:
        return []
    if last >= MAX_LISTED_PAIRS:
        half = last // 2
        low, high = _index_range(0, half), _index_range(half + 1, last)
        return [(low, high), (high, low)]
    names: list[list[Any]] = [[index] for index in range(last + 1)]
    for label in dict.fromkeys(explanation.class_labels):
        index = explanation.class_labels.index(label)
        if index <= last:
            names[index].append(label)
    every = [PREDICTED, *(name for names_of_class in names for name in names_of_class)]
    return [({"enum": of_class}, {"enum": [name for name in every if name not in of_class]}) for of_class in names]
