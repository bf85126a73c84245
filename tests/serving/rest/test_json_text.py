import json
import math
import time
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from serving.errors import Code, ServingError
from serving.rest.json_text import MAX_SHOWN, TOO_DEEP, json_type, parse_json, show


def refusal(body: bytes) -> str:
    with pytest.raises(ServingError) as caught:
        parse_json(body)
    assert caught.value.code is Code.INVALID_ARGUMENT
    return caught.value.message


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"", "JSON Parse error: The document is empty"),
        (b" \n", "JSON Parse error: The document is empty. at offset: 2"),
        (b"nope", "JSON Parse error: Invalid value. at offset: 0"),
        (b'{"a":[1,]}', "JSON Parse error: Invalid value. at offset: 8"),
        (b"{'a':1}", "JSON Parse error: Missing a name for object member. at offset: 1"),
        (b'{"a" 1}', "JSON Parse error: Missing a colon after a name of object member. at offset: 5"),
        (b'{"a":1 "b":2}', "JSON Parse error: Missing a comma or } or ] after a member or an element. at offset: 7"),
        (b'{"a', "JSON Parse error: Missing a closing quotation mark in string. at offset: 1"),
        (b'{"\xc3\xa4":"\\x"}', "JSON Parse error: Invalid escape character in string. at offset: 7"),
        (b'{"a":"\xff"}', "JSON Parse error: Invalid encoding in string. at offset: 6"),
        (b'{"a":"\\ud800"}', "JSON Parse error: The surrogate pair in string is invalid. at offset: 6"),
        (b"[1]", "JSON Value: [1] Is not object"),
        (b"NaN", "JSON Value: NaN Is not object"),
    ],
)
def test_malformed_documents_are_refused_with_the_place(body: bytes, text: str) -> None:
    assert refusal(body) == text


def test_what_rapidjson_takes_beyond_json_is_taken() -> None:
    document = parse_json(b'{"a": [NaN, Infinity, -Infinity, Inf, -Inf, "Inf NaN"]} trailing [[[')
    assert math.isnan(document["a"][0])
    assert document["a"][1:] == [math.inf, -math.inf, math.inf, -math.inf, "Inf NaN"]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"a": 1e400}', math.inf),
        (b'{"a": -1e400}', -math.inf),
        (b'{"a": 18446744073709551615}', 2**64 - 1),
        (b'{"a": 18446744073709551616}', 2.0**64),
        (b'{"a": -9223372036854775808}', -(2**63)),
        (b'{"a": -9223372036854775809}', -(2.0**63)),
        (b'{"a": ' + b"9" * 100_000 + b"}", math.inf),
        (b'\xef\xbb\xbf{"a": 1}', 1),
        (b'{"a": "\\ud83d\\ude00"} x', "\U0001f600"),
        (b'{"a": "\\\\ud800"} x', "\\ud800"),
    ],
)
def test_both_parsers_read_the_same_values(body: bytes, expected: object) -> None:
    for variant in (body, body + b" x"):  # bytes after the document send it to the second parser
        value = parse_json(variant)["a"]
        assert value == expected
        assert type(value) is type(expected)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text(),
    lambda children: st.lists(children) | st.dictionaries(st.text(), children),
    max_leaves=10,
)


@given(st.dictionaries(st.text(), JSON, max_size=3), st.booleans())
@settings(deadline=None, max_examples=60)
def test_every_document_is_read_as_the_standard_library_reads_it(document: dict[str, Any], second: bool) -> None:
    body = json.dumps(document, ensure_ascii=second).encode() + b" x" * second
    assert parse_json(body) == json.loads(json.dumps(document))


@given(
    st.binary(max_size=60)
    | st.text(alphabet='{}[]",:\\u0dD8nNaIf1.eE-+ \ttrue', max_size=60).map(str.encode)
    | st.lists(st.sampled_from([b"{", b"}", b"[", b"]", b'"a"', b":", b",", b"1", b"NaN", b"Inf", b"\\"])).map(b"".join)
)
@example(b'{"a": "\\ud800\\ud800"}')
@settings(deadline=None, max_examples=500)
def test_any_bytes_give_an_object_or_a_serving_error(body: bytes) -> None:
    try:
        document = parse_json(body)
    except ServingError as error:
        assert error.code is Code.INVALID_ARGUMENT  # noqa: PT017 - either outcome is right
        error.message.encode()
    else:
        assert isinstance(document, dict)
        show(document)


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 5_000_000,
        b'{"a":' * 1_000_000,
        b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"a":' + b"[" * 1100 + b"]" * 1100 + b"}",
        b'{"a":' + b"[" * 1000 + b"]" * 1000 + b"} x",
    ],
)
def test_deep_documents_are_refused_at_once(body: bytes) -> None:
    start = time.perf_counter()
    assert refusal(body) == TOO_DEEP
    assert time.perf_counter() - start < 5  # linear: it takes milliseconds


@pytest.mark.parametrize("body", [b'"' + b'\\"' * 2_000_000, b'{"a": "' + b"\\" * 2_000_001, b'{"' + b"x" * 4_000_000])
def test_long_unfinished_strings_are_refused_at_once(body: bytes) -> None:
    start = time.perf_counter()
    assert "Missing a closing quotation mark" in refusal(body)
    assert time.perf_counter() - start < 5


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("x", '"x"'),
        (None, "null"),
        (True, "true"),
        (3, "3"),
        (3.0, "3.0"),
        (0.1, "0.1"),
        (1 / 3, "0.33333333333333331"),
        (9e6, "9e+06"),
        (math.nan, "NaN"),
        (-math.inf, "-Infinity"),
        ([1, [2.5, "a"], {}], '[1, [2.5, "a"], {}]'),
        ({"b64": "YQ=="}, '{"b64": "YQ=="}'),
    ],
)
def test_values_are_shown_as_json(value: Any, text: str) -> None:
    assert show(value) == text


def test_large_and_deep_values_are_shown_in_short() -> None:
    deep: Any = 1
    for _ in range(900):
        deep = [deep]
    for value in (deep, [1] * 10**6, "x" * 10**6, {str(key): [1] * 1000 for key in range(1000)}):
        start = time.perf_counter()
        assert len(show(value)) == MAX_SHOWN + 3
        assert time.perf_counter() - start < 1


def test_types_have_rapidjson_s_names() -> None:
    names = [json_type(value) for value in (None, True, False, "x", 1, 1.5, [], {})]
    assert names == ["Null", "True", "False", "String", "Number", "Number", "Array", "Object"]
