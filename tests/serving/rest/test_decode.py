import base64
import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.errors import Code, ServingError
from serving.rest import tensors
from serving.rest.decode import Body, Form
from serving.types import TensorInfo

DTYPES = ("float32", "float64", "int8", "int16", "int32", "int64", "uint8", "uint32", "uint64", "bool", "object")


def infos(**dtypes: str) -> dict[str, TensorInfo]:
    return {name: TensorInfo(name, np.dtype(dtype), None) for name, dtype in dtypes.items()}


def read(document: Any, **dtypes: str) -> dict[str, np.ndarray]:
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    return Body.parse(body).inputs(infos(**dtypes))[1]


def refusal(document: Any, code: Code = Code.INVALID_ARGUMENT, **dtypes: str) -> str:
    with pytest.raises(ServingError) as caught:
        read(document, **dtypes)
    assert caught.value.code is code
    return caught.value.message


@pytest.mark.parametrize(
    ("document", "dtype", "expected"),
    [
        ({"instances": [[1, 2.5], [3, 4]]}, "float32", [[1, 2.5], [3, 4]]),
        ({"instances": [1, 2]}, "int64", [1, 2]),
        ({"instances": [{"x": [1]}, {"x": [2]}]}, "float64", [[1], [2]]),
        ({"instances": [True, False]}, "bool", [True, False]),
        ({"instances": [[], []]}, "float32", [[], []]),
        ({"instances": [[], []]}, "int32", [[], []]),
        ({"instances": ["a", "ä", {"b64": "/w=="}]}, "object", [b"a", "ä".encode(), b"\xff"]),
        ({"instances": [{"b64": "YQ"}]}, "object", [b"a"]),
        ({"instances": [{"x": {"b64": "YQ=="}}]}, "object", [b"a"]),
        ({"inputs": 3}, "float32", 3),
        ({"inputs": {"x": 3, "ignored": [1, 2]}}, "float32", 3),
        ({"inputs": [[1, 2]]}, "uint8", [[1, 2]]),
        ({"inputs": {"b64": "YWI="}}, "object", b"ab"),
        ({"inputs": []}, "float32", []),
        ({"instances": [2**63, 5]}, "uint64", [2**63, 5]),
        ({"instances": [300, -1]}, "uint8", [44, 255]),
        ({"instances": [2**53 + 1]}, "int64", [2**53 + 1]),
        (b'{"instances": [1e39, -1e39, NaN]}', "float32", [math.inf, -math.inf, math.nan]),
        (b'{"instances": [1e400]}', "float64", [math.inf]),
        (b'{"instances": [99999999999999999999]}', "float64", [1e20]),
    ],
)
def test_both_forms_are_read(document: Any, dtype: str, expected: Any) -> None:
    array = read(document, x=dtype)["x"]
    assert array.dtype == np.dtype(dtype)
    wanted = np.array(expected, object if dtype == "object" else None)
    assert array.shape == wanted.shape
    np.testing.assert_array_equal(array, wanted)


def test_the_form_names_the_member_of_the_reply() -> None:
    assert Body.parse(b'{"instances": [1]}').inputs(infos(x="float32"))[0] is Form.ROW
    assert Body.parse(b'{"inputs": [1]}').inputs(infos(x="float32"))[0] is Form.COLUMN


def test_several_inputs_are_named() -> None:
    rows = {"instances": [{"a": [1, 2], "b": "x"}, {"b": "y", "a": [3, 4]}]}
    columns = {"inputs": {"a": [[1, 2], [3, 4]], "b": ["x", "y"]}}
    for document in (rows, columns):
        arrays = read(document, a="float32", b="object")
        assert arrays["a"].tolist() == [[1, 2], [3, 4]]
        assert arrays["b"].tolist() == [b"x", b"y"]


ELEMENT = "Failed to process element: "
LIST = " of 'instances' list. Error: INVALID_ARGUMENT: "


@pytest.mark.parametrize(
    ("document", "dtype", "text"),
    [
        ({}, "float32", "Missing 'inputs' or 'instances' key"),
        ({"instances": []}, "float32", """JSON Value: {"instances": []} No values in 'instances' array"""),
        ({"instances": 1}, "float32", """JSON Value: {"instances": 1} Excepting 'instances' to be an list/array"""),
        (
            {"instances": [1], "inputs": 1},
            "float32",
            (
                """JSON Value: {"instances": [1], "inputs": 1} Not formatted correctly expecting only one of """
                "'inputs' or 'instances' keys to exist "
            ),
        ),
        ({"inputs": {"y": 1}}, "float32", "Missing named input: x in 'inputs' object."),
        ({"inputs": "a"}, "float32", 'JSON Value: "a" Type: String is not of expected type: float'),
        ({"inputs": True}, "float32", "JSON Value: true Type: True is not of expected type: float"),
        ({"inputs": [1, None]}, "float64", "JSON Value: null Type: Null is not of expected type: double"),
        ({"inputs": 1.0}, "int32", "JSON Value: 1.0 Type: Number is not of expected type: int32"),
        ({"inputs": 2**31}, "int8", "JSON Value: 2147483648 Type: Number is not of expected type: int8"),
        ({"inputs": -1}, "uint32", "JSON Value: -1 Type: Number is not of expected type: uint32"),
        (
            {"inputs": [2**63, -1]},
            "int64",
            "JSON Value: 9223372036854775808 Type: Number is not of expected type: int64",
        ),
        ({"inputs": 1}, "bool", "JSON Value: 1 Type: Number is not of expected type: bool"),
        ({"inputs": 1}, "object", "JSON Value: 1 Type: Number is not of expected type: string"),
        ({"inputs": [{"b64": "a!"}]}, "object", "Unable to base64 decode"),
        ({"inputs": [{"b64": 1}]}, "object", 'JSON Value: {"b64": 1} not formatted correctly for base64 data'),
        ({"inputs": {"x": {"y": 1}}}, "float32", 'JSON Value: {"y": 1} Type: Object is not of expected type: float'),
        (
            {"inputs": [[1, 2], 3]},
            "float32",
            "JSON Value: 3 found at incorrect level: 2 in the JSON DOM. Expected at level: 2",
        ),
        ({"inputs": [[1], [[2]]]}, "float32", "Encountered list at unexpected level: 2 expected < 2"),
        (
            {"inputs": [[1, 2], [3]]},
            "float32",
            "Encountered list at unexpected size: 1 at level: 1 expected size: 2",
        ),
        (  # ragged, though the lists hold as many numbers as a rectangle would
            {"inputs": [[1, 2], [3], [4, 5, 6]]},
            "float32",
            "Encountered list at unexpected size: 1 at level: 1 expected size: 2",
        ),
        ({"instances": [[1, 2], [1, 2, 3]]}, "float32", f"{ELEMENT}1{LIST}Expecting tensor size: 2 but got: 3"),
        ({"instances": [[1, 2], [[1, 2]]]}, "float32", f"{ELEMENT}1{LIST}Expecting shape [2] but got: [1,2]"),
        (
            {"instances": [1, "a"]},
            "float32",
            f'{ELEMENT}1{LIST}JSON Value: "a" Type: String is not of expected type: float',
        ),
        (
            {"instances": [1, True]},
            "float32",
            f"{ELEMENT}1{LIST}JSON Value: true Type: True is not of expected type: float",
        ),
        ({"instances": [1, {"x": 1}]}, "float32", "Expecting value/list but got object at item 1 of input list"),
        ({"instances": [{"x": 1}, 1]}, "float32", "Expecting object but got list at item 1 of input list"),
        (
            {"instances": [{"x": 1}, {"y": 1}]},
            "float32",
            f"{ELEMENT}1 key: y{LIST}JSON object: does not have named input: y",
        ),
        (
            {"instances": [{"x": [1]}, {"x": [1, 2]}]},
            "float32",
            f"{ELEMENT}1 key: x{LIST}Expecting tensor size: 1 but got: 2",
        ),
        (
            {"instances": [{"x": 1}, {}]},
            "float32",
            "Failed to process element: 1 of 'instances' list. JSON object: {} keys must be equal to: x",
        ),
    ],
)
def test_refusals_are_in_tensorflow_serving_s_words(document: Any, dtype: str, text: str) -> None:
    assert refusal(document, x=dtype) == text


def test_plain_lists_need_a_single_input() -> None:
    assert refusal({"instances": [1]}, a="float32", b="float32") == (
        "instances is a plain list, but expecting list of objects as multiple input tensors required as per "
        "tensorinfo_map"
    )
    assert refusal({"inputs": [1]}, a="float32", b="float32") == (
        "inputs is a plain value/list, but expecting an object as multiple input tensors required as per tensorinfo_map"
    )


@pytest.mark.parametrize("value", [[], [1], [[]], 5, {"b64": "YQ=="}])
def test_a_signature_without_inputs_takes_an_empty_object_only(value: Any) -> None:
    assert read({"inputs": {}}) == {}
    assert read({"instances": [{}]}) == {}
    advice = "but the signature takes no input. Send an empty object: 'inputs': {}"
    assert refusal({"inputs": value}) == f"inputs is a plain value/list, {advice}"
    assert refusal({"instances": [value]}) == f"instances is a plain list, {advice}"


@pytest.mark.parametrize(("dtype", "name"), [("float16", "half"), ("complex64", "complex64")])
def test_types_that_json_lacks_are_unimplemented(dtype: str, name: str) -> None:
    text = f"Conversion of JSON Value: 0 to type: {name}"
    assert refusal({"inputs": 0}, Code.UNIMPLEMENTED, x=dtype) == text
    assert (
        refusal({"instances": [0]}, x=dtype)
        == f"Failed to process element: 0 of 'instances' list. Error: UNIMPLEMENTED: {text}"
    )


def test_a_signature_name_must_be_a_string() -> None:
    with pytest.raises(
        ServingError, match=r"^JSON Value: {.*} not formatted correctly\. 'signature_name' key must be a string"
    ):
        Body.parse(b'{"signature_name": 3}').signature_name()
    assert Body.parse(b'{"signature_name": "explain"}').signature_name() == "explain"
    assert Body.parse(b"{}").signature_name() == ""


def test_more_dimensions_than_an_array_has_are_refused() -> None:
    deep = "[" * 200 + "1" + "]" * 200
    assert refusal(f'{{"inputs": {deep}}}'.encode(), x="float32") == (
        "Lists in lists are at most 64 deep, the dimensions of a tensor. Received: a deeper one."
    )
    side = "[" * 900 + "]" * 900
    assert "unexpected level: 1 expected < 1" in refusal(f'{{"inputs": [1, {side}]}}'.encode(), x="float32")


LEAF = st.sampled_from(
    [
        0,
        1,
        -1,
        127,
        300,
        2**31,
        -(2**31),
        2**63,
        2**64 - 1,
        -(2**63),
        0.5,
        1.0,
        1e39,
        True,
        False,
        None,
        "a",
        "1.5",
        {"b64": "YQ=="},
        {"z": 1},
    ]
)
VALUE = st.recursive(LEAF, lambda children: st.lists(children, max_size=3), max_leaves=8)
REGULAR = st.integers(1, 3).flatmap(
    lambda width: st.lists(st.lists(LEAF, min_size=width, max_size=width), min_size=1, max_size=3)
)


def slow_array(value: Any, dtype: np.dtype) -> np.ndarray:
    """The oracle: a tensor from JSON by the rules of the reference, straight from their words."""
    shape, first = [], value
    while isinstance(first, list):
        shape.append(len(first))
        if not first:
            break
        first = first[0]
    flat: list[Any] = []

    def walk(element: Any, level: int) -> None:
        if isinstance(element, list):
            if level >= len(shape) or len(element) != shape[level]:
                raise ValueError
            for inner in element:
                walk(inner, level + 1)
            return
        if level != len(shape):
            raise ValueError
        flat.append(slow_leaf(element, dtype))

    walk(value, 0)
    array = np.empty(len(flat), dtype)
    for index, element in enumerate(flat):
        array[index] = element
    return array.reshape(shape)


def slow_leaf(value: Any, dtype: np.dtype) -> Any:
    name = dtype.name
    if name == "object":
        if isinstance(value, str):
            return value.encode()
        if isinstance(value, dict) and list(value) == ["b64"]:
            return base64.b64decode(value["b64"])
        raise ValueError
    if name == "bool":
        if value is True or value is False:
            return value
        raise ValueError
    if type(value) not in (int, float):
        raise ValueError
    if name.startswith("float"):
        with np.errstate(over="ignore"):
            return np.float64(value).astype(dtype)
    ranges = {"int64": (-(2**63), 2**63), "uint32": (0, 2**32), "uint64": (0, 2**64)}
    low, high = ranges.get(name, (-(2**31), 2**31))
    if type(value) is not int or not low <= value < high:
        raise ValueError
    bits = dtype.itemsize * 8
    wrapped = value % 2**bits
    return wrapped - 2**bits if dtype.kind == "i" and wrapped >= 2 ** (bits - 1) else wrapped


@given(VALUE | REGULAR, st.sampled_from(DTYPES))
@settings(deadline=None, max_examples=600)
def test_the_fast_way_agrees_with_a_slow_oracle(value: Any, name: str) -> None:
    dtype = np.dtype(name)
    try:
        expected = slow_array(value, dtype)
    except ValueError:
        expected = None
    for document in ({"inputs": {"x": value}}, {"instances": value}):
        if "instances" in document and not (isinstance(value, list) and value and not any(map(is_plain_dict, value))):
            continue
        try:
            array = read(document, x=name)["x"]
        except ServingError:
            assert expected is None
            continue
        assert expected is not None
        assert array.dtype == expected.dtype
        assert array.shape == expected.shape
        assert array.tolist() == expected.tolist()


def is_plain_dict(value: Any) -> bool:
    return isinstance(value, dict) and "b64" not in value


@given(VALUE | REGULAR, st.sampled_from(DTYPES))
@settings(deadline=None, max_examples=300)
def test_both_ways_accept_the_same_values(value: Any, name: str) -> None:
    """What the way in one piece accepts, the way element by element accepts too, with the same result."""
    dtype = np.dtype(name)
    fast = tensors.stack([value], dtype, booleans=True)
    if fast is None:
        return
    filler = tensors.TensorFiller(dtype)
    filler.add(value)
    np.testing.assert_array_equal(filler.array((1, *(filler.shape or ()))), fast)


JUNK = st.recursive(
    LEAF | st.text(max_size=5),
    lambda children: (
        st.lists(children, max_size=3) | st.dictionaries(st.sampled_from(["x", "y", "b64", "a"]), children)
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from(["instances", "inputs", "signature_name", "z"]), JUNK), st.sampled_from(DTYPES))
@settings(deadline=None, max_examples=250)
def test_any_document_gives_arrays_or_a_serving_error(document: dict[str, Any], name: str) -> None:
    for dtypes in ({}, {"x": name}, {"x": name, "y": "float32"}):
        try:
            arrays = read(document, **dtypes)
        except ServingError as error:
            error.message.encode()
        else:
            assert arrays.keys() == dtypes.keys()
            assert all(array.dtype == np.dtype(dtypes[key]) for key, array in arrays.items())
