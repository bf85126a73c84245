import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from serving.errors import Code, ServingError
from serving.grpc.status import details
from serving.protos import get_model_metadata_pb2, get_model_status_pb2, model_pb2, predict_pb2
from tests.serving.bundles import kernel_of, softmax
from tests.serving.grpc.servers import Client, open_server, predict_request

X = np.array([[1, 2, 3, 4], [0, 0, -1, 1]], np.float32)


def with_server(models: Path, check: Callable[[Client], Awaitable[Any]], **options: Any) -> Any:
    async def run() -> Any:
        async with open_server(models, **options) as client:
            return await check(client)

    return asyncio.run(run())


def failure(models: Path, method: str, request: Any, **options: Any) -> tuple[str, str]:
    """The code and the details of a call that fails."""

    async def check(client: Client) -> tuple[str, str]:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await client.call(method, request, **options)
        return caught.value.code().name, caught.value.details()

    return with_server(models, check)


def test_predict_answers_with_the_model_s_outputs_in_typed_fields(models: Path) -> None:
    async def check(client: Client) -> None:
        reply = await client.call("Predict", predict_request({"x": X}, name="dense"))
        assert reply.model_spec == model_pb2.ModelSpec(
            name="dense", version={"value": 2}, signature_name="serving_default"
        )
        proto = reply.outputs["probabilities"]
        assert not proto.tensor_content
        np.testing.assert_allclose(
            np.array(proto.float_val).reshape(2, 3), softmax(X.astype(float) @ kernel_of(2)), atol=1e-6
        )

    with_server(models, check)


def test_a_reply_can_be_in_tensor_content(models: Path) -> None:
    async def check(client: Client) -> None:
        reply = await client.call("Predict", predict_request({"x": X}, name="dense"))
        proto = reply.outputs["probabilities"]
        assert len(proto.tensor_content) == 2 * 3 * 4
        assert not proto.float_val

    with_server(models, check, tensor_content=True)


def test_a_version_can_be_chosen_and_outputs_filtered(models: Path) -> None:
    async def check(client: Client) -> None:
        request = predict_request({"x": X}, name="dense", version={"value": 1}, signature_name="explain")
        request.output_filter.append("explained_value")
        reply = await client.call("Predict", request)
        assert list(reply.outputs) == ["explained_value"]
        assert reply.model_spec.version.value == 1
        assert reply.model_spec.signature_name == "explain"
        logits = X.astype(float) @ kernel_of(1)
        np.testing.assert_allclose(reply.outputs["explained_value"].float_val, logits.max(axis=1), atol=1e-5)

    with_server(models, check)


def test_explanations_are_a_signature_away(models: Path) -> None:
    async def check(client: Client) -> None:
        target = np.array([2, -1], np.int32)
        outputs = await client.predict({"x": X, "target": target}, name="dense", signature_name="explain_target")
        chosen = [2, int((X @ kernel_of(2))[1].argmax())]
        assert outputs["target"].tolist() == chosen
        np.testing.assert_allclose(outputs["relevance"], X * kernel_of(2).T[chosen], atol=1e-5)

    with_server(models, check)


def test_strings_and_several_inputs_pass(models: Path) -> None:
    async def check(client: Client) -> None:
        ones = np.ones((2, 2), np.float32)
        outputs = await client.predict(
            {"a": ones, "b": ones, "text": np.array([b"x", "ä".encode()], object)}, name="pair"
        )
        assert outputs["total"].tolist() == [[2, 2], [2, 2]]
        assert outputs["echo_bytes"].tolist() == [b"x", "ä".encode()]

    with_server(models, check)


@pytest.mark.parametrize(
    ("request_", "code", "text"),
    [
        (predict_pb2.PredictRequest(), "INVALID_ARGUMENT", "Missing ModelSpec"),
        (predict_request({"x": X}, signature_name="s"), "INVALID_ARGUMENT", "ModelSpec has no name specified."),
        (predict_request({"x": X}, name="nope"), "NOT_FOUND", "Servable not found for request: Latest(nope)"),
        (
            predict_request({"x": X}, name="dense", version={"value": 99}),
            "NOT_FOUND",
            "Servable not found for request: Specific(dense, 99)",
        ),
        (
            predict_request({"x": X}, name="dense", version_label="stable"),
            "INVALID_ARGUMENT",
            "Unrecognized servable version label: stable",
        ),
        (
            predict_request({"x": X}, name="dense", signature_name="nope"),
            "FAILED_PRECONDITION",
            'Serving signature key "nope" not found.',
        ),
        (
            predict_request({}, name="dense"),
            "INVALID_ARGUMENT",
            "input size does not match signature: 0!=1 len({}) != len({x}). Sent extra: {}. Missing but required: {x}.",
        ),
        (
            predict_request({"x": X, "z": X}, name="dense"),
            "INVALID_ARGUMENT",
            (
                "input size does not match signature: 2!=1 len({x,z}) != len({x}). "
                "Sent extra: {z}. Missing but required: {}."
            ),
        ),
        (
            predict_request({"x": X.astype(np.int32)}, name="dense"),
            "INVALID_ARGUMENT",
            "Expects arg[0] to be float but int32 is provided",
        ),
        (
            predict_pb2.PredictRequest(
                model_spec={"name": "dense"},
                inputs={"x": {"dtype": 1, "tensor_shape": {"dim": [{"size": 1}]}, "tensor_content": b"123"}},
            ),
            "INVALID_ARGUMENT",
            "tensor parsing error: x",
        ),
    ],
)
def test_predict_refuses_in_tensorflow_serving_s_words(models: Path, request_: Any, code: str, text: str) -> None:
    assert failure(models, "Predict", request_) == (code, text)


def test_an_unknown_output_is_refused(models: Path) -> None:
    request = predict_request({"x": X}, name="dense")
    request.output_filter.append("q")
    expected = "output tensor alias not found in signature: q Outputs expected to be in the set {probabilities}."
    assert failure(models, "Predict", request) == ("INVALID_ARGUMENT", expected)


def test_a_target_out_of_range_is_refused_with_the_range(models: Path) -> None:
    inputs = {"x": X, "target": np.array([0, 3], np.int32)}
    code, text = failure(models, "Predict", predict_request(inputs, name="dense", signature_name="explain_target"))
    assert code == "INVALID_ARGUMENT"
    assert "[0, 2]" in text
    assert "target=3" in text


def test_bytes_that_are_no_message_are_refused_and_the_server_stays_up(models: Path) -> None:
    async def check(client: Client) -> None:
        for garbage in (b"\xff" * 100, b"\x0a\x05abc", b"\x0a\x03\x0a\x01\xff"):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await client.call("Predict", garbage)
            assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
            assert "Expected a tensorflow.serving.PredictRequest. Received:" in caught.value.details()
        assert await client.predict({"x": X}, name="dense")

    with_server(models, check)


def test_long_texts_are_cut_as_tensorflow_serving_cuts_them() -> None:
    assert details(ServingError(Code.INTERNAL, "x" * 1024)) == "x" * 1024
    assert details(ServingError(Code.INTERNAL, "x" * 1025)) == "x" * 1024 + "...TRUNCATED"


def test_a_long_text_arrives_cut(models: Path) -> None:
    code, text = failure(models, "Predict", predict_request({"x": X}, name="m" * 3000))
    assert code == "NOT_FOUND"
    assert text.startswith("Servable not found for request: Latest(mmm")
    assert len(text) == 1024 + len("...TRUNCATED")


def test_every_code_has_its_grpc_status() -> None:
    assert {int(code): code.name for code in Code} == {status.value[0]: status.name for status in grpc.StatusCode}


def test_metadata_holds_the_signatures(models: Path) -> None:
    async def check(client: Client) -> None:
        request = get_model_metadata_pb2.GetModelMetadataRequest(
            model_spec={"name": "dense", "signature_name": "ignored"}, metadata_field=["signature_def"]
        )
        reply = await client.call("GetModelMetadata", request)
        assert reply.model_spec == model_pb2.ModelSpec(name="dense", version={"value": 2})
        entry = reply.metadata["signature_def"]
        # perf_analyzer compares this text
        assert entry.type_url == "type.googleapis.com/tensorflow.serving.SignatureDefMap"
        signatures = get_model_metadata_pb2.SignatureDefMap()
        assert entry.Unpack(signatures)
        assert set(signatures.signature_def) == {"serving_default", "explain", "explain_target"}
        x = signatures.signature_def["serving_default"].inputs["x"]
        assert x.dtype == 1
        assert [dim.size for dim in x.tensor_shape.dim] == [-1, 4]
        assert signatures.signature_def["explain_target"].inputs["target"].dtype == 3

    with_server(models, check)


@pytest.mark.parametrize(
    ("message", "text"),
    [
        ({}, "Missing ModelSpec"),
        ({"model_spec": {"name": "dense"}}, "GetModelMetadataRequest must specify at least one metadata_field"),
        ({"model_spec": {"name": "dense"}, "metadata_field": ["f"]}, "Metadata field f is not supported"),
    ],
)
def test_metadata_refuses_in_tensorflow_serving_s_words(models: Path, message: dict[str, Any], text: str) -> None:
    request = get_model_metadata_pb2.GetModelMetadataRequest(**message)
    assert failure(models, "GetModelMetadata", request) == ("INVALID_ARGUMENT", text)


def test_status_lists_versions_newest_first_and_ignores_labels(models: Path) -> None:
    async def check(client: Client) -> None:
        for spec in ({"name": "dense"}, {"name": "dense", "version_label": "unknown"}):
            reply = await client.call("GetModelStatus", get_model_status_pb2.GetModelStatusRequest(model_spec=spec))
            assert [version.version for version in reply.model_version_status] == [2, 1]
            assert {version.state for version in reply.model_version_status} == {30}
        request = get_model_status_pb2.GetModelStatusRequest(model_spec={"name": "dense", "version": {"value": 1}})
        reply = await client.call("GetModelStatus", request)
        assert [version.version for version in reply.model_version_status] == [1]

    with_server(models, check)


@pytest.mark.parametrize(
    ("message", "code", "text"),
    [
        ({}, "INVALID_ARGUMENT", "Missing ModelSpec"),
        ({"model_spec": {}}, "NOT_FOUND", "Could not find any versions of model "),
        ({"model_spec": {"name": "nope"}}, "NOT_FOUND", "Could not find any versions of model nope"),
        (
            {"model_spec": {"name": "dense", "version": {"value": 99}}},
            "NOT_FOUND",
            "Could not find version 99 of model dense",
        ),
    ],
)
def test_status_refuses_in_tensorflow_serving_s_words(
    models: Path, message: dict[str, Any], code: str, text: str
) -> None:
    assert failure(models, "GetModelStatus", get_model_status_pb2.GetModelStatusRequest(**message)) == (code, text)


def test_the_client_s_deadline_reaches_the_data_plane_and_leaving_cancels(
    models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def check(client: Client) -> None:
        seen: list[float | None] = []
        cancelled = asyncio.Event()

        async def wait(*_: object, timeout_s: float | None, **__: object) -> None:
            seen.append(timeout_s)
            try:
                await asyncio.sleep(30)
            except asyncio.CancelledError:
                cancelled.set()
                raise

        monkeypatch.setattr(client.plane, "predict", wait)
        request = predict_request({"x": X}, name="dense")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await client.call("Predict", request, timeout=0.3)
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        await asyncio.wait_for(cancelled.wait(), 5)
        assert seen[0] is not None
        assert 0 < seen[0] <= 0.3
        cancelled.clear()
        call = asyncio.ensure_future(client.call("Predict", request, timeout=None))
        while len(seen) < 2:
            await asyncio.sleep(0.01)
        assert seen[1] is None
        call.cancel()
        await asyncio.wait_for(cancelled.wait(), 5)
        assert b'code="CANCELLED"' in client.metrics.expose()

    with_server(models, check)


def test_a_fault_inside_the_server_is_internal_and_logged(
    models: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def check(client: Client) -> None:
        async def fail(*_: object, **__: object) -> None:
            raise ZeroDivisionError("secret detail")

        monkeypatch.setattr(client.plane, "predict", fail)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await client.call("Predict", predict_request({"x": X}, name="dense"))
        assert caught.value.code() is grpc.StatusCode.INTERNAL
        assert "secret detail" not in caught.value.details()
        assert "secret detail" in caplog.text

    with_server(models, check)


def test_requests_are_counted_by_what_they_were_for(models: Path) -> None:
    async def check(client: Client) -> str:
        await client.predict({"x": X}, name="dense", signature_name="explain")
        with pytest.raises(grpc.aio.AioRpcError):
            await client.predict({"x": X}, name="made-up-by-the-client")
        with pytest.raises(grpc.aio.AioRpcError):
            await client.predict({"x": X}, name="dense", signature_name="no-such-signature")
        return client.metrics.expose().decode()

    text = with_server(models, check)
    counted = [line for line in text.splitlines() if line.startswith("whyserve_requests_total")]
    assert any('model="dense"' in line and 'signature="explain"' in line and 'code="OK"' in line for line in counted)
    assert any('model=""' in line and 'code="NOT_FOUND"' in line for line in counted)
    assert any('model="dense"' in line and 'code="FAILED_PRECONDITION"' in line for line in counted)
    assert "made-up-by-the-client" not in text
