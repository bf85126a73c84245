"""`make test-image` names this file to pytest; its own name keeps it out of what `pytest` collects by itself."""

import json
import re
import threading
import time
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import numpy as np
import onnxruntime as ort
import pytest

from tests.image import engines

MAX_BYTES = 700e6
MIN_ACCURACY = 0.97
# The same ONNX files in another build of ONNX Runtime, batched differently; relative to the largest magnitude.
TOLERANCE = 1e-5
EXAMPLES = 32
NOT_NEEDED = {"tensorflow", "keras", "tf2onnx", "onnx", "scikit-learn", "matplotlib", "h5py", "pip", "pytest"}
TMP = "/tmp"  # noqa: S108 -- where a container may write
TEMPORARY = {TMP, "/var/tmp", "/run/lock"}  # noqa: S108 -- as a Debian image has them
NOT_OURS = {"models", "explain", "tests"}


def post(url, document, timeout_s=60):
    request = Request(url, json.dumps(document).encode(), {"content-type": "application/json"})
    with urlopen(request, timeout=timeout_s) as reply:
        return json.load(reply)


def difference(actual, expected):
    """The largest difference, relative to the largest magnitude."""
    return np.abs(np.asarray(actual) - expected).max() / np.abs(expected).max()


@pytest.fixture(scope="module")
def images(digits):
    return digits[0][:EXAMPLES]


@pytest.fixture(scope="module")
def expected(bundle, images):
    """What this machine's ONNX Runtime makes of the bundle's explain.onnx."""
    outputs = json.loads((bundle / "manifest.json").read_text())["signatures"]["explain_target"]["outputs"]
    session = ort.InferenceSession(bundle / "explain.onnx", providers=["CPUExecutionProvider"])
    feed = {"image": images, "target": np.full(len(images), -1, np.int32)}
    arrays = session.run([output["onnx_name"] for output in outputs], feed)
    return {output["name"]: array for output, array in zip(outputs, arrays, strict=True)}


def test_predictions_over_rest_are_right(server, digits, report):
    images, labels = digits
    reply = post(f"{server.url}/v1/models/digits:predict", {"instances": images.tolist()})
    accuracy = np.mean(np.argmax(reply["predictions"], axis=1) == labels)
    report.append(f"predictions over REST: {accuracy:.1%} of {len(labels)} digits (most were trained on)")
    assert accuracy >= MIN_ACCURACY


def test_predictions_over_grpc_are_those_of_the_bundle(ask_grpc, images, expected, tmp_path):
    outputs = ask_grpc(images, "", tmp_path)
    assert outputs["health"] == 1  # SERVING
    assert difference(outputs["probabilities"], expected["probabilities"]) <= TOLERANCE


def test_explanations_over_rest_are_those_of_the_bundle(server, images, expected):
    reply = post(f"{server.url}/v1/models/digits:explain", {"instances": images.tolist()})
    attributions = [each["attributions"][0] for each in reply["explanations"]]
    relevance = np.array([each["featureAttributions"]["image"] for each in attributions])
    scores = np.array([each["instanceOutputValue"] for each in attributions])
    assert [each["outputIndex"] for each in attributions] == expected["target"][:, np.newaxis].tolist()
    assert difference(scores, expected["explained_value"]) <= TOLERANCE
    assert difference(relevance, expected["relevance"]) <= TOLERANCE


def test_explanations_over_grpc_are_those_of_the_bundle_and_add_up(ask_grpc, images, expected, tmp_path, report):
    outputs = ask_grpc(images, "explain", tmp_path)
    for name, array in expected.items():
        assert outputs[name].shape == array.shape
        assert difference(outputs[name], array) <= TOLERANCE
    total = outputs["relevance"].sum(axis=(1, 2, 3)) + outputs["conservation_gap"]
    report.append(f"explanations over gRPC: scores {outputs['explained_value'][:3]}, relevance and gap {total[:3]}")
    assert difference(total, outputs["explained_value"]) <= TOLERANCE


def test_a_bad_request_gets_an_error_and_the_server_stays_up(server):
    with pytest.raises(HTTPError) as error:
        post(f"{server.url}/v1/models/digits:predict", {"instances": [[1.0]]})
    error.value.close()
    assert error.value.code == 400
    with urlopen(f"{server.url}/readyz", timeout=5) as reply:
        assert reply.status == 200


def test_the_health_check_passes_and_fails_with_the_server(server):
    kind, *check = server.config.get("Healthcheck", {}).get("Test", ["NONE"])
    assert kind == "CMD", "the image has no health check: it must be built in docker's format"
    assert server.run(*check).returncode == 0
    assert server.run("env", "WHYSERVE_HEALTH_PORT=1", *check).returncode != 0


def test_the_user_is_a_fixed_number_and_not_root(server):
    assert server.config["User"] == "10001:10001"
    status = server.server_status()
    assert set(status["Uid"].split()) == {"10001"}
    assert set(status["Gid"].split()) == {"10001"}
    assert int(status["CapEff"], 16) == 0


def test_the_server_writes_nothing_and_could_only_to_temporary_folders(server):
    # The image holds no file of the server's user. ONNX Runtime would make some: a device id, for its telemetry.
    prune = ["-xdev", "(", "-path", "/proc", "-o", "-path", "/models", ")", "-prune", "-o"]
    made = server.run("find", "/", TMP, *prune, "-user", "10001", "-print")
    assert made.stdout.split() == []
    writable = server.run("find", "/", *prune, "-type", "d", "-writable", "-print")
    assert set(writable.stdout.split()) <= TEMPORARY
    assert server.run("touch", "/models/file").returncode != 0


def test_the_packages_are_the_locked_ones_without_tensorflow(server):
    program = "import importlib.metadata as m, json; print(json.dumps({d.name: d.version for d in m.distributions()}))"
    reply = server.run("python", "-I", "-c", program)
    installed = {normalised(name): version for name, version in json.loads(reply.stdout).items()}
    assert not NOT_NEEDED & installed.keys()
    pins = re.findall(r"^([\w.-]+)==([\w.]+)", Path("requirements/server.txt").read_text(), re.MULTILINE)
    assert installed == {normalised(name): version for name, version in pins}


def normalised(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def test_neither_tensorflow_nor_our_training_code_can_be_imported(server):
    names = sorted({"tensorflow", "keras", *NOT_OURS})
    program = f"import importlib.util as u; print([name for name in {names} if u.find_spec(name)])"
    assert server.run("python", "-c", program).stdout.strip() == "[]"


def test_sigterm_drains_and_ends_with_status_0(image, repository, digits, report):
    answers = []
    with engines.start(image, repository) as container:
        images = np.tile(digits[0], (4, 1, 1, 1))
        document = {"instances": images.tolist()}
        url = f"{container.url}/v1/models/digits:explain"
        client = threading.Thread(target=lambda: answers.append(post(url, document)))
        client.start()
        time.sleep(0.3)
        assert client.is_alive()
        start = time.monotonic()
        container.terminate()
        status = container.wait()
        seconds = time.monotonic() - start
        client.join()
        log = container.log()
    assert status == 0, log
    assert len(answers) == 1
    assert len(answers[0]["explanations"]) == len(images)
    assert "Drained: every request was answered" in log
    report.append(f"SIGTERM in the middle of a request: answered; status {status} after {seconds:.2f} s")


def test_the_image_is_small(sizes, report):
    report.extend(sizes.table())
    assert sizes.total <= MAX_BYTES
