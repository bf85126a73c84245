"""Gradient times input from a bundle's SavedModel alone: the forward graph of a signature is differentiable."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import tensorflow as tf

from serving.types import EXPLAIN_TARGET_SIGNATURE
from whyserve.errors import CommandError


class GradientTimesInput:
    """The derivative of the explained score by each input, times the input (Shrikumar et al. 2016).

    The score is `explained_value`, the one that the bundle explains: the logit where there is one.

    Args:
        bundle: The bundle's folder.

    Raises:
        CommandError: The SavedModel can't be loaded.
    """

    def __init__(self, bundle: Path) -> None:
        try:
            with tf.device("/CPU:0"):
                self._root = tf.saved_model.load(str(bundle))  # owns the variables
        except (OSError, ValueError, tf.errors.OpError) as error:
            raise CommandError(f"The SavedModel in {bundle} can't be loaded: {error}") from error
        self._signature = self._root.signatures[EXPLAIN_TARGET_SIGNATURE]

    def attributions(self, inputs: Mapping[str, np.ndarray], targets: np.ndarray) -> dict[str, np.ndarray]:
        """For each input of floating numbers its attribution, in its shape.

        Args:
            inputs: Arrays by input name, batch first.
            targets: `(batch,) int32`.

        Raises:
            CommandError: TensorFlow has no derivative of one of the model's operations.
        """
        tensors = {name: tf.constant(array) for name, array in inputs.items()}
        watched = {name: tensor for name, tensor in tensors.items() if tensor.dtype.is_floating}
        try:
            with tf.GradientTape() as tape:
                tape.watch(watched)
                value = self._signature(**tensors, target=tf.constant(targets))["explained_value"]
            gradients = tape.gradient(value, watched, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        except (LookupError, ValueError, tf.errors.OpError) as error:
            raise CommandError(f"The score has no gradient: {error}") from error
        return {name: gradients[name].numpy() * inputs[name] for name in watched}
