"""A storm of explanations that nobody waits for: they are dropped unrun, and predictions don't notice."""

import json
import re
import socket
import threading
import time

import grpc

from tests.robustness.attack import EXAMPLES, NAME, PREDICT, predict_request, predict_rest, scrape
from tests.robustness.check_versions import wait_for

_WAITING = re.compile(r"^whyserve_(?:queued_requests|in_flight_requests)\{[^}]*\} (\S+)$", re.MULTILINE)
EXPLAIN = json.dumps({"instances": EXAMPLES.tolist(), "parameters": {"top_k": -1}}).encode()


def explain_request():
    request = predict_request()
    request.model_spec.signature_name = "explain"
    return request.SerializeToString()


def test_a_storm_of_explanations_whose_deadlines_pass_leaves_nothing_waiting(server):
    content = explain_request()

    def storm():
        with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
            method = channel.unary_unary(PREDICT)
            calls = [method.future(content, timeout=0.0005 * (1 + number % 10)) for number in range(300)]
            for number, call in enumerate(calls):
                if number % 4 == 0:
                    call.cancel()
            for call in calls:
                wait_for(call.done)

    slowest = run_beside(server, [threading.Thread(target=storm) for _ in range(4)])
    assert slowest < 2.0
    wait_for(lambda: idle(server.rest_port))


def test_clients_that_leave_before_their_explanation_comes_leave_nothing_waiting(server):
    head = f"POST /v1/models/{NAME}:explain HTTP/1.1\r\nHost: x\r\nContent-Length: {len(EXPLAIN)}\r\n\r\n".encode()

    def storm():
        for _ in range(100):
            with socket.create_connection(("127.0.0.1", server.rest_port), timeout=20) as connection:
                connection.sendall(head + EXPLAIN)

    slowest = run_beside(server, [threading.Thread(target=storm) for _ in range(4)])
    assert slowest < 2.0
    wait_for(lambda: idle(server.rest_port))


def run_beside(server, threads):
    """Predicts as long as the threads run; how long the slowest prediction took, in seconds."""
    for thread in threads:
        thread.start()
    slowest = 0.0
    while any(thread.is_alive() for thread in threads):
        start = time.monotonic()
        predict_rest(server.rest_port)
        slowest = max(slowest, time.monotonic() - start)
    for thread in threads:
        thread.join()
    return slowest


def idle(port):
    """Whether nothing is queued or on its way any more."""
    waiting = [float(value) for value in _WAITING.findall(scrape(port))]
    assert waiting, "the metrics that tell have another name"
    return not any(waiting)
