"""JSON schemas of tensors in a request, as exact as JSON Schema can be about what a signature takes.

It can't say that two lists are of one length, which a batch of several inputs and a dynamic dimension ask for. Where
that matters the schemas list what agrees for the smallest sizes, and larger ones are alike.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from serving.rest.tensors import INTEGER_RANGES
from serving.types import Signature, TensorInfo

Schema = dict[str, Any]
Sizes = tuple[int | None, ...]
Adapt = Callable[[str, Schema], Schema]
"""Narrows the schema of an input's elements, given the input's name."""

SMALL_SIZES = (1, 2)
"""Sizes that are listed where several dimensions must agree."""

# Half a step beyond the largest number of a type: from here on a number is rounded to infinity.
_FLOAT_ENDS: Mapping[str, float] = {
    "float16": 65520.0,
    "bfloat16": 3.3961775292304957e38,
    "float32": 3.4028235677973366e38,
}
_LARGEST_FLOAT = float(np.finfo(np.float64).max)
_BASE64 = "^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}(?:==)?|[A-Za-z0-9+/]{3}=?)?$"

BYTES: Schema = {
    "type": "object",
    "required": ["b64"],
    "properties": {"b64": {"type": "string", "pattern": _BASE64, "description": "Bytes in base64"}},
    "additionalProperties": False,
}


def number_schema(dtype: np.dtype, *, finite: bool) -> Schema:
    """A number of a floating-point type; `finite`: none that becomes infinity in it."""
    if not finite:
        return {"type": "number"}
    end = _FLOAT_ENDS.get(dtype.name)
    if end is None:
        return {"type": "number", "minimum": -_LARGEST_FLOAT, "maximum": _LARGEST_FLOAT}
    return {"type": "number", "exclusiveMinimum": -end, "exclusiveMaximum": end}


def element_schema(dtype: np.dtype, *, finite: bool) -> Schema | None:
    """What an element of an input may be in `:predict` and `:explain`; None where JSON has nothing for the type."""
    if dtype.kind == "O":
        return {"anyOf": [{"type": "string"}, BYTES]}
    if dtype.kind == "b":
        return {"type": "boolean"}
    if dtype in INTEGER_RANGES:
        low, high = INTEGER_RANGES[dtype]
        return {"type": "integer", "minimum": low, "maximum": high}
    return number_schema(dtype, finite=finite) if dtype in (np.float32, np.float64) else None


def array_schema(element: Schema, sizes: Sizes) -> Schema:
    """Lists in lists of these sizes; None: of any size of at least 1."""
    schema = element
    for size in reversed(sizes):
        bounds = {"minItems": 1} if size is None else {"minItems": size, "maxItems": size}
        schema = {"type": "array", "items": schema, **bounds}
    return schema


def form_schemas(
    signature: Signature, *, finite: bool, adapt: Adapt | None = None, batch: int | None = None
) -> list[Schema]:
    """The forms in which the inputs of a signature may stand in a body: each the members `instances` or `inputs`.

    Args:
        signature: The signature.
        finite: Whether NaN and infinity are refused.
        adapt: Narrows the elements of an input.
        batch: The number of instances; None: any.

    Returns:
        Objects' members by name, one entry a form; none where JSON has nothing for the type of an input.
    """
    elements = {}
    for name, info in signature.inputs.items():
        element = element_schema(info.dtype, finite=finite)
        if element is None:
            return []
        elements[name] = element if adapt is None else adapt(name, element)
    if any(info.shape is None for info in signature.inputs.values()):
        return [{"instances": {"type": "array", "minItems": 1}}, {"inputs": {}}]
    forms: list[Schema] = []
    for count, shapes in agreeing_shapes(signature.inputs, batch):
        if all(shapes.values()) and (batch is None or count in (None, batch)):
            rows = _rows(elements, shapes, batch if count is None else count)
            forms += [{"instances": row} for row in rows]
    for _, shapes in agreeing_shapes(signature.inputs, batch, columns=True):
        forms += [{"inputs": value} for value in _columns(elements, shapes)]
    return forms


def _rows(elements: Mapping[str, Schema], shapes: Mapping[str, Sizes], count: int | None) -> list[Schema]:
    counts = {shape[0] for shape in shapes.values()} - {None}
    if len(counts) > 1:
        return []
    number = next(iter(counts), count)
    values = {name: array_schema(element, shapes[name][1:]) for name, element in elements.items()}
    named = {"type": "object", "required": list(values), "properties": values, "additionalProperties": False}
    instances = [*values.values(), named] if len(values) == 1 else [named]
    return [array_schema(instance, (number,)) for instance in instances]


def _columns(elements: Mapping[str, Schema], shapes: Mapping[str, Sizes]) -> list[Schema]:
    values = {name: array_schema(element, shapes[name]) for name, element in elements.items()}
    named = {"type": "object", "required": list(values), "properties": values}
    return [*values.values(), named] if len(values) == 1 else [named]


def agreeing_shapes(
    inputs: Mapping[str, TensorInfo], batch: int | None, *, columns: bool = False
) -> list[tuple[int | None, dict[str, Sizes]]]:
    """Shapes that go together, each with the number of instances where it isn't free.

    A dynamic first dimension is the batch. In row form it is the list of instances, so any number will do; in column
    form every input has its own, and several must agree.
    """
    shapes = {name: tuple(info.shape or ()) for name, info in inputs.items()}
    dynamic = [(name, axis) for name, shape in shapes.items() for axis, size in enumerate(shape[1:], 1) if size is None]
    batches = {name: shape[:1] for name, shape in shapes.items()}
    several = columns and list(batches.values()).count((None,)) > 1
    found: list[tuple[int | None, dict[str, Sizes]]] = []
    for rows in SMALL_SIZES if several and batch is None else (batch,):
        for size in SMALL_SIZES if dynamic else (None,):
            filled = {name: _fill(shape, rows, size) for name, shape in shapes.items()}
            found.append((None, filled))
    if (
        len(dynamic) == 1 and dynamic[0][1] == 1 and batch in (None, 1)
    ):  # of a single instance the first dimension is free
        name = dynamic[0][0]
        lone = {other: _fill(shape, 1, None) for other, shape in shapes.items()}
        if lone[name][0] == 1:
            found.append((1, lone))
    return found


def _fill(shape: Sizes, batch: int | None, size: int | None) -> Sizes:
    """A shape with its dynamic sizes filled in."""
    return tuple((batch if axis == 0 else size) if known is None else known for axis, known in enumerate(shape))


def example_value(shape: Sequence[int | None], dtype: np.dtype, most: int) -> Any:
    """Zeros of a shape as an example, with 1 for what is dynamic; None where it would be long, or means nothing."""
    sizes = [size or 1 for size in shape]
    if dtype.kind not in "fiub" or int(np.prod(sizes)) > most:
        return None
    return np.zeros(sizes, np.float64 if dtype.kind == "f" else dtype).tolist()
