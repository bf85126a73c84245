"""What a bundle is held against before it is published: the Keras model, and relevance in double precision."""

from typing import Any

import numpy as np

from explain import build_explainer
from export.errors import SamplesError
from export.interface import Interface, model_interface
from export.manifest import EXPLAIN_SIGNATURE, PREDICT_SIGNATURE
from export.precision import in_float64
from export.runners import KerasRunner
from export.samples import Samples
from export.sources import Source
from export.trial import MODEL_ERRORS

# How far the rebuilt model may be from the original to be a reference: more than rounding, less than another model.
_SAME = 1e-3


def keras_reference(
    source: Source, interface: Interface, explainer: Any | None, options: dict[str, Any], samples: Samples
) -> KerasRunner:
    """Keras' own predictions, and the relevance of the same model in double precision.

    A model that can't be rebuilt in double precision (a subclassed one, a layer that fixes its dtype) is held against
    its own relevance in single precision; the reference's name, which the manifest keeps, says which.

    Args:
        source: The loaded model.
        interface: Its interface.
        explainer: What `explain.build_explainer` returned, or None.
        options: What it was given.
        samples: Representative inputs.

    Raises:
        SamplesError: The model itself can't compute them.
    """
    single = KerasRunner("Keras" if explainer is None else "Keras (relevance in float32)", interface, explainer)
    original = _predictions(single, samples)
    if explainer is None:
        return single
    batch = samples.batches[0]
    try:
        model = in_float64(source.model)
        rebuilt = KerasRunner("", model_interface(model), None).run(PREDICT_SIGNATURE, batch.inputs)
        explainer_in_double = build_explainer(model, **options, try_out=False)
        double = KerasRunner("Keras (relevance in float64)", interface, explainer_in_double)
        double.run(EXPLAIN_SIGNATURE, batch.inputs)
    except MODEL_ERRORS:
        return single
    same = rebuilt.keys() == original.keys() and all(
        np.allclose(rebuilt[k], original[k], rtol=_SAME, atol=_SAME) for k in original
    )
    return double if same else single


def _predictions(runner: KerasRunner, samples: Samples) -> dict[str, np.ndarray]:
    """The predictions for the first batch, once the model was seen to take all of them."""
    try:
        predictions = [runner.run(PREDICT_SIGNATURE, batch.inputs) for batch in samples.batches]
    except MODEL_ERRORS as error:
        raise SamplesError(
            f"The model must be able to compute the inputs that it is checked on. With {samples.origin} inputs it "
            f"failed: {error} "
            "Give real ones (`--samples FILE.npz`, one array for each input, examples first)."
        ) from error
    return predictions[0]
