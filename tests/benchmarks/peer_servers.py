"""Servers as one writes them by hand around ONNX Runtime, to compare with: `python -m tests.benchmarks.peer_servers`.

Arguments: the kind, the model's ONNX file, a port. Nothing is checked, batched or measured in them: each does the least
that answers a request, with one thread of ONNX Runtime.
"""

import asyncio
import sys
from concurrent.futures import ThreadPoolExecutor

import grpc
import grpc.aio
import numpy as np
import onnxruntime as ort
import orjson
import uvicorn

from serving.protos.predict_pb2 import PredictRequest, PredictResponse
from serving.protos.types_pb2 import DT_FLOAT

THREADS = 8


class Model:
    """A session with one input and one output, both float32."""

    def __init__(self, file):
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session = ort.InferenceSession(file, options, providers=["CPUExecutionProvider"])
        self.input_name = self._session.get_inputs()[0].name
        self.output_name = self._session.get_outputs()[0].name

    def run(self, array):
        return self._session.run([self.output_name], {self.input_name: array})[0]

    def predict(self, request):
        tensor = request.inputs[self.input_name]
        shape = [dimension.size for dimension in tensor.tensor_shape.dim]
        result = self.run(np.frombuffer(tensor.tensor_content, np.float32).reshape(shape))
        response = PredictResponse()
        output = response.outputs[self.output_name]
        output.dtype = DT_FLOAT
        for size in result.shape:
            output.tensor_shape.dim.add(size=size)
        output.float_val.extend(result.ravel().tolist())
        return response


def handlers(method):
    """gRPC's table for the one method."""
    unary = grpc.unary_unary_rpc_method_handler(method, PredictRequest.FromString, PredictResponse.SerializeToString)
    return (grpc.method_handlers_generic_handler("tensorflow.serving.PredictionService", {"Predict": unary}),)


def serve_grpcio(model, port):
    """grpcio with a pool of threads."""
    server = grpc.server(ThreadPoolExecutor(THREADS))
    server.add_generic_rpc_handlers(handlers(lambda request, _: model.predict(request)))
    server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    server.wait_for_termination()


def serve_grpc_aio(model, port):
    """grpc.aio."""

    async def predict(request, _):
        return model.predict(request)

    async def serve():
        server = grpc.aio.server()
        server.add_generic_rpc_handlers(handlers(predict))
        server.add_insecure_port(f"127.0.0.1:{port}")
        await server.start()
        await server.wait_for_termination()

    asyncio.run(serve())


def serve_asgi(model, port):
    """An ASGI application without a framework, on uvicorn with uvloop and httptools, with orjson."""

    async def application(scope, receive, send):
        body, more = b"", True
        while more:
            event = await receive()
            body += event.get("body", b"")
            more = event.get("more_body", False)
        result = model.run(np.array(orjson.loads(body)["instances"], np.float32))
        content = orjson.dumps({"predictions": result}, option=orjson.OPT_SERIALIZE_NUMPY)
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(content)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": content})

    uvicorn.run(application, host="127.0.0.1", port=port, lifespan="off", log_level="error", access_log=False)


KINDS = {"grpcio": serve_grpcio, "grpc.aio": serve_grpc_aio, "asgi": serve_asgi}

if __name__ == "__main__":
    kind, file, port = sys.argv[1:]
    KINDS[kind](Model(file), int(port))
