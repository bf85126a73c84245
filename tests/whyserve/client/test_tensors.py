import re
from dataclasses import replace

import numpy as np
import pytest

from serving.types import TensorInfo
from whyserve.client.base import ModelDescription
from whyserve.client.tensors import explain_with, index_of, relevance_by_input
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


def test_targets_may_be_labels_and_differ_from_example_to_example():
    assert [[one.index for one in each] for each in ask(target="c").attributions] == [[2], [2]]
    assert [[one.index for one in each] for each in ask(target=["c", 0]).attributions] == [[2], [0]]


def test_a_contrast_is_the_difference_of_two_explanations():
    (first,), (second,) = ask(target=2, contrast=["a", "b"]).attributions
    assert (first.label, first.contrast, first.contrast_index, second.contrast) == ("c", "a", 0, "b")
    # scores are target * sum: 2 * 3 - 0 and 2 * 7 - 1 * 7; nine tenths are explained
    assert (first.value, second.value) == (6.0, 7.0)
    assert (first.gap, second.gap) == pytest.approx((0.6, 0.7))
    np.testing.assert_allclose(second.relevance["x"], [2.7, 3.6])


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"target": "cat"}, "Expected a class, one of a, b, c. Received: 'cat'"),
        ({"target": [0, 1, 2]}, "Expected one target, or one for each of 2 examples. Received: 3"),
        ({"contrast": ["a", "b", "c"]}, "Expected one contrast, or one for each of 2 examples. Received: 3"),
    ],
)
def test_wrong_targets_are_refused(options, text):
    with pytest.raises(CommandError, match=re.escape(text)):
        ask(**options)


def test_a_label_of_unknown_classes_is_refused():
    with pytest.raises(CommandError, match="an index: the labels of this model aren't known here"):
        index_of("cat", ())


def test_relevance_at_inner_layers_bears_the_layers_names_where_they_are_known():
    def deep(signature, inputs):
        version, outputs = run(signature, inputs)
        return version, {**outputs, "relevance_at_block_1": outputs["relevance"] * 2}

    inputs = {"x": np.array([[1.0, 2.0], [3.0, 4.0]], np.float32)}
    known = replace(description("x"), layers={"block 1": "relevance_at_block_1"})
    for told, name in ((known, "block 1"), (description("x"), "block_1")):
        (first,), _ = explain_with(deep, told, inputs, target=-1, top_k=1, contrast="a").attributions
        np.testing.assert_allclose(first.layers[name], 2 * first.relevance["x"])


def test_the_explained_output_is_the_one_whose_highest_scores_were_explained():
    def two(signature, inputs):
        version, outputs = run(signature, inputs)
        return version, {"other": SCORES[:, ::-1], **outputs}

    outputs = {name: description("x").outputs["y"] for name in ("other", "y")}
    told = replace(description("x"), outputs=outputs)
    inputs = {"x": np.array([[1.0, 2.0], [3.0, 4.0]], np.float32)}
    answer = explain_with(two, told, inputs, target=-1, top_k=2)
    assert [[one.output for one in each] for each in answer.attributions] == [["y", "y"], ["y", "y"]]
    assert [[one.index for one in each] for each in answer.attributions] == [[1, 2], [0, 2]]


def test_top_k_of_one_score_is_refused():
    def single(signature, inputs):
        version, outputs = run(signature, inputs)
        return version, {**outputs, "y": SCORES[:, :1]}

    with pytest.raises(CommandError, match="one score an example"):
        explain_with(single, description("x"), {"x": np.ones((2, 2))}, target=-1, top_k=2)


def test_relevance_is_found_by_the_name_of_its_input():
    assert relevance_by_input({"relevance": 1}, ["x"]) == {"x": 1}
    assert relevance_by_input({"relevance_a": 1, "relevance_b": 2, "y": 3}, ["a", "b"]) == {"a": 1, "b": 2}
