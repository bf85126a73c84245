"""Strangers' clients, unmodified, against a server for each engine; one file, so that the servers start once."""

from typing import Any

import numpy as np
import pytest

from serving.protos import open_inference_grpc_pb2
from tests.serving.bundles import kernel_of, softmax
from tests.serving.clients import servers
from tests.serving.clients.servers import ENGINES, ask, run

pytestmark = pytest.mark.slow

X = np.array([[1, 2, 3, 4], [0, 0, -1, 1]], np.float64)
KERNEL = kernel_of(2).astype(np.float64)
LOGITS = X @ KERNEL
PREDICTED = LOGITS.argmax(axis=1)
PROBABILITIES = softmax(LOGITS)
RELEVANCE = X * KERNEL[:, PREDICTED].T
TEXTS = ["größer", "", "a\0b"]
PLATFORMS = {"onnxruntime": "onnxruntime_onnx", "tensorflow": "tensorflow_savedmodel"}


def close(values: Any, expected: Any) -> None:
    np.testing.assert_allclose(values, expected, atol=1e-5)  # float32, sums of four products


@pytest.fixture(scope="module")
def triton(addresses: list[str]) -> dict[str, Any]:
    return ask("triton_client.py", addresses)


@pytest.fixture(scope="module")
def kserve(addresses: list[str]) -> dict[str, Any]:
    return ask("kserve_client.py", addresses)


@pytest.fixture(scope="module")
def ovms(addresses: list[str]) -> dict[str, Any]:
    return ask("ovms_client.py", addresses)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("transport", ["http", "grpc"])
def test_tritonclient_predicts_and_explains(triton: dict[str, Any], engine: str, transport: str) -> None:
    answers = triton[engine][transport]
    assert [answers[name] for name in ("live", "ready", "model ready", "nobody ready")] == [
        True,
        True,
        [True, True],
        False,
    ]
    close(answers["predict"], PROBABILITIES)
    assert answers["dtype"] == "float32"
    assert answers["id"] == "seven"
    close(answers["version 1"], softmax(X @ kernel_of(1)))
    close(answers["relevance"], RELEVANCE)
    assert answers["left out"]
    close(answers["of targets"], X * KERNEL[:, [2, 0]].T)
    order = np.argsort(-LOGITS, axis=1)[:, :2]
    assert answers["ranked"][0] == order.tolist()
    close(answers["ranked"][1], np.take_along_axis(LOGITS, order, axis=1))
    close(answers["compared"], X * (KERNEL[:, 0] - KERNEL[:, 1]))
    expected = [[f"{row[index]:f}:{index}:{'abc'[index]}" for index in np.argsort(-row)[:2]] for row in PROBABILITIES]
    assert answers["classes"] == expected
    assert [bytes(text).decode() for text in answers["texts"]] == TEXTS
    for prediction in answers["async"]:
        close(prediction, PROBABILITIES)


@pytest.mark.parametrize("engine", ENGINES)
def test_tritonclients_ways_of_sending(triton: dict[str, Any], engine: str) -> None:
    http, grpc = triton[engine]["http"], triton[engine]["grpc"]
    for prediction in (http["json"], http["gzip deflate"], http["deflate gzip"], grpc["gzip"], *triton[engine]["aio"]):
        close(prediction, PROBABILITIES)
    first, failed, third = grpc["stream"]
    assert "Servable not found for request: Latest(nobody)" in failed
    close([first, third], [PROBABILITIES, PROBABILITIES])


@pytest.mark.parametrize("engine", ENGINES)
def test_tritonclient_reads_descriptions_and_statistics(triton: dict[str, Any], engine: str) -> None:
    http, grpc = triton[engine]["http"], triton[engine]["grpc"]
    for answers in (http, grpc):
        assert answers["server"]["name"] == "whyserve"
        assert answers["metadata"]["platform"] == PLATFORMS[engine]
        assert [int(size) for size in answers["metadata"]["inputs"][0]["shape"]] == [-1, 4]
        assert answers["config"]["output"][0]["data_type"] == "TYPE_FP32"
        index = [(entry["name"], entry["version"], entry["state"]) for entry in answers["index"]]
        assert index == [("dense", "2", "READY"), ("dense", "1", "READY"), ("echo", "1", "READY")]
        assert answers["every model"] == 3
        assert int(answers["statistics"]["inference_count"]) > int(answers["statistics"]["execution_count"]) > 5
        assert int(answers["statistics"]["inference_stats"]["success"]["ns"]) > 0


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    ("transport", "not_found", "invalid", "unimplemented"),
    [
        ("http", "404", "400", "501"),
        ("grpc", "StatusCode.NOT_FOUND", "StatusCode.INVALID_ARGUMENT", "StatusCode.UNIMPLEMENTED"),
    ],
)
def test_tritonclient_is_told_what_is_wrong(
    triton: dict[str, Any], engine: str, transport: str, not_found: str, invalid: str, unimplemented: str
) -> None:
    answers = triton[engine][transport]
    assert answers["unknown model"] == [not_found, "Servable not found for request: Latest(nobody)"]
    assert answers["wrong dtype"] == [invalid, "Expects arg[0] to be float but double is provided"]
    for name, status, text in (
        ("wrong output", invalid, "output tensor alias not found in signature: nothing"),
        ("sequence", unimplemented, "Sequences are not served"),
        ("no load", unimplemented, "Models are not loaded or unloaded over this protocol"),
    ):
        assert answers[name][0] == status
        assert answers[name][1].startswith(text)


@pytest.mark.parametrize("engine", ENGINES)
def test_kserves_sdk_predicts_and_explains_by_v1(kserve: dict[str, Any], engine: str) -> None:
    answers = kserve[engine]["v1"]
    close(answers["predict"]["predictions"], PROBABILITIES)
    for name, targets in (("explain", PREDICTED), ("explain target", np.array([2, 0]))):
        close(answers[name]["predictions"], PROBABILITIES)
        attributions = [row["attributions"][0] for row in answers[name]["explanations"]]
        assert [each["outputIndex"] for each in attributions] == [[target] for target in targets]
        close([each["featureAttributions"]["x"] for each in attributions], X * KERNEL[:, targets].T)
    status, text = answers["unknown model"]
    assert status == 404
    assert "Servable not found for request: Latest(nobody)" in text


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("transport", ["v2", "grpc"])
def test_kserves_sdk_infers_by_v2(kserve: dict[str, Any], engine: str, transport: str) -> None:
    answers = kserve[engine][transport]
    assert [answers[name] for name in ("live", "ready", "model ready", "nobody ready")] == [True, True, True, False]
    for binary in (False, True):
        request_id, model, prediction = answers[f"binary {binary}"]
        assert (request_id, model) == ("seven", "dense")
        close(prediction, PROBABILITIES)
    close(answers["relevance"], RELEVANCE)
    if transport == "grpc":
        assert answers["unknown model"] == ["NOT_FOUND", "Servable not found for request: Latest(nobody)"]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("transport", ["http", "grpc"])
def test_ovmsclient_whose_version_0_is_the_newest(ovms: dict[str, Any], engine: str, transport: str) -> None:
    answers = ovms[engine][transport]
    available = {"state": "AVAILABLE", "error_code": 0, "error_message": ""}
    assert answers["status"] == {"2": available, "1": available}
    assert answers["status 1"] == {"1": available}
    close(answers["predict"], PROBABILITIES)
    close(answers["predict 1"], softmax(X @ kernel_of(1)))
    assert answers["texts"] == ["a", "bc"]
    assert "Servable not found for request: Specific(nobody, 0)" in answers["nobody 0"]
    assert "Servable not found for request: Specific(dense, 3)" in answers["dense 3"]


@pytest.mark.parametrize("engine", ENGINES)
def test_ovmsclient_reads_metadata(ovms: dict[str, Any], engine: str) -> None:
    tensors = {
        "inputs": {"x": {"shape": [-1, 4], "dtype": "DT_FLOAT"}},
        "outputs": {"probabilities": {"shape": [-1, 3], "dtype": "DT_FLOAT"}},
    }
    assert ovms[engine]["grpc"]["metadata"] == {"model_version": 2, **tensors}
    # Over REST it knows OpenVINO's names of the members only, and hands TensorFlow Serving's document through.
    document = ovms[engine]["http"]["metadata"]
    assert document["model_spec"] == {"name": "dense", "signature_name": "", "version": "2"}
    assert set(document["metadata"]["signature_def"]["signature_def"]) == {
        "serving_default",
        "explain",
        "explain_target",
    }


def test_our_messages_are_those_of_tritonclient() -> None:
    theirs = run("triton_messages.py")
    module = open_inference_grpc_pb2.DESCRIPTOR
    for name, message in _messages(module.message_types_by_name.values()).items():
        for field in message.fields:
            oneof = field.containing_oneof and field.containing_oneof.name
            facts = [field.number, field.type, field.is_repeated, oneof]
            assert theirs["messages"][name][field.name] == facts, f"{name}.{field.name}"
    for enum in module.enum_types_by_name.values():
        assert theirs["enums"][enum.full_name] == {value.name: value.number for value in enum.values}
    for service in module.services_by_name.values():
        for method in service.methods:
            types = method.input_type.full_name, method.output_type.full_name
            assert theirs["methods"][method.full_name] == [*types, method.client_streaming, method.server_streaming]


def test_without_the_clients_the_tests_say_how_to_install_them(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setattr(servers, "PYTHON", tmp_path / "bin" / "python")
    with pytest.raises(AssertionError, match="`make test` installs it"):
        run("triton_messages.py")


def _messages(descriptors: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for message in descriptors:
        found[message.full_name] = message
        found |= _messages(message.nested_types)
    return found
