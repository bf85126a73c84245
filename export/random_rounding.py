"""A SavedModel again whose operations round at random: Monte Carlo arithmetic.

Each result x of an elementwise operation in single precision is x (1 + u), u uniform within half a unit in the last
place, as if it had been rounded another way; how far that moves the outputs is how well they are known (Parker 1997,
Monte Carlo arithmetic: exploiting randomness in floating-point arithmetic, UCLA CSD-970002). Unlike a change of inputs
or weights it shows what saturated gates lose: they are 1 whatever the weights, and a carry to which one step adds 1 and
the next -1 is nothing but rounding.

Sums of products are left as they are: what they lose is proportional to their terms, not to their results.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf
from tensorflow.core.framework.function_pb2 import FunctionDef
from tensorflow.core.framework.node_def_pb2 import NodeDef
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

# Elementwise operations, all of whose operands are of the type `T` of their result, by what they call the result.
_RESULTS = {
    **dict.fromkeys(["Add", "AddV2", "Div", "DivNoNan", "Mul", "Pow", "RealDiv", "SquaredDifference", "Sub"], "z"),
    **dict.fromkeys(["Erf", "Exp", "Expm1", "Log", "Log1p", "Rsqrt", "Sigmoid", "Sqrt", "Square", "Tanh"], "y"),
    **dict.fromkeys(["Elu", "Selu", "Softplus"], "activations"),
    "BiasAdd": "output",
    "Softmax": "softmax",
}
_HALF_A_UNIT = float(np.finfo(np.float32).eps) / 2
_SEED = 20260104


def write_rounded_at_random(directory: Path, target: Path) -> None:
    """Write the SavedModel of a folder again, its operations rounding at random; one run after another differently.

    Only `saved_model.pb` is new: the variables and assets are links to those of the original.

    Args:
        directory: The folder of the original.
        target: An empty folder.
    """
    saved = SavedModel.FromString((directory / tf.saved_model.SAVED_MODEL_FILENAME_PB).read_bytes())
    for meta_graph in saved.meta_graphs:
        library = meta_graph.graph_def.library
        found = [node for function in library.function for node in function.node_def if _rounds(node)]
        library.function.extend([_rounded(node, position) for position, node in enumerate(found)])
    (target / tf.saved_model.SAVED_MODEL_FILENAME_PB).write_bytes(saved.SerializeToString())
    for folder in (tf.saved_model.VARIABLES_DIRECTORY, tf.saved_model.ASSETS_DIRECTORY):
        if (directory / folder).exists():
            (target / folder).symlink_to((directory / folder).resolve())


def _rounds(node: NodeDef) -> bool:
    return node.op in _RESULTS and node.attr["T"].type == tf.float32.as_datatype_enum


def _rounded(node: NodeDef, position: int) -> FunctionDef:
    """A function that computes what the node did, x, and returns x (1 + u); the node becomes a call of it."""
    result = _RESULTS[node.op]
    exact = NodeDef()
    exact.CopyFrom(node)
    exact.name = "exact"
    operands = [f"operand_{i}" for i, name in enumerate(node.input) if not name.startswith("^")]
    del exact.input[:]
    exact.input.extend(operands)

    function = FunctionDef()
    function.signature.name = f"rounded_at_random_{position}"
    function.signature.is_stateful = True
    for name in operands:
        function.signature.input_arg.add(name=name, type=tf.float32.as_datatype_enum)
    function.signature.output_arg.add(name=result, type=tf.float32.as_datatype_enum)
    x = f"exact:{result}:0"
    function.node_def.extend(
        [
            exact,
            _node("shape", "Shape", [x], T=tf.float32, out_type=tf.int32),
            # Successive numbers, run after run; each node has its own.
            _node(
                "unit", "RandomUniform", ["shape:output:0"], T=tf.int32, dtype=tf.float32, seed=_SEED, seed2=position
            ),
            _constant("half", 0.5),
            _node("centred", "Sub", ["unit:output:0", "half:output:0"], T=tf.float32),
            _constant("width", 2 * _HALF_A_UNIT),
            _node("u", "Mul", ["centred:z:0", "width:output:0"], T=tf.float32),
            _node("change", "Mul", [x, "u:z:0"], T=tf.float32),
            _node("rounded", "AddV2", [x, "change:z:0"], T=tf.float32),
        ]
    )
    function.ret[result] = "rounded:z:0"
    node.op = function.signature.name
    node.attr.clear()
    return function


def _node(name: str, operation: str, inputs: Sequence[str], **attributes: tf.DType | int) -> NodeDef:
    node = NodeDef(name=name, op=operation, input=inputs)
    for key, value in attributes.items():
        if isinstance(value, int):
            node.attr[key].i = value
        else:
            node.attr[key].type = value.as_datatype_enum
    return node


def _constant(name: str, value: float) -> NodeDef:
    node = _node(name, "Const", [], dtype=tf.float32)
    node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(value, tf.float32))
    return node
