import numpy as np
import pytest

from models.training.evaluation import classification_metrics

# True classes 0 0 1 1 1 2, predicted 0 1 1 1 2 2.
LABELS = np.array([0, 0, 1, 1, 1, 2])
PROBABILITIES = np.array(
    [[0.8, 0.1, 0.1], [0.3, 0.5, 0.2], [0.1, 0.8, 0.1], [0.2, 0.6, 0.2], [0.1, 0.4, 0.5], [0.1, 0.1, 0.8]], np.float32
)


def test_figures_agree_with_those_worked_by_hand():
    found = classification_metrics(LABELS, PROBABILITIES, ("a", "b", "c"))
    assert found["confusion_matrix"] == [[1, 1, 0], [0, 2, 1], [0, 0, 1]]
    assert found["accuracy"] == pytest.approx(4 / 6)
    # Precision 1/1, 2/3, 1/2; recall 1/2, 2/3, 1/1; F1 = 2pr / (p + r) = 2/3, 2/3, 2/3.
    assert found["precision"] == pytest.approx((1 + 2 / 3 + 1 / 2) / 3)
    assert found["recall"] == pytest.approx((1 / 2 + 2 / 3 + 1) / 3)
    assert found["f1"] == pytest.approx(2 / 3)
    assert found["loss"] == pytest.approx(-np.log([0.8, 0.3, 0.8, 0.6, 0.4, 0.8]).mean(), rel=1e-6)
    assert found["per_class"][1] == {
        "label": "b", "precision": pytest.approx(2 / 3), "recall": pytest.approx(2 / 3), "f1": pytest.approx(2 / 3),
        "num_examples": 3,
    }  # fmt: skip
    # Share of the pairs (own class, another class) in the right order, ties half.
    # a: {.8 .3} against {.1 .2 .1 .1}, 8 of 8; b: {.8 .6 .4} against {.1 .5 .1}, 8 of 9; c: {.8} against five, 5 of 5.
    assert found["roc_auc"] == pytest.approx((1 + 8 / 9 + 1) / 3)


def test_two_classes_have_one_roc_curve():
    probabilities = np.array([[0.9, 0.1], [0.4, 0.6], [0.3, 0.7], [0.6, 0.4]], np.float32)
    # Class 1 scores {.7 .4} against {.1 .6}: 3 of 4 pairs.
    assert classification_metrics(np.array([0, 0, 1, 1]), probabilities, ("a", "b"))["roc_auc"] == pytest.approx(0.75)


def test_a_class_without_examples_leaves_roc_auc_open():
    found = classification_metrics(LABELS[:5], PROBABILITIES[:5], ("a", "b", "c"))
    assert found["roc_auc"] is None
    assert found["per_class"][2]["recall"] == 0.0
