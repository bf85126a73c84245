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
    inference_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
    regression_pb2,
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
        answers |= ask_about_examples(prediction)
        return answers


def ask_about_examples(prediction: prediction_service_pb2_grpc.PredictionServiceStub) -> dict:
    """Classify, Regress and MultiInference of one example."""
    example = tf.train.Example()
    example.features.feature["x"].float_list.value.extend([1, 2, 3, 4])
    request = classification_pb2.ClassificationRequest()
    request.model_spec.name = "dense"
    request.input.example_list.examples.append(example)
    reply = prediction.Classify(request, timeout=20)
    answers: dict = {"classify": [(each.label, each.score) for each in reply.result.classifications[0].classes]}
    regression = regression_pb2.RegressionRequest()
    regression.model_spec.name = "double"
    regression.input.example_list_with_context.context.features.feature["x"].float_list.value.append(1.5)
    regression.input.example_list_with_context.examples.add()
    reply = prediction.Regress(regression, timeout=20)
    answers["regress"] = [each.value for each in reply.result.regressions]
    multi = inference_pb2.MultiInferenceRequest(input=request.input)
    multi.tasks.add(model_spec=request.model_spec, method_name="tensorflow/serving/classify")
    results = prediction.MultiInference(multi, timeout=20).results
    answers["multi"] = [each.score for each in results[0].classification_result.classifications[0].classes]
    answers["multi_signature"] = results[0].model_spec.signature_name
    try:
        prediction.Classify(classification_pb2.ClassificationRequest(), timeout=20)
    except grpc.RpcError as error:
        answers["refused"] = [error.code().name, error.details()]
    return answers


if __name__ == "__main__":
    json.dump(ask(sys.argv[1]), sys.stdout)
