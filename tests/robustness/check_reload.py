"""The set of models changed a hundred times, and a version folder replaced while it loads: no request is lost."""

import shutil
import time

import grpc
import pytest

from serving.protos.model_management_pb2 import ReloadConfigRequest, ReloadConfigResponse
from tests.robustness.attack import NAME, NOTICED, TIMEOUT_S, attacked
from tests.robustness.check_versions import answered_by, cut_file, load, wait_for
from tests.serving.bundles import copy_bundle, write_bundle

RELOAD = "/tensorflow.serving.ModelService/HandleReloadConfigRequest"
TIMES = 100


@pytest.fixture
def models(tmp_path):
    """Folders of the model that is asked and of one that comes and goes."""
    for name in (NAME, "other"):
        write_bundle(tmp_path / name, 1, name=name)
    return {name: tmp_path / name for name in (NAME, "other")}


def config_of(models, *names):
    request = ReloadConfigRequest()
    for name in names:
        request.config.model_config_list.config.add(name=name, base_path=str(models[name]), model_platform="tensorflow")
    return request


def test_a_hundred_changes_of_the_set_of_models_under_load_cost_no_request(models, tmp_path):
    with attacked(models[NAME], tmp_path, NOTICED) as server, load(server.process) as figures:
        with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
            change = channel.unary_unary(
                RELOAD,
                request_serializer=ReloadConfigRequest.SerializeToString,
                response_deserializer=ReloadConfigResponse.FromString,
            )
            for number in range(TIMES):
                names = (NAME, "other") if number % 2 == 0 else (NAME,)
                assert change(config_of(models, *names), timeout=TIMEOUT_S).status.error_code == 0
            # All at once: each waits for its turn.
            calls = [change.future(config_of(models, NAME), timeout=TIMEOUT_S) for _ in range(TIMES)]
            assert {call.result().status.error_code for call in calls} == {0}
        server.check_unharmed()
        server.process.stop()
        assert figures()["failed"] == 0


def test_sets_of_models_that_can_not_be_served_change_nothing(models, tmp_path):
    models["missing"] = tmp_path / "nowhere"
    with attacked(models[NAME], tmp_path, NOTICED) as server, load(server.process) as figures:
        with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
            change = channel.unary_unary(RELOAD, request_serializer=ReloadConfigRequest.SerializeToString)
            twice = config_of(models, NAME, NAME)
            relative = config_of(models, NAME)
            relative.config.model_config_list.config[0].base_path = "relative/path"
            for number in range(TIMES):
                with pytest.raises(grpc.RpcError):
                    change((twice, relative, ReloadConfigRequest())[number % 3], timeout=TIMEOUT_S)
            with pytest.raises(grpc.RpcError, match="did not become available"):
                change(config_of(models, NAME, "missing"), timeout=TIMEOUT_S)
        server.check_unharmed()
        server.process.stop()
        assert figures()["failed"] == 0


def test_a_version_that_is_replaced_while_it_loads_is_served_whole_or_not_at_all(models, tmp_path):
    base_path, source = models[NAME], tmp_path / "elsewhere"
    with attacked(base_path, tmp_path, NOTICED) as server, load(server.process) as figures:
        for version in range(2, 8):
            good = write_bundle(source, version)
            broken = copy_bundle(good, source / f"{version}-broken")
            cut_file(broken)
            target = base_path / str(version)
            for number in range(6):  # good and broken in turn, whatever the server is doing with the last one
                replacement = copy_bundle(broken if number % 2 == 0 else good, source / "replacement")
                if target.exists():
                    target.rename(source / "old")
                replacement.rename(target)
                time.sleep(0.02 * number)
                shutil.rmtree(source / "old", ignore_errors=True)
            wait_for(lambda version=version: answered_by(server.rest_port, version))
        server.check_unharmed(version=7)
        server.process.stop()
        assert figures()["failed"] == 0
