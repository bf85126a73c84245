import pytest

from models.recipes import recipe
from models.training.config import TrainingConfig
from whyserve.cli import main
from whyserve.commands import train


def config(*arguments):
    """The configuration that a command line means."""
    with train.command.make_context("train", list(arguments)) as ctx:
        params = dict(ctx.params)
        names = ("architecture", "data", "recipe", "architecture_options")
        for name in ("out", "overwrite", "as_json"):
            params.pop(name)
        return train.training_config(*(params.pop(name) for name in names), params)


def test_defaults_are_those_of_the_configuration():
    assert config("cnn", "--data", "digits") == TrainingConfig(architecture="cnn", data="digits")


def test_every_option_reaches_the_configuration():
    options = ("--batch-size", "256", "--clip-norm", "none", "--dropout", "0.25", "--flip", "--no-restore-best")
    found = config(
        "mlp", "--data", "digits", *options, "--optimizer", "lion", "--option", "units=[8]", "--option", "x=y"
    )
    assert found == TrainingConfig(
        architecture="mlp",
        data="digits",
        batch_size=256,
        clip_norm=None,
        dropout=0.25,
        flip=True,
        restore_best=False,
        optimizer="lion",
        architecture_options={"units": [8], "x": "y"},
    )


def test_a_recipe_gives_what_the_command_line_does_not():
    expected = recipe("cnn-fashion_mnist").config
    assert config("--recipe", "cnn-fashion_mnist") == expected
    found = config("--recipe", "cnn-fashion_mnist", "--epochs", "1", "--seed", "5")
    assert (found.architecture, found.data, found.batch_size) == (
        expected.architecture,
        expected.data,
        expected.batch_size,
    )
    assert (found.epochs, found.seed) == (1, 5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "Expected ARCHITECTURE"),
        (("cnn",), "Expected --data NAME"),
        (("cnn", "--data", "digits", "--option", "units"), "NAME=VALUE"),
        (("cnn", "--data", "digits", "--clip-norm", "much"), "--clip-norm"),
        (("cnn", "--data", "digits", "--optimizer", "best"), "--optimizer"),
    ],
)
def test_wrong_usage_says_what_was_expected(arguments, message, capsys):
    assert main(["train", *arguments]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("no_such_net", "--data", "digits"), "Unknown architecture"),
        (("--recipe", "no_such_recipe"), "Unknown recipe"),
        (("cnn", "--data", "digits", "--epochs", "0"), "`epochs` must be >= 1"),
        (("cnn", "--data", "digits", "--option", "colour=1"), "no option 'colour'"),
    ],
)
def test_what_training_refuses_is_status_1(arguments, message, capsys, tmp_path):
    assert main(["train", *arguments, "--out", str(tmp_path / "run")]) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run" / "run.json").exists()
