"""A model of 100 MB loaded and unloaded ten times: what it took goes back to the machine each time."""

import http.client
import json
import subprocess
import sys
import time
from urllib.request import urlopen

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.robustness.attack import attacked
from tests.serving.bundles import FEATURES, X, entry, value_info, write_model
from whyserve.benchmark.machine import resident_mb

UNITS = 5000
SIZE_MB = UNITS * UNITS * 4 / 1e6
TIMES = 10
# Arenas and caches of two runs; a model that stayed would add ten times as much.
MOST_GROWTH_MB = 40.0
LARGE = "large"


def write_large_bundle(base_path):
    """Writes y = x @ first @ second, whose second kernel is the 100 MB."""
    kernels = {"first": np.ones((FEATURES, UNITS), np.float32), "second": np.ones((UNITS, UNITS), np.float32)}
    nodes = [helper.make_node("MatMul", ["x", "first"], ["h"]), helper.make_node("MatMul", ["h", "second"], ["y"])]
    graph = helper.make_graph(
        nodes,
        "large",
        [value_info("x", TensorProto.FLOAT, ["batch", FEATURES])],
        [value_info("y", TensorProto.FLOAT, ["batch", UNITS])],
        [numpy_helper.from_array(kernel, name) for name, kernel in kernels.items()],
    )
    write_model(base_path, 1, graph, [X], [entry("y", "float32", (None, UNITS))])


def write_large_saved_model(base_path):
    """Writes the same as a SavedModel, in a process of its own."""
    command = [sys.executable, "-m", "tests.robustness.saved_model", str(base_path / "1"), str(UNITS)]
    subprocess.run(command, check=True, capture_output=True)


def ask(port, method, path, body=None):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request(method, path, None if body is None else json.dumps(body))
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    assert answer.status == http.client.OK, content
    return json.loads(content)


def wait_until_unloaded(port):
    deadline = time.monotonic() + 60
    while True:
        with urlopen(f"http://127.0.0.1:{port}/v1/models/{LARGE}", timeout=60) as answer:
            if json.load(answer)["model_version_status"][0]["state"] == "END":
                return
        assert time.monotonic() < deadline, "it was not unloaded in time"
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("engine", "small", "write_large"),
    [("onnxruntime", "model", write_large_bundle), ("tensorflow", "saved_model", write_large_saved_model)],
)
def test_memory_returns_after_each_of_ten_unloads(engine, small, write_large, request, tmp_path):
    base_path = tmp_path / "models" / LARGE
    write_large(base_path)
    served, unloaded = [], []
    with attacked(request.getfixturevalue(small), tmp_path, "--enable_admin_api", engine=engine) as server:
        for _ in range(TIMES):
            ask(server.rest_port, "PUT", f"/v1/admin/models/{LARGE}", {"base_path": str(base_path)})
            body = {"instances": [[1.0] * FEATURES]}
            answer = ask(server.rest_port, "POST", f"/v1/models/{LARGE}:predict", body)
            assert answer["predictions"][0][0] == FEATURES * UNITS
            served.append(resident_mb(server.process.pid)[0])
            ask(server.rest_port, "DELETE", f"/v1/admin/models/{LARGE}")
            wait_until_unloaded(server.rest_port)
            unloaded.append(resident_mb(server.process.pid)[0])
    assert min(before - after for before, after in zip(served, unloaded, strict=True)) > 0.8 * SIZE_MB, (
        served,
        unloaded,
    )
    assert unloaded[-1] - unloaded[1] < MOST_GROWTH_MB, unloaded
    assert max(unloaded[1:]) - min(unloaded[1:]) < MOST_GROWTH_MB, unloaded
