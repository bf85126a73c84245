"""How each type of traced operation passes relevance on: one file for each family, registered when it is imported."""

from explain.operations import (
    activation,
    arithmetic,
    convolution,
    dense,
    depthwise,
    einsum,
    embedding,
    pooling,
    product,
    resize,
    shape,
    transposed,
)
from explain.operations.registry import LINEAR_MAPS, PROPAGATE, register, register_linear_map

__all__ = [
    "LINEAR_MAPS",
    "PROPAGATE",
    "activation",
    "arithmetic",
    "convolution",
    "dense",
    "depthwise",
    "einsum",
    "embedding",
    "pooling",
    "product",
    "register",
    "register_linear_map",
    "resize",
    "shape",
    "transposed",
]
