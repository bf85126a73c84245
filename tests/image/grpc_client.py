"""Asks `digits` with the stubs of tensorflow-serving-api: images.npy in a folder, outputs.npz into it."""

import sys
from pathlib import Path

import grpc
import numpy as np
import tensorflow as tf
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc


def main(address: str, signature: str, folder: Path) -> None:
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "digits"
    request.model_spec.signature_name = signature
    request.inputs["image"].CopyFrom(tf.make_tensor_proto(np.load(folder / "images.npy")))
    with grpc.insecure_channel(address) as channel:
        health = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=10)
        reply = prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict(request, timeout=30)
    outputs = {name: tf.make_ndarray(tensor) for name, tensor in reply.outputs.items()}
    np.savez(folder / "outputs.npz", health=health.status, **outputs)


main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
