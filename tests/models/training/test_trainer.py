import json

import keras
import numpy as np
import pytest
from sklearn.metrics import accuracy_score, log_loss

from models import data
from models.errors import ModelsError, RunFolderError, TrainingConfigError
from models.progress import SilentProgress
from models.run_folder import RESULT_FILES, read_record
from models.training import TrainingConfig, train


class Recorder(SilentProgress):
    def __init__(self):
        self.messages, self.steps = [], []

    def message(self, text):
        self.messages.append(text)

    def step(self, label, done, total):
        self.steps.append((label, done, total))


def config(**options):
    return TrainingConfig(**{"architecture": "cnn", "data": "digits", "epochs": 3, "batch_size": 128, **options})


def test_a_run_folder_holds_what_was_trained(tmp_path):
    progress = Recorder()
    result = train(config(), tmp_path / "run", progress)
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == sorted([*RESULT_FILES, "run.json"])

    digits = data.dataset("digits").load(0, SilentProgress())
    record = read_record(tmp_path / "run")
    assert record == result.record
    assert record.data["digest"] == digits.digest()
    assert record.data["sizes"] == {"train": 1257, "validation": 180, "test": 360}
    assert record.config == config().as_json()
    assert (record.seed, record.epochs, record.input_name) == (0, 3, "image")
    assert record.packages["keras"] == keras.__version__
    assert record.class_labels == list("0123456789")

    # The saved model takes raw pixels and reaches the figures of metrics.json, computed here anew.
    model = keras.models.load_model(tmp_path / "run" / "model.keras", safe_mode=True)
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert metrics == result.metrics
    for part, figures in ((digits.test, metrics), (digits.validation, metrics["validation"])):
        probabilities = np.asarray(model(part.images.astype(np.float32)), np.float64)
        probabilities /= probabilities.sum(axis=1, keepdims=True)
        assert figures["accuracy"] == pytest.approx(
            accuracy_score(part.labels, probabilities.argmax(axis=1)), abs=1 / 180
        )
        assert figures["loss"] == pytest.approx(log_loss(part.labels, probabilities), rel=1e-4)
    assert metrics["accuracy"] > 0.8  # three epochs; a tenth is chance

    history = json.loads((tmp_path / "run" / "history.json").read_text())
    assert {len(values) for values in history.values()} == {3}
    assert sorted(history) == ["accuracy", "learning_rate", "loss", "val_accuracy", "val_loss"]
    assert history["val_loss"][record.best_epoch - 1] == min(history["val_loss"])

    with np.load(tmp_path / "run" / "samples.npz") as samples:
        assert samples["image"].shape == (32, 8, 8, 1)
        held_out = {image.tobytes() for image in digits.test.images.astype(np.float32)}
        assert all(image.tobytes() in held_out for image in samples["image"])

    assert [step for step in progress.steps if step[0] == "epoch 2/3"] == [("epoch 2/3", n, 10) for n in range(1, 11)]
    assert any(text.startswith("epoch 3/3  accuracy 0.") for text in progress.messages)


def test_one_seed_gives_one_model_and_another_seed_another(tmp_path):
    options = {"epochs": 2, "shift": 0.05, "class_weights": "balanced", "label_smoothing": 0.1}
    losses = [
        train(config(**options, seed=seed), tmp_path / name).metrics["loss"]
        for name, seed in (("a", 5), ("b", 5), ("c", 6))
    ]
    assert losses[0] == losses[1]
    assert losses[0] != losses[2]


@pytest.mark.parametrize(
    "options",
    [
        {"precision": "mixed_float16", "batch_normalization": True},
        {"precision": "mixed_bfloat16"},
        {"strategy": "mirrored", "batch_normalization": True},
        {"optimizer": "lion", "learning_rate": 1e-3, "initializer": "glorot_uniform", "l1": 1e-6, "l2": 1e-5},
        {"optimizer": "sgd", "architecture": "mlp", "architecture_options": {"units": [128]}, "dropout": 0.1},
    ],
    ids=lambda options: "-".join(str(value) for value in options.values()),
)
def test_every_practice_learns_and_leaves_a_float32_model(tmp_path, options):
    policy = keras.config.dtype_policy().name
    result = train(config(epochs=4, batch_size=64, **options), tmp_path / "run")
    assert result.metrics["accuracy"] > 0.8
    model = keras.models.load_model(tmp_path / "run" / "model.keras")
    assert {layer.compute_dtype for layer in model.layers} == {"float32"}
    assert getattr(model, "optimizer", None) is None
    assert keras.config.dtype_policy().name == policy


def test_early_stopping_keeps_the_best_weights(tmp_path):
    # So large a rate that the validation loss rises again soon.
    options = {"epochs": 40, "learning_rate": 0.02, "schedule": "constant", "early_stopping": 2}
    result = train(config(**options), tmp_path / "run")
    record = result.record
    assert record.epochs == record.best_epoch + 2 < 40
    assert record.kept_epoch == record.best_epoch
    history = json.loads((tmp_path / "run" / "history.json").read_text())
    # The validation loss of the kept weights, computed anew by scikit-learn in float64.
    assert result.metrics["validation"]["loss"] == pytest.approx(history["val_loss"][record.best_epoch - 1], rel=1e-3)


def test_the_last_weights_are_kept_where_asked(tmp_path):
    result = train(config(restore_best=False), tmp_path / "run")
    history = json.loads((tmp_path / "run" / "history.json").read_text())
    assert result.record.kept_epoch == 3
    assert result.metrics["validation"]["loss"] == pytest.approx(history["val_loss"][-1], rel=1e-3)


def test_a_training_that_diverges_is_refused(tmp_path):
    # One step throws the kernels to about 1e25, whose squares are more than float32 holds.
    options = config(optimizer="sgd", learning_rate=1e25, l2=1.0, clip_norm=None, warmup_epochs=0, schedule="constant")
    with pytest.raises(ModelsError, match=r"Training diverged in epoch 1: .*Lower `learning_rate`, set `clip_norm`"):
        train(options, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_wrong_option_leaves_nothing(tmp_path):
    with pytest.raises(TrainingConfigError, match=r"`units` must be one or more whole numbers"):
        train(config(architecture_options={"units": -5}), tmp_path / "run")
    with pytest.raises(TrainingConfigError, match=r"no option 'depth'"):
        train(config(architecture_options={"depth": 5}), tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


def test_a_finished_run_is_replaced_only_where_asked(tmp_path):
    train(config(epochs=1), tmp_path / "run")
    with pytest.raises(RunFolderError, match="holds a finished run already"):
        train(config(epochs=2), tmp_path / "run")
    assert train(config(epochs=2), tmp_path / "run", overwrite=True).record.epochs == 2


@pytest.mark.slow
def test_the_convolutional_network_reads_97_of_100_digits(tmp_path):
    from models import recipes

    assert train(recipes.recipe("cnn-digits").config, tmp_path / "run").metrics["accuracy"] >= 0.97
