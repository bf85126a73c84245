import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.errors import ServingError
from serving.rest.decode import Body, Form
from serving.rest.number_arrays import MIN_BYTES, read_numbers
from serving.types import TensorInfo

PADDING = " " * MIN_BYTES


def text(document, **options):
    """A document long enough to be read the fast way."""
    return (json.dumps(document, **options) + PADDING).encode()


def read(content, dtype, shape=None):
    return Body.parse(content).inputs({"x": TensorInfo("x", np.dtype(dtype), shape)})


def read_slowly(content, dtype):
    return Body._parse_all(content).inputs({"x": TensorInfo("x", np.dtype(dtype), None)})


@pytest.mark.parametrize("shape", [(3,), (1, 4), (2, 3, 4), (2, 1, 1, 5)])
@pytest.mark.parametrize("dtype", ["float32", "float64", "int8", "int32", "int64", "uint8", "uint64"])
@pytest.mark.parametrize(("key", "form"), [("instances", Form.ROW), ("inputs", Form.COLUMN)])
def test_an_array_is_the_one_that_lists_give(shape, dtype, key, form):
    array = np.random.default_rng(0).normal(scale=30, size=shape)
    array = np.abs(array).astype(dtype) if dtype.startswith("u") else array.astype(dtype)
    content = text({key: array.tolist()})
    assert read_numbers(content) is not None
    read_form, inputs = read(content, dtype)
    assert read_form == form
    assert inputs["x"].dtype == array.dtype
    np.testing.assert_array_equal(inputs["x"], array)


def test_other_members_are_kept():
    content = text({"signature_name": "explain", "instances": [[1.5, 2]], "parameters": {"target": 3}})
    key, array, others = read_numbers(content)
    assert (key, array.tolist()) == ("instances", [[1.5, 2.0]])
    assert others == {"signature_name": "explain", "parameters": {"target": 3}}
    assert Body.parse(content).signature_name() == "explain"


def test_white_space_and_exponents_are_read():
    content = b'\n{ "instances" :\t[ [ 1e3 , -2.5E-1 ] ,\r\n [ 0 , 7 ] ] }' + PADDING.encode()
    assert read_numbers(content)[1].tolist() == [[1000.0, -0.25], [0.0, 7.0]]


def test_numbers_beyond_float32_are_infinity_as_they_are_in_lists():
    content = text({"instances": [[1e39, 1.0]]})
    np.testing.assert_array_equal(read(content, "float32")[1]["x"], [[np.inf, 1.0]])


@pytest.mark.parametrize(
    "value",
    [
        [[1, 2], [3], [4, 5, 6]],
        [[1, 2], [3]],
        [1, [2, 3]],
        [[1, 2], 3],
        [[1, 2], "3"],
        [[1, 2], [3, None]],
        [[1, 2], [3, True]],
        [[]],
        [[1.0], []],
        [],
        [{"x": [1, 2]}, {"x": [3, 4]}],
        {"x": [1, 2]},
        5,
        "12",
    ],
    ids=str,
)
def test_what_is_no_regular_array_of_numbers_is_left_to_the_ordinary_way(value):
    assert read_numbers(text({"instances": value})) is None


@pytest.mark.parametrize(
    "content",
    [
        b'{"instances": [[1, 2], [3, 4]], "instances": [[5]]}',
        b'{"instances": [[1, 2]], "inputs": [[3, 4]]}',
        b'{"instances": [[1, 2]], "note": "a [ in a text"}',
        b'{"instances": [[1, 2]], "parameters": {"targets": [1]}}',
        b'{"instances": [[NaN, 2]]}',
        b'{"instances": [[1e400, 2]]}',
        b'{"instances": [[1, 2]',
        b'{"instances": [[01, 2]]}',
        b'{"instances": [[1 2]]}',
        b'{"instances": [[1, 2],]}',
        b"[[1, 2]]",
        b"\xff\xfe",
    ],
    ids=repr,
)
def test_what_is_unusual_or_broken_is_left_to_the_ordinary_way(content):
    assert read_numbers(content + PADDING.encode()) is None


def test_short_documents_are_left_to_the_ordinary_way():
    assert read_numbers(b'{"instances": [[1, 2]]}') is None


@pytest.mark.parametrize(
    ("value", "dtype"),
    [([[1.5]], "int32"), ([[2**40]], "int32"), ([[1.0]], "int64"), ([[1]], "bool"), ([[1]], "object")],
)
def test_numbers_that_the_input_does_not_take_get_the_ordinary_answer(value, dtype):
    content = text({"instances": value})
    assert read_numbers(content) is not None
    with pytest.raises(ServingError) as fast:
        read(content, dtype)
    with pytest.raises(ServingError) as slow:
        read_slowly(content, dtype)
    assert (fast.value.code, fast.value.message) == (slow.value.code, slow.value.message)


NESTED = st.recursive(
    st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.booleans()
    | st.text("[],1", max_size=3),
    lambda children: st.lists(children, max_size=4),
    max_leaves=12,
)


@settings(max_examples=300, deadline=None)
@given(value=NESTED, dtype=st.sampled_from(["float32", "int32", "int64", "uint64"]))
def test_both_ways_agree_on_whatever_comes(value, dtype):
    content = text({"instances": value})
    results = []
    for way in (read, read_slowly):
        try:
            results.append(way(content, dtype)[1]["x"])
        except ServingError as error:
            results.append((error.code, error.message))
    fast, slow = results
    if isinstance(slow, np.ndarray):
        assert fast.dtype == slow.dtype
        np.testing.assert_array_equal(fast, slow)
    else:
        assert fast == slow
