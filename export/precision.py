"""A model again in another floating-point precision: single for serving, double as the reference of the checks."""

from typing import Any

import keras

_REDUCED = ("float16", "bfloat16")


def reduced_dtypes(model: keras.Model) -> list[str]:
    """The half-precision dtypes that layers compute in, as after training in mixed precision; else empty."""
    layers = model._flatten_layers()  # noqa: SLF001 - Keras has no public walk
    return sorted({layer.compute_dtype for layer in layers if layer.compute_dtype in _REDUCED})


def in_float32(model: keras.Model) -> keras.Model:
    """The same weights, computed in single precision wherever a policy asked for half."""
    names = (*_REDUCED, *(f"mixed_{name}" for name in _REDUCED))
    return _rebuilt(model, dict.fromkeys(names, "float32"))


def in_float64(model: keras.Model) -> keras.Model:
    """The same weights, computed in double precision.

    Raises:
        ValueError, TypeError, KeyError, AttributeError: The model can't be rebuilt from its configuration.
    """
    return _rebuilt(model, {"float32": "float64"})


def _rebuilt(model: keras.Model, dtypes: dict[str, str]) -> keras.Model:
    config = _replaced(keras.saving.serialize_keras_object(model), dtypes)
    rebuilt = keras.saving.deserialize_keras_object(config, safe_mode=True)
    if not rebuilt.built and rebuilt.get_build_config() is None and model.get_build_config():
        rebuilt.build_from_config(model.get_build_config())
    rebuilt.set_weights(model.get_weights())
    for layer in rebuilt._flatten_layers():  # noqa: SLF001 - Keras has no public walk
        if isinstance(layer, keras.layers.Normalization):
            layer.finalize_state()  # it computes with tensors made of its weights, and set_weights doesn't renew them
    return rebuilt


def _replaced(config: Any, dtypes: dict[str, str], key: str = "") -> Any:
    """The configuration with dtypes replaced where Keras keeps them: as `dtype`, or as the name of a policy."""
    if isinstance(config, dict):
        policy = str(config.get("class_name", "")).endswith("DTypePolicy")
        return {
            name: _replaced(value, dtypes, "dtype" if policy and name == "config" else _inherited(key, name))
            for name, value in config.items()
        }
    if isinstance(config, list | tuple):
        return [_replaced(value, dtypes) for value in config] if isinstance(config, list) else config
    if key == "dtype" and isinstance(config, str):
        return dtypes.get(config, config)
    return config


def _inherited(key: str, name: str) -> str:
    """A policy is `{"config": {"name": "float32"}}`: its name counts as a dtype."""
    return "dtype" if name == "dtype" or (key == "dtype" and name == "name") else ""
