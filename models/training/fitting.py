"""Fits a model: builds it under the strategy, continues where the state says, returns it with its best weights."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from models.architecture import Architecture, LayerOptions
from models.data.dataset import DataSet, Examples
from models.progress import Progress
from models.training.callbacks import ProgressReport, StateKeeper
from models.training.config import TrainingConfig
from models.training.optimizers import build_optimizer
from models.training.pipeline import balanced_class_weights, evaluation_batches, num_steps, training_batches
from models.training.random_states import restore_random_states
from models.training.state import TrainingState, weights_file
from models.training.strategies import DistributedModel, build_strategy

EVALUATION_BATCH_SIZE = 256


def fit(
    architecture: Architecture,
    data: DataSet,
    config: TrainingConfig,
    *,
    folder: Path,
    state: TrainingState,
    progress: Progress,
) -> tuple[Any, TrainingState]:
    """Trains until `config` is satisfied.

    Args:
        architecture: What is built.
        data: Training and validation set.
        config: How.
        folder: Of the checkpoints.
        state: How far the training came before.
        progress: Told of batches and epochs.

    Returns:
        An uncompiled model that computes in float32, with the weights that are kept, and the final state.

    Raises:
        TrainingDivergedError: The loss is not finite.
    """
    keras.utils.set_random_seed(config.seed)
    steps = num_steps(len(data.train), config.batch_size)
    strategy = build_strategy(config.strategy)
    keeper = StateKeeper(folder, state, config)
    with _precision(config.precision), strategy.scope():
        layers = _build(architecture, data, config)
    model = layers if config.strategy == "none" else DistributedModel(layers.inputs, layers.outputs)
    with strategy.scope():
        _compile(model, config, steps)
        if state.epochs:
            model.load_weights(weights_file(folder, state.epochs))
            restore_random_states(model, state.random_states)
        if not state.is_finished(config.epochs, config.early_stopping):
            model.fit(
                training_batches(data, config, first_epoch=state.epochs, class_weights=_class_weights(data, config)),
                validation_data=evaluation_batches(data.validation, len(data.class_labels), EVALUATION_BATCH_SIZE),
                initial_epoch=state.epochs,
                epochs=config.epochs,
                steps_per_epoch=steps,
                shuffle=False,  # the batches come shuffled
                callbacks=[keeper, ProgressReport(progress, config.epochs)],
                verbose=0,
            )
        model.load_weights(weights_file(folder, kept_epoch(keeper.state, config)))
    # Without the strategy, the optimizer and mixed precision: what is saved runs anywhere.
    final = _build(architecture, data, config)
    final.set_weights(model.get_weights())
    return final, keeper.state


def kept_epoch(state: TrainingState, config: TrainingConfig) -> int:
    """The epoch whose weights are kept, counted from 1."""
    return state.best_epoch if config.restore_best else state.epochs


def _build(architecture: Architecture, data: DataSet, config: TrainingConfig) -> Any:
    layers = LayerOptions(
        initializer=config.initializer,
        dropout=architecture.dropout if config.dropout is None else config.dropout,
        batch_normalization=config.batch_normalization,
        l1=config.l1,
        l2=config.l2,
    )
    return architecture.build(data.task, layers, **config.architecture_options)


def _compile(model: Any, config: TrainingConfig, steps_per_epoch: int) -> None:
    model.compile(
        optimizer=build_optimizer(config, steps_per_epoch),
        # Keras finds the logits before the softmax and computes the loss from them.
        loss=keras.losses.CategoricalCrossentropy(label_smoothing=config.label_smoothing),
        metrics=[keras.metrics.CategoricalAccuracy(name="accuracy")],
    )
    model.optimizer.build(model.trainable_variables)


def _class_weights(data: DataSet, config: TrainingConfig) -> Any:
    if config.class_weights == "balanced":
        return balanced_class_weights(data.train.labels, len(data.class_labels))
    return None


@contextmanager
def _precision(policy: str) -> Iterator[None]:
    """Keras' global policy while a model is built, and the one before it afterwards."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def predict(model: Any, examples: Examples) -> npt.NDArray[np.float32]:
    """Probabilities `(examples, num_classes) float32`."""
    batches = evaluation_batches(examples, model.output_shape[-1], EVALUATION_BATCH_SIZE)
    return model.predict(batches, verbose=0)
