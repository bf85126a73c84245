"""Compares our descriptors with those of tensorflow-serving-api, both in this process; prints what differs as JSON.

Run in a process of its own: TensorFlow takes seconds to import, and stays.
"""

import importlib
import json
import sys
from pathlib import Path

import numpy as np
import tensorflow as tf
from google.protobuf import descriptor_pool
from tensorflow.core.framework import tensor_pb2
from tensorflow_serving.apis import (  # noqa: F401 - they register what we compare with
    classification_pb2,
    inference_pb2,
    model_service_pb2,
    predict_pb2,
    prediction_log_pb2,
    prediction_service_pb2,
    regression_pb2,
)

import serving.protos
from serving.grpc.tensors import decode_tensor, encode_tensor
from serving.protos.pool import POOL

# Declared by TensorFlow Serving and left out here, with the reason beside the message.
LEFT_OUT = {"tensorflow.serving.PredictionLog": {"session_run_log"}}

# Not in tensorflow-serving-api: TensorFlow Serving reads them from files only, or they aren't its own.
NOT_SHIPPED = {"monitoring_config_pb2", "open_inference_grpc_pb2", "session_bundle_config_pb2", "ssl_config_pb2"}

# Fields of TensorFlow's own messages that are read or set here, in a package of ours: the others are skipped.
EXCERPTS = {"session_pb2"}

DTYPES = (
    *("float16", "float32", "float64", "complex64", "complex128", "bool"),
    *("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
)

# Each typed field of a TensorProto, with the numbers of the types that use it.
TYPED_FIELDS = {
    "float_val": [1],
    "double_val": [2],
    "int_val": [3, 4, 5, 6, 17],
    "string_val": [7],
    "scomplex_val": [8],
    "int64_val": [9],
    "bool_val": [10],
    "dcomplex_val": [18],
    "half_val": [14, 19],
    "uint32_val": [22],
    "uint64_val": [23],
}

FIELD_FACTS = (
    "number",
    "type",
    "is_repeated",
    "is_required",
    "has_presence",
    "is_packed",
    "json_name",
    "default_value",
)


def modules() -> list:
    """Our generated modules that there is something to compare with."""
    names = sorted({path.stem for path in Path(serving.protos.__path__[0]).glob("*_pb2.py")} - NOT_SHIPPED - EXCERPTS)
    return [importlib.import_module(f"serving.protos.{name}") for name in names]


def messages(descriptors) -> dict:
    """Messages by full name, nested ones and map entries too."""
    found = {}
    for message in descriptors:
        found[message.full_name] = message
        found |= messages(message.nested_types)
    return found


def field_facts(field) -> dict:
    """What the wire, and code that uses the field, depend on. Declared default values of scalars are part of it."""
    facts = {name: getattr(field, name) for name in FIELD_FACTS if hasattr(field, name)}
    facts["default_value"] = repr(facts["default_value"])
    for name in ("message_type", "enum_type", "containing_oneof"):
        value = getattr(field, name)
        facts[name] = None if value is None else value.full_name
    return facts


def compare() -> list[str]:
    """Every difference, as a line."""
    official, differences = descriptor_pool.Default(), []
    for module in modules():
        for name, message in messages(module.DESCRIPTOR.message_types_by_name.values()).items():
            theirs = official.FindMessageTypeByName(name)
            left_out = LEFT_OUT.get(name, set())
            ours = {field.name: field_facts(field) for field in message.fields}
            expected = {field.name: field_facts(field) for field in theirs.fields if field.name not in left_out}
            if ours != expected:
                differences.append(f"{name}: {ours} != {expected}")
            oneofs = {oneof.name: {field.name for field in oneof.fields} for oneof in message.oneofs}
            if oneofs != {oneof.name: {field.name for field in oneof.fields} - left_out for oneof in theirs.oneofs}:
                differences.append(f"{name}: oneofs {oneofs}")
            differences += compare_enums(message.enum_types, official)
        differences += compare_enums(module.DESCRIPTOR.enum_types_by_name.values(), official)
        for name, service in module.DESCRIPTOR.services_by_name.items():
            theirs = official.FindServiceByName(service.full_name)
            if methods(service) != methods(theirs):
                differences.append(f"{name}: {methods(service)} != {methods(theirs)}")
    return differences


def compare_excerpts() -> list[str]:
    """Every field of an excerpt that TensorFlow's message has otherwise, or not at all."""
    official, different = descriptor_pool.Default(), []
    for module in (importlib.import_module(f"serving.protos.{name}") for name in sorted(EXCERPTS)):
        for name, message in messages(module.DESCRIPTOR.message_types_by_name.values()).items():
            theirs = official.FindMessageTypeByName(name.replace("whyserve.", "tensorflow.")).fields_by_name
            for field in message.fields:
                ours = {key: _in_tensorflow(value) for key, value in field_facts(field).items()}
                expected = field_facts(theirs[field.name]) if field.name in theirs else None
                if ours != expected:
                    different.append(f"{name}.{field.name}: {ours} != {expected}")
            for enum in message.enum_types:
                values = {value.name: value.number for value in enum.values}
                found = official.FindEnumTypeByName(_in_tensorflow(enum.full_name)).values
                if not values.items() <= {value.name: value.number for value in found}.items():
                    different.append(f"{enum.full_name}: {values}")
    return different


def _in_tensorflow(value):
    return value.replace("whyserve.", "tensorflow.") if isinstance(value, str) else value


def compare_enums(enums, official) -> list[str]:
    """Every enum whose values differ."""
    different = []
    for enum in enums:
        ours = {value.name: value.number for value in enum.values}
        theirs = {value.name: value.number for value in official.FindEnumTypeByName(enum.full_name).values}
        if ours != theirs:
            different.append(f"{enum.full_name}: {ours} != {theirs}")
    return different


def methods(service) -> dict:
    """The methods of a service: types and streaming."""
    return {
        method.name: (
            method.input_type.full_name,
            method.output_type.full_name,
            method.client_streaming,
            method.server_streaming,
        )
        for method in service.methods
    }


def exchange() -> list[str]:
    """Sends tensors through TensorFlow's messages and ours, both ways, in the one process."""
    from serving.protos.predict_pb2 import PredictRequest
    from serving.protos.tensor_pb2 import TensorProto

    failed = []
    for dtype in DTYPES:
        array = np.random.default_rng(0).integers(0, 2, (2, 3)).astype(dtype)
        for tensor_content in (False, True):
            ours = TensorProto()
            encode_tensor(array, ours, tensor_content=tensor_content)
            theirs = tf.make_tensor_proto(array) if tensor_content else None
            read = tf.make_ndarray(tensor_pb2.TensorProto.FromString(ours.SerializeToString()))
            parsed = tf.io.parse_tensor(ours.SerializeToString(), dtype).numpy()
            back = decode_tensor(TensorProto.FromString(theirs.SerializeToString()), "x") if theirs else array
            if not all(np.array_equal(array, other) and other.dtype == array.dtype for other in (read, parsed, back)):
                failed.append(f"{dtype}, tensor_content={tensor_content}")
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "m"
    request.model_spec.version.value = 7
    request.inputs["x"].CopyFrom(tf.make_tensor_proto([b"a", b"bc"]))
    if PredictRequest.FromString(request.SerializeToString()).SerializeToString(deterministic=True) != (
        request.SerializeToString(deterministic=True)
    ):
        failed.append("PredictRequest")
    return failed + exchange_examples()


def exchange_examples() -> list[str]:
    """Sends requests and replies over tf.Examples through both, byte for byte."""
    from serving.protos import classification_pb2 as our_classification
    from serving.protos import inference_pb2 as our_inference
    from serving.protos import regression_pb2 as our_regression

    example = tf.train.Example()
    example.features.feature["floats"].float_list.value.extend([1.5, -2.0])
    example.features.feature["integers"].int64_list.value.extend([-1, 2**62])
    example.features.feature["bytes"].bytes_list.value.extend([b"\xff", b""])
    classify = classification_pb2.ClassificationRequest()
    classify.model_spec.name = "m"
    classify.model_spec.version_label = "stable"
    classify.input.example_list.examples.append(example)
    regress = regression_pb2.RegressionRequest()
    regress.input.example_list_with_context.context.CopyFrom(example)
    regress.input.example_list_with_context.examples.add()
    multi = inference_pb2.MultiInferenceRequest(input=classify.input)
    multi.tasks.add(model_spec=classify.model_spec, method_name="tensorflow/serving/classify")
    classified = classification_pb2.ClassificationResponse(model_spec=classify.model_spec)
    classified.result.classifications.add().classes.add(label="a", score=0.5)
    regressed = regression_pb2.RegressionResponse()
    regressed.result.regressions.add(value=0.25)
    results = inference_pb2.MultiInferenceResponse()
    results.results.add(model_spec=classify.model_spec, classification_result=classified.result)
    results.results.add(regression_result=regressed.result)
    ours = {
        our_classification.ClassificationRequest: classify,
        our_regression.RegressionRequest: regress,
        our_inference.MultiInferenceRequest: multi,
        our_classification.ClassificationResponse: classified,
        our_regression.RegressionResponse: regressed,
        our_inference.MultiInferenceResponse: results,
    }
    failed = []
    for message_type, theirs in ours.items():
        content = theirs.SerializeToString(deterministic=True)
        read = message_type.FromString(content)
        same_text = str(read) == str(theirs)  # every field under its own name, none unknown
        if read.SerializeToString(deterministic=True) != content or not same_text:
            failed.append(message_type.DESCRIPTOR.full_name)
    return failed


def odd_tensors() -> list:
    """Messages in which what is sent and what the shape asks for differ, or which are broken."""
    from serving.protos.tensor_pb2 import TensorProto

    rng = np.random.default_rng(1)
    tensors = []
    for field, numbers in TYPED_FIELDS.items():
        for number in numbers:
            for shape in ((), (0,), (1,), (3,), (2, 2), (2, 0), (-1,), (2, -3)):
                for count in (0, 1, 2, 3, 4, 7):
                    tensor = TensorProto(dtype=number)
                    for size in shape:
                        tensor.tensor_shape.dim.add(size=size)
                    values = rng.integers(0, 2 if field == "bool_val" else 400, count).tolist()
                    getattr(tensor, field).extend([b"v%d" % v for v in values] if field == "string_val" else values)
                    tensors.append(tensor)
                    content = TensorProto.FromString(tensor.SerializeToString())
                    content.tensor_content = rng.bytes(count * 4)
                    tensors.append(content)
    for dim in ([], [{"size": 2}], [{"size": -1}]):
        tensors += [TensorProto(dtype=1, tensor_shape={"unknown_rank": True, "dim": dim}, float_val=[1])]
    tensors.append(TensorProto(dtype=7, tensor_shape={"dim": [{"size": 2}]}, tensor_content=b"\x01\x02abc"))
    tensors.append(TensorProto(dtype=7, tensor_shape={"dim": [{"size": 2}]}, tensor_content=b"\x01\x03abc"))
    return tensors


def decode_oddly() -> list[str]:
    """Compares our decoding of odd tensors with TensorFlow's, which parses them in C++."""
    from serving.errors import ServingError

    failed = []
    for tensor in odd_tensors():
        dtype = tf.dtypes.as_dtype(tensor.dtype)
        try:
            expected = tf.io.parse_tensor(tensor.SerializeToString(), dtype).numpy()
        except tf.errors.InvalidArgumentError:
            expected = None
        try:
            decoded = decode_tensor(tensor, "x")
        except ServingError:
            decoded = None
        if (expected is None) != (decoded is None):
            failed.append(f"{tensor} -> {decoded}, expected {expected}")
        elif decoded is not None and not same(decoded, np.asarray(expected, dtype.as_numpy_dtype)):
            failed.append(f"{tensor} -> {decoded!r}, expected {expected!r}")
    return failed


def same(one: np.ndarray, other: np.ndarray) -> bool:
    """Equal shapes, types and bits."""
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    return one.tolist() == other.tolist() if one.dtype == object else one.tobytes() == other.tobytes()


if __name__ == "__main__":
    ours = sum(len(messages(module.DESCRIPTOR.message_types_by_name.values())) for module in modules())
    json.dump(
        {
            "messages": ours,
            "separate": POOL is not descriptor_pool.Default(),
            "differences": compare() + compare_excerpts(),
            "exchange": exchange(),
            "decode": decode_oddly()[:20],
            "odd_tensors": len(odd_tensors()),
        },
        sys.stdout,
    )
