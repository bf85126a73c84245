import re

import numpy as np
import pytest

from serving.engines.shapes import check_shapes, describe_shape
from serving.errors import ServingError
from serving.types import TensorInfo


def tensor(*shape: int | None) -> TensorInfo:
    return TensorInfo("x", np.dtype(np.float32), shape)


@pytest.mark.parametrize(
    ("declared", "received"),
    [((None, 3), (5, 3)), ((None, None), (0, 7)), ((), ()), ((2, 2), (2, 2))],
)
def test_shapes_that_fit_pass(declared, received):
    check_shapes({"x": tensor(*declared)}, {"x": np.zeros(received)})


def test_any_shape_fits_where_the_rank_is_unknown():
    check_shapes({"x": TensorInfo("x", np.dtype(np.float32), None)}, {"x": np.zeros((1, 2, 3))})


@pytest.mark.parametrize(
    ("declared", "received", "message"),
    [
        ((None, 3), (5, 4), "Input 'x' must have shape (batch, 3). Received: (5, 4)."),
        ((None, None, 3), (5, 3), "Input 'x' must have shape (batch, any, 3). Received: (5, 3)."),
        ((None,), (), "Input 'x' must have shape (batch,). Received: ()."),
        ((), (1,), "Input 'x' must have shape (). Received: (1,)."),
        ((2, 3), (3, 3), "Input 'x' must have shape (2, 3). Received: (3, 3)."),
    ],
)
def test_shapes_that_do_not_fit_are_refused_with_both(declared, received, message):
    with pytest.raises(ServingError, match=f"^{re.escape(message)}$"):
        check_shapes({"x": tensor(*declared)}, {"x": np.zeros(received)})


def test_batch_sizes_that_differ_are_refused_instead_of_broadcast():
    with pytest.raises(ServingError, match=r"same batch size.* Received: 2 in 'a', 1 in 'b'"):
        check_shapes({"a": tensor(None, 3), "b": tensor(None)}, {"a": np.zeros((2, 3)), "b": np.zeros(1)})


def test_dynamic_dimensions_are_told_apart_from_sizes():
    assert describe_shape((None, None, 3)) == "(batch, any, 3)"
