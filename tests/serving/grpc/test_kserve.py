import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.errors import ServingError
from serving.grpc.infer_messages import FIELDS, decode_request, encode_reply
from serving.grpc.kserve import NOT_SERVED_RPCS, SERVICE
from serving.inference_protocol.datatypes import dtype_of
from serving.inference_protocol.requests import InferReply, InferRequest
from serving.protos import open_inference_grpc_pb2 as messages
from serving.types import ModelSpec
from tests.serving.bundles import kernel_of, softmax
from tests.serving.grpc.servers import open_server
from tests.serving.inference_protocol.test_datatypes import arrays, outcome, same

X = np.array([[1, 2, 3, 4], [0, 0, -1, 1]], np.float32)
LOGITS = X.astype(float) @ kernel_of(2)
SPEC = ModelSpec("m", 1)


def ask(models: Path, rpc: str, request: Any, reply_type: type | None = None) -> Any:
    async def run() -> Any:
        async with open_server(models) as client:
            reply = await client.call(rpc, request, service=SERVICE)
            return (reply_type or getattr(messages, f"{rpc}Response")).FromString(reply)

    return asyncio.run(run())


def failure(models: Path, rpc: str, request: Any) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        ask(models, rpc, request)
    return caught.value.code(), caught.value.details()


def request(*, raw: bool = True, model: str = "dense", **more: Any) -> messages.ModelInferRequest:
    message = messages.ModelInferRequest(model_name=model, id="seven", **more)
    tensor = message.inputs.add(name="x", datatype="FP32", shape=X.shape)
    if raw:
        message.raw_input_contents.append(X.tobytes())
    else:
        tensor.contents.fp32_contents.extend(X.ravel().tolist())
    return message


def values(reply: Any, name: str) -> np.ndarray:
    position = [output.name for output in reply.outputs].index(name)
    output = reply.outputs[position]
    return np.frombuffer(reply.raw_output_contents[position], dtype_of(output.datatype, name)).reshape(output.shape)


@pytest.mark.parametrize("raw", [True, False])
def test_infer_takes_raw_and_typed_contents_and_answers_raw(models: Path, raw: bool) -> None:
    reply = ask(models, "ModelInfer", request(raw=raw))
    assert (reply.model_name, reply.model_version, reply.id) == ("dense", "2", "seven")
    np.testing.assert_allclose(values(reply, "probabilities"), softmax(LOGITS), atol=1e-6)


def test_typed_contents_are_answered_where_they_are_asked_for(models: Path) -> None:
    reply = ask(models, "ModelInfer", request(parameters={"binary_data_output": {"bool_param": False}}))
    assert not reply.raw_output_contents
    np.testing.assert_allclose(reply.outputs[0].contents.fp32_contents, softmax(LOGITS).ravel(), atol=1e-6)


def test_explanations_have_a_model_name_of_their_own(models: Path) -> None:
    chosen = LOGITS.argmax(axis=1)
    reply = ask(models, "ModelInfer", request(model="dense:explain", outputs=[{"name": "relevance"}]))
    assert [output.name for output in reply.outputs] == ["relevance"]
    np.testing.assert_allclose(values(reply, "relevance"), X * kernel_of(2)[:, chosen].T, atol=1e-5)
    ranked = ask(models, "ModelInfer", request(model="dense:explain", parameters={"top_k": {"int64_param": 2}}))
    assert values(ranked, "target").tolist() == np.argsort(-LOGITS, axis=1)[:, :2].tolist()


@pytest.mark.parametrize(
    ("change", "code", "text"),
    [
        (lambda message: setattr(message, "model_name", "nobody"), "NOT_FOUND", "Latest(nobody)"),
        (lambda message: setattr(message, "model_version", "9"), "NOT_FOUND", "Specific(dense, 9)"),
        (lambda message: setattr(message.inputs[0], "datatype", "F32"), "INVALID_ARGUMENT", "must be one of BOOL"),
        (lambda message: message.raw_input_contents.append(b""), "INVALID_ARGUMENT", "Received: 2 for 1 inputs"),
        (lambda message: message.inputs[0].shape.append(2), "INVALID_ARGUMENT", "takes 64 bytes. Received: 32"),
        (lambda message: message.inputs[0].contents.fp32_contents.append(1), "INVALID_ARGUMENT", "Received: both"),
        (lambda message: message.outputs.add(name="q"), "INVALID_ARGUMENT", "output tensor alias not found"),
        (
            lambda message: message.inputs[0].parameters["shared_memory_region"].MergeFromString(b"\x1a\x01r"),
            "UNIMPLEMENTED",
            "Input 'x' lies in shared memory",
        ),
    ],
)
def test_what_is_wrong_is_said(models: Path, change: Callable[[Any], Any], code: str, text: str) -> None:
    message = request()
    change(message)
    status, details = failure(models, "ModelInfer", message)
    assert status.name == code
    assert text in details


def test_garbage_is_refused(models: Path) -> None:
    status, details = failure(models, "ModelInfer", b"\xff\xff")
    assert status == grpc.StatusCode.INVALID_ARGUMENT
    assert "Expected a inference.ModelInferRequest" in details
    assert "Open Inference Protocol" in details


def test_health_and_descriptions(models: Path) -> None:
    assert ask(models, "ServerLive", messages.ServerLiveRequest()).live
    assert ask(models, "ServerReady", messages.ServerReadyRequest()).ready
    assert ask(models, "ModelReady", messages.ModelReadyRequest(name="dense", version="1")).ready
    assert not ask(models, "ModelReady", messages.ModelReadyRequest(name="dense", version="9")).ready
    assert "explain" in ask(models, "ServerMetadata", messages.ServerMetadataRequest()).extensions
    model = ask(models, "ModelMetadata", messages.ModelMetadataRequest(name="dense"))
    assert (list(model.versions), list(model.inputs[0].shape), model.platform) == (
        ["2", "1"],
        [-1, 4],
        "onnxruntime_onnx",
    )
    config = ask(models, "ModelConfig", messages.ModelConfigRequest(name="dense")).config
    assert (config.input[0].data_type, list(config.output[0].dims)) == (messages.TYPE_FP32, [-1, 3])
    index = ask(models, "RepositoryIndex", messages.RepositoryIndexRequest(ready=True)).models
    assert [(entry.name, entry.version, entry.state) for entry in index][:2] == [
        ("dense", "2", "READY"),
        ("dense", "1", "READY"),
    ]
    counted = ask(models, "ModelStatistics", messages.ModelStatisticsRequest()).model_stats
    assert [each.name for each in counted] == ["dense", "dense", "double", "pair", "plain", "typed"]


@pytest.mark.parametrize("rpc", sorted(NOT_SERVED_RPCS))
def test_what_is_not_served_says_why(models: Path, rpc: str) -> None:
    status, details = failure(models, rpc, b"")
    assert status == grpc.StatusCode.UNIMPLEMENTED
    assert "not" in details


def test_a_stream_goes_on_after_a_request_that_failed(models: Path) -> None:
    async def run() -> list[Any]:
        async with open_server(models) as client:
            call = client.channel.stream_stream(f"/{SERVICE}/ModelStreamInfer")(timeout=20)
            for message in (request(), request(model="nobody"), request()):
                await call.write(message.SerializeToString())
            await call.write(b"\xff")
            await call.done_writing()
            return [messages.ModelStreamInferResponse.FromString(reply) async for reply in call]

    first, second, third, last = asyncio.run(run())
    for reply in (first, third):
        np.testing.assert_allclose(values(reply.infer_response, "probabilities"), softmax(LOGITS), atol=1e-6)
    assert second.error_message == "Servable not found for request: Latest(nobody)"
    assert second.infer_response.id == "seven"
    assert "are no such message" in last.error_message


@given(arrays(), st.booleans())
def test_every_array_survives_as_a_message(array: np.ndarray, raw: bool) -> None:
    parameters = {"binary_data_output": raw}
    reply = encode_reply("m", InferRequest({}, parameters=parameters), InferReply(SPEC, {"x": array}))
    (output,) = reply.outputs
    assert bool(reply.raw_output_contents) == (raw or output.datatype not in FIELDS)
    message = messages.ModelInferRequest(raw_input_contents=reply.raw_output_contents)
    message.inputs.add(name="x", datatype=output.datatype, shape=output.shape).contents.CopyFrom(output.contents)
    if reply.raw_output_contents:
        message.inputs[0].ClearField("contents")
    assert same(decode_request(message).inputs["x"], array)


@pytest.mark.parametrize(
    ("datatype", "contents", "text"),
    [
        ("FP16", {}, "no typed contents exist for FP16"),
        ("FP32", {"fp64_contents": [1]}, "must come in fp32_contents. Received: fp64_contents"),
        ("INT8", {"int_contents": [200]}, "whole numbers from -128 to 127. Received: 200 to 200"),
        ("INT64", {"int64_contents": [1, 2]}, "takes 1 values in int64_contents. Received: 2"),
    ],
)
def test_wrong_typed_contents_are_refused(datatype: str, contents: dict[str, Any], text: str) -> None:
    message = messages.ModelInferRequest(
        inputs=[{"name": "x", "datatype": datatype, "shape": [1], "contents": contents}]
    )
    _, refused = outcome(lambda: decode_request(message))
    assert isinstance(refused, ServingError)
    assert text in refused.message
