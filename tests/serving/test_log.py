import json
import logging
import re

import pytest

from serving.log import JsonFormatter, RateLimit, TextFormatter
from serving.request_context import CURRENT, RequestContext

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


@pytest.fixture
def in_request():
    token = CURRENT.set(RequestContext("REST", lambda: [(b"traceparent", f"00-{TRACE}-00f067aa0ba902b7-01".encode())]))
    yield
    CURRENT.reset(token)


def record(message: str, *args: object, name: str = "serving.rest.app", level: int = logging.ERROR, **extra: object):
    made = logging.LogRecord(name, level, __file__, 1, message, args, None)
    made.__dict__.update(extra)
    return made


def test_text_has_time_level_logger_and_message():
    line = TextFormatter().format(record("It %s", "broke"))
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z ERROR serving\.rest\.app: It broke", line)


def test_a_line_break_from_a_client_begins_no_line_of_its_own():
    line = TextFormatter().format(record("No such URL: %s", "/a\r\n2026-01-01T00:00:00Z INFO serving: forged"))
    assert len(line.splitlines()) == 1
    assert r"/a\r\n2026" in line


def test_text_names_the_trace(in_request):
    assert TextFormatter().format(record("It broke")).endswith(f"It broke trace_id={TRACE}")


def test_json_is_one_object_a_line(in_request):
    broken = record('It "%s"\n', "broke", fields={"model": "m", "version": None})
    broken.exc_info = (ValueError, ValueError("first\nsecond"), None)
    text = JsonFormatter().format(broken)
    assert "\n" not in text
    line = json.loads(text)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line.pop("time"))
    assert "ValueError: first\nsecond" in line.pop("traceback")
    assert line == {
        "level": "ERROR",
        "logger": "serving.rest.app",
        "message": 'It "broke"\n',
        "model": "m",
        "version": None,
        "trace_id": TRACE,
    }


def test_a_warning_that_requests_repeat_is_logged_once_a_second(monkeypatch):
    now = 100.0
    monkeypatch.setattr("serving.log.time.monotonic", lambda: now)
    limit = RateLimit()
    assert [limit.filter(record("%s failed", f"/{each}")) for each in range(5)] == [True, False, False, False, False]
    assert limit.filter(record("Something else")), "another message has a second of its own"
    assert limit.filter(record("%s failed", "/x", level=logging.INFO)), "only warnings and errors repeat themselves"
    now = 101.0
    late = record("%s failed", "/late")
    assert limit.filter(late)
    assert late.getMessage() == "/late failed (and 4 more like it since)"


def test_garbage_on_the_wire_is_logged_once_a_second():
    limit = RateLimit()
    garbage = [record("Invalid HTTP request received.", name="uvicorn.error") for _ in range(3)]
    assert [limit.filter(each) for each in garbage] == [True, False, False]


def test_messages_that_requests_do_not_cause_are_never_held_back():
    limit = RateLimit()
    assert all(limit.filter(record("Model %s can't be served", each, name="serving.manager")) for each in range(5))
