import numpy as np
import pytest

from whyserve.asking import Reading, percent, readings
from whyserve.client.base import Answer


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


def test_percent():
    assert percent(0.9912) == "99.1 %"
    assert percent(None) is None
