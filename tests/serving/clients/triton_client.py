"""Asks servers with NVIDIA's tritonclient, unmodified; prints what came as JSON.

Run by the interpreter of the clients' environment with a REST and a gRPC address for each server.
"""

import asyncio
import json
import queue
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import tritonclient.grpc as triton_grpc
import tritonclient.grpc.aio as triton_grpc_aio
import tritonclient.http as triton_http
import tritonclient.http.aio as triton_http_aio
from tritonclient.utils import InferenceServerException

X = np.array([[1, 2, 3, 4], [0, 0, -1, 1]], np.float32)
TEXTS = np.array(["größer".encode(), b"", b"a\x00b"], object)


def tensor(kind: Any, name: str, array: np.ndarray, datatype: str, **options: bool) -> Any:
    """An input with its data."""
    given = kind.InferInput(name, list(array.shape), datatype)
    given.set_data_from_numpy(array, **options)
    return given


def failure(call: Callable[[], Any]) -> list[str]:
    """The status and the text of a call that must fail."""
    try:
        call()
    except InferenceServerException as error:
        return [str(error.status()), error.message()]
    return ["", "answered"]


def same(kind: Any, client: Any) -> dict[str, Any]:
    """What both transports can do alike."""
    x = [tensor(kind, "x", X, "FP32")]
    texts = [tensor(kind, "text", TEXTS, "BYTES")]
    infer, answers = client.infer, {}
    answers["live"], answers["ready"] = client.is_server_live(), client.is_server_ready()
    answers["model ready"] = client.is_model_ready("dense"), client.is_model_ready("dense", "1")
    answers["nobody ready"] = client.is_model_ready("nobody")
    reply = infer("dense", x, request_id="seven")
    answers["predict"] = reply.as_numpy("probabilities").tolist()
    answers["dtype"] = str(reply.as_numpy("probabilities").dtype)
    answers["version 1"] = infer("dense", x, model_version="1").as_numpy("probabilities").tolist()
    only = [kind.InferRequestedOutput("relevance")]
    explained = infer("dense:explain", x, outputs=only)
    answers["relevance"] = explained.as_numpy("relevance").tolist()
    answers["left out"] = explained.as_numpy("probabilities") is None
    target = tensor(kind, "target", np.array([2, 0], np.int64), "INT64")
    answers["of targets"] = infer("dense:explain", [*x, target]).as_numpy("relevance").tolist()
    ranked = infer("dense", x, parameters={"signature_name": "explain", "top_k": 2})
    answers["ranked"] = [ranked.as_numpy(name).tolist() for name in ("target", "explained_value")]
    compared = infer("dense:explain", x, parameters={"target": 0, "contrast": 1})
    answers["compared"] = compared.as_numpy("relevance").tolist()
    classes = infer("dense", x, outputs=[kind.InferRequestedOutput("probabilities", class_count=2)])
    answers["classes"] = [[text.decode() for text in row] for row in classes.as_numpy("probabilities").tolist()]
    answers["texts"] = [list(text) for text in infer("echo", texts).as_numpy("again").tolist()]
    answers["unknown model"] = failure(lambda: infer("nobody", x))
    answers["wrong dtype"] = failure(lambda: infer("dense", [tensor(kind, "x", X.astype(np.float64), "FP64")]))
    answers["wrong output"] = failure(lambda: infer("dense", x, outputs=[kind.InferRequestedOutput("nothing")]))
    answers["sequence"] = failure(lambda: infer("dense", x, sequence_id=5))
    answers["no load"] = failure(lambda: client.load_model("dense"))
    return answers


def ask_http(address: str) -> dict[str, Any]:
    """REST, with JSON, binary data, and compression both ways."""
    with triton_http.InferenceServerClient(address) as client:
        answers = same(triton_http, client)
        json_x = [tensor(triton_http, "x", X, "FP32", binary_data=False)]
        as_json = [triton_http.InferRequestedOutput("probabilities", binary_data=False)]
        reply = client.infer("dense", json_x, outputs=as_json, request_id="seven")
        answers["json"] = reply.as_numpy("probabilities").tolist()
        answers["id"] = reply.get_response()["id"]
        waiting = [client.async_infer("dense", json_x) for _ in range(3)]
        answers["async"] = [one.get_result().as_numpy("probabilities").tolist() for one in waiting]
        x = [tensor(triton_http, "x", X, "FP32")]
        for sent, wanted in (("gzip", "deflate"), ("deflate", "gzip")):
            reply = client.infer("dense", x, request_compression_algorithm=sent, response_compression_algorithm=wanted)
            answers[f"{sent} {wanted}"] = reply.as_numpy("probabilities").tolist()
        answers["server"] = client.get_server_metadata()
        answers["metadata"] = client.get_model_metadata("dense")
        answers["config"] = client.get_model_config("dense")
        answers["index"] = client.get_model_repository_index()
        answers["statistics"] = client.get_inference_statistics("dense", "2")["model_stats"][0]
        answers["every model"] = len(client.get_inference_statistics()["model_stats"])
        return answers


def ask_grpc(address: str) -> dict[str, Any]:
    """gRPC, with a stream."""
    with triton_grpc.InferenceServerClient(address) as client:
        answers = same(triton_grpc, client)
        x = [tensor(triton_grpc, "x", X, "FP32")]
        reply = client.infer("dense", x, request_id="seven", compression_algorithm="gzip", client_timeout=20)
        answers["gzip"] = reply.as_numpy("probabilities").tolist()
        answers["id"] = reply.get_response().id
        answers["server"] = client.get_server_metadata(as_json=True)
        answers["metadata"] = client.get_model_metadata("dense", as_json=True)
        answers["config"] = client.get_model_config("dense", as_json=True)["config"]
        answers["index"] = client.get_model_repository_index(as_json=True)["models"]
        answers["statistics"] = client.get_inference_statistics("dense", "2", as_json=True)["model_stats"][0]
        answers["every model"] = len(client.get_inference_statistics(as_json=True)["model_stats"])
        answers["async"] = [wait(client, x) for _ in range(3)]
        answers["stream"] = stream(client, x)
        return answers


def wait(client: Any, x: list[Any]) -> Any:
    """An answer by callback."""
    arrived: queue.Queue[Any] = queue.Queue()
    client.async_infer("dense", x, callback=lambda result, error: arrived.put(error or result))
    return arrived.get(timeout=20).as_numpy("probabilities").tolist()


def stream(client: Any, x: list[Any]) -> list[Any]:
    """Three requests of one stream, of which the second fails."""
    arrived: queue.Queue[Any] = queue.Queue()
    client.start_stream(callback=lambda result, error: arrived.put(error or result))
    for name in ("dense", "nobody", "dense"):
        client.async_stream_infer(name, x)
    results = [arrived.get(timeout=20) for _ in range(3)]
    client.stop_stream()
    return [
        result.message() if isinstance(result, InferenceServerException) else result.as_numpy("probabilities").tolist()
        for result in results
    ]


async def ask_aio(http: str, grpc: str) -> list[Any]:
    """One prediction by each of the asynchronous clients."""
    async with (
        triton_http_aio.InferenceServerClient(http) as rest,
        triton_grpc_aio.InferenceServerClient(grpc) as rpc,
    ):
        replies = [
            await rest.infer("dense", [tensor(triton_http, "x", X, "FP32")]),
            await rpc.infer("dense", [tensor(triton_grpc, "x", X, "FP32")]),
        ]
        return [reply.as_numpy("probabilities").tolist() for reply in replies]


def ask(http: str, grpc: str) -> dict[str, Any]:
    """Everything of one server."""
    return {"http": ask_http(http), "grpc": ask_grpc(grpc), "aio": asyncio.run(ask_aio(http, grpc))}


if __name__ == "__main__":
    json.dump([ask(http, grpc) for http, grpc in zip(sys.argv[1::2], sys.argv[2::2], strict=True)], sys.stdout)
