"""What flags come to in a server that is started with them."""

import asyncio
from dataclasses import replace
from pathlib import Path

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from serving.engines.settings import SessionSettings
from serving.errors import StartError
from serving.options import ServerOptions
from serving.setup import make_engine, make_execution, make_load_options, make_model_configs
from tests.serving.bundles import kernel_of, softmax, write_bundle
from tests.serving.config.configs import list_text, model_text
from tests.serving.test_server import HOST, X, ask_grpc, free_ports, rest, running

PREDICT = "/v1/models/dense:predict"


def options(**flags) -> ServerOptions:
    port, rest_api_port = free_ports()
    return ServerOptions(port=port, rest_api_port=rest_api_port, host=HOST, drain_delay_s=0.0, **flags)


def configured(tmp_path, *models, **flags) -> ServerOptions:
    path = tmp_path / "models.config"
    path.write_text(list_text(*models))
    return options(model_config_file=path, **flags)


def run(test) -> None:
    asyncio.run(asyncio.wait_for(test, 30))


def test_a_configuration_file_is_served_and_its_changes_too(tmp_path):
    for version in (1, 2):
        write_bundle(tmp_path / "dense", version)
    stable = 'model_version_policy { all {} } version_labels { key: "stable" value: 1 }'

    async def test():
        flags = configured(
            tmp_path, model_text("dense", tmp_path / "dense", stable), model_config_file_poll_wait_seconds=0.02
        )
        async with running(flags), rest(flags) as client:
            answer = await client.post("/v1/models/dense/labels/stable:predict", json={"instances": X.tolist()})
            np.testing.assert_allclose(answer.json()["predictions"], softmax(X @ kernel_of(1)), rtol=1e-5)
            stable_is_2 = stable.replace("value: 1", "value: 2")
            flags.model_config_file.write_text(list_text(model_text("dense", tmp_path / "dense", stable_is_2)))
            while True:
                url = "/v1/models/dense/labels/stable/metadata"
                if (await client.get(url)).json()["model_spec"]["version"] == "2":
                    break
                await asyncio.sleep(0.01)
            assert (await client.get("/readyz")).status_code == 200

    run(test())


def start_error(flags: ServerOptions) -> str:
    async def test():
        with pytest.raises(StartError) as refused:
            async with running(flags):
                pytest.fail("The server started.")
        return str(refused.value)

    return asyncio.run(asyncio.wait_for(test(), 30))


def test_one_wrong_path_ends_the_start_with_one_line_that_names_it(tmp_path):
    write_bundle(tmp_path / "dense", 1)
    flags = configured(tmp_path, model_text("dense", tmp_path / "dense"), model_text("typo", tmp_path / "nowhere"))
    nowhere = f"Base path {tmp_path / 'nowhere'} doesn't exist."
    assert start_error(flags) == f"1 model(s) did not become available: {{{{name: typo}} due to error: {nowhere}, }}"
    alone = configured(tmp_path, model_text("typo", tmp_path / "nowhere"))
    assert start_error(alone) == f"No model can be served. model 'typo': {nowhere}"


def test_a_label_that_cannot_be_assigned_ends_the_start(tmp_path):
    write_bundle(tmp_path / "dense", 1)
    label = 'version_labels { key: "stable" value: 7 }'
    flags = configured(tmp_path, model_text("dense", tmp_path / "dense", label))
    assert start_error(flags) == (
        "Request to assign label to version 7 of model dense, which is not currently available for inference"
    )

    async def test():
        async with running(replace(flags, allow_version_labels_for_unavailable_models=True)), rest(flags) as client:
            assert (await client.get("/readyz")).status_code == 200

    run(test())


def test_an_empty_list_waits_for_models(tmp_path):
    write_bundle(tmp_path / "dense", 1)
    flags = configured(tmp_path, enable_admin_api=True)

    async def test():
        async with running(flags), rest(flags) as client:
            assert (await client.post(PREDICT, json={"instances": X.tolist()})).status_code == 404
            await client.put("/v1/admin/models/dense", json={"base_path": str(tmp_path / "dense")})
            assert (await client.post(PREDICT, json={"instances": X.tolist()})).status_code == 200
            await client.post("/v1/admin/reload")  # the file's own models, which are none
            assert (await client.post(PREDICT, json={"instances": X.tolist()})).status_code == 404

    run(test())


def test_batching_parameters_bound_predictions_and_their_threads(tmp_path, caplog):
    path = tmp_path / "batching.config"
    path.write_text('max_batch_size {value: 2} num_batch_threads {value: 3} thread_pool_name {value: "mine"}')
    flags = options(model_repository=tmp_path, enable_batching=True, batching_parameters_file=path)
    execution = make_execution(flags)
    assert (execution.predict.max_batch_size, execution.predict.max_request_rows) == (2, 2)
    assert execution.explain.max_batch_size == flags.max_explain_batch_size
    name = execution.predict_threads.submit(lambda: __import__("threading").current_thread().name).result()
    assert name == "mine_0"
    assert (
        f"`thread_pool_name` of {path} names threads only: in the metrics it is 'predict' or 'explain'." in caplog.text
    )
    assert execution.predict_threads._max_workers == 3
    assert execution.batching is True


@pytest.mark.parametrize("per_model", [True, False])
def test_parameters_of_a_version_bound_its_predictions_only_where_the_flag_is_given(tmp_path, per_model):
    folder = write_bundle(tmp_path / "dense", 1)
    (folder / "batching_params.pbtxt").write_text("max_batch_size { value: 1 }")
    write_bundle(tmp_path / "other", 1)
    flags = options(model_repository=tmp_path, enable_batching=True, enable_per_model_batching_parameters=per_model)

    async def test():
        async with running(flags) as server, rest(flags) as client:
            answer = await client.post(PREDICT, json={"instances": X.tolist()})
            assert answer.status_code == (400 if per_model else 200)
            if per_model:
                assert answer.json()["error"] == "Task size 2 is larger than maximum input batch size 1"
            served = server.manager.served()
            assert [served[name]._batchable for name in ("dense", "other")] == [True, not per_model]

    run(test())


def test_parameters_that_contradict_themselves_fail_their_version(tmp_path):
    folder = write_bundle(tmp_path / "dense", 1)
    (folder / "batching_params.pbtxt").write_text("max_batch_size { value: 8 } allowed_batch_sizes: 4")
    flags = options(model_repository=tmp_path, enable_batching=True, enable_per_model_batching_parameters=True)
    assert start_error(flags) == (
        "No model can be served. model 'dense': Last entry in allowed_batch_sizes must match max_batch_size; "
        "last entry was 4; expected 8"
    )


def test_flags_of_loading_reach_the_loader():
    flags = ServerOptions(
        num_load_threads=3, num_unload_threads=2, max_num_load_retries=7, load_retry_interval_micros=1_500_000
    )
    loading = make_load_options(flags)
    assert (loading.num_load_threads, loading.num_unload_threads) == (3, 2)
    assert (loading.max_num_load_retries, loading.load_retry_interval_s) == (7, 1.5)


def test_the_form_of_grpc_answers_and_its_health_follow_their_flags(tmp_path):
    write_bundle(tmp_path / "dense", 1)
    flags = options(
        model_repository=tmp_path, enable_serialization_as_tensor_content=True, enable_grpc_healthcheck_service=False
    )

    async def test():
        async with running(flags), grpc.aio.insecure_channel(f"{HOST}:{flags.port}") as channel:
            output = (await ask_grpc(flags, X)).outputs["probabilities"]
            values = np.frombuffer(output.tensor_content, np.float32).reshape(2, 3)
            np.testing.assert_allclose(values, softmax(X @ kernel_of(1)), rtol=1e-5)
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
            assert refused.value.code() == grpc.StatusCode.UNIMPLEMENTED

    run(test())


def test_the_single_model_may_lie_on_a_relative_path(tmp_path, monkeypatch):
    write_bundle(tmp_path / "dense", 1)
    monkeypatch.chdir(tmp_path)
    (config,) = make_model_configs(ServerOptions(model_base_path="dense", model_name="m"))
    assert (config.name, config.base_path) == ("m", Path("dense"))


def test_the_single_model_may_be_a_uri_of_a_file_and_of_no_other_scheme(tmp_path):
    write_bundle(tmp_path / "dense", 1)
    (config,) = make_model_configs(ServerOptions(model_base_path=f"file://{tmp_path / 'dense'}"))
    assert config.base_path == tmp_path / "dense"
    with pytest.raises(
        StartError, match=r"mounted file system. Received: base_path='gs://bucket/m'. Mount the storage"
    ):
        make_model_configs(ServerOptions(model_base_path="gs://bucket/m"))


def test_flags_of_tensorflow_reach_its_engine(monkeypatch):
    found = []
    monkeypatch.setattr("serving.setup.create_engine", lambda name, **made: found.append((name, made)))
    flags = ServerOptions(
        engine="tensorflow",
        saved_model_tags="serve, gpu",
        tensorflow_session_parallelism=2,
        tensorflow_inter_op_parallelism=5,
        tensorflow_session_config_file=Path("session.config"),
        per_process_gpu_memory_fraction=0.5,
        mixed_precision="bfloat16",
        xla_gpu_compilation_enabled=True,
    )
    make_engine(flags)
    ((name, made),) = found
    assert (name, made["device"], made["num_threads"]) == ("tensorflow", "auto", None)
    assert made["session"] == SessionSettings(
        tags=("serve", "gpu"),
        intra_op_threads=2,
        inter_op_threads=5,
        config_file=Path("session.config"),
        gpu_memory_fraction=0.5,
        mixed_precision="bfloat16",
        xla_gpu=True,
    )
