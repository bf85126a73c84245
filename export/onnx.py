"""The ONNX files of a bundle, from the frozen functions of its signatures, by tf2onnx.

tf2onnx 1.17 writes files that no runtime loads without failing itself; what it leaves over is mended or refused here:

- `Erfc` (exact GELU), `Expm1` (CELU) and `Bucketize` (Discretization) have no converter: see `export.onnx_operations`.
- Constants that a function captured eagerly (`Normalization(mean=...)`) become required inputs: made constants again.
- Dynamic sizes are called `unk__12`: named after the input.
- A graph can't have an input and an output of one name (`target`): the output is renamed, see `onnx_names`.
"""

import contextlib
import gc
import logging
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2
from tf2onnx import optimizer, tf_loader, tfonnx

from export.errors import ConversionError
from export.onnx_equivalents import OPERATION, convert_mark, cut_off
from export.onnx_external import WeightsFile
from export.onnx_fusions import transpose_narrow_convolutions
from export.onnx_naming import rename_internals
from export.onnx_operations import CONVERTERS
from export.onnx_padding import keep_padding_of_maxima
from export.onnx_passes import lean_passes
from export.onnx_scalars import widen_scalars
from export.onnx_weights import fill, hollow
from export.saved_model import Signature

OPSET = 18  # the newest that tf2onnx writes

# A protocol buffer can't be larger than 2 GiB; the margin is for what isn't weights. Those of models with loops go
# through TensorFlow's own.
_MAX_CONSTANT_BYTES = (2 << 30) - (64 << 20)
# What tf2onnx's own converters were seen to raise on graphs that they don't understand.
_CONVERTER_ERRORS = (
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    AssertionError,
    RuntimeError,
    IndexError,
    NotImplementedError,
)


def onnx_names(inputs: Collection[str], outputs: Collection[str]) -> dict[str, str]:
    """Names of a signature's outputs inside its ONNX file: their own, but where an input has that name.

    Every value of an ONNX graph has one name and is assigned once, inputs included.

    Example:
        >>> onnx_names(["image", "target"], ["relevance", "target"])
        {'relevance': 'relevance', 'target': 'target_output'}
    """
    taken = {*inputs, *outputs}
    names = {}
    for output in outputs:
        name = output
        while name in inputs or (name != output and name in taken):
            name = f"{name}_output"
        names[output] = name
    return names


def write_onnx(path: Path, signature: Signature, graph_name: str, weights: WeightsFile | None = None) -> None:
    """Convert a signature and write it to `path`, after the checks that need no runtime.

    Args:
        path: The file to write.
        signature: The traced signature.
        graph_name: Name of the graph inside the file.
        weights: Where the constants of a big model go; None keeps them in the file.

    Raises:
        ConversionError: Names the operations that ONNX or tf2onnx has no equivalent of, or what else went wrong.
    """
    model = _without_weights(signature, path.name, weights)
    if model is None:
        graph_def, inputs, outputs = _frozen(signature)
        model = _converted(graph_def, inputs, outputs, path.name)
        del graph_def
        if weights is not None:
            weights.take_from(model)
    _refuse_unknown_operations(model, path.name)
    _set_interface(model, signature, path.name)
    keep_padding_of_maxima(model)
    widen_scalars(model)
    transpose_narrow_convolutions(model, weights.value if weights is not None else onnx.numpy_helper.to_array)
    rename_internals(model)
    model.graph.name = graph_name
    model.doc_string = model.graph.doc_string = ""
    del model.graph.value_info[:]  # tf2onnx's guesses of shapes; runtimes infer their own
    _check_size(model)
    path.write_bytes(model.SerializeToString(deterministic=True))
    if weights is not None:
        weights.flush()
    try:
        onnx.checker.check_model(path)
    except onnx.checker.ValidationError as error:
        raise ConversionError(f"{path.name}: the converted graph is not valid ONNX: {error}") from error
    del model
    gc.collect()  # TensorFlow's graphs refer to themselves, and would hold their weights until long after


def _without_weights(signature: Signature, file: str, weights: WeightsFile | None) -> Any | None:
    """The model converted with its big weights put in afterwards, or None where that can't be done."""
    hollowed = hollow(signature.function)
    if hollowed is None:
        return None
    inputs = dict(zip(hollowed.inputs, signature.inputs, strict=True))
    outputs = _output_names(signature, hollowed.outputs)
    placeholders = {name: name for name in hollowed.weights}
    graph_def = _optimized(hollowed.graph_def, [*inputs, *placeholders], list(outputs))
    model = _converted(graph_def, {**inputs, **placeholders}, outputs, file)
    fill(model, hollowed.weights, weights)
    return model


def _output_names(signature: Signature, tensors: list[str]) -> dict[str, str]:
    names = onnx_names(list(signature.inputs), list(signature.outputs))
    ordered = sorted(signature.outputs)  # the order of a function's flat outputs
    return {tensor: names[name] for tensor, name in zip(tensors, ordered, strict=True)}


def _optimized(graph_def: Any, inputs: list[str], outputs: list[str]) -> Any:
    with tf.device("/CPU:0"), tf.Graph().as_default():
        tf.import_graph_def(graph_def, name="")
        return tf_loader.tf_optimize(inputs, outputs, graph_def)


def _frozen(signature: Signature) -> tuple[Any, dict[str, str], dict[str, str]]:
    """The function as a graph of constants, optimised; its inputs and outputs, tensor names to names in ONNX."""
    frozen = convert_variables_to_constants_v2(signature.function, lower_control_flow=False, aggressive_inlining=True)
    graph_def = frozen.graph.as_graph_def(add_shapes=True)
    inputs = dict(zip([tensor.name for tensor in frozen.inputs], signature.inputs, strict=False))
    _freeze_captures(graph_def, signature.function, frozen, len(signature.inputs))
    _check_size(graph_def)
    outputs = _output_names(signature, [tensor.name for tensor in frozen.outputs])
    graph_def = cut_off(graph_def, list(outputs))
    return _optimized(graph_def, list(inputs), list(outputs)), inputs, outputs


def _freeze_captures(graph_def: Any, function: Any, frozen: Any, num_inputs: int) -> None:
    """Freezing keeps tensors that were captured eagerly as further inputs: put their values in their place."""
    values = {
        internal.op.name: external
        for external, internal in function.graph.captures
        if external.dtype not in (tf.resource, tf.variant)
    }
    remaining = {tensor.op.name for tensor in frozen.inputs[num_inputs:]}
    for node in graph_def.node:
        if node.op != "Placeholder" or node.name not in remaining:
            continue
        if node.name not in values:
            raise ConversionError(
                f"ONNX has no equivalent of the resource {node.name!r} that the model uses (a lookup table, an "
                "iterator). "
                "Move it out of the model, for example into the client."
            )
        tensor = tf.make_tensor_proto(values[node.name].numpy())
        node.op = "Const"
        node.attr.clear()
        node.attr["dtype"].type = tensor.dtype
        node.attr["value"].tensor.CopyFrom(tensor)


def _check_size(message: Any) -> None:
    size = message.ByteSize()
    if size > _MAX_CONSTANT_BYTES:
        raise ConversionError(
            "A graph with its weights must stay below 2 GiB to be written as one ONNX file. Received: "
            f"{size / 2**30:.2f} GiB. "
            "Use a smaller model, or export without explanations (`--no-explain`) if the predicting graph alone fits."
        )


def _converted(graph_def: Any, inputs: dict[str, str], outputs: dict[str, str], file: str) -> Any:
    try:
        # Its default copies the whole graph, weights included, before each of a dozen passes, so that one may fail.
        return _tf2onnx(graph_def, inputs, outputs, file, catch_errors=False)
    except _CONVERTER_ERRORS:
        try:
            return _tf2onnx(graph_def, inputs, outputs, file, catch_errors=True)
        except _CONVERTER_ERRORS as error:
            raise ConversionError(
                f"{file}: tf2onnx can't convert the graph: {type(error).__name__}: {error}"
            ) from error


def _tf2onnx(graph_def: Any, inputs: dict[str, str], outputs: dict[str, str], file: str, *, catch_errors: bool) -> Any:
    with _quiet(logging.getLogger("tf2onnx")), tf.device("/CPU:0"), tf.Graph().as_default() as graph:
        tf.import_graph_def(graph_def, name="")
        converted = tfonnx.process_tf_graph(
            graph,
            opset=OPSET,
            custom_op_handlers={**CONVERTERS, OPERATION: (convert_mark, [])},
            input_names=list(inputs),
            output_names=list(outputs),
            tensors_to_rename={**inputs, **outputs},
        )
        optimized = optimizer.optimize_graph(converted, catch_errors=catch_errors, optimizers=lean_passes())
        return optimized.make_model(file)


@contextlib.contextmanager
def _quiet(logger: logging.Logger) -> Iterator[None]:
    """tf2onnx logs as errors what is told here as one."""
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)


def _refuse_unknown_operations(model: Any, file: str) -> None:
    unknown: Counter[str] = Counter()
    places: dict[str, str] = {}
    for node in _nodes(model.graph):
        if not onnx.defs.has(node.op_type, node.domain):
            unknown[node.op_type] += 1
            places.setdefault(node.op_type, node.name)
    if unknown:
        listed = ", ".join(
            f"{kind!r} ({count} times, first at {places[kind]!r})" for kind, count in sorted(unknown.items())
        )
        raise ConversionError(
            f"{file}: ONNX has no equivalent of the operation {listed}. Put another operation in its place, or move "
            "the "
            "layer out of the model, for example into the client."
        )


def _nodes(graph: Any) -> Iterator[Any]:
    """The nodes of a graph and of the graphs in them (branches, bodies of loops)."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                yield from _nodes(inner)


def _set_interface(model: Any, signature: Signature, file: str) -> None:
    """Inputs and outputs exactly as in the signature: names, order, dtypes, and sizes named after their tensor."""
    extra = {value.name for value in model.graph.input} - signature.inputs.keys()
    if extra:
        raise ConversionError(f"{file}: the inputs must be {list(signature.inputs)}. tf2onnx added {sorted(extra)}.")
    names = onnx_names(list(signature.inputs), list(signature.outputs))
    _replace(model.graph.input, signature.inputs)
    _replace(model.graph.output, {names[name]: spec for name, spec in signature.outputs.items()})


def _replace(values: Any, specs: Mapping[str, tf.TensorSpec]) -> None:
    del values[:]
    for name, spec in specs.items():
        kind = (
            onnx.helper.np_dtype_to_tensor_dtype(np.dtype(spec.dtype.as_numpy_dtype))
            if spec.dtype != tf.string
            else onnx.TensorProto.STRING
        )
        values.append(onnx.helper.make_tensor_value_info(name, kind, _dims(name, spec.shape)))


def _dims(name: str, shape: tf.TensorShape) -> list[int | str] | None:
    if shape.rank is None:
        return None
    sizes = shape.as_list()
    return [size if size is not None else "batch" if axis == 0 else f"{name}_{axis}" for axis, size in enumerate(sizes)]
