import numpy as np
import pytest

from whyserve.asking import Explained, Reading, explained_as, percent, readings, true_label
from whyserve.client.base import Answer, Attribution


@pytest.mark.parametrize(
    ("outputs", "labels", "expected"),
    [
        ([[0.1, 0.9]], ("no", "yes"), Reading("yes", 0.9, 1)),
        ([[0.1, 0.9]], (), Reading("1", 0.9, 1)),
        ([[-3.0, 2.0]], (), Reading("1", None, 1)),
        ([[17.25]], (), Reading("17.25", None, None)),
        ([17.25], (), Reading("17.25", None, None)),
        ([7], (), Reading("7", None, None)),
        (np.array([b"good"], object), (), Reading("good", None, None)),
        ([[[1.0, 2.0], [3.0, 4.0]]], (), Reading("[[1. 2.]\n [3. 4.]]", None, None)),
    ],
    ids=["labels", "index", "logits", "column", "scalar", "integer", "text", "matrix"],
)
def test_a_prediction_reads_as_a_class_or_a_value(outputs, labels, expected):
    (reading,) = readings(Answer("m", 1, {"y": np.asarray(outputs)}), labels)
    assert reading == expected


def attribution(index, value, label=None, **options):
    return Attribution(index, label or str(index), value, 0.0, {}, output="y", **options)


@pytest.mark.parametrize(
    ("scores", "one", "expected"),
    [
        ([[0.1, 0.9]], attribution(1, 2.2, "cat"), Explained("cat", "logit", "logit", is_value=False)),
        ([[-1.0, 2.2]], attribution(1, 2.2), Explained("1", "score", "score", is_value=False)),
        ([[17.5]], attribution(0, 17.5), Explained("y", "", "y", is_value=True)),
        ([17.5], attribution(0, 17.5), Explained("y", "", "y", is_value=True)),
        ([[0.9]], attribution(0, 2.2), Explained("y", "logit", "logit", is_value=False)),
        (
            [[0.1, 0.9]],
            attribution(1, 2.0, "cat", contrast="dog", contrast_index=0),
            Explained("cat rather than dog", "logit", "logit", is_value=False),
        ),
        (
            [[-1.0, 2.2]],
            attribution(1, 3.2, contrast="0", contrast_index=0),
            Explained("1 rather than 0", "score", "score", is_value=False),
        ),
    ],
    ids=["logit", "score", "regression", "scalar", "sigmoid", "contrast", "contrast of scores"],
)
def test_what_is_explained_shows_in_the_numbers(scores, one, expected):
    assert explained_as(Answer("m", 1, {"y": np.array(scores)}, [[one]])) == [[expected]]


def test_a_class_against_itself_does_not_tell_the_unit():
    ones = [
        [attribution(1, 0.0, contrast="1", contrast_index=1)],
        [attribution(1, 2.0, contrast="0", contrast_index=0)],
    ]
    answer = Answer("m", 1, {"y": np.array([[0.1, 0.9], [0.2, 0.8]])}, ones)
    assert [each[0].unit for each in explained_as(answer)] == ["logit", "logit"]
    alone = Answer("m", 1, {"y": np.array([[0.1, 0.9]])}, ones[:1])
    assert explained_as(alone)[0][0].unit == "logit"


def test_true_labels_are_told_by_the_model_s_names():
    assert [true_label(label, ("cat", "dog")) for label in ("1", "cat", "7", "x")] == ["dog", "cat", "7", "x"]
    assert true_label("1", ("3", "1")) == "1"


def test_a_reading_may_be_of_another_output():
    answer = Answer("m", 1, {"y": np.array([[1.0]]), "z": np.array([[0.1, 0.9]])})
    assert readings(answer, (), "z") == [Reading("1", 0.9, 1)]


def test_percent():
    assert percent(0.9912) == "99.1 %"
    assert percent(None) is None
