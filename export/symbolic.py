"""Models whose inputs are known by name: what every signature needs."""

import inspect
from typing import Any

import keras

from export.errors import SourceError


def with_known_inputs(model: keras.Model, where: str) -> keras.Model:
    """The model itself, or a functional one around it: a subclassed model doesn't say what its inputs are.

    A subclassed model's inputs come from the shapes that it was built with. They bear the names of the arguments of its
    `call`, or the keys of the dict that it takes.

    Raises:
        SourceError: The model was saved before it was ever built.
    """
    if not model.built:
        raise SourceError(
            f"The model in {where} was never built: its weights don't exist. Call it once on data, then save it again."
        )
    if getattr(model, "inputs", None):
        return model
    shapes = _build_shapes(model, where)
    arguments = {key: _symbolic(key, shape, model.input_dtype) for key, shape in shapes.items()}
    try:
        outputs = model(**arguments)
    except (ValueError, TypeError, KeyError, AttributeError, NotImplementedError, RuntimeError) as error:
        raise SourceError(
            f"The subclassed model in {where} can't be called on symbolic inputs of the shapes that it was built with "
            f"({shapes}): {error} Wrap it in a functional model: `keras.Model(inputs, model(inputs))`."
        ) from error
    return keras.Model(arguments if len(arguments) > 1 else next(iter(arguments.values())), outputs, name=model.name)


def _build_shapes(model: keras.Model, where: str) -> dict[str, Any]:
    """Shapes by the names of the arguments of `call`."""
    config = model.get_build_config() or {}
    shapes = config.get("shapes_dict") or {"input_shape": config.get("input_shape")}
    if any(shape is None for shape in shapes.values()):
        raise SourceError(
            f"The subclassed model in {where} doesn't say what its inputs are. "
            "Wrap it in a functional model: `keras.Model(inputs, model(inputs))`."
        )
    parameters = list(inspect.signature(model.call).parameters)
    if list(shapes) == ["input_shape"]:
        return {parameters[0]: shapes["input_shape"]}
    return {key.removesuffix("_shape"): shape for key, shape in shapes.items()}


def _symbolic(name: str, shape: Any, dtype: str) -> Any:
    """A structure of `keras.Input` for a structure of shapes, each a list or tuple of sizes with the batch first."""
    if isinstance(shape, dict):
        return {key: _symbolic(key, inner, dtype) for key, inner in shape.items()}
    if all(size is None or isinstance(size, int) for size in shape):
        return keras.Input(tuple(shape[1:]), name=name, dtype=dtype)
    return [_symbolic(f"{name}_{i}", inner, dtype) for i, inner in enumerate(shape)]
