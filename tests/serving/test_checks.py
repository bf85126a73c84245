"""Texts are those of TensorFlow Serving where it has them (predict_util.cc), not paraphrases."""

import re

import numpy as np
import pytest

from serving.checks import check_finite, check_inputs, check_targets, choose_outputs
from serving.errors import Code, ServingError
from serving.types import Explanation, Signature, TensorInfo


def tensors(**dtypes: str) -> dict[str, TensorInfo]:
    return {name: TensorInfo(name, np.dtype(dtype), (None,), f"{name}:0") for name, dtype in dtypes.items()}


ONE = Signature(tensors(x="float32"), tensors(y="float32"))
TWO = Signature(tensors(x="float32", z="int32"), tensors(y="float32", w="float32"))
DEFAULT = Signature(tensors(x="float32", z="int32"), tensors(y="float32"), defaults={"z": np.array([7], np.int32)})
FLOATS = np.zeros(2, np.float32)
INTS = np.zeros(2, np.int32)


NOT_FOUND = (
    "Signature input alias: x(feed name: x:0) not found in request and no default value provided. "
    "Inputs expected to be in the request {z}, or default input alias set: "
)
WRONG_SIZE = "input size does not match signature: "


@pytest.mark.parametrize(
    ("signature", "inputs", "message"),
    [
        (ONE, {}, WRONG_SIZE + "0!=1 len({}) != len({x}). Sent extra: {}. Missing but required: {x}."),
        (
            ONE,
            {"x": FLOATS, "z": FLOATS},
            WRONG_SIZE + "2!=1 len({x,z}) != len({x}). Sent extra: {z}. Missing but required: {}.",
        ),
        (ONE, {"z": FLOATS}, NOT_FOUND),
        (DEFAULT, {"z": INTS}, NOT_FOUND + "z"),
        (ONE, {"x": INTS}, "Expects arg[0] to be float but int32 is provided"),
        (ONE, {"x": np.zeros(2)}, "Expects arg[0] to be float but double is provided"),
        (ONE, {"x": np.array([b"a"], object)}, "Expects arg[0] to be float but string is provided"),
        (ONE, {"x": np.zeros(2, np.float16)}, "Expects arg[0] to be float but half is provided"),
        (TWO, {"x": FLOATS, "z": FLOATS}, "Expects arg[1] to be int32 but float is provided"),
    ],
)
def test_inputs_that_do_not_match_are_refused_in_tensorflow_servings_words(signature, inputs, message):
    with pytest.raises(ServingError, match=f"^{re.escape(message)}$") as refused:
        check_inputs(signature, inputs)
    assert refused.value.code == Code.INVALID_ARGUMENT


def test_inputs_come_out_in_the_order_of_the_signature_with_defaults_filled_in():
    assert list(check_inputs(TWO, {"z": INTS, "x": FLOATS})) == ["x", "z"]
    assert check_inputs(DEFAULT, {"x": FLOATS})["z"].tolist() == [7]
    assert check_inputs(DEFAULT, {"x": FLOATS, "z": INTS})["z"].tolist() == [0, 0]


def test_the_output_filter_keeps_the_order_of_the_signature():
    assert choose_outputs(TWO, ()) == ("y", "w")
    assert choose_outputs(TWO, ["w", "y"]) == ("y", "w")
    assert choose_outputs(TWO, ["w"]) == ("w",)


@pytest.mark.parametrize(
    ("output_filter", "message"),
    [
        (["q"], "output tensor alias not found in signature: q Outputs expected to be in the set {w,y}."),
        (["y", "y"], "duplicate output tensor alias: y"),
    ],
)
def test_a_wrong_output_filter_is_refused_in_tensorflow_servings_words(output_filter, message):
    with pytest.raises(ServingError, match=f"^{re.escape(message)}$"):
        choose_outputs(TWO, output_filter)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_values_that_are_not_finite_are_refused_with_their_place(value, dtype):
    array = np.zeros((2, 3), dtype)
    array[1, 2] = value
    with pytest.raises(
        ServingError, match=rf"'x' must hold finite numbers. Received: {value} at index \[1, 2\], 1 of 6"
    ):
        check_finite({"x": array})


def test_large_finite_values_integers_and_strings_pass():
    check_finite({"x": np.full(3, np.finfo(np.float32).max), "i": INTS, "s": np.array([b"nan"], object)})


@pytest.mark.parametrize("target", [-2, 3, 2**31 - 1])
def test_a_target_out_of_range_is_refused_with_the_range(target):
    explanation = Explanation("probabilities", {"x": "relevance"}, num_targets=3)
    with pytest.raises(
        ServingError, match=rf"must lie in \[0, 2\], or be -1.* Received: target={target}\.$"
    ) as refused:
        check_targets({"target": np.array([0, target], np.int32)}, explanation)
    assert refused.value.code == Code.INVALID_ARGUMENT


def test_every_index_and_the_predicted_class_are_targets():
    check_targets({"target": np.array([-1, 0, 1, 2], np.int32)}, Explanation("p", {}, num_targets=3))
