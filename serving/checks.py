"""What a request must fulfil before it runs, with TensorFlow Serving's texts where it has them."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from serving.dtypes import name_dtype
from serving.errors import Code, ServingError, invalid_argument
from serving.types import Explanation, Signature

METHOD_NAMES = tuple(f"tensorflow/serving/{method}" for method in ("predict", "classify", "regress"))
TARGET_INPUT = "target"
_PREDICTED_CLASS = -1

Arrays = Mapping[str, np.ndarray]


def choose_outputs(signature: Signature, output_filter: Sequence[str]) -> tuple[str, ...]:
    """The outputs to compute, in the signature's order.

    Raises:
        ServingError: The filter names an output twice, or one that isn't there.
    """
    if not output_filter:
        return tuple(signature.outputs)
    seen: set[str] = set()
    for name in output_filter:
        if name not in signature.outputs:
            expected = f"Outputs expected to be in the set {_set(signature.outputs)}."
            raise invalid_argument(f"output tensor alias not found in signature: {name} {expected}")
        if name in seen:
            raise invalid_argument(f"duplicate output tensor alias: {name}")
        seen.add(name)
    return tuple(name for name in signature.outputs if name in seen)


def check_inputs(signature: Signature, inputs: Arrays) -> dict[str, np.ndarray]:
    """Compares names and dtypes with the signature, and fills in its defaults. Shapes are the engine's business.

    Returns:
        The inputs in the signature's order.

    Raises:
        ServingError: INVALID_ARGUMENT, TensorFlow Serving's texts.
    """
    _check_count(signature, inputs)
    checked = {}
    for position, (name, tensor) in enumerate(signature.inputs.items()):
        array = inputs.get(name)
        if array is None:
            array = signature.defaults.get(name)
        if array is None:
            raise _missing(signature, name, inputs)
        if array.dtype != tensor.dtype:
            raise invalid_argument(
                f"Expects arg[{position}] to be {name_dtype(tensor.dtype)} but {name_dtype(array.dtype)} is provided"
            )
        checked[name] = array
    return checked


def check_finite(inputs: Arrays) -> None:
    """Refuses NaN and infinity, which a model answers with nonsense that looks like an answer.

    Raises:
        ServingError: INVALID_ARGUMENT, naming the input and the first such value.
    """
    for name, array in inputs.items():
        if array.dtype.kind in "fc" and not np.isfinite(array).all():
            bad = np.argwhere(~np.isfinite(array))
            where = tuple(bad[0].tolist())
            received = f"{array[where]} at index {list(where)}, {len(bad)} of {array.size} values not finite"
            advice = "Replace missing values before sending them."
            raise invalid_argument(f"Input {name!r} must hold finite numbers. Received: {received}. {advice}")


def check_targets(inputs: Arrays, explanation: Explanation) -> None:
    """Refuses targets that aren't the index of a score; -1 stands for the predicted class.

    Raises:
        ServingError: INVALID_ARGUMENT, naming the range.
    """
    targets = inputs.get(TARGET_INPUT)
    if targets is None or explanation.num_targets is None:
        return
    largest = explanation.num_targets - 1
    wrong = targets[(targets < _PREDICTED_CLASS) | (targets > largest)]
    if wrong.size:
        raise invalid_argument(
            f"`target` must lie in [0, {largest}], or be -1 for the predicted class. Received: target={wrong.flat[0]}."
        )


def _check_count(signature: Signature, inputs: Arrays) -> None:
    expected, received = signature.inputs.keys(), inputs.keys()
    if expected == received:
        return
    too_few = len(received) < len(expected) and not signature.defaults
    if len(received) > len(expected) or too_few:
        raise invalid_argument(
            f"input size does not match signature: {len(received)}!={len(expected)} len({_set(received)}) != "
            f"len({_set(expected)}). Sent extra: {_set(received - expected)}. "
            f"Missing but required: {_set(expected - received - signature.defaults.keys())}."
        )


def _missing(signature: Signature, name: str, inputs: Arrays) -> ServingError:
    return invalid_argument(
        f"Signature input alias: {name}(feed name: {signature.inputs[name].tensor_name}) not found in request and no "
        f"default value provided. Inputs expected to be in the request {_set(inputs)}, or default input alias set: "
        f"{','.join(sorted(signature.defaults))}"
    )


def _set(names: Iterable[str]) -> str:
    return f"{{{','.join(sorted(names))}}}"


def check_method_name(signature: Signature) -> None:
    """Refuses a signature whose `method_name` is none of TensorFlow Serving's: --enable_signature_method_name_check.

    Raises:
        ServingError: INTERNAL with TensorFlow Serving's text.
    """
    if signature.method_name not in METHOD_NAMES:
        raise ServingError(
            Code.INTERNAL,
            f"Expected prediction signature method_name to be one of {{{', '.join(METHOD_NAMES)}}}. "
            f"Was: {signature.method_name}",
        )
