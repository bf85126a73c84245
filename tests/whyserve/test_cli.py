import json
import subprocess
import sys

import pytest

from whyserve import __version__
from whyserve.cli import COMMANDS, INTERRUPTED, main
from whyserve.commands import list as list_command

HEAVY = ("tensorflow", "keras", "onnxruntime", "grpc", "rich", "matplotlib", "sklearn", "httpx", "PIL")


def imported_after(*arguments):
    """The heavy packages that a process has imported once the command is done."""
    code = (
        "import sys\n"
        "from whyserve.cli import main\n"
        f"status = main({list(arguments)!r})\n"
        f"print(status, *(name for name in {HEAVY!r} if name in sys.modules), file=sys.stderr)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return result.stderr.splitlines()[-1].split()


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_every_command_shows_an_example(command, capsys):
    assert main([command, "--help"]) == 0
    shown = capsys.readouterr().out
    assert f"\nExamples:\n  whyserve {command}" in shown


def test_help_lists_every_command(capsys):
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    assert all(f"\n  {command} " in shown for command in COMMANDS)


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"whyserve, version {__version__}\n"


def test_the_package_runs_as_a_module():
    result = subprocess.run([sys.executable, "-m", "whyserve", "--version"], capture_output=True, text=True, check=True)
    assert result.stdout.strip().endswith(__version__)


@pytest.mark.parametrize("arguments", [["--help"], ["serve", "--help"], ["demo", "--help"]])
def test_help_imports_nothing_heavy(arguments):
    assert imported_after(*arguments) == ["0"]


def test_list_imports_no_framework():
    assert imported_after("list", "--json") == ["0"]


def test_importtime_shows_no_framework_behind_serve():
    command = [sys.executable, "-X", "importtime", "-m", "whyserve", "serve", "--help"]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    modules = {line.rpartition("|")[2].strip() for line in result.stderr.splitlines()}
    assert "serving.options" in modules
    assert not modules & set(HEAVY)


@pytest.mark.parametrize("arguments", [["fly"], ["train", "cnn", "--epochs", "many"], ["export", "x"], []])
def test_wrong_usage_is_status_2_and_goes_to_stderr(arguments, capsys):
    assert main(arguments) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "Usage: whyserve" in printed.err


def test_failed_work_is_status_1_and_one_message_without_a_traceback(capsys, tmp_path):
    assert main(["train", "cnn", "--data", "no_such_data", "--out", str(tmp_path / "run")]) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.strip().startswith("Error: Unknown data set. Received: 'no_such_data'. Known: ")
    assert "Traceback" not in printed.err


def test_debug_shows_the_traceback(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("WHYSERVE_DEBUG", "1")
    assert main(["train", "cnn", "--data", "no_such_data", "--out", str(tmp_path / "run")]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_an_unexpected_error_is_named_with_its_type(capsys, monkeypatch):
    def fail():
        raise KeyError("lost")

    monkeypatch.setattr(list_command, "_found", fail)
    assert main(["list"]) == 1
    assert capsys.readouterr().err.startswith("Error: KeyError: 'lost'\nSet WHYSERVE_DEBUG=1")


def test_a_package_that_is_left_out_is_named(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "rich.console", None)
    assert main(["list"]) == 1
    assert "needs the package 'rich'" in capsys.readouterr().err


def test_an_interrupt_is_told_without_a_traceback(capsys, monkeypatch):
    def interrupt():
        raise KeyboardInterrupt

    monkeypatch.setattr(list_command, "_found", interrupt)
    assert main(["list"]) == INTERRUPTED
    assert "Interrupted." in capsys.readouterr().err


def test_list_shows_architectures_data_sets_and_recipes(capsys):
    assert main(["list", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {"mlp", "cnn"} <= {entry["name"] for entry in found["architectures"]}
    assert {"digits", "fashion_mnist", "cifar10"} <= {entry["name"] for entry in found["data_sets"]}
    assert found["recipes"]


def test_list_is_a_table_in_the_terminal(capsys):
    assert main(["list"]) == 0
    shown = capsys.readouterr().out
    assert "architectures" in shown
    assert "fashion_mnist" in shown
