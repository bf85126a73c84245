"""Thousands of hostile requests: memory stops growing once arenas and caches are full."""

import gzip
import http.client
import json
from itertools import cycle, islice

import grpc
import pytest

from tests.robustness.attack import NAME, PREDICT, predict_request
from whyserve.benchmark.machine import resident_mb

ROUNDS = 6
REQUESTS_A_ROUND = 1200
# What a round may add in the long run; a leak of one body of each request would be ten times as much.
MOST_GROWTH_A_ROUND_MB = 2.0

MODEL = f"/v1/models/{NAME}"
HOSTILE = (
    ("POST", f"{MODEL}:predict", b'{"instances": [[1, 2, 3]]}', {}),
    ("POST", f"{MODEL}:predict", b'{"instances": ' + b"[" * 2000, {}),
    ("POST", f"{MODEL}:predict", b'{"instances": ["' + b"a" * 20_000 + b'"]}', {}),
    ("POST", f"{MODEL}:predict", gzip.compress(b"[" + b"1," * 3_000_000), {"Content-Encoding": "gzip"}),
    ("POST", f"{MODEL}:predict", gzip.compress(b"{}")[:-4], {"Content-Encoding": "gzip"}),
    ("POST", f"{MODEL}:explain", b'{"instances": [[1, 2, 3, 4]], "parameters": {"target": 99}}', {}),
    ("POST", f"{MODEL}:classify", b'{"examples": [{"x": "' + b"b" * 20_000 + b'"}]}', {}),
    ("POST", f"/v2/models/{NAME}/infer", b'{"inputs": [{"name": "x", "datatype": "FP32", "shape": [9, 4]}]}', {}),
    ("POST", f"/v2/models/{NAME}/infer", b"\0" * 5000, {"Inference-Header-Content-Length": "4999"}),
    ("GET", "/v1/models/" + "n" * 3000, b"", {}),
)


def attack(server, number):
    """A round of refused requests, a third of them over URLs, names and signatures that never came before."""
    connection = http.client.HTTPConnection("127.0.0.1", server.rest_port, timeout=20)
    for index, refused in enumerate(islice(cycle(HOSTILE), REQUESTS_A_ROUND)):
        method, path, body, headers = fresh(f"{number}-{index}") if index % 3 == 0 else refused
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        answer.read()
        assert 400 <= answer.status < 500, (path, answer.status)
    connection.close()
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        call = channel.unary_unary(PREDICT)
        for index in range(REQUESTS_A_ROUND // 4):
            request = predict_request()
            request.model_spec.name = f"g{number}-{index}"
            request.inputs["x"].tensor_content = b"z" * 20_000
            with pytest.raises(grpc.RpcError, match=r"NOT_FOUND|INVALID_ARGUMENT"):
                call(request.SerializeToString(), timeout=20)


def fresh(name):
    """A request with names that never came before."""
    body = json.dumps({"signature_name": name, "instances": [1]}).encode()
    return "POST", f"/v1/models/m{name}:predict", body, {}


def test_memory_does_not_grow_with_hostile_requests(server):
    sizes = []
    for number in range(ROUNDS):
        attack(server, number)
        sizes.append(resident_mb(server.process.pid)[0])
    half = ROUNDS // 2
    growth = (sizes[-1] - sizes[half - 1]) / (ROUNDS - half)
    assert growth < MOST_GROWTH_A_ROUND_MB, sizes
