from dataclasses import replace
from pathlib import Path

import pytest

from serving.options import OptionsError, ServerOptions, check_options, parse_channel_arguments

GOOD = ServerOptions(model_repository=Path("models"))


def test_the_defaults_with_a_repository_are_good():
    check_options(GOOD)
    check_options(ServerOptions(model_base_path="models/digits", model_name="digits"))


def test_a_configuration_file_takes_the_place_of_the_single_model():
    check_options(ServerOptions(model_base_path="models/digits", model_config_file=Path("models.config")))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"port": -1}, r"`port` must lie in \[0, 65535\], 0 for none. Received: port=-1"),
        ({"rest_api_port": 65536}, r"`rest_api_port` must lie in .* Received: rest_api_port=65536"),
        ({"port": 8501}, "must differ.* Received: port=8501, rest_api_port=8501"),
        ({"port": 0, "rest_api_port": 0}, "one of them must be open"),
        ({"max_batch_size": 0}, "`max_batch_size` must be at least 1. Received: max_batch_size=0"),
        ({"max_wait_ms": -0.5}, "`max_wait_ms` must be at least 0. Received: max_wait_ms=-0.5"),
        ({"grace_period_s": float("nan")}, "`grace_period_s` must be at least 0. Received: grace_period_s=nan"),
        ({"max_json_depth": 1025}, "`max_json_depth` must be at most 1024. Received: max_json_depth=1025"),
        ({"max_connections": -1}, "`max_connections` must be at least 0. Received: max_connections=-1"),
        (
            {"use_alts_credentials": True},
            "`use_alts_credentials` is not supported: ALTS works .* Use `ssl_config_file`",
        ),
        ({"grpc_channel_arguments": "a=1,b"}, "`grpc_channel_arguments` must be name=value pairs .* Received: 'b'"),
        ({"grpc_channel_arguments": "=1"}, "`grpc_channel_arguments` must be name=value pairs .* Received: '=1'"),
        ({"grpc_socket_path": "s", "rest_api_socket_path": "s"}, "`grpc_socket_path` and .* must differ"),
        ({"engine": "torch"}, r"`engine` must be one of \['onnxruntime', 'tensorflow'\]. Received: engine='torch'"),
        ({"device": "tpu"}, r"`device` must be one of .* Received: device='tpu'"),
        (
            {"model_repository": None},
            "Exactly one of .* Received: model_base_path=none, model_config_file=none, model_repository=none",
        ),
        (
            {"model_base_path": "m"},
            "Exactly one of .* Received: model_base_path='m', model_config_file=none, model_repository='models'",
        ),
        (
            {"model_config_file": Path("models.config")},
            "Exactly one of .* model_config_file='models.config', model_repository='models'",
        ),
        ({"max_num_load_retries": -1}, "`max_num_load_retries` must be at least 0. Received: max_num_load_retries=-1"),
        (
            {"per_process_gpu_memory_fraction": 1.5},
            r"must lie in \[0, 1\]. Received: per_process_gpu_memory_fraction=1.5",
        ),
        ({"mixed_precision": "float8"}, "`mixed_precision` must be 'bfloat16' or empty. Received: .*'float8'"),
        (
            {
                "batching_parameters_file": Path("b"),
                "enable_per_model_batching_parameters": True,
                "enable_batching": True,
            },
            "`batching_parameters_file` and `enable_per_model_batching_parameters` exclude each other",
        ),
        ({"model_repository": None, "model_base_path": "m", "model_name": ""}, "`model_name` must not be empty"),
    ],
)
def test_what_cannot_work_is_refused(changes, message):
    with pytest.raises(OptionsError, match=message):
        check_options(replace(GOOD, **changes))


def test_arguments_of_grpc_are_integers_where_they_read_as_such():
    text = "grpc.max_connection_age_ms=60000,grpc.name=a=b, x=-1,big=3000000000,"
    expected = [("grpc.max_connection_age_ms", 60000), ("grpc.name", "a=b"), ("x", -1), ("big", "3000000000")]
    assert parse_channel_arguments(text) == expected


def test_a_server_needs_a_port_or_a_socket():
    check_options(replace(GOOD, port=0, rest_api_port=0, grpc_socket_path="socket"))
