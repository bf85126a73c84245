"""Asks a server at the address in argv with the stubs of tensorflow-serving-api; prints what came as JSON.

A process of its own: the stubs import TensorFlow.
"""

import json
import sys

import grpc
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)


def ask(address: str) -> dict:
    """One call of each kind."""
    with grpc.insecure_channel(address) as channel:
        prediction = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        model = model_service_pb2_grpc.ModelServiceStub(channel)
        x = np.array([[1, 2, 3, 4]], np.float32)
        answers = {}
        for signature in ("", "explain"):
            request = predict_pb2.PredictRequest()
            request.model_spec.name = "dense"
            request.model_spec.signature_name = signature
            request.inputs["x"].CopyFrom(tf.make_tensor_proto(x))
            reply = prediction.Predict(request, timeout=20)
            answers[signature or "predict"] = {
                name: tf.make_ndarray(proto).tolist() for name, proto in reply.outputs.items()
            }
            answers["version"] = reply.model_spec.version.value
        request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
        request.model_spec.name = "dense"
        signatures = get_model_metadata_pb2.SignatureDefMap()
        prediction.GetModelMetadata(request, timeout=20).metadata["signature_def"].Unpack(signatures)
        answers["signatures"] = sorted(signatures.signature_def)
        request = get_model_status_pb2.GetModelStatusRequest()
        request.model_spec.name = "dense"
        states = model.GetModelStatus(request, timeout=20).model_version_status
        answers["states"] = [[state.version, state.state, state.status.error_code] for state in states]
        try:
            prediction.Classify(classification_pb2.ClassificationRequest(), timeout=20)
        except grpc.RpcError as error:
            answers["classify"] = error.code().name
        return answers


if __name__ == "__main__":
    json.dump(ask(sys.argv[1]), sys.stdout)
