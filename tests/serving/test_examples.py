from typing import Any

import numpy as np
import pytest

from serving.errors import Code, ServingError
from serving.examples import merge_context, parse_examples
from serving.protos.example_pb2 import Example
from serving.types import TensorInfo

FLOAT, INT = np.dtype(np.float32), np.dtype(np.int64)
FIELDS = {float: "float_list", int: "int64_list", bytes: "bytes_list"}


def example(**features: Any) -> bytes:
    """A serialized example; None is a feature of no kind, an empty tuple names the kind that it is empty of."""
    feature = {}
    for name, values in features.items():
        if values is None:
            feature[name] = {}
        elif isinstance(values, type):
            feature[name] = {FIELDS[values]: {}}
        else:
            feature[name] = {FIELDS[type(values[0])]: {"value": values}}
    return Example(features={"feature": feature}).SerializeToString()


def parse(shape: Any, *serialized: bytes, dtype: Any = np.float32) -> np.ndarray:
    """The input `x` of a shape without its batch."""
    shape = None if shape is None else (None, *shape)
    return parse_examples(serialized, {"x": TensorInfo("x", np.dtype(dtype), shape)})["x"]


def refusal(*arguments: Any, **options: Any) -> str:
    with pytest.raises(ServingError) as refused:
        parse(*arguments, **options)
    assert refused.value.code == Code.INVALID_ARGUMENT
    return refused.value.message


def test_values_stand_in_row_major_order():
    rows = [[float(v) for v in range(6)], [float(v) for v in range(6, 12)]]
    array = parse((2, 3), example(x=rows[0]), example(x=rows[1]))
    assert array.dtype == FLOAT
    np.testing.assert_array_equal(array, np.arange(12, dtype=np.float32).reshape(2, 2, 3))


@pytest.mark.parametrize(
    ("dtype", "values", "expected"),
    [
        ("float32", [0.1], np.float32(0.1)),
        ("float64", [0.1], np.float64(np.float32(0.1))),
        ("float16", [0.5], np.float16(0.5)),
        ("int64", [-(2**63)], -(2**63)),
        ("int32", [2**31 - 1], 2**31 - 1),
        ("uint8", [255], 255),
        ("bool", [1], True),
        ("object", [b"\xff"], b"\xff"),
    ],
)
def test_each_dtype_has_its_kind_of_feature(dtype, values, expected):
    for shape in ((), (1,)):
        array = parse(shape, example(x=values), dtype=dtype)
        assert array.dtype == np.dtype(dtype)
        assert array.shape == (1, *shape)
        assert array.item() == expected


def test_every_input_is_the_feature_of_its_name():
    inputs = {"a": TensorInfo("a", FLOAT, (None, 2)), "b": TensorInfo("b", INT, (None,))}
    arrays = parse_examples([example(a=[1.0, 2.0], b=[3], c=[b"more"]), example(b=[5], a=[4.0, 6.0])], inputs)
    assert arrays["a"].tolist() == [[1, 2], [4, 6]]
    assert arrays["b"].tolist() == [3, 5]


def test_a_dynamic_dimension_is_what_the_values_give():
    assert parse((None, 2), example(x=[1.0, 2.0, 3.0, 4.0])).tolist() == [[[1, 2], [3, 4]]]
    assert parse((None,), example(x=float), example(x=float)).shape == (2, 0)
    assert parse(None, example(x=[1.0, 2.0])).tolist() == [[1, 2]]
    assert refusal((None, 2), example(x=[1.0])) == (
        "Name: <unknown>, Key: x, Index: 0.  Number of float values is not a multiple of stride length. Saw 1 values "
        "but output shape is: [?,2]"
    )
    assert refusal((None,), example(x=[1.0]), example(x=[1.0, 2.0])) == (
        "Name: <unknown>, Key: x, Index: 1.  Number of float values != expected.  Values size: 2 but output shape: [1] "
        "(that of the first example: all must have one size)"
    )


def test_inputs_that_examples_cannot_hold_are_refused():
    assert refusal((None, None, 3), example(x=[1.0])).startswith("Input 'x' of shape [?,?,?,3] has several dynamic")
    with pytest.raises(ServingError, match="Input 'x' is a scalar") as refused:
        parse_examples([example(x=[1.0])], {"x": TensorInfo("x", FLOAT, ())})
    assert refused.value.code == Code.INVALID_ARGUMENT
    with pytest.raises(ServingError, match=r"of type complex64, and features hold float, int64 or string") as refused:
        parse((), example(x=[1.0]), dtype="complex64")
    assert refused.value.code == Code.UNIMPLEMENTED


@pytest.mark.parametrize(("dtype", "value", "span"), [("uint8", 256, "[0, 255]"), ("bool", 2, "[0, 1]")])
def test_integers_beyond_the_input_s_type_are_refused(dtype, value, span):
    message = refusal((1,), example(x=[value]), dtype=dtype)
    assert message.endswith(f"Values of {dtype} must lie in {span}. Received: {value}.")


@pytest.mark.parametrize(
    ("dtype", "values", "kinds"),
    [
        ("float32", [1], "int64 but expected type: float"),
        ("float32", [b"a"], "string but expected type: float"),
        ("int32", [1.0], "float but expected type: int64"),
        ("bool", [b"a"], "string but expected type: int64"),
        ("object", [1.0], "float but expected type: string"),
    ],
)
def test_a_feature_of_another_kind_is_refused(dtype, values, kinds):
    expected = f"Name: <unknown>, Key: x, Index: 0.  Data types don't match. Data type: {kinds}"
    assert refusal((1,), example(x=values), dtype=dtype) == expected


def test_a_feature_that_is_missing_is_refused():
    expected = "Name: <unknown>, Feature: x (data type: int64) is required but could not be found."
    for serialized in (example(y=[1]), example(x=None), b""):
        assert refusal((1,), serialized, dtype="int32") == expected


def test_a_feature_of_another_size_is_refused():
    for values, size in (([1.0] * 5, 5), (float, 0)):
        assert refusal((2, 3), example(x=values)) == (
            f"Name: <unknown>, Key: x, Index: 0.  Number of float values != expected.  Values size: {size} but output "
            "shape: [2,3]"
        )


def test_an_example_s_features_count_before_the_context_s():
    merged = merge_context(example(x=[9.0], y=[1.0]), [example(x=[1.0]), example(z=[2.0])])
    inputs = {name: TensorInfo(name, FLOAT, (None, 1)) for name in ("x", "y")}
    arrays = parse_examples(merged, inputs)
    assert arrays["x"].tolist() == [[1], [9]]
    assert arrays["y"].tolist() == [[1], [1]]


TENSORFLOW_CASES = [
    ("float32", (2,), [example(x=[1.0, 2.0]), example(y=[1.0])]),
    ("float32", (2,), [example(x=[1.0, 2.0]), example(x=None)]),
    ("float32", (2,), [example(x=[1.0, 2.0]), example(x=[1, 2])]),
    ("float32", (2,), [example(x=[b"a"])]),
    ("float32", (2,), [example(x=int)]),
    ("float32", (2,), [example(x=float)]),
    ("float32", (2,), [example(x=[1.0, 2.0]), example(x=[1.0, 2.0, 3.0])]),
    ("float32", (2, 3), [example(x=[1.0])]),
    ("float32", (2,), [example(x=[1.0, 2.0]), b"garbage"]),
    ("float32", (2,), [merge_context(example(x=[9.0, 9.0]), [example(x=[1.0, 2.0])])[0]]),
    ("float32", (2,), merge_context(example(x=[9.0, 8.0], y=[1]), [example(), b""])),
    ("int64", (), [example(x=[7]), example(x=[-7])]),
    ("int64", (), [example(x=[1.5])]),
    ("int64", (3,), [example(x=[7])]),
    ("object", (), [example(x=[b"a"]), example(x=[b""])]),
    ("object", (), [example(y=[b"a"])]),
]


@pytest.mark.slow
@pytest.mark.parametrize(("dtype", "shape", "serialized"), TENSORFLOW_CASES)
def test_values_and_texts_are_those_of_tensorflow_s_parser(dtype, shape, serialized):
    import tensorflow as tf

    kind = tf.string if dtype == "object" else tf.dtypes.as_dtype(dtype)
    try:
        expected: Any = tf.io.parse_example(serialized, {"x": tf.io.FixedLenFeature(shape, kind)})["x"].numpy()
    except tf.errors.InvalidArgumentError as error:
        expected = error.message
    if not isinstance(expected, str):
        np.testing.assert_array_equal(parse(shape, *serialized, dtype=dtype), expected)
        return
    message = refusal(shape, *serialized, dtype=dtype)
    assert message in expected  # which says more: the operation, and where it stands


@pytest.mark.slow
def test_a_dynamic_dimension_is_read_as_tensorflow_reads_one():
    import tensorflow as tf

    feature = {"x": tf.io.FixedLenSequenceFeature([2], tf.float32, allow_missing=True)}
    serialized = [example(x=[1.0, 2.0, 3.0, 4.0])]
    np.testing.assert_array_equal(parse((None, 2), *serialized), tf.io.parse_example(serialized, feature)["x"].numpy())
    with pytest.raises(tf.errors.InvalidArgumentError) as refused:
        tf.io.parse_example([example(x=[1.0])], feature)
    assert refusal((None, 2), example(x=[1.0])) in refused.value.message
