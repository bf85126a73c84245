"""What Classify and Regress ask of a signature: which inputs and outputs it needs, and what its outputs mean.

Two kinds of signature answer them. One of a TensorFlow model takes the serialized tf.Examples as they are, in one input
named `inputs`, and parses them in its graph. One of a bundle takes tensors: there the examples are parsed here
(`serving.examples`), and one of its outputs is the answer (`serving.types.ExampleReading`).
"""

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from serving.errors import invalid_argument
from serving.examples import parse_examples
from serving.protos import types_pb2
from serving.protos.convert import data_type
from serving.types import DEFAULT_SIGNATURE, ExampleReading, Signature

INPUTS, CLASSES, SCORES, OUTPUTS = "inputs", "classes", "scores", "outputs"

Arrays = Mapping[str, np.ndarray]


class Method(enum.Enum):
    """What is asked about the examples; the value is TensorFlow Serving's `method_name`."""

    CLASSIFY = "tensorflow/serving/classify"
    REGRESS = "tensorflow/serving/regress"


@dataclass(frozen=True)
class Classification:
    """Classes of each example: `labels` `(batch, classes)` bytes, `scores` `(batch, classes)` float32.

    Labels are empty, and scores 0, where the model has none.
    """

    labels: np.ndarray
    scores: np.ndarray

    def rows(self) -> list[list[tuple[str, np.float32]]]:
        """Label and score of each class of each example."""
        return [
            [(label.decode(errors="replace"), score) for label, score in zip(*row, strict=True)]
            for row in zip(self.labels, self.scores, strict=True)
        ]


@dataclass(frozen=True)
class Regression:
    """One value for each example, `(batch,)` float32."""

    values: np.ndarray


Result = Classification | Regression


@dataclass(frozen=True)
class Task:
    """A signature and what is asked of it; made by `make_task`.

    Args:
        signature_name: The signature's name.
        signature: The signature itself.
        method: What is asked.
        output_names: The outputs that the result is made of.
    """

    signature_name: str
    signature: Signature
    method: Method
    output_names: tuple[str, ...]

    def inputs(self, examples: Sequence[bytes]) -> dict[str, np.ndarray]:
        """What the signature is to be run on.

        Raises:
            ServingError: INVALID_ARGUMENT; there are no examples, or they lack what the signature takes.
        """
        if not examples:
            raise invalid_argument("Input is empty.")
        if self.signature.example_reading is not None:
            return parse_examples(examples, self.signature.inputs)
        strings = np.empty(len(examples), object)
        strings[:] = examples
        return {INPUTS: strings}

    def result(self, outputs: Arrays, num_examples: int) -> Result:
        """Makes the result from the outputs of a run.

        Raises:
            ServingError: INVALID_ARGUMENT; they are of another shape or type than the method needs.
        """
        reading = self.signature.example_reading
        if self.method is Method.REGRESS:
            return _regression(outputs[self.output_names[0]], num_examples, dense=reading is not None)
        if reading is None:
            return _classification(outputs.get(CLASSES), outputs.get(SCORES), num_examples)
        result = _classification(None, _to_float32(outputs[reading.output_name]), num_examples)
        labels = [label.encode() for label in reading.class_labels]
        if len(labels) == result.scores.shape[1]:
            result.labels[:] = labels
        return result


def make_task(signature_name: str, signature: Signature, method: Method) -> Task:
    """Looks whether a signature can answer; its `method_name` doesn't matter, as in TensorFlow Serving.

    Raises:
        ServingError: INVALID_ARGUMENT, TensorFlow Serving's texts.
    """
    choose = _classification_outputs if method is Method.CLASSIFY else _regression_outputs
    return Task(signature_name, signature, method, choose(signature))


def _classification_outputs(signature: Signature) -> tuple[str, ...]:
    if signature.example_reading is not None:
        message = f"Expected one or two output Tensors, found {len(signature.outputs)}"
        return _dense_output(signature.example_reading, message)
    if len(signature.inputs) != 1:
        raise invalid_argument("Expected one input Tensor.")
    if len(signature.outputs) not in (1, 2):
        raise invalid_argument(f"Expected one or two output Tensors, found {len(signature.outputs)}")
    if INPUTS not in signature.inputs:
        raise invalid_argument(f"No classification inputs found in SignatureDef: {_debug_string(signature)}")
    names = tuple(name for name in (CLASSES, SCORES) if name in signature.outputs)
    if not names:
        raise invalid_argument(
            f'Expected classification signature outputs to contain at least one of "{CLASSES}" or "{SCORES}". '
            f"Signature was: {_debug_string(signature)}"
        )
    return names


def _regression_outputs(signature: Signature) -> tuple[str, ...]:
    if signature.example_reading is not None:
        return _dense_output(signature.example_reading, "Expected one output Tensor.")
    if len(signature.inputs) != 1:
        raise invalid_argument("Expected one input Tensor.")
    if len(signature.outputs) != 1:
        raise invalid_argument("Expected one output Tensor.")
    if INPUTS not in signature.inputs:
        raise invalid_argument(f"No regression inputs found in SignatureDef: {_debug_string(signature)}")
    if OUTPUTS not in signature.outputs:
        raise invalid_argument(f"No regression outputs found in SignatureDef: {_debug_string(signature)}")
    return (OUTPUTS,)


def _dense_output(reading: ExampleReading, message: str) -> tuple[str, ...]:
    if not reading.output_name:
        raise invalid_argument(message)
    return (reading.output_name,)


def _classification(labels: np.ndarray | None, scores: np.ndarray | None, num_examples: int) -> Classification:
    for name, array, expected in ((CLASSES, labels, "DT_STRING"), (SCORES, scores, "DT_FLOAT")):
        if array is None:
            continue
        if array.ndim != 2:
            raise invalid_argument(f"Expected Tensor shape: [batch_size num_classes] but got {_show_shape(array)}")
        if _type_name(array) != expected:
            raise invalid_argument(f"Expected {name} Tensor of {expected}. Got: {_type_name(array)}")
        if array.shape[0] != num_examples:
            raise invalid_argument(f"Expected {name} output batch size of {num_examples}. Got: {array.shape[0]}")
    if labels is not None and scores is not None and labels.shape[1] != scores.shape[1]:
        raise invalid_argument(
            f"Tensors class and score should match in dim_size(1). Got {labels.shape[1]} vs. {scores.shape[1]}"
        )
    if labels is None and scores is not None:
        labels = np.full(scores.shape, b"", object)
    if scores is None and labels is not None:
        scores = np.zeros(labels.shape, np.float32)
    if labels is None or scores is None:
        raise ValueError("A classification needs labels or scores. Received: neither.")
    return Classification(labels, scores)


def _regression(values: np.ndarray, num_examples: int, *, dense: bool) -> Regression:
    if dense:
        values = _to_float32(values)
    if values.ndim != 1 and (values.ndim != 2 or values.shape[1] != 1):
        raise invalid_argument(
            "Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got " + _show_shape(values)
        )
    if values.shape[0] != num_examples:
        raise invalid_argument(
            f"Input batch size did not match output batch size: {num_examples} vs. {values.shape[0]}"
        )
    if _type_name(values) != "DT_FLOAT":
        raise invalid_argument(f"Expected output Tensor of DT_FLOAT.  Got: {_type_name(values)}")
    return Regression(values.reshape(num_examples))


def _to_float32(array: np.ndarray) -> np.ndarray:
    """Keras models compute in other precisions too; the messages hold float32."""
    with np.errstate(over="ignore"):
        return array.astype(np.float32, copy=False) if array.dtype.kind == "f" else array


def _type_name(array: np.ndarray) -> str:
    return types_pb2.DataType.Name(data_type(array.dtype))


def _show_shape(array: np.ndarray) -> str:
    return f"[{','.join(map(str, array.shape))}]"


def _debug_string(signature: Signature) -> str:
    """The signature as protobuf prints it, which is what TensorFlow Serving shows."""
    from serving.grpc.metadata import signature_def_map

    return str(signature_def_map({DEFAULT_SIGNATURE: signature}).signature_def[DEFAULT_SIGNATURE])
