"""Triton's classification extension: the best classes of an output as text in place of its scores."""

from collections.abc import Sequence

import numpy as np

from serving.errors import invalid_argument
from serving.inference_protocol.datatypes import to_objects


def best_classes(scores: np.ndarray, count: int, *, labels: Sequence[str], name: str) -> np.ndarray:
    """The classes with the highest scores, as `score:index` or `score:index:label`.

    Args:
        scores: (batch, ...), where what follows the batch counts as one row of classes; (classes,) without a batch.
        count: How many classes; all where there are fewer.
        labels: The classes' names, as far as they are known.
        name: The output's name, for the error.

    Returns:
        (batch, count) or (count,), object array of bytes; the best class first, the earlier one of equals.

    Raises:
        ServingError: INVALID_ARGUMENT; the output holds no numbers, or has no dimension.
    """
    if scores.dtype.kind not in "fiu" or scores.ndim == 0:
        raise invalid_argument(
            f"Classes need an output with a score for each. Received: output {name!r} of type {scores.dtype} and shape "
            f"{list(scores.shape)}. Leave its parameter 'classification' out."
        )
    batch = scores.shape[:-1] if scores.ndim == 1 else scores.shape[:1]
    rows = scores.reshape(*batch, -1) if scores.size else scores.reshape(*batch, 0)
    ranked = np.argsort(-rows.astype(np.float64), axis=-1, kind="stable")[..., :count]
    best = np.take_along_axis(rows, ranked, axis=-1)
    form = "{:f}" if scores.dtype.kind == "f" else "{}"
    texts = [
        ":".join([form.format(score), str(index), *labels[index : index + 1]]).encode()
        for score, index in zip(best.ravel().tolist(), ranked.ravel().tolist(), strict=True)
    ]
    return to_objects(texts, ranked.shape)
