import numpy as np
import pytest

from serving.errors import ServingError
from serving.inference_protocol.classification import best_classes


def texts(scores: np.ndarray, count: int, labels: tuple[str, ...] = ()) -> list[object]:
    return best_classes(scores, count, labels=labels, name="y").tolist()


def test_the_best_classes_come_first_and_of_equals_the_earlier() -> None:
    scores = np.array([[0.25, 0.5, 0.25], [1.0, 0.0, 0.0]], np.float32)
    assert texts(scores, 2, ("a", "b", "c")) == [[b"0.500000:1:b", b"0.250000:0:a"], [b"1.000000:0:a", b"0.000000:1:b"]]
    assert texts(scores, 9, ("a",))[0] == [b"0.500000:1", b"0.250000:0:a", b"0.250000:2"]


def test_integers_and_other_ranks() -> None:
    assert texts(np.array([3, 7], np.int64), 1) == [b"7:1"]
    assert texts(np.arange(4).reshape(1, 2, 2), 1) == [[b"3:3"]]
    assert best_classes(np.zeros((0, 3)), 2, labels=(), name="y").shape == (0, 0)


@pytest.mark.parametrize("scores", [np.array(1.0), np.array([b"a"], object), np.array([True])])
def test_what_has_no_scores_is_refused(scores: np.ndarray) -> None:
    with pytest.raises(ServingError, match=r"Classes need an output with a score for each. Received: output 'y'"):
        texts(scores, 1)
