from typing import Any

import numpy as np
import pytest

from serving.errors import Code, ServingError
from serving.tasks import Classification, Method, Regression, make_task
from serving.types import ExampleReading, Signature, TensorInfo
from tests.serving.test_examples import example

FLOAT, STRING = np.dtype(np.float32), np.dtype(object)


def tensors(**dtypes: np.dtype) -> dict[str, TensorInfo]:
    return {name: TensorInfo(name, dtype, (None, 2), f"{name}:0") for name, dtype in dtypes.items()}


def dense(*labels: str, output: str = "y") -> Signature:
    return Signature(tensors(x=FLOAT), tensors(y=FLOAT, z=FLOAT), example_reading=ExampleReading(output, labels))


GRAPH = Signature(tensors(inputs=STRING), tensors(scores=FLOAT, classes=STRING))
BOTH = np.array([[0.25, 0.75], [1.0, 0.0]], np.float32)


def classification(signature: Signature, outputs: Any, number: int = 2) -> Classification:
    result = make_task("s", signature, Method.CLASSIFY).result(outputs, number)
    assert isinstance(result, Classification)
    return result


def test_a_graph_is_fed_the_serialized_examples():
    task = make_task("s", GRAPH, Method.CLASSIFY)
    assert task.output_names == ("classes", "scores")
    serialized = [example(x=[1.0]), b""]
    assert task.inputs(serialized)["inputs"].tolist() == serialized


def test_a_signature_of_tensors_is_fed_what_the_examples_hold():
    task = make_task("s", dense("no", "yes"), Method.CLASSIFY)
    assert task.output_names == ("y",)
    assert task.inputs([example(x=[1.0, 2.0])])["x"].tolist() == [[1, 2]]


def test_no_examples_are_refused():
    for signature in (GRAPH, dense()):
        with pytest.raises(ServingError, match=r"^Input is empty\.$") as refused:
            make_task("s", signature, Method.CLASSIFY).inputs([])
        assert refused.value.code == Code.INVALID_ARGUMENT


def test_labels_come_from_the_graph_and_need_not_be_text():
    labels = np.array([[b"a", "ä".encode()], [b"\xff", b""]], object)
    rows = classification(GRAPH, {"classes": labels, "scores": BOTH}).rows()
    assert [[label for label, _ in row] for row in rows] == [["a", "ä"], ["\ufffd", ""]]
    assert [[float(score) for _, score in row] for row in rows] == BOTH.tolist()


@pytest.mark.parametrize(("labels", "expected"), [(("no", "yes"), ["no", "yes"]), ((), ["", ""]), (("one",), ["", ""])])
def test_labels_of_a_manifest_are_given_where_there_is_one_a_score(labels, expected):
    rows = classification(dense(*labels), {"y": BOTH}).rows()
    assert [[label for label, _ in row] for row in rows] == [expected, expected]


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_a_bundle_may_compute_in_any_precision(dtype):
    result = classification(dense(), {"y": BOTH.astype(dtype)})
    assert result.scores.dtype == np.float32
    assert result.scores.tolist() == BOTH.tolist()
    task = make_task("s", dense(), Method.REGRESS)
    for shape in ((2,), (2, 1)):
        value = task.result({"y": np.array([1.5, 2.5], dtype).reshape(shape)}, 2)
        assert isinstance(value, Regression)
        assert value.values.dtype == np.float32
        assert value.values.tolist() == [1.5, 2.5]


def test_an_output_that_cannot_be_told_is_refused():
    signature = dense(output="")
    with pytest.raises(ServingError, match=r"^Expected one or two output Tensors, found 2$"):
        make_task("s", signature, Method.CLASSIFY)
    with pytest.raises(ServingError, match=r"^Expected one output Tensor\.$"):
        make_task("s", signature, Method.REGRESS)


def test_integers_are_no_scores():
    with pytest.raises(ServingError, match=r"^Expected scores Tensor of DT_FLOAT\. Got: DT_INT64$"):
        classification(dense(), {"y": np.ones((2, 2), np.int64)})
    with pytest.raises(ServingError, match=r"^Expected output Tensor of DT_FLOAT\.  Got: DT_INT64$"):
        make_task("s", dense(), Method.REGRESS).result({"y": np.ones(2, np.int64)}, 2)
