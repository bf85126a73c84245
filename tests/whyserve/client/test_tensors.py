import numpy as np
import pytest

from serving.types import TensorInfo
from whyserve.client.base import ModelDescription
from whyserve.client.tensors import explain_with, relevance_by_input
from whyserve.errors import CommandError

SCORES = np.array([[0.1, 0.6, 0.3], [0.5, 0.2, 0.3]], np.float32)


def description(*inputs):
    infos = {name: TensorInfo(name, np.dtype(np.float32), (None, 2)) for name in inputs}
    return ModelDescription("m", 1, infos, {"y": TensorInfo("y", np.dtype(np.float32), (None, 3))}, ("a", "b", "c"))


def run(signature, inputs):
    """A linear model: the score of class k is k times the sum of the inputs, all of it explained but a tenth."""
    assert signature == "explain_target"
    target = np.where(inputs["target"] < 0, SCORES.argmax(axis=1), inputs["target"])
    value = target * inputs["x"].sum(axis=1)
    relevance = 0.9 * target[:, None] * inputs["x"]
    return 5, {
        "y": SCORES,
        "relevance": relevance,
        "target": target,
        "explained_value": value,
        "conservation_gap": value - relevance.sum(axis=1),
    }


def ask(**options):
    inputs = {"x": np.array([[1.0, 2.0], [3.0, 4.0]], np.float32)}
    return explain_with(run, description("x"), inputs, **{"target": -1, "top_k": 1, **options})


def test_the_predicted_class_is_explained_with_its_label():
    answer = ask()
    (first,), (second,) = answer.attributions
    assert (first.index, first.label, first.value) == (1, "b", 3.0)
    assert first.gap == pytest.approx(0.3)
    np.testing.assert_allclose(first.relevance["x"], [0.9, 1.8])
    assert (second.index, second.value) == (0, 0.0)
    assert answer.version == 5
    assert list(answer.outputs) == ["y"]


def test_a_target_is_explained_in_every_example():
    assert [[one.index for one in each] for each in ask(target=2).attributions] == [[2], [2]]


@pytest.mark.parametrize(("top_k", "expected"), [(2, [[1, 2], [0, 2]]), (9, [[1, 2, 0], [0, 2, 1]])])
def test_top_k_goes_down_the_scores(top_k, expected):
    assert [[one.index for one in each] for each in ask(top_k=top_k).attributions] == expected


def test_top_k_of_one_score_is_refused():
    def single(signature, inputs):
        version, outputs = run(signature, inputs)
        return version, {**outputs, "y": SCORES[:, :1]}

    with pytest.raises(CommandError, match="one score an example"):
        explain_with(single, description("x"), {"x": np.ones((2, 2))}, target=-1, top_k=2)


def test_relevance_is_found_by_the_name_of_its_input():
    assert relevance_by_input({"relevance": 1}, ["x"]) == {"x": 1}
    assert relevance_by_input({"relevance_a": 1, "relevance_b": 2, "y": 3}, ["a", "b"]) == {"a": 1, "b": 2}
