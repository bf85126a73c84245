"""Broken, slow, large and deep HTTP: each connection is answered or closed, and nobody else notices."""

import gzip
import json
import threading
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.robustness.attack import NAME, predict_rest, read_until_closed

PATH = f"/v1/models/{NAME}:predict"
BODY = json.dumps({"instances": [[1.0, 2.0, 3.0, 4.0]]}).encode()
HEAD = f"POST {PATH} HTTP/1.1\r\nHost: whyserve\r\nConnection: close\r\n".encode()
WHOLE = HEAD + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY
BOUNDED = settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def send(server, content, *, finish=True):
    """Sends bytes and returns what comes back until the server closes."""
    with server.connect() as connection:
        try:
            connection.sendall(content)
            if finish:
                connection.shutdown(1)
        except (BrokenPipeError, ConnectionResetError):
            pass  # the server had enough before everything was sent
        return read_until_closed(connection)


def status(answer):
    return int(answer.split(b" ", 2)[1]) if answer.startswith(b"HTTP/1.1 ") else None


def post(server, body, *headers):
    lines = b"".join(header + b"\r\n" for header in headers)
    return send(server, HEAD + lines + b"Content-Length: %d\r\n\r\n" % len(body) + body, finish=False)


def test_a_whole_request_is_answered(server):
    assert status(send(server, WHOLE, finish=False)) == 200


@pytest.mark.parametrize("cut", [1, 10, 40, len(HEAD), len(HEAD) + 5, len(WHOLE) - 1])
def test_a_request_that_breaks_off_is_dropped(server, cut):
    assert status(send(server, WHOLE[:cut])) in (None, 400, 408)


@BOUNDED
@given(content=st.binary(max_size=400))
def test_bytes_that_are_no_http_are_refused(server, content):
    assert status(send(server, content)) in (None, 400, 404, 405, 501)


@BOUNDED
@given(position=st.integers(0, len(WHOLE) - 1), byte=st.integers(0, 255))
def test_a_request_with_one_byte_wrong_is_answered_or_dropped(server, position, byte):
    answer = send(server, WHOLE[:position] + bytes([byte]) + WHOLE[position + 1 :])
    assert status(answer) in (None, 200, 400, 404, 405, 408, 411, 413, 415, 501)


def test_headers_without_end_are_refused(server):
    endless = HEAD + b"".join(b"x-%d: %s\r\n" % (number, b"a" * 1000) for number in range(5000))
    assert status(send(server, endless)) in (None, 400, 431)


def test_a_body_beyond_the_limit_is_refused_before_it_is_read(server):
    answer = send(server, HEAD + b"Content-Length: 99999999999\r\n\r\n", finish=False)
    assert status(answer) == 413


def test_a_body_in_chunks_beyond_the_limit_is_refused(server):
    chunk = b"%x\r\n%s\r\n" % (1 << 16, b"[" * (1 << 16))
    answer = send(server, HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunk * 100, finish=False)
    assert status(answer) in (None, 413)  # None: it closed while we were still sending


def test_a_small_body_that_inflates_beyond_the_limit_is_refused(server):
    bomb = gzip.compress(b"[" + b"1," * 50_000_000 + b"1]", mtime=0)
    assert len(bomb) < 200_000
    assert status(post(server, bomb, b"Content-Encoding: gzip")) == 413


@pytest.mark.parametrize("content", [b"\x1f\x8b", gzip.compress(BODY, mtime=0)[:-9], b"\x1f\x8b\x08" + bytes(100)])
def test_broken_gzip_is_refused(server, content):
    assert status(post(server, content, b"Content-Encoding: gzip")) == 400


@pytest.mark.parametrize("opening", [b"[", b'{"instances":', b'{"a":[', b"[{"])
@pytest.mark.parametrize("depth", [2_000, 500_000])
def test_deep_documents_are_refused(server, opening, depth):
    body = (b'{"instances": ' + opening * depth)[:3_900_000]
    assert status(post(server, body)) == 400


@pytest.mark.parametrize(
    "body",
    [
        b'{"instances": [[1e999999999, 1, 1, 1]]}',
        b'{"instances": [[' + b"9" * 1_000_000 + b", 1, 1, 1]]}",
        b'{"instances": [' + b"[1,1,1,1]," * 100_000 + b"[1]]}",
        b'{"instances": ["' + b"a" * 3_000_000 + b'"]}',
        b'{"instances": [{"x": 1, "x": 2}]}',
        b'{"instances": [[1, 2, 3, 4]], "signature_name": "' + b"s" * 100_000 + b'"}',
        b"\xff" * 1000,
        b'"\\ud800"',
        b"null",
        b"",
    ],
    ids=lambda body: body[:24].decode("latin-1"),
)
def test_bodies_that_mean_nothing_are_refused(server, body):
    assert status(post(server, body)) == 400


@pytest.mark.parametrize("dribble", [HEAD, HEAD + b"Content-Length: 100\r\n\r\n{"], ids=["head", "body"])
def test_clients_that_send_a_byte_now_and_then_are_let_go_and_hinder_nobody(server, dribble):
    connections = [server.connect() for _ in range(100)]
    try:
        for connection in connections:
            connection.sendall(dribble)
        end = time.monotonic() + 1.5
        while time.monotonic() < end:  # slower than the server waits, never silent for long
            predict_rest(server.rest_port)
            for connection in connections:
                try:
                    connection.sendall(b" ")
                except OSError:
                    continue
            time.sleep(0.2)
        for connection in connections:
            connection.settimeout(20)
            assert status(read_until_closed(connection)) in (None, 400, 408)
    finally:
        for connection in connections:
            connection.close()


def test_clients_that_do_not_read_their_answers_hinder_nobody(server):
    connections = [server.connect() for _ in range(50)]
    try:
        for connection in connections:
            connection.sendall(WHOLE.replace(b"Connection: close\r\n", b"") * 200)
        predict_rest(server.rest_port)
    finally:
        for connection in connections:
            connection.close()


def test_connections_that_come_and_go_leave_nothing(server):
    def come_and_go():
        for number in range(150):
            with server.connect() as connection:
                connection.sendall(WHOLE[: 1 + number % len(WHOLE)])

    threads = [threading.Thread(target=come_and_go) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
