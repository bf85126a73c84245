import dataclasses
import re
import signal
import socket
import subprocess
import sys

import click
import pytest

from serving.config.without_effect import WITHOUT_EFFECT
from serving.options import ServerOptions
from whyserve.cli import main
from whyserve.commands import serve

HEAVY = {"tensorflow", "keras", "grpc", "rich", "matplotlib", "sklearn", "httpx", "PIL"}


@pytest.fixture
def parsed(monkeypatch):
    """Runs `serve` with flags up to the point where the server would start, and gives its options."""

    def parse(*flags):
        found = []
        monkeypatch.setattr(serve, "check_options", lambda options: found.append(options) or refuse())
        main(["serve", *flags])
        return found[0]

    def refuse():
        raise serve.OptionsError("parsed")

    return parse


def test_there_is_a_flag_for_every_option_and_no_other():
    flags = {parameter.name for parameter in serve.command.params}
    assert flags == {field.name for field in dataclasses.fields(ServerOptions)} | WITHOUT_EFFECT.keys() | {"version"}


def test_the_help_has_every_flag_once_under_a_heading(capsys):
    assert main(["serve", "--help"]) == 0
    text = capsys.readouterr().out
    for parameter in serve.command.params:
        assert len(re.findall(rf"^  --{parameter.name}\b", text, re.MULTILINE)) == 1, parameter.name
    assert text.index("What is served:") < text.index("--model_config_file ") < text.index("Ports:")
    grouped = [name for names in serve.GROUPS.values() for name in names]
    assert len(grouped) == len(set(grouped))


def test_the_versions_are_shown_and_nothing_is_started(capsys):
    assert main(["serve", "--version"]) == 0
    assert capsys.readouterr().out.startswith("Whyserve ModelServer: ")


def test_an_empty_path_is_none(parsed):
    assert parsed("--model_config_file=", "--batching_parameters_file=") == ServerOptions()


def test_the_flags_that_were_given_reach_the_server(monkeypatch):
    found = []

    def start(_options, *, given):
        found.extend(given)
        return 0

    monkeypatch.setattr("serving.server.serve", start)
    assert main(["serve", "--model_base_path=/m", "--skip_initialize_tpu", "--saved_model_tags=serve,gpu"]) == 0
    assert sorted(found) == ["model_base_path", "saved_model_tags", "skip_initialize_tpu"]


def test_every_flag_says_what_it_is_for():
    assert all(parameter.help for parameter in serve.command.params if isinstance(parameter, click.Option))


def test_defaults_are_those_of_the_options(parsed):
    assert parsed() == ServerOptions()


def test_flags_are_written_as_tensorflow_model_server_takes_them(parsed):
    options = parsed(
        "--port=1", "--rest_api_port=2", "--model_name=m", "--model_base_path=/models/m", "--max_wait_ms=0.5"
    )
    expected = ServerOptions(port=1, rest_api_port=2, model_name="m", model_base_path="/models/m", max_wait_ms=0.5)
    assert options == expected


def test_dashes_mean_the_same(parsed):
    assert parsed("--rest-api-port=7", "--engine=tensorflow") == ServerOptions(rest_api_port=7, engine="tensorflow")


@pytest.mark.parametrize(
    ("flag", "value"),
    [("--enable_batching", True), ("--enable_batching=true", True), ("--enable_batching=false", False)],
)
def test_a_boolean_stands_bare_or_with_a_value(parsed, flag, value):
    assert parsed(flag, "--port=3") == ServerOptions(enable_batching=value, port=3)


def test_a_negative_number_is_a_value(parsed):
    assert parsed("--file_system_poll_wait_seconds=-1").file_system_poll_wait_seconds == -1


@pytest.mark.parametrize(
    "flags",
    [
        ["--no_such_flag=1"],
        ["--port=many"],
        [],
        ["--model_base_path=/m", "--max_batch_size=0"],
        ["--enable_batching=x"],
    ],
)
def test_wrong_flags_are_wrong_usage(flags, capsys):
    assert main(["serve", *flags]) == 2
    assert "Error: " in capsys.readouterr().err


def test_a_missing_model_is_status_1_with_one_message(tmp_path):
    flags = [f"--model_base_path={tmp_path / 'nothing'}", "--port=0", f"--rest_api_port={free_port()}"]
    result = run(*flags)
    assert result.returncode == 1
    assert "nothing" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_configuration_that_is_none_is_status_1_with_one_line(tmp_path):
    path = tmp_path / "bad_model_config.txt"
    path.write_text("improperly formatted file")
    result = run(f"--model_config_file={path}", "--flush_filesystem_caches")
    assert result.returncode == 1
    note, error = result.stderr.splitlines()
    assert "--flush_filesystem_caches has no effect here: " in note
    assert error.startswith(f"whyserve: Invalid protobuf file: '{path}'. Error parsing text-format ")


@pytest.mark.slow
def test_a_port_in_use_is_status_1_with_one_message(repository):
    with socket.socket() as taken:
        taken.bind(("", 0))
        taken.listen()
        port = taken.getsockname()[1]
        result = run(f"--model_base_path={repository / 'digits'}", "--port=0", f"--rest_api_port={port}")
    assert result.returncode == 1
    assert str(port) in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_server_of_onnx_imports_nothing_heavy_and_ends_with_status_0(repository, number):
    """`-X importtime` lists what was imported while it started, served its model and drained."""
    port = free_port()
    flags = [f"--model_base_path={repository / 'digits'}", "--model_name=digits", f"--port={free_port()}"]
    command = [sys.executable, "-X", "importtime", "-m", "whyserve", "serve", *flags, f"--rest_api_port={port}"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        lines = []
        for line in process.stderr:
            lines.append(line)
            if "Ready" in line:
                process.send_signal(number)
        assert process.wait(30) == 0
    modules = {line.rpartition("|")[2].strip().partition(".")[0] for line in lines if line.startswith("import time:")}
    assert {"onnxruntime", "serving", "hpack"} <= modules
    assert not modules & HEAVY


def run(*flags):
    command = [sys.executable, "-m", "whyserve", "serve", *flags]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def free_port():
    with socket.socket() as probe:
        probe.bind(("", 0))
        return probe.getsockname()[1]
