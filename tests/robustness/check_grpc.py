"""Malformed protocol buffers and deadlines: each call gets a status, and none of them `INTERNAL`."""

import threading

import grpc
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.robustness.attack import PREDICT, predict_grpc, predict_request

SERVICES = {
    "tensorflow.serving.PredictionService": ("Predict", "Classify", "Regress", "MultiInference", "GetModelMetadata"),
    "tensorflow.serving.ModelService": ("GetModelStatus", "HandleReloadConfigRequest"),
    "inference.GRPCInferenceService": ("ModelInfer", "ModelMetadata", "ModelReady", "ServerLive", "ServerMetadata"),
}
METHODS = [f"/{service}/{method}" for service, methods in SERVICES.items() for method in methods]
VALID = predict_request().SerializeToString()
BROKEN = (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN, grpc.StatusCode.UNAVAILABLE)
BOUNDED = settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.fixture(scope="module")
def channel(server):
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        yield channel


def call(channel, method, content, timeout_s=20.0):
    """The status of a call with these bytes."""
    try:
        channel.unary_unary(method)(content, timeout=timeout_s)
    except grpc.RpcError as error:
        return error.code()
    return grpc.StatusCode.OK


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("content", [b"", b"\x00", b"\xff" * 50, b"\x0a\xff\xff\xff\xff\x0f", b"\x0a" * 10_000])
def test_bytes_that_are_no_message_get_a_status(channel, method, content):
    assert call(channel, method, content) not in BROKEN


@BOUNDED
@given(position=st.integers(0, len(VALID) - 1), byte=st.integers(0, 255))
def test_a_request_with_one_byte_wrong_gets_a_status(channel, position, byte):
    assert call(channel, PREDICT, VALID[:position] + bytes([byte]) + VALID[position + 1 :]) not in BROKEN


@BOUNDED
@given(content=st.binary(max_size=300), method=st.sampled_from(METHODS))
def test_random_bytes_get_a_status(channel, content, method):
    assert call(channel, method, content) not in BROKEN


@BOUNDED
@given(
    sizes=st.lists(st.integers(-(2**63), 2**63 - 1), max_size=6),
    dtype=st.integers(0, 130),
    content=st.binary(max_size=64),
    values=st.lists(st.floats(width=32), max_size=8),
)
def test_tensors_whose_shape_dtype_and_content_disagree_get_a_status(channel, sizes, dtype, content, values):
    request = predict_request()
    tensor = request.inputs["x"]
    tensor.Clear()
    tensor.dtype = dtype
    for size in sizes:
        tensor.tensor_shape.dim.add(size=size)
    tensor.tensor_content = content
    tensor.float_val.extend(values)
    assert call(channel, PREDICT, request.SerializeToString()) not in BROKEN


def test_a_tensor_that_claims_to_be_huge_is_refused_without_the_memory(channel):
    request = predict_request()
    tensor = request.inputs["x"]
    tensor.Clear()
    tensor.dtype = 1
    for size in (1 << 20, 1 << 20):
        tensor.tensor_shape.dim.add(size=size)
    tensor.float_val.append(1.0)  # the last value is repeated: 4 TiB
    status = call(channel, PREDICT, request.SerializeToString())
    assert status in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.RESOURCE_EXHAUSTED)


def test_a_message_beyond_the_limit_is_refused(channel):
    assert call(channel, PREDICT, VALID + b"\x00" * 5_000_000) in (
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.INVALID_ARGUMENT,
    )


def test_an_unknown_method_is_unimplemented(channel):
    assert call(channel, "/tensorflow.serving.PredictionService/Guess", b"") == grpc.StatusCode.UNIMPLEMENTED


def test_deadlines_that_have_almost_passed_and_calls_that_are_cancelled_leave_nothing(server):
    def storm():
        with grpc.insecure_channel(f"127.0.0.1:{server.port}") as own:
            method = own.unary_unary(PREDICT)
            for number in range(150):
                future = method.future(VALID, timeout=0.0005 * (1 + number % 5))
                if number % 3 == 0:
                    future.cancel()

    threads = [threading.Thread(target=storm) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert predict_grpc(server.port).model_spec.version.value == 1
