import pytest

from serving.request_context import RequestContext, TraceParent, parse_traceparent
from serving.security.callers import Caller, set_caller

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (f"00-{TRACE}-{SPAN}-01", TraceParent(TRACE, SPAN, sampled=True)),
        (f"00-{TRACE}-{SPAN}-00", TraceParent(TRACE, SPAN, sampled=False)),
        (f"00-{TRACE}-{SPAN}-03", TraceParent(TRACE, SPAN, sampled=True)),
        (f" 00-{TRACE}-{SPAN}-01 ", TraceParent(TRACE, SPAN, sampled=True)),
        (f"01-{TRACE}-{SPAN}-01-what-comes-later", TraceParent(TRACE, SPAN, sampled=True)),
        (f"00-{TRACE}-{SPAN}-01-more", None),
        (f"ff-{TRACE}-{SPAN}-01", None),
        (f"00-{'0' * 32}-{SPAN}-01", None),
        (f"00-{TRACE}-{'0' * 16}-01", None),
        (f"00-{TRACE.upper()}-{SPAN}-01", None),
        (f"00-{TRACE[:-1]}-{SPAN}-01", None),
        ("", None),
        ("nonsense", None),
    ],
)
def test_a_traceparent_is_read_as_the_standard_says(header, expected):
    assert parse_traceparent(header) == expected


@pytest.mark.parametrize(
    "headers",
    [
        [(b"host", b"h"), (b"traceparent", f"00-{TRACE}-{SPAN}-01".encode()), (b"x-request-id", b"r-1")],
        [("user-agent", "g"), ("traceparent", f"00-{TRACE}-{SPAN}-01"), ("x-request-id", "r-1")],
    ],
    ids=["REST", "GRPC"],
)
def test_headers_of_both_transports_are_read(headers):
    request = RequestContext("", lambda: headers)
    assert request.trace_id == TRACE
    assert request.request_id == "r-1"
    assert request.header("x-other") == ""


def test_a_request_without_headers_has_no_trace_and_an_id_of_its_own():
    first, second = RequestContext("REST", tuple), RequestContext("REST", tuple)
    assert first.trace_id == ""
    assert first.request_id == first.request_id != second.request_id


def test_a_request_id_of_any_length_is_cut():
    request = RequestContext("REST", lambda: [(b"x-request-id", b"x" * 1000)])
    assert request.request_id == "x" * 128


def test_the_client_is_whoever_showed_a_token():
    request = RequestContext("REST", tuple)
    assert request.client == ""
    set_caller(Caller("shop", frozenset({"predict"})))
    try:
        assert request.client == "shop"
    finally:
        set_caller(None)
