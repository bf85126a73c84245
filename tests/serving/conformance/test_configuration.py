"""Every way by which `tensorflow_model_server` is configured: its flags, its files, its error texts, one a row."""

import asyncio
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from serving.config.batching import read_batching_parameters
from serving.config.model_list import read_model_config_file
from serving.config.without_effect import WITHOUT_EFFECT, explain_without_effect
from serving.errors import Code, ServingError, StartError
from serving.options import OptionsError, ServerOptions, check_options
from serving.protos import get_model_status_pb2, model_management_pb2, model_server_config_pb2
from serving.server import Server
from tests.serving.bundles import FEATURES, kernel_of, softmax, write_bundle
from tests.serving.config.configs import list_message, list_text, model_text
from tests.serving.grpc.servers import open_server
from whyserve.cli import main
from whyserve.commands import serve

RELOAD = "HandleReloadConfigRequest"
SERVICE = "tensorflow.serving.ModelService"
X = np.arange(FEATURES, dtype=np.float32).reshape(1, FEATURES) / 10

# Flag, a value as a script would give it, and what it comes to; a flag without effect comes to a line that says why.
NO_EFFECT = object()
FLAGS = [
    ("port", "8500", 8500),
    ("grpc_socket_path", "/run/serving.sock", "/run/serving.sock"),
    ("rest_api_port", "8501", 8501),
    ("rest_api_num_threads", "16", NO_EFFECT),
    ("rest_api_timeout_in_ms", "30000", 30_000),
    ("rest_api_enable_cors_support", "true", True),
    ("model_name", "half_plus_two", "half_plus_two"),
    ("model_base_path", "/models/m", "/models/m"),
    ("model_config_file", "/models/models.config", Path("/models/models.config")),
    ("model_config_file_poll_wait_seconds", "60", 60),
    ("file_system_poll_wait_seconds", "-1", -1),
    ("num_load_threads", "4", 4),
    ("num_unload_threads", "2", 2),
    ("max_num_load_retries", "0", 0),
    ("load_retry_interval_micros", "60000000", 60_000_000),
    ("flush_filesystem_caches", "false", NO_EFFECT),
    ("allow_version_labels_for_unavailable_models", "true", True),
    ("enable_batching", "true", True),
    ("batching_parameters_file", "/models/batching.config", Path("/models/batching.config")),
    ("enable_per_model_batching_parameters", "true", True),
    ("enable_model_warmup", "false", False),
    ("num_request_iterations_for_warmup", "5", 5),
    ("monitoring_config_file", "/models/monitoring.config", Path("/models/monitoring.config")),
    ("ssl_config_file", "/models/ssl.config", Path("/models/ssl.config")),
    ("use_alts_credentials", "false", False),
    ("grpc_channel_arguments", "grpc.max_connection_age_ms=2000", "grpc.max_connection_age_ms=2000"),
    ("grpc_max_threads", "8", 8),
    ("enable_grpc_healthcheck_service", "true", True),
    ("enable_profiler", "false", NO_EFFECT),
    ("saved_model_tags", "serve,gpu", "serve,gpu"),
    ("tensorflow_session_parallelism", "2", 2),
    ("tensorflow_intra_op_parallelism", "2", 2),
    ("tensorflow_inter_op_parallelism", "2", 2),
    ("tensorflow_session_config_file", "/models/session.config", Path("/models/session.config")),
    ("platform_config_file", "/models/platform.config", NO_EFFECT),
    ("thread_pool_factory_config_file", "/models/pool.config", NO_EFFECT),
    ("per_process_gpu_memory_fraction", "0.5", 0.5),
    ("prefer_tflite_model", "true", NO_EFFECT),
    ("num_tflite_pools", "2", NO_EFFECT),
    ("num_tflite_interpreters_per_pool", "1", NO_EFFECT),
    ("enable_signature_method_name_check", "true", True),
    ("remove_unused_fields_from_bundle_metagraph", "false", NO_EFFECT),
    ("enable_serialization_as_tensor_content", "true", True),
    ("mixed_precision", "bfloat16", "bfloat16"),
    ("xla_cpu_compilation_enabled", "true", True),
    ("xla_gpu_compilation_enabled", "true", True),
    ("skip_initialize_tpu", "true", NO_EFFECT),
]


@pytest.fixture
def started_with(monkeypatch):
    """Runs `whyserve serve` up to the point where the server would start."""

    def start(*flags: str) -> tuple[ServerOptions, list[str]]:
        found: list[Any] = []
        monkeypatch.setattr(serve, "check_options", lambda _: None)
        monkeypatch.setattr("serving.server.serve", lambda options, *, given: found.append((options, given)) or 0)
        assert main(["serve", *flags]) == 0
        return found[0]

    return start


@pytest.mark.parametrize(("name", "text", "value"), FLAGS, ids=[row[0] for row in FLAGS])
def test_every_flag_is_taken_and_acts_or_says_why_not(started_with, name, text, value):
    options, given = started_with(f"--{name}={text}")
    assert given == [name]
    if value is NO_EFFECT:
        (line,) = explain_without_effect(options, given)
        assert line.startswith(f"--{name} has no effect here: ")
    else:
        assert getattr(options, name) == value


@pytest.mark.parametrize("name", [name for name, text, _ in FLAGS if text in ("true", "false")])
def test_a_boolean_flag_may_stand_bare(started_with, name):
    options, _ = started_with(f"--{name}", "--port=8500")
    assert name in WITHOUT_EFFECT or getattr(options, name) is True


NUMBERS = [
    name
    for name, _, value in FLAGS
    if type(value) in (int, float) or (value is NO_EFFECT and WITHOUT_EFFECT[name].kind is int)
]


@pytest.mark.parametrize("name", NUMBERS)
def test_a_value_that_is_no_number_is_wrong_usage(name, capsys):
    assert main(["serve", f"--{name}=many"]) == 2
    assert f"Invalid value for '--{name}'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flag", "engine", "says"),
    [
        ("tensorflow_session_parallelism", "onnxruntime", ["--tensorflow_session_parallelism has no effect with "]),
        ("tensorflow_session_parallelism", "tensorflow", []),
        ("saved_model_tags", "onnxruntime", ["--saved_model_tags has no effect with --engine=onnxruntime: a bundle's"]),
        ("port", "onnxruntime", []),
    ],
)
def test_what_acts_on_tensorflow_alone_says_so_elsewhere(flag, engine, says):
    lines = explain_without_effect(ServerOptions(engine=engine), [flag])
    assert [line.startswith(start) for line, start in zip(lines, says, strict=True)] == [True] * len(says)


def test_what_a_file_says_in_place_of_a_flag_is_told():
    options = ServerOptions(model_config_file=Path("m"), batching_parameters_file=Path("b"))
    assert explain_without_effect(options, ["model_name", "max_batch_size", "max_wait_ms"]) == [
        "--max_batch_size has no effect beside --batching_parameters_file, which says it.",
        "--model_name has no effect beside --model_config_file, which says it.",
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"batching_parameters_file": Path("b")},
            "server_options.batching_parameters_file is set without setting server_options.enable_batching to true.",
        ),
        (
            {"enable_per_model_batching_parameters": True},
            (
                "server_options.enable_per_model_batching_parameters is set without setting "
                "server_options.enable_batching to true."
            ),
        ),
        (
            {f"tensorflow_{kind}_parallelism": 2 for kind in ("session", "intra_op", "inter_op")},
            (
                "Either configure server_options.tensorflow_session_parallelism or "
                "(server_options.tensorflow_intra_op_parallelism, server_options.tensorflow_inter_op_parallelism) "
                "separately. You cannot configure all."
            ),
        ),
    ],
)
def test_flags_that_contradict_one_another_are_refused_in_tensorflow_servings_words(options, message):
    with pytest.raises(OptionsError) as refused:
        check_options(ServerOptions(model_base_path="/m", **options))
    assert str(refused.value) == message


def start_error(**options: Any) -> str:
    with pytest.raises(StartError) as refused:
        Server(ServerOptions(**options))
    return str(refused.value)


def test_a_file_that_is_no_configuration_ends_the_start_with_its_place(tmp_path):
    path = tmp_path / "bad_model_config.txt"
    path.write_text("improperly formatted file")
    message = start_error(model_config_file=path)
    assert message.startswith(
        f"Invalid protobuf file: '{path}'. Error parsing text-format tensorflow.serving.ModelServerConfig: 1:1: "
    )


@pytest.mark.parametrize("text", ["", "# models come by HandleReloadConfigRequest", "model_config_list {}"])
def test_a_file_that_lists_nothing_starts_a_server_without_models(tmp_path, text):
    path = tmp_path / "models.config"
    path.write_text(text)
    assert Server(ServerOptions(model_config_file=path)).manager.configs() == {}


SIZES = "Last entry in allowed_batch_sizes must match max_batch_size; last entry was 4; expected 8"


def test_batching_parameters_that_contradict_themselves_end_the_start(tmp_path):
    path = tmp_path / "batching.config"
    path.write_text("max_batch_size { value: 8 } allowed_batch_sizes: 2 allowed_batch_sizes: 4")
    with pytest.raises(ServingError) as refused:
        read_batching_parameters(path)
    assert refused.value.message == SIZES
    flags = {"enable_batching": True, "batching_parameters_file": path}
    assert start_error(model_repository=repository(tmp_path), **flags) == SIZES


def repository(tmp_path: Path) -> Path:
    if not (tmp_path / "models").exists():
        write_bundle(tmp_path / "models" / "dense", 1)
    return tmp_path / "models"


BAD_LISTS = [
    (
        model_server_config_pb2.ModelServerConfig(),
        (
            "ServerModelConfig type not supported by HandleReloadConfigRequest. Only ModelConfigList is currently "
            "supported"
        ),
    ),
    (
        list_message({"name": "m", "base_path": "/m"}, {"name": "m", "base_path": "/n"}),
        "Illegal to list model m multiple times in config list",
    ),
    (
        list_message({"name": "m", "base_path": "models/m"}),
        "Expected model m to have an absolute path or URI; got base_path()=models/m",
    ),
    (
        list_message({"name": "m", "base_path": "/m", "model_platform": "caffe"}),
        "Model m requests unsupported platform caffe",
    ),
    (
        list_message({"name": "m", "base_path": "/m", "model_platform": ""}),
        (
            "Illegal setting neither ModelServerConfig::model_type (deprecated) nor ModelServerConfig::model_platform, "
            "model name is m"
        ),
    ),
    (
        list_message({"name": "m", "base_path": "/m", "model_type": 1}),
        "Illegal setting both ModelServerConfig::model_type (deprecated) and ModelServerConfig::model_platform.",
    ),
]


@pytest.mark.parametrize(("config", "message"), BAD_LISTS, ids=[message[:40] for _, message in BAD_LISTS])
def test_a_reload_that_cannot_be_is_refused_in_tensorflow_servings_words(tmp_path, config, message):
    repository(tmp_path)

    async def test(client):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await reload(client, config)
        assert (refused.value.code(), refused.value.details()) == (grpc.StatusCode.INVALID_ARGUMENT, message)
        assert await client.predict({"x": X}, name="dense")

    run(tmp_path, test)


@pytest.mark.parametrize(("config", "message"), BAD_LISTS[1:], ids=[message[:40] for _, message in BAD_LISTS[1:]])
def test_a_file_that_cannot_be_is_refused_in_the_same_words(tmp_path, config, message):
    path = tmp_path / "models.config"
    path.write_text(str(config))
    assert start_error(model_config_file=path) == message


def test_a_reload_cannot_change_the_platform(tmp_path):
    path = tmp_path / "models.config"
    base_path = repository(tmp_path) / "dense"
    path.write_text(list_text(model_text("dense", base_path).replace('"tensorflow"', '"onnxruntime"')))
    (config,) = read_model_config_file(path, platforms={"tensorflow", "onnxruntime"})

    async def test(client):
        message = (
            "Illegal to change a model's platform. For model dense platform was tensorflow and new platform requested "
            "is onnxruntime"
        )
        with pytest.raises(ServingError) as refused:
            await client.plane.administration._manager.reload([config])
        assert refused.value.message == message

    run(tmp_path, test)


def test_a_label_of_a_version_that_is_not_loaded_is_a_failed_precondition(tmp_path):
    base_path = repository(tmp_path) / "dense"

    async def test(client):
        config = list_message({"name": "dense", "base_path": str(base_path), "version_labels": {"stable": 7}})
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await reload(client, config)
        assert refused.value.code() == grpc.StatusCode.FAILED_PRECONDITION
        assert refused.value.details() == (
            "Request to assign label to version 7 of model dense, which is not currently available for inference"
        )

    run(tmp_path, test)


def test_a_reload_whose_new_model_cannot_be_loaded_is_unknown(tmp_path):
    broken = write_bundle(tmp_path / "broken", 1)
    (broken / "predict.onnx").write_bytes(b"no model" * 200)
    repository(tmp_path)

    async def test(client):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await reload(client, list_message({"name": "broken", "base_path": str(tmp_path / "broken")}))
        assert refused.value.code() == grpc.StatusCode.UNKNOWN
        assert refused.value.details().startswith(
            "1 model(s) did not become available: {{name: broken version: 1} due to error: "
        )

    run(tmp_path, test)


def test_a_reload_lists_a_version_without_a_model_as_ended(tmp_path):
    (tmp_path / "legacy" / "00000123").mkdir(parents=True)
    (tmp_path / "legacy" / "00000123" / "export.meta").write_bytes(b"a SessionBundle")
    repository(tmp_path)
    reason = f"{tmp_path / 'legacy' / '00000123'} holds nothing that the onnxruntime engine can load."

    async def test(client):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await reload(client, list_message({"name": "legacy", "base_path": str(tmp_path / "legacy")}))
        assert refused.value.details() == (
            f"1 model(s) did not become available: {{{{name: legacy version: 123}} due to error: {reason}, }}"
        )
        request = get_model_status_pb2.GetModelStatusRequest(model_spec={"name": "legacy"})
        (version,) = (await client.call("GetModelStatus", request)).model_version_status
        assert (version.version, version.state) == (123, version.END)
        assert (version.status.error_code, version.status.error_message) == (Code.NOT_FOUND, reason)

    run(tmp_path, test)


def test_a_reload_is_answered_when_the_new_model_is_available_with_the_increase_of_metrics(tmp_path):
    repository(tmp_path)
    write_bundle(tmp_path / "other", 3)

    async def test(client):
        config = list_message({"name": "other", "base_path": str(tmp_path / "other")})
        reply = await reload(client, config, metric_names=["whyserve_loads_total", "nothing"])
        assert reply.status.error_code == 0
        assert [(metric.name, metric.int64_value_increase) for metric in reply.metric] == [("whyserve_loads_total", 1)]
        outputs = await client.predict({"x": X}, name="other")
        np.testing.assert_allclose(outputs["probabilities"], softmax(X @ kernel_of(3)), rtol=1e-5)
        with pytest.raises(grpc.aio.AioRpcError, match=r"Servable not found for request: Latest\(dense\)"):
            await client.predict({"x": X}, name="dense")

    run(tmp_path, test)


@pytest.mark.parametrize(
    ("policy", "served"),
    [
        ({}, [3]),
        ({"latest": {"num_versions": 2}}, [3, 2]),
        ({"all": {}}, [3, 2, 1]),
        ({"specific": {"versions": [1, 3]}}, [3, 1]),
    ],
)
def test_version_policies_and_labels_reach_every_version(tmp_path, policy, served):
    repository(tmp_path)
    for version in (1, 2, 3):
        write_bundle(tmp_path / "many", version)

    async def test(client):
        labels = {f"label{version}": version for version in served}
        model = {"name": "many", "base_path": str(tmp_path / "many"), "version_labels": labels}
        await reload(client, list_message({**model, "model_version_policy": policy}))
        for version in served:
            outputs = await client.predict({"x": X}, name="many", version_label=f"label{version}")
            np.testing.assert_allclose(outputs["probabilities"], softmax(X @ kernel_of(version)), rtol=1e-5)
        with pytest.raises(grpc.aio.AioRpcError, match="Unrecognized servable version label: other"):
            await client.predict({"x": X}, name="many", version_label="other")

    run(tmp_path, test)


async def reload(client: Any, config: Any, **fields: Any) -> model_management_pb2.ReloadConfigResponse:
    request = model_management_pb2.ReloadConfigRequest(config=config, **fields)
    return model_management_pb2.ReloadConfigResponse.FromString(await client.call(RELOAD, request, service=SERVICE))


def run(tmp_path: Path, test: Any) -> None:
    async def serve_and_test() -> None:
        async with open_server(tmp_path / "models") as client:
            await test(client)

    asyncio.run(asyncio.wait_for(serve_and_test(), 30))
