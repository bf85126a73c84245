"""Affine maps of one signal, z = W x + b: what the rules of LRP are written for.

Dense, convolutional and every other linear operation with a constant kernel implement `LinearMap`; what follows it and
is constant (bias, folded batch normalisation) is absorbed into an `AffineMap` by `explain.canonize`. A rule asks it
for three things only: the map with another kernel, the transposed map, and the bias.
"""

import abc
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import final

import numpy as np
import tensorflow as tf

from explain.constants import DerivedConstants
from explain.relevance import widen

# Operations that can be folded into a map and that change its output's shape.
RESHAPES = frozenset({"Reshape", "Squeeze", "ExpandDims"})


@final
@dataclass(frozen=True, eq=False)
class Kernel:
    """A constant kernel.

    Args:
        values: The kernel in the operation's own layout, output channels last.
        tensor: The graph's own tensor of these values, so that the model's variable is used and no copy is stored.
        part: Which part of the model's kernel this is, for the name of the constant.
    """

    values: np.ndarray
    tensor: tf.Tensor | None = None
    part: str = "kernel"

    @cached_property
    def digest(self) -> str:
        """Names the values, so that equal kernels (shared layers, several functions) are stored once."""
        shape = str(self.values.shape).encode()  # the same numbers in another shape are another kernel
        return hashlib.blake2b(np.ascontiguousarray(self.values).tobytes() + shape, digest_size=8).hexdigest()

    def positive(self) -> "Kernel":
        """w+ = max(w, 0)."""
        return Kernel(np.maximum(self.values, 0), part="positive")

    def negative(self) -> "Kernel":
        """w- = min(w, 0)."""
        return Kernel(np.minimum(self.values, 0), part="negative")

    def scaled(self, scale: np.ndarray) -> "Kernel":
        """The kernel with its output channels scaled; a depthwise kernel has them on its last two axes."""
        if scale.size not in (1, self.values.shape[-1]):
            scale = scale.reshape(self.values.shape[-2:])
        return Kernel((self.values * scale).astype(self.values.dtype), part="scaled")

    def plus(self, other: "Kernel", factor: float, part: str) -> "Kernel":
        """w + factor * other."""
        return Kernel((self.values + factor * other.values).astype(self.values.dtype), part=part)

    def beside(self, others: Sequence["Kernel"]) -> "Kernel":
        """This kernel and others in one that reads all their inputs, one after another on the channels."""
        parts = [self, *others]
        return Kernel(
            np.concatenate([part.values for part in parts], axis=-2), part="_".join(part.part for part in parts)
        )

    def squared(self) -> "Kernel":
        """w * w."""
        return Kernel(np.square(self.values), part="squared")

    def ones(self) -> "Kernel":
        """All ones: reads the same inputs, with equal weight."""
        return Kernel(np.ones_like(self.values), part="ones")


class LinearMap(abc.ABC):
    """A traced linear operation: one signal times a constant kernel.

    Args:
        op: The traced operation.
        signal: The tensor that it reads.
        kernel: The constant kernel, output channels last.
        derived: Where flipped and modified kernels are kept.
        layer: Name of the layer, for the names of constants.
    """

    kind: str  # what composites tell apart: "dense" or "convolution"
    scalable: bool = True  # the kernel's last axis is the output's channels, so that a scale of those can be folded in

    def __init__(
        self,
        op: tf.Operation,
        signal: tf.Tensor,
        kernel: Kernel,
        derived: DerivedConstants,
        layer: str,
    ) -> None:
        self.op = op
        self.input = signal
        self.output: tf.Tensor = op.outputs[0]
        self.kernel = kernel
        self.layer = layer
        self._derived = derived

    def stacks(self, count: int) -> bool:
        """Whether products of `count` signals are computed faster at once, on the channels of one signal."""
        del count
        return False

    @abc.abstractmethod
    def forward(self, x: tf.Tensor, kernel: Kernel) -> tf.Tensor:
        """The operation applied to `x` (in the shape of `input`) with another kernel; no bias."""

    @abc.abstractmethod
    def adjoint(self, c: tf.Tensor, kernel: Kernel) -> tf.Tensor:
        """The transposed map: from the shape of `output` to the shape of `input`."""

    def _constant(
        self, kernel: Kernel, dtype: tf.DType, arrangement: str = "", values: np.ndarray | None = None
    ) -> tf.Tensor:
        """A kernel as a constant of the relevance pass."""
        name = "/".join(filter(None, [self.layer, kernel.part, kernel.digest, arrangement]))
        return self._derived.tensor(name, lambda: kernel.values if values is None else values, dtype)


@final
@dataclass(frozen=True, eq=False)
class AffineMap:
    """A linear operation with the constant operations after it folded in: z = W x + b.

    Args:
        linear: The linear operation.
        kernel: W, with the scale of what was folded in.
        bias: b, one number for each output channel, in the shape of the output's axes that hold them, or one in all
            `()`, or None.
        output: z, the output of the last folded operation.
        operations: The operations that the map stands for, in order.
    """

    linear: LinearMap
    kernel: Kernel
    bias: np.ndarray | None
    output: tf.Tensor
    operations: tuple[tf.Operation, ...]

    @property
    def input(self) -> tf.Tensor:
        """x."""
        return self.linear.input

    @property
    def kind(self) -> str:
        """`dense` or `convolution`."""
        return self.linear.kind

    @property
    def layer(self) -> str:
        """Name of the layer that holds the kernel."""
        return self.linear.layer

    def forward(self, x: tf.Tensor, kernel: Kernel) -> tf.Tensor:
        """W' x without bias, in the shape of z."""
        z = self.linear.forward(widen(x), kernel)
        return z if self._same_layout else tf.reshape(z, dynamic_shape(self.output))

    def adjoint(self, c: tf.Tensor, kernel: Kernel) -> tf.Tensor:
        """W'^T c, in the shape of x."""
        if not self._same_layout:
            c = tf.reshape(c, dynamic_shape(self.linear.output))
        return self.linear.adjoint(c, kernel)

    def fold(
        self, op: tf.Operation, *, scale: np.ndarray | None = None, shift: np.ndarray | None = None
    ) -> "AffineMap":
        """The map followed by an operation that scales or shifts each output channel, or does nothing.

        Args:
            op: The operation.
            scale: Of the channels, in the shape that they have in its result, or one number.
            shift: Likewise.
        """
        kernel, bias = self.kernel, self.bias
        if scale is not None:
            kernel = kernel.scaled(scale.ravel())
            bias = None if bias is None else bias * scale
        if shift is not None:
            bias = shift if bias is None else bias + shift
        return replace(self, kernel=kernel, bias=bias, output=op.outputs[0], operations=(*self.operations, op))

    def reshape(self, op: tf.Operation, channels: Sequence[int]) -> "AffineMap":
        """The map followed by a reshape, after which the output's last axes, of these sizes, hold the channels."""
        bias = self.bias if self.bias is None or self.bias.size == 1 else self.bias.reshape(channels)
        return replace(self, bias=bias, output=op.outputs[0], operations=(*self.operations, op))

    def stacks(self, count: int) -> bool:
        """See `LinearMap.stacks`."""
        return self.linear.stacks(count)

    @property
    def _same_layout(self) -> bool:
        return not any(op.type in RESHAPES for op in self.operations)


def dynamic_shape(tensor: tf.Tensor) -> list[int] | tf.Tensor:
    """A shape to reshape to: numbers with at most one -1 where that is enough, else the tensor's shape at run time."""
    static = tensor.shape.as_list() if tensor.shape.rank is not None else [None, None]
    if static.count(None) <= 1:
        return [-1 if size is None else size for size in static]
    return tf.shape(tensor)
