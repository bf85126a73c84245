"""The set of models as it is changed while it is served: policies, labels, retries, reload, one model more or less."""

import asyncio
import gc
import shutil
import time
import weakref

import numpy as np
import pytest

from serving.batching import BatchLimits
from serving.config.models import All, Latest, ModelConfig, Specific
from serving.engines.onnxruntime import OnnxRuntimeEngine
from serving.errors import Code, ServingError
from serving.loader import LoadOptions
from serving.types import ModelSpec
from tests.serving.bench import ServingBench, run_bench, settle
from tests.serving.bundles import FEATURES, write_bundle
from tests.serving.test_manager import SlowEngine, answered_by

NOT_AVAILABLE = "^Request to assign label to version {} of model dense, which is not currently available for inference$"


def write_versions(base_path, *versions):
    for version in versions:
        write_bundle(base_path, version)
    return base_path


def dense(base_path, policy=Latest(), **labels):  # noqa: B008 -- immutable
    return ModelConfig("dense", base_path, policy, labels)


@pytest.mark.parametrize(
    ("policy", "served"), [(Latest(2), {3, 2}), (All(), {3, 2, 1}), (Specific((1, 3)), {3, 1}), (Specific((2, 9)), {2})]
)
def test_the_policy_says_which_versions_are_served(tmp_path, policy, served, caplog):
    write_versions(tmp_path, 1, 2, 3)

    async def test(bench):
        assert bench.states() == dict.fromkeys(served, "AVAILABLE")
        missing = [record.message for record in caplog.records if "was asked for" in record.message]
        assert missing == (
            [f"Model dense: Version 9 was asked for, and {tmp_path} doesn't hold it."]
            if 2 in served and 3 not in served
            else []
        )

    run_bench(ServingBench(models=[dense(tmp_path, policy)]), test)


def test_a_specific_version_that_is_deleted_is_unloaded_and_a_wrong_number_unloads_nothing(tmp_path):
    write_versions(tmp_path, 1, 2)

    async def test(bench):
        await bench.manager.reload([dense(tmp_path, Specific((7,)))])
        assert await answered_by(bench) == 1
        await bench.manager.reload([dense(tmp_path, Specific((1,)))])
        shutil.rmtree(tmp_path / "1")
        await bench.manager.poll()
        await settle(lambda: bench.states()[1] == "END")

    run_bench(ServingBench(models=[dense(tmp_path, Specific((1,)))]), test)


def test_labels_name_versions_and_move_with_the_configuration(tmp_path):
    write_versions(tmp_path, 1, 2)

    async def test(bench):
        assert await answered_by(bench, label="stable") == 1
        assert await answered_by(bench, label="canary") == 2
        await bench.manager.reload([dense(tmp_path, All(), stable=2)])
        assert await answered_by(bench, label="stable") == 2
        with pytest.raises(ServingError, match=r"^Unrecognized servable version label: canary$"):
            await answered_by(bench, label="canary")

    run_bench(ServingBench(models=[dense(tmp_path, All(), stable=1, canary=2)]), test)


def test_a_label_answers_at_every_moment_while_it_moves_to_a_version_that_has_to_be_loaded_first(tmp_path):
    write_versions(tmp_path, 1, 2)
    engine = SlowEngine()

    async def test(bench):
        engine.gate.clear()
        change = asyncio.create_task(bench.manager.reload([dense(tmp_path, Specific((2,)), stable=2)]))
        await asyncio.to_thread(engine.entered.wait, 10)
        assert await answered_by(bench, label="stable") == 1
        engine.gate.set()
        answers = set()
        while not change.done():
            answers.add(await answered_by(bench, label="stable"))
            await asyncio.sleep(0)
        await change
        assert answers <= {1, 2}
        assert await answered_by(bench, label="stable") == 2
        await settle(lambda: bench.states() == {2: "AVAILABLE", 1: "END"})

    run_bench(ServingBench(engine=engine, models=[dense(tmp_path, Specific((1,)), stable=1)]), test)


def test_a_label_of_a_version_that_is_not_there_is_refused_and_nothing_changes(tmp_path):
    write_versions(tmp_path, 1, 2)

    async def test(bench):
        for refused in (dense(tmp_path, All(), stable=7), dense(tmp_path, Latest(1), stable=1)):
            config = refused if refused.labels["stable"] == 7 else ModelConfig("other", tmp_path, Latest(), {"a": 1})
            number = config.labels.get("stable", 1)
            with pytest.raises(ServingError, match=NOT_AVAILABLE.format(number).replace("dense", config.name)) as error:
                await bench.manager.reload([config])
            assert error.value.code == Code.FAILED_PRECONDITION
        assert bench.states() == {2: "AVAILABLE", 1: "AVAILABLE"}
        assert await answered_by(bench, label="stable") == 1

    run_bench(ServingBench(models=[dense(tmp_path, All(), stable=1)]), test)


def test_a_label_may_wait_for_its_version_where_the_flag_allows_it_but_not_move_to_it(tmp_path):
    write_versions(tmp_path, 1)

    async def test(bench):
        with pytest.raises(ServingError, match=r"^Servable not found for request: Specific\(dense, 2\)$"):
            await answered_by(bench, label="next")
        with pytest.raises(ServingError, match=NOT_AVAILABLE.format(3)):
            await bench.manager.reload([dense(tmp_path, All(), next=3)])
        write_bundle(tmp_path, 2)
        await bench.manager.poll()
        assert await answered_by(bench, label="next") == 2

    run_bench(ServingBench(models=[dense(tmp_path, All(), next=2)], labels_for_unavailable=True), test)


def test_at_the_start_a_label_of_a_version_that_cannot_be_loaded_is_refused(tmp_path):
    write_versions(tmp_path, 1)
    (write_bundle(tmp_path, 2) / "manifest.json").write_text("{}")

    async def test(bench):
        pytest.fail("The server started.")

    with pytest.raises(ServingError, match=NOT_AVAILABLE.format(2)):
        run_bench(ServingBench(models=[dense(tmp_path, All(), canary=2)]), test)


class FlakyEngine(OnnxRuntimeEngine):
    """The real engine, which fails for want of memory as often as told, and then takes its time."""

    def __init__(self, failures, *, load_s=0.0):
        super().__init__()
        self.failures = failures
        self.load_s = load_s
        self.loads = 0

    def load(self, path):
        self.loads += 1
        if self.failures:
            self.failures -= 1
            raise MemoryError("no room")
        time.sleep(self.load_s)
        return super().load(path)


def test_a_failure_that_may_pass_is_tried_again_and_the_start_waits_for_it(tmp_path):
    write_versions(tmp_path, 1)
    engine = FlakyEngine(2, load_s=0.2)
    loading = LoadOptions(max_num_load_retries=2, load_retry_interval_s=0.01)

    async def test(bench):
        assert engine.loads == 3
        assert await answered_by(bench) == 1

    run_bench(ServingBench(tmp_path, engine=engine, loading=loading), test)


def test_after_the_last_try_a_version_ends_with_its_error(tmp_path):
    write_versions(tmp_path, 1)
    engine = FlakyEngine(100)
    loading = LoadOptions(max_num_load_retries=1, load_retry_interval_s=0.01)

    async def test(bench):
        assert engine.loads == 2
        (status,) = bench.data_plane.status("dense").versions
        assert (status.state.name, status.error_code) == ("END", Code.RESOURCE_EXHAUSTED)
        assert "MemoryError: no room" in status.error_message

    run_bench(ServingBench(tmp_path, engine=engine, loading=loading), test)


def test_while_a_version_waits_for_its_next_try_it_is_loading_and_the_old_one_serves(tmp_path):
    write_versions(tmp_path, 1)
    engine = FlakyEngine(0)

    async def test(bench):
        engine.failures = 1
        write_bundle(tmp_path, 2)
        await bench.manager.poll()
        assert bench.states() == {2: "LOADING", 1: "AVAILABLE"}
        await bench.manager.poll()
        assert engine.loads == 2, "it was tried again too early"
        shutil.rmtree(tmp_path / "2")
        await bench.manager.poll()
        assert bench.states() == {2: "END", 1: "AVAILABLE"}

    run_bench(ServingBench(tmp_path, engine=engine, loading=LoadOptions(load_retry_interval_s=60)), test)


def test_a_damaged_version_is_not_tried_again(tmp_path):
    write_versions(tmp_path, 1)
    (write_bundle(tmp_path, 2) / "manifest.json").write_text("{}")
    loading = LoadOptions(load_retry_interval_s=0.01)

    async def test(bench):
        assert bench.states() == {2: "END", 1: "AVAILABLE"}

    run_bench(ServingBench(tmp_path, loading=loading), test)


def test_reload_replaces_the_whole_set_and_waits_for_the_new_models(tmp_path):
    for name in ("a", "b", "c"):
        write_versions(tmp_path / name, 1)

    async def test(bench):
        await bench.manager.reload([ModelConfig("b", tmp_path / "b"), ModelConfig("c", tmp_path / "c")])
        assert set(bench.manager.served()) == {"b", "c"}
        await settle(lambda: bench.states("a") == {1: "END"})
        await bench.manager.reload([ModelConfig("a", tmp_path / "a")])
        assert set(bench.manager.served()) == {"a"}

    run_bench(ServingBench(models=[ModelConfig(name, tmp_path / name) for name in ("a", "b")]), test)


def test_a_reload_with_a_broken_model_serves_the_others_and_says_what_failed(tmp_path):
    write_versions(tmp_path / "a", 1)
    (write_bundle(tmp_path / "b", 4) / "manifest.json").write_text("{}")

    async def test(bench):
        models = [ModelConfig(name, tmp_path / name) for name in ("a", "b", "c")]
        message = (
            r"^2 model\(s\) did not become available: {{name: b version: 4} due to error: .*, "
            r"{name: c} due to error: Base path .*/c doesn't exist., }$"
        )
        with pytest.raises(ServingError, match=message) as failed:
            await bench.manager.reload(models)
        assert failed.value.code == Code.UNKNOWN
        assert set(bench.manager.served()) == {"a"}

    run_bench(ServingBench(), test)


def test_a_reload_takes_the_place_of_the_repository(tmp_path):
    write_versions(tmp_path / "repository" / "a", 1)
    write_versions(tmp_path / "b", 1)

    async def test(bench):
        await bench.manager.reload([ModelConfig("b", tmp_path / "b")])
        await bench.manager.poll()
        assert set(bench.manager.served()) == {"b"}

    run_bench(ServingBench(repository=tmp_path / "repository"), test)


def test_one_model_is_added_changed_and_removed_beside_the_others(tmp_path):
    write_versions(tmp_path / "a", 1)
    write_versions(tmp_path / "b", 1, 2)

    async def test(bench):
        await bench.manager.add(ModelConfig("b", tmp_path / "b"))
        assert bench.states("b") == {2: "AVAILABLE"}
        await bench.manager.add(ModelConfig("b", tmp_path / "b", All(), {"old": 1}))
        assert bench.states("b") == {2: "AVAILABLE", 1: "AVAILABLE"}
        assert bench.data_plane.resolve(ModelSpec("b", label="old"))[0].version == 1
        await bench.manager.remove("b")
        await bench.manager.poll()
        assert set(bench.manager.served()) == {"a"}
        with pytest.raises(ServingError, match=r"^Model b must be one that is served") as refused:
            await bench.manager.remove("b")
        assert refused.value.code == Code.NOT_FOUND

    run_bench(ServingBench(models=[ModelConfig("a", tmp_path / "a")]), test)


@pytest.mark.parametrize("elsewhere", ["missing", "broken"])
def test_a_change_that_cannot_be_made_leaves_all_as_it_was(tmp_path, elsewhere):
    write_versions(tmp_path / "served", 1)
    (write_bundle(tmp_path / "broken", 2) / "manifest.json").write_text("{}")

    async def test(bench):
        for name in ("dense", "other"):
            with pytest.raises(ServingError, match=rf"^1 model\(s\) did not become available: {{{{name: {name}"):
                await bench.manager.add(ModelConfig(name, tmp_path / elsewhere))
        assert await answered_by(bench) == 1
        assert bench.manager.config("dense").base_path == tmp_path / "served"
        assert bench.manager.config("other") is None

    run_bench(ServingBench(tmp_path / "served"), test)


def test_a_model_of_the_repository_stays_away_once_it_was_removed(tmp_path):
    write_versions(tmp_path / "a", 1)
    write_versions(tmp_path / "b", 1)

    async def test(bench):
        await bench.manager.remove("a")
        await bench.manager.poll()
        assert set(bench.manager.served()) == {"b"}
        await bench.manager.add(ModelConfig("a", tmp_path / "a"))
        assert set(bench.manager.served()) == {"a", "b"}

    run_bench(ServingBench(repository=tmp_path), test)


def test_a_model_that_takes_long_to_load_does_not_keep_the_others_waiting(tmp_path):
    write_versions(tmp_path / "slow", 1)
    write_versions(tmp_path / "quick", 1)
    engine = SlowEngine()
    configs = [ModelConfig(name, tmp_path / name) for name in ("slow", "quick")]
    bench = ServingBench(engine=engine, models=configs, loading=LoadOptions(num_load_threads=2))

    async def test():
        await bench.manager.start(poll_wait_s=0.01)
        engine.gate.clear()
        write_bundle(tmp_path / "slow", 2)
        await asyncio.to_thread(engine.entered.wait, 10)
        engine.entered.clear()
        write_bundle(tmp_path / "quick", 2)
        await asyncio.to_thread(engine.entered.wait, 10)
        assert {bench.states(name)[2] for name in ("slow", "quick")} == {"LOADING"}
        engine.gate.set()
        await settle(lambda: bench.states("quick")[2] == "AVAILABLE" == bench.states("slow")[2])
        await bench.manager.stop()

    asyncio.run(asyncio.wait_for(test(), 20))


def test_nothing_of_an_unloaded_version_stays_in_memory(tmp_path):
    write_versions(tmp_path, 1)
    gc.disable()  # what is let go of must be gone by itself: the collector is told to look away from what was loaded

    async def test(bench):
        servable = weakref.ref(bench.manager.find(ModelSpec("dense")))
        model = weakref.ref(servable().model)
        x = np.ones((1, FEATURES), np.float32)
        await bench.data_plane.predict(ModelSpec("dense"), {"x": x}, timeout_s=3600)
        write_bundle(tmp_path, 2)
        await bench.manager.poll()
        await settle(lambda: bench.states()[1] == "END")
        await settle(lambda: (servable(), model()) == (None, None))  # the thread that closed it lets go a moment later

    try:
        run_bench(ServingBench(tmp_path, predict=BatchLimits(inline_limit_s=0.0)), test)
    finally:
        gc.enable()


def test_a_server_that_stops_loads_nothing_any_more(tmp_path):
    write_versions(tmp_path / "a", 1)

    async def test(bench):
        await bench.manager.stop()
        with pytest.raises(ServingError, match=r"^The server is stopping") as refused:
            await bench.manager.reload([ModelConfig("a", tmp_path / "a")])
        assert refused.value.code == Code.UNAVAILABLE
        assert not bench.manager.served()

    run_bench(ServingBench(models=[ModelConfig("a", tmp_path / "a")]), test)


@pytest.mark.parametrize("allowed", [True, False])
def test_a_label_in_use_stays_where_it_is_when_its_next_version_cannot_be_loaded(tmp_path, allowed):
    write_versions(tmp_path, 1)

    async def test(bench):
        (write_bundle(tmp_path, 2) / "manifest.json").write_text("{}")
        with pytest.raises(ServingError, match=NOT_AVAILABLE.format(2)):
            await bench.manager.reload([dense(tmp_path, All(), stable=2)])
        assert await answered_by(bench, label="stable") == 1

    run_bench(ServingBench(models=[dense(tmp_path, All(), stable=1)], labels_for_unavailable=allowed), test)
