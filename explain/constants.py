"""Values that a traced graph computes without looking at its inputs, and constants that the relevance pass derives.

A modified kernel (flipped, positive part, folded normalisation) is computed once, at export, and kept in a variable:
it is stored once however many functions use it, and a graph that is frozen for ONNX holds it as a plain constant.
"""

import inspect
from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from explain.errors import ExplainError

# Arguments that `tf.raw_ops` calls otherwise than the operation's definition does.
_PYTHON_NAMES = {
    "dim": "axis",
    "reduction_indices": "axis",
    "split_dim": "axis",
    "squeeze_dims": "axis",
    "input": "condition",
}


def run_operation(op: tf.Operation, inputs: Sequence[tf.Tensor]) -> list[tf.Tensor]:
    """Runs an operation of a graph again on other inputs, eagerly or in the graph that is being built.

    Args:
        op: The operation; its attributes are kept.
        inputs: One tensor for each of `op.inputs`, in the same order.

    Returns:
        The outputs.
    """
    if op.type == "Const":  # the raw operation doesn't take its value back
        return [tf.constant(tf.make_ndarray(op.get_attr("value")))]
    function = getattr(tf.raw_ops, op.type)
    parameters = inspect.signature(function).parameters
    arguments: dict[str, object] = {}
    position = 0
    for argument in op.op_def.input_arg:
        name = _PYTHON_NAMES.get(argument.name, argument.name)
        name = name if name in parameters else argument.name
        if argument.number_attr or argument.type_list_attr:
            attribute = op.get_attr(argument.number_attr or argument.type_list_attr)
            count = attribute if argument.number_attr else len(attribute)
            arguments[name] = list(inputs[position : position + count])
            position += count
        else:
            arguments[name] = inputs[position]
            position += 1
    for attribute in op.op_def.attr:
        for name in {attribute.name, _PYTHON_NAMES.get(attribute.name, attribute.name)} & set(parameters):
            arguments[name] = op.get_attr(attribute.name)
    result = function(**arguments)
    return list(result) if isinstance(result, list | tuple) else [result]


class GraphConstants:
    """Evaluates tensors of a function graph that don't depend on its inputs.

    Args:
        graph: The graph under construction; what it captures must be eager (a function nested in another is refused).
    """

    def __init__(self, graph: tf.Graph) -> None:
        self._captured = {id(inner): outer for outer, inner in graph.captures}
        self._graph = graph
        self._values: dict[int, tf.Tensor] = {}

    def value(self, tensor: tf.Tensor) -> np.ndarray:
        """The tensor's value.

        Args:
            tensor: A tensor of the graph that no input reaches.

        Raises:
            ExplainError: The tensor depends on an input, or on a tensor of an enclosing function.
        """
        with tf.init_scope():
            return np.asarray(self._evaluate(tensor).numpy())

    def _evaluate(self, tensor: tf.Tensor) -> tf.Tensor:
        if id(tensor) in self._values:
            return self._values[id(tensor)]
        pending = [tensor]
        while pending:
            current = pending[-1]
            missing = [t for t in current.op.inputs if id(t) not in self._values]
            if missing and current.op.type != "Placeholder":
                pending.extend(missing)
                continue
            pending.pop()
            for output, value in zip(current.op.outputs, self._outputs(current), strict=True):
                self._values[id(output)] = value
        return self._values[id(tensor)]

    def _outputs(self, tensor: tf.Tensor) -> list[tf.Tensor]:
        op = tensor.op
        if op.type == "Placeholder":
            # Later captures (of variables first read by the relevance pass) are looked up again.
            captured = self._captured.get(id(tensor))
            if captured is None:
                captured = {id(inner): outer for outer, inner in self._graph.captures}.get(id(tensor))
            if captured is None or not hasattr(captured, "numpy"):
                raise ExplainError(
                    f"Expected tensor '{tensor.name}' to be a constant or a variable of the model. Received an input "
                    "or a tensor of an enclosing function: trace the explanation as a function of its own."
                )
            return [captured]
        return run_operation(op, [self._values[id(i)] for i in op.inputs])


class DerivedConstants(tf.Module):
    """Holds the constants of the relevance pass, each under one name, shared by all functions traced with it."""

    def __init__(self) -> None:
        super().__init__(name="relevance_constants")
        self.variables_by_name: dict[str, tf.Variable] = {}

    def tensor(self, name: str, make: Callable[[], np.ndarray], dtype: tf.DType) -> tf.Tensor:
        """The constant of this name, computed by `make` when it is first asked for.

        Args:
            name: Unique name, e.g. `conv2d/positive/flipped`.
            make: Computes the value.
            dtype: Dtype to hold it in.
        """
        if name not in self.variables_by_name:
            with tf.init_scope():
                value = np.asarray(make(), dtype=dtype.as_numpy_dtype)
                # Not lifted: a `tf.function` would be traced once more for the variables made while it was traced.
                self.variables_by_name[name] = tf.Variable(
                    value, trainable=False, name=name.replace(":", "_"), experimental_enable_variable_lifting=False
                )
        return self.variables_by_name[name].read_value()
