"""The table of gRPC errors of TensorFlow Serving, a row each: RPC, request, code and text, over both engines."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from serving.protos import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    input_pb2,
    predict_pb2,
    regression_pb2,
)
from tests.serving.conformance.server import Server
from tests.serving.grpc.servers import predict_request

CLASSIFY, REGRESS = "tensorflow/serving/classify", "tensorflow/serving/regress"
X = np.array([[1, 2, 3, 4]], np.float32)
ENGINES = ["onnx", pytest.param("tensorflow", marks=pytest.mark.slow)]


@dataclass(frozen=True)
class Row:
    """One request and its refusal. `{model}` and the like stand for what differs between the engines."""

    name: str
    rpc: str
    request: Any
    code: str
    text: str


@dataclass(frozen=True)
class Facts:
    """What differs: a model with the input `x` and its output, and what the engine calls them."""

    model: str
    other_model: str
    feed: str
    output: str
    signature: str
    other_signature: str


FACTS = {
    "onnx": Facts("dense", "plain", "x", "probabilities", "serving_default", "explain"),
    "tensorflow": Facts("half_plus_two", "other", "x:0", "y", "classify", "classify_both"),
}


def example(**features: Any) -> dict[str, Any]:
    """A tf.Example; lists of floats, integers or bytes."""
    kinds = {float: "float_list", int: "int64_list", bytes: "bytes_list"}
    feature = {name: {kinds[type(values[0])]: {"value": values}} for name, values in features.items()}
    return {"features": {"feature": feature}}


def examples(*items: dict[str, Any]) -> input_pb2.Input:
    """The input of an RPC over examples."""
    return input_pb2.Input(example_list={"examples": items})


def classify(spec: dict[str, Any] | None, input_: input_pb2.Input | None = None) -> Any:
    """A ClassificationRequest."""
    return classification_pb2.ClassificationRequest(model_spec=spec, input=input_)


def regress(spec: dict[str, Any] | None, input_: input_pb2.Input | None = None) -> Any:
    """A RegressionRequest."""
    return regression_pb2.RegressionRequest(model_spec=spec, input=input_)


def multi(*tasks: tuple[dict[str, Any] | None, str], input_: input_pb2.Input | None = None) -> Any:
    """A MultiInferenceRequest of pairs of model spec and `method_name`."""
    entries = [{"model_spec": spec, "method_name": method} for spec, method in tasks]
    return inference_pb2.MultiInferenceRequest(tasks=entries, input=input_)


def metadata(spec: dict[str, Any] | None, *fields: str) -> Any:
    """A GetModelMetadataRequest."""
    return get_model_metadata_pb2.GetModelMetadataRequest(model_spec=spec, metadata_field=fields)


def status(spec: dict[str, Any] | None) -> Any:
    """A GetModelStatusRequest."""
    return get_model_status_pb2.GetModelStatusRequest(model_spec=spec)


def predict(inputs: dict[str, np.ndarray], output_filter: tuple[str, ...] = (), **spec: Any) -> Any:
    """A PredictRequest."""
    request = predict_request(inputs, **spec)
    request.output_filter.extend(output_filter)
    return request


SPECIFIC: dict[str, Callable[[dict[str, Any] | None], Any]] = {
    "Predict": lambda spec: predict({"x": X}, **(spec or {})),
    "Classify": classify,
    "Regress": regress,
    "MultiInference": lambda spec: multi((spec, CLASSIFY)),
    "GetModelMetadata": lambda spec: metadata(spec, "signature_def"),
    "GetModelStatus": status,
}
INVALID, NOT_FOUND = "INVALID_ARGUMENT", "NOT_FOUND"


def rows_of_every_rpc() -> list[Row]:
    """How a model spec can be wrong, for each RPC that has one."""
    rows = []
    for rpc, make in SPECIFIC.items():
        if rpc == "GetModelStatus":
            rows += [
                Row("no spec", rpc, make(None), INVALID, "Missing ModelSpec"),
                Row("empty name", rpc, make({}), NOT_FOUND, "Could not find any versions of model "),
                Row("model", rpc, make({"name": "nope"}), NOT_FOUND, "Could not find any versions of model nope"),
            ]
            continue
        # A task without a spec is read as an empty one: the text of the next row.
        none = "ModelSpec has no name specified." if rpc == "MultiInference" else "Missing ModelSpec"
        label = {"name": "nope", "version_label": "stable"}
        rows += [
            Row("no spec", rpc, make(None), INVALID, none),
            Row("empty name", rpc, make({"signature_name": "s"}), INVALID, "ModelSpec has no name specified."),
            Row("model", rpc, make({"name": "nope"}), NOT_FOUND, "Servable not found for request: Latest(nope)"),
            Row("label", rpc, make(label), INVALID, "Unrecognized servable version label: stable"),
        ]
    return rows


def rows_of_a_model(facts: Facts) -> list[Row]:
    """What can be wrong about a request for a model that is there, whatever the engine."""
    model = {"name": facts.model}
    rows = [
        Row(
            "version",
            rpc,
            make({**model, "version": {"value": 99}}),
            NOT_FOUND,
            (
                f"Could not find version 99 of model {facts.model}"
                if rpc == "GetModelStatus"
                else f"Servable not found for request: Specific({facts.model}, 99)"
            ),
        )
        for rpc, make in SPECIFIC.items()
    ]
    rows += [
        Row(
            "label of a model",
            rpc,
            make({**model, "version_label": "stable"}),
            INVALID,
            "Unrecognized servable version label: stable",
        )
        for rpc, make in SPECIFIC.items()
        if rpc != "GetModelStatus"  # which ignores it
    ]
    return [*rows, *_predict_rows(facts), *_example_rows(facts), *_multi_rows(facts), *_metadata_rows(facts)]


def _predict_rows(facts: Facts) -> list[Row]:
    def row(name: str, text: str, request: Any, code: str = INVALID) -> Row:
        return Row(name, "Predict", request, code, text)

    def of(inputs: dict[str, np.ndarray], output_filter: tuple[str, ...] = ()) -> Any:
        return predict(inputs, output_filter, name=facts.model)

    size = "input size does not match signature: "
    broken = predict_pb2.PredictRequest(
        model_spec={"name": facts.model},
        inputs={"x": {"dtype": 1, "tensor_shape": {"dim": [{"size": 1}]}, "tensor_content": b"123"}},
    )
    return [
        row(
            "signature",
            'Serving signature key "SIG" not found.',
            predict({"x": X}, name=facts.model, signature_name="SIG"),
            "FAILED_PRECONDITION",
        ),
        row("no inputs", f"{size}0!=1 len({{}}) != len({{x}}). Sent extra: {{}}. Missing but required: {{x}}.", of({})),
        row(
            "extra input",
            f"{size}2!=1 len({{x,z}}) != len({{x}}). Sent extra: {{z}}. Missing but required: {{}}.",
            of({"x": X, "z": X}),
        ),
        row(
            "wrong name",
            f"Signature input alias: x(feed name: {facts.feed}) not found in request and no default value provided. "
            "Inputs expected to be in the request {z}, or default input alias set: ",
            of({"z": X}),
        ),
        row("undecodable", "tensor parsing error: x", broken),
        row("dtype", "Expects arg[0] to be float but int32 is provided", of({"x": X.astype(np.int32)})),
        row(
            "dtype string",
            "Expects arg[0] to be float but string is provided",
            of({"x": np.array([b"a"], object)}),
        ),
        row(
            "filter",
            f"output tensor alias not found in signature: q Outputs expected to be in the set {{{facts.output}}}.",
            of({"x": X}, ("q",)),
        ),
        row(
            "filter twice",
            f"duplicate output tensor alias: {facts.output}",
            of({"x": X}, (facts.output, facts.output)),
        ),
    ]


def _example_rows(facts: Facts) -> list[Row]:
    spec = {"name": facts.model, "signature_name": facts.signature}
    unknown = {"name": facts.model, "signature_name": "SIG"}
    one = [({**spec}, CLASSIFY)]
    context_only = input_pb2.Input(example_list_with_context={"context": example(x=[1.0])})
    text = "No signature was found with the name: SIG"
    return [
        Row("signature", "Classify", classify(unknown, examples(example(x=[1.0]))), INVALID, text),
        Row("signature", "Regress", regress(unknown, examples(example(x=[1.0]))), INVALID, text),
        Row("no input", "Classify", classify(spec), INVALID, "Input is empty."),
        Row("no examples", "Classify", classify(spec, examples()), INVALID, "Input is empty."),
        Row("context alone", "Classify", classify(spec, context_only), INVALID, "Input is empty."),
        Row("no input", "MultiInference", multi(*one), INVALID, "Input is empty."),
        Row("no examples", "MultiInference", multi(*one, input_=examples()), INVALID, "Input is empty."),
    ]


def _multi_rows(facts: Facts) -> list[Row]:
    spec = {"name": facts.model, "signature_name": facts.signature}
    given = examples(example(x=[1.0, 2.0, 3.0, 4.0]))

    def row(name: str, text: str, *tasks: tuple[dict[str, Any] | None, str], code: str = INVALID) -> Row:
        return Row(name, "MultiInference", multi(*tasks, input_=given), code, text)

    return [
        row("no tasks", "ModelSpec has no name specified."),
        row("empty name later", "Found ModelSpec with an empty model name.", (spec, CLASSIFY), ({}, CLASSIFY)),
        row(
            "two models",
            "All ModelSpecs in a MultiInferenceRequest must access the same model name.",
            (spec, CLASSIFY),
            ({"name": facts.other_model}, CLASSIFY),
        ),
        row(
            "signature twice",
            f"Duplicate evaluation of signature: {facts.signature}",
            (spec, CLASSIFY),
            (spec, REGRESS),
        ),
        row(
            "signature",
            "Requested signature not found in model graph: SIG",
            ({"name": facts.model, "signature_name": "SIG"}, CLASSIFY),
        ),
        row(
            "method",
            "Unsupported signature method_name: tensorflow/serving/predict",
            (spec, "tensorflow/serving/predict"),
            code="UNIMPLEMENTED",
        ),
    ]


def _metadata_rows(facts: Facts) -> list[Row]:
    spec = {"name": facts.model}
    none = "GetModelMetadataRequest must specify at least one metadata_field"
    return [
        Row("no field", "GetModelMetadata", metadata(spec), INVALID, none),
        Row("field", "GetModelMetadata", metadata(spec, "f"), INVALID, "Metadata field f is not supported"),
    ]


def _tensorflow_rows() -> list[Row]:
    """What a graph that parses examples answers, and signatures that no RPC over examples can use."""
    asked = examples(example(x=[1.0]), example(x=[2.0]))

    def spec(signature: str) -> dict[str, Any]:
        return {"name": "half_plus_two", "signature_name": signature}

    def classified(signature: str, text: str) -> Row:
        return Row(signature, "Classify", classify(spec(signature), asked), INVALID, text)

    def regressed(signature: str, text: str) -> Row:
        return Row(signature, "Regress", regress(spec(signature), asked), INVALID, text)

    node = "\n\t [[{{node tf_example_parsed}}]]"
    missing = f"Name: <unknown>, Feature: x (data type: float) is required but could not be found.{node}"
    kind = (
        "Name: <unknown>, Key: x, Index: 1.  Data types don't match. Data type: int64 but expected type: float" + node
    )
    size = (
        "Name: <unknown>, Key: x, Index: 0.  Number of float values != expected.  Values size: 2 but output shape: [1]"
        + node
    )
    mixed = examples(example(x=[1.0]), example(x=[2]))
    fewer = "input size does not match signature: 1!=2 len({x}) != len({unused,x}). "
    return [
        Row(
            "fewer inputs",
            "Predict",
            predict({"x": X}, name="half_plus_two", signature_name="two_inputs"),
            INVALID,
            fewer + "Sent extra: {}. Missing but required: {unused}.",
        ),
        Row("no input", "Regress", regress(spec("regress")), INVALID, "Input is empty."),
        Row("missing", "Classify", classify(spec("classify"), examples(example())), INVALID, missing),
        Row("missing", "Regress", regress(spec("regress"), examples(example())), INVALID, missing),
        Row("kind", "Regress", regress(spec("regress"), mixed), INVALID, kind),
        Row("size", "Regress", regress(spec("regress"), examples(example(x=[1.0, 2.0]))), INVALID, size),
        classified("wrong_two_inputs", "Expected one input Tensor."),
        classified("wrong_outputs", "Expected one or two output Tensors, found 3"),
        classified("wrong_rank", "Expected Tensor shape: [batch_size num_classes] but got [2]"),
        classified("wrong_type", "Expected scores Tensor of DT_FLOAT. Got: DT_DOUBLE"),
        classified("wrong_labels", "Expected classes Tensor of DT_STRING. Got: DT_INT64"),
        classified("wrong_rows", "Expected scores output batch size of 2. Got: 4"),
        classified("wrong_columns", "Tensors class and score should match in dim_size(1). Got 2 vs. 1"),
        classified("wrong_input", "Expected classification signature outputs to contain at least one of "),
        classified("serving_default", "No classification inputs found in SignatureDef: inputs {\n"),
        classified("wrong_names", "Expected classification signature outputs to contain at least one of "),
        regressed("wrong_two_inputs", "Expected one input Tensor."),
        regressed("wrong_outputs", "Expected one output Tensor."),
        regressed("wrong_input", "Expects arg[0] to be float but string is provided"),
        regressed("serving_default", "No regression inputs found in SignatureDef: inputs {\n"),
        regressed("wrong_names", "No regression outputs found in SignatureDef: inputs {\n"),
        regressed(
            "wrong_regress_shape",
            "Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got [2,2]",
        ),
        regressed("wrong_regress_rows", "Input batch size did not match output batch size: 2 vs. 4"),
        regressed("wrong_regress_type", "Expected output Tensor of DT_FLOAT.  Got: DT_DOUBLE"),
    ]


def _onnx_rows() -> list[Row]:
    """Examples that a bundle's input can't be read from, in the words of TensorFlow's parser."""
    four = [1.0, 2.0, 3.0, 4.0]

    def dense(name: str, text: str, *items: dict[str, Any]) -> Row:
        return Row(name, "Classify", classify({"name": "dense"}, examples(*items)), INVALID, text)

    where = "Name: <unknown>, Key: x, Index: 1.  "
    missing = "Name: <unknown>, Feature: x (data type: float) is required but could not be found."
    shape = "Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got [1,3]"
    return [
        dense("missing", missing, example(x=four), example(y=four)),
        dense("empty feature", missing, {"features": {"feature": {"x": {}}}}),
        dense(
            "kind",
            where + "Data types don't match. Data type: int64 but expected type: float",
            example(x=four),
            example(x=[1, 2, 3, 4]),
        ),
        dense(
            "size",
            where + "Number of float values != expected.  Values size: 3 but output shape: [4]",
            example(x=four),
            example(x=four[:3]),
        ),
        Row("no input", "Regress", regress({"name": "dense"}), INVALID, "Input is empty."),
        Row("no value", "Regress", regress({"name": "dense"}, examples(example(x=four))), INVALID, shape),
        Row(
            "several outputs",
            "Classify",
            classify({"name": "pair"}, examples(example(a=[1.0, 2.0]))),
            INVALID,
            "Expected one or two output Tensors, found 2",
        ),
        Row(
            "several outputs",
            "Regress",
            regress({"name": "pair"}, examples(example(a=[1.0, 2.0]))),
            INVALID,
            "Expected one output Tensor.",
        ),
    ]


def table(engine: str) -> list[Any]:
    """All rows for an engine, as parameters."""
    rows = [*rows_of_every_rpc(), *rows_of_a_model(FACTS[engine])]
    rows += _onnx_rows() if engine == "onnx" else _tensorflow_rows()
    marks = [] if engine == "onnx" else [pytest.mark.slow]
    return [pytest.param(engine, row, id=f"{engine}-{row.rpc}-{row.name}", marks=marks) for row in rows]


@pytest.mark.parametrize(("engine", "row"), [*table("onnx"), *table("tensorflow")])
def test_a_refusal_has_tensorflow_serving_s_code_and_text(
    engine: str, row: Row, request: pytest.FixtureRequest
) -> None:
    server: Server = request.getfixturevalue(engine)
    code, text = server.failure(row.rpc, row.request)
    assert code == row.code
    if row.text.endswith(("{\n", " one of ")):  # the text goes on with the whole signature
        assert text.startswith(row.text)
    else:
        assert text == row.text


@pytest.mark.parametrize("engine", ENGINES)
def test_a_label_is_ignored_by_get_model_status(engine: str, request: pytest.FixtureRequest) -> None:
    server: Server = request.getfixturevalue(engine)
    reply = server.call("GetModelStatus", status({"name": FACTS[engine].model, "version_label": "nope"}))
    assert [version.version for version in reply.model_version_status] == [2, 1]


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(), (1,), (3,), (2, 2), (0, 1)])
def test_shapes_are_the_graph_s_business(tensorflow: Server, shape: tuple[int, ...]) -> None:
    reply = tensorflow.call("Predict", predict({"x": np.full(shape, 3, np.float32)}, name="half_plus_two"))
    assert [dim.size for dim in reply.outputs["y"].tensor_shape.dim] == list(shape)
    assert list(reply.outputs["y"].float_val) == [3.5] * int(np.prod(shape))


@pytest.mark.slow
def test_a_default_stands_in_for_an_input_that_is_missing_or_named_otherwise(tensorflow: Server) -> None:
    for inputs, expected in (({}, 3.0), ({"x": np.array([8], np.float32)}, 6.0), ({"z": X}, 3.0)):
        request = predict(inputs, name="half_plus_two", signature_name="with_default")
        assert list(tensorflow.call("Predict", request).outputs["y"].float_val) == [expected]
    request = predict({"x": X, "z": X}, name="half_plus_two", signature_name="with_default")
    assert tensorflow.failure("Predict", request)[1].startswith("input size does not match signature: 2!=1 ")
