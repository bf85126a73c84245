"""Asks servers with KServe's SDK, unmodified; prints what came as JSON.

Run by the interpreter of the clients' environment with a REST and a gRPC address for each server.
"""

import asyncio
import json
import sys
from typing import Any

import httpx
import numpy as np
from grpc.aio import AioRpcError
from kserve import InferenceGRPCClient, InferenceRESTClient, InferInput, InferRequest, RESTConfig

X = np.array([[1, 2, 3, 4], [0, 0, -1, 1]], np.float32)


def request(model: str, *, binary: bool, **parameters: Any) -> InferRequest:
    """A request of protocol V2."""
    x = InferInput("x", list(X.shape), "FP32")
    x.set_data_from_numpy(X, binary_data=binary)
    return InferRequest(model, [x], request_id="seven", parameters=parameters)


def array(response: Any, name: str) -> Any:
    """An output as lists."""
    return response.get_output_by_name(name).as_numpy().tolist()


async def ask_v1(url: str) -> dict[str, Any]:
    """Protocol V1: predict and explain."""
    async with InferenceRESTClient(RESTConfig(protocol="v1")) as client:
        answers = {
            "predict": await client.infer(url, {"instances": X.tolist()}, model_name="dense"),
            "explain": await client.explain(url, "dense", {"instances": X.tolist()}),
            "explain target": await client.explain(
                url, "dense", {"instances": X.tolist(), "parameters": {"target": [2, 0]}}
            ),
        }
        try:
            await client.infer(url, {"instances": X.tolist()}, model_name="nobody")
        except httpx.HTTPStatusError as error:
            answers["unknown model"] = [error.response.status_code, str(error)]
        return answers


async def ask_v2(url: str) -> dict[str, Any]:
    """Protocol V2 over REST: JSON and binary data."""
    async with InferenceRESTClient(RESTConfig(protocol="v2")) as client:
        answers: dict[str, Any] = {
            "live": await client.is_server_live(url),
            "ready": await client.is_server_ready(url),
            "model ready": await client.is_model_ready(url, "dense"),
            "nobody ready": await client.is_model_ready(url, "nobody"),
        }
        for binary in (False, True):
            reply = await client.infer(url, request("dense", binary=binary), model_name="dense")
            answers[f"binary {binary}"] = [reply.id, reply.model_name, array(reply, "probabilities")]
        reply = await client.infer(
            url, request("dense", binary=True, binary_data_output=True), model_name="dense:explain"
        )
        answers["relevance"] = array(reply, "relevance")
        return answers


async def ask_grpc(address: str) -> dict[str, Any]:
    """Protocol V2 over gRPC: typed and raw contents."""
    async with InferenceGRPCClient(address) as client:
        answers: dict[str, Any] = {
            "live": await client.is_server_live(),
            "ready": await client.is_server_ready(),
            "model ready": await client.is_model_ready("dense"),
            "nobody ready": await client.is_model_ready("nobody"),
        }
        for binary in (False, True):
            reply = await client.infer(request("dense", binary=binary))
            answers[f"binary {binary}"] = [reply.id, reply.model_name, array(reply, "probabilities")]
        reply = await client.infer(request("dense", binary=False, binary_data_output=False, signature_name="explain"))
        answers["relevance"] = array(reply, "relevance")
        try:
            await client.infer(request("nobody", binary=True))
        except AioRpcError as error:
            answers["unknown model"] = [error.code().name, error.details()]
        return answers


async def ask(http: str, grpc: str) -> dict[str, Any]:
    """Everything of one server."""
    url = f"http://{http}"
    return {"v1": await ask_v1(url), "v2": await ask_v2(url), "grpc": await ask_grpc(grpc)}


async def main() -> list[Any]:
    """Every server of the command line."""
    return [await ask(http, grpc) for http, grpc in zip(sys.argv[1::2], sys.argv[2::2], strict=True)]


if __name__ == "__main__":
    json.dump(asyncio.run(main()), sys.stdout)
