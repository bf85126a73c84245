import dataclasses
import json

import pytest

from models.errors import TrainingConfigError
from models.training import TrainingConfig


def config(**options):
    return TrainingConfig(architecture="cnn", data="digits", **options)


@pytest.mark.parametrize(
    ("name", "value", "bounds"),
    [
        ("epochs", 0, ">= 1"),
        ("batch_size", -1, ">= 1"),
        ("seed", -1, r"in \[0, 2\*\*31\)"),
        ("split_seed", 2**31, r"in \[0, 2\*\*31\)"),
        ("initializer", "ones", "one of he_normal, he_uniform, glorot_normal, glorot_uniform"),
        ("optimizer", "rmsprop", "one of sgd, adam, adamw, lion"),
        ("learning_rate", 0.0, "> 0 or None"),
        ("momentum", 1.0, r"in \[0, 1\)"),
        ("weight_decay", -0.1, ">= 0 or None"),
        ("schedule", "step", "one of cosine, constant"),
        ("warmup_epochs", -1, ">= 0"),
        ("clip_norm", 0, "> 0 or None"),
        ("l1", -1, ">= 0"),
        ("l2", float("nan"), ">= 0"),
        ("dropout", 1.0, r"in \[0, 1\) or None"),
        ("shift", 1.0, r"in \[0, 1\)"),
        ("rotation", -5, ">= 0"),
        ("early_stopping", 0, ">= 1 or None"),
        ("class_weights", "yes", "one of none, balanced"),
        ("label_smoothing", 1.5, r"in \[0, 1\)"),
        ("precision", "float64", "one of float32, mixed_float16, mixed_bfloat16"),
        ("strategy", "tpu", "one of none, mirrored, multi_worker_mirrored"),
    ],
)
def test_a_value_out_of_bounds_is_refused_with_the_bounds(name, value, bounds):
    with pytest.raises(TrainingConfigError, match=rf"`{name}` must be {bounds}. Received: {name}={value!r}$"):
        config(**{name: value})


@pytest.mark.parametrize(
    ("optimizer", "learning_rate", "decay"),
    [("sgd", 0.05, 0), ("adam", 1e-3, 0), ("adamw", 1e-3, 0.01), ("lion", 2e-4, 0.05)],
)
def test_each_optimizer_has_its_own_defaults_and_explicit_values_win(optimizer, learning_rate, decay):
    usual = config(optimizer=optimizer)
    assert (usual.peak_learning_rate, usual.decay) == (learning_rate, decay)
    explicit = config(optimizer=optimizer, learning_rate=0.5, weight_decay=0.0)
    assert (explicit.peak_learning_rate, explicit.decay) == (0.5, 0.0)


def test_json_gives_back_the_same_options():
    original = config(architecture_options={"filters": (8, 16)}, dropout=0.25)
    content = original.as_json()
    assert json.loads(json.dumps(content)) == content
    assert TrainingConfig(**content).as_json() == content


def test_every_option_has_a_text_for_the_command_line():
    for option in dataclasses.fields(TrainingConfig):
        assert option.metadata["help"]
        assert option.metadata["choices"] is None or option.default in option.metadata["choices"]
