import asyncio
import shutil
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from serving.batching import BatchLimits
from serving.engines.base import LoadedModel
from serving.engines.onnxruntime import OnnxRuntimeEngine
from serving.errors import Code, ServingError
from serving.metrics import Metrics
from serving.types import ModelSpec, State, VersionStatus
from tests.serving.bench import ServingBench, run_bench, settle
from tests.serving.bundles import FEATURES, copy_bundle, kernel_of, softmax, write_bundle
from tests.serving.models import RecordingModel
from tests.serving.rest.planes import open_data_plane

X = np.arange(2 * FEATURES, dtype=np.float32).reshape(2, FEATURES) / 10


async def answered_by(bench: ServingBench, **spec: Any) -> int:
    prediction = await bench.data_plane.predict(ModelSpec("dense", **spec), {"x": X})
    np.testing.assert_allclose(
        prediction.outputs["probabilities"], softmax(X @ kernel_of(prediction.spec.version)), rtol=1e-5
    )
    return prediction.spec.version


def test_the_newest_version_is_served(tmp_path):
    for version in (9, 10, 2):
        write_bundle(tmp_path, version)

    async def test(bench):
        assert await answered_by(bench) == 10
        assert await answered_by(bench, version=10) == 10
        assert bench.states() == {10: "AVAILABLE"}
        with pytest.raises(ServingError, match=r"^Servable not found for request: Specific\(dense, 9\)$"):
            await answered_by(bench, version=9)

    run_bench(ServingBench(tmp_path), test)


@pytest.mark.parametrize(("versions", "answers"), [((1, 2), 2), ((0, 2), 0)])
def test_version_0_is_the_newest_where_there_is_no_version_0(tmp_path, versions, answers):
    for version in versions:
        write_bundle(tmp_path / "dense", version)

    async def test(bench):
        assert await answered_by(bench, version=0) == answers
        listed = [each.version for each in bench.data_plane.status("dense", 0).versions]
        assert listed == ([0] if answers == 0 else [2, 1])

    async def all_versions() -> None:
        async with open_data_plane(tmp_path, Metrics()) as plane:
            await test(SimpleNamespace(data_plane=plane))

    asyncio.run(all_versions())


def test_a_new_version_takes_over_and_the_old_one_ends(tmp_path):
    write_bundle(tmp_path, 1)

    async def test(bench):
        write_bundle(tmp_path, 2)
        await bench.manager.poll()
        assert await answered_by(bench) == 2
        await settle(lambda: bench.states() == {2: "AVAILABLE", 1: "END"})

    run_bench(ServingBench(tmp_path), test)


def test_the_old_version_answers_until_the_new_one_is_loaded(tmp_path):
    write_bundle(tmp_path, 1)
    engine = SlowEngine()

    async def test(bench):
        write_bundle(tmp_path, 2)
        engine.gate.clear()
        polling = asyncio.create_task(bench.manager.poll())
        await asyncio.to_thread(engine.entered.wait, 10)
        assert bench.states() == {2: "LOADING", 1: "AVAILABLE"}
        assert await answered_by(bench) == 1
        engine.gate.set()
        await polling
        assert await answered_by(bench) == 2

    run_bench(ServingBench(tmp_path, engine=engine), test)


def test_no_request_fails_while_versions_are_swapped(tmp_path):
    write_bundle(tmp_path, 1)

    async def test(bench):
        stop = False
        versions: list[int] = []

        async def client() -> None:
            while not stop:
                versions.append(await answered_by(bench))

        clients = [asyncio.create_task(client()) for _ in range(8)]
        for version in range(2, 8):
            write_bundle(tmp_path, version)
            await bench.manager.poll()
            await settle(lambda expected=version: versions[-1:] == [expected])
        stop = True
        await asyncio.gather(*clients)  # raises what any of them met
        assert set(versions) == set(range(1, 8))

    run_bench(ServingBench(tmp_path), test)


def test_a_version_is_let_go_when_its_last_request_was_answered(tmp_path):
    model = RecordingModel(signature_names=["serving_default"])
    (tmp_path / "1").mkdir()
    in_a_thread = BatchLimits(inline_limit_s=0.0)
    bench = ServingBench(tmp_path, engine=HeldEngine(model), predict=in_a_thread)

    async def test(bench):
        model.gate.clear()
        model.entered.clear()
        x = np.ones((1, 1), np.float32)
        request = asyncio.create_task(bench.data_plane.predict(ModelSpec("dense"), {"x": x}))
        await asyncio.to_thread(model.entered.wait, 10)
        (tmp_path / "1").rmdir()
        await bench.manager.poll()
        await asyncio.sleep(0.01)
        assert bench.states() == {1: "UNLOADING"}
        with pytest.raises(ServingError, match=r"^Servable not found for request: Latest\(dense\)$"):
            await bench.data_plane.predict(ModelSpec("dense"), {"x": x})
        assert not model.closed
        model.gate.set()
        assert (await request).outputs["y"].tolist() == [[1]]
        await settle(lambda: bench.states() == {1: "END"})
        assert model.closed

    run_bench(bench, test)


def test_a_broken_version_is_reported_while_the_old_one_serves_and_tried_again_when_its_files_change(tmp_path, caplog):
    write_bundle(tmp_path, 1)

    async def test(bench):
        path = write_bundle(tmp_path, 2)
        whole = (path / "predict.onnx").read_bytes()
        (path / "predict.onnx").write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        await bench.manager.poll()
        assert bench.states() == {2: "END", 1: "AVAILABLE"}
        failed = bench.data_plane.status("dense", 2).versions[0]
        assert failed.error_code == Code.DATA_LOSS
        assert "changed: predict.onnx" in failed.error_message
        assert await answered_by(bench) == 1

        caplog.clear()
        await bench.manager.poll()
        assert not caplog.records, "an unchanged broken version was tried again"

        (path / "predict.onnx").write_bytes(whole)
        await bench.manager.poll()
        assert await answered_by(bench) == 2
        assert bench.data_plane.status("dense", 2).versions[0].error_code == Code.OK

    run_bench(ServingBench(tmp_path), test)


def test_the_old_version_serves_on_beside_a_broken_one_even_when_its_folder_is_gone(tmp_path):
    old = write_bundle(tmp_path, 1)

    async def test(bench):
        (write_bundle(tmp_path, 2) / "manifest.json").write_text("{}")
        shutil.rmtree(old)
        await bench.manager.poll()
        assert bench.states() == {2: "END", 1: "AVAILABLE"}
        assert await answered_by(bench) == 1

    run_bench(ServingBench(tmp_path), test)


def test_a_server_that_starts_beside_a_broken_version_serves_the_one_before(tmp_path):
    write_bundle(tmp_path, 1)
    (write_bundle(tmp_path, 2) / "manifest.json").write_text("{}")

    async def test(bench):
        assert bench.states() == {2: "END", 1: "AVAILABLE"}
        assert bench.data_plane.status("dense", 2).versions[0].error_code == Code.FAILED_PRECONDITION
        assert await answered_by(bench) == 1

    run_bench(ServingBench(tmp_path), test)


def test_a_half_copied_version_is_left_alone_until_it_is_whole(tmp_path, caplog):
    write_bundle(tmp_path / "served", 1)
    source = write_bundle(tmp_path / "elsewhere", 2)

    async def test(bench):
        path = copy_bundle(source, tmp_path / "served" / "2")
        (path / "explain.onnx").write_bytes(b"half")
        await bench.manager.poll()
        assert bench.states() == {1: "AVAILABLE"}
        for _ in range(2):  # nobody copies any more
            await bench.manager.poll()
        assert bench.states() == {1: "AVAILABLE", 2: "END"}
        reason = f"{path} is not complete: explain.onnx missing or too short."
        assert bench.data_plane.status("dense", 2).versions[0].error_message == reason
        assert [record.message for record in caplog.records if "not complete" in record.message] == [
            f"Model dense: {reason}"
        ]
        shutil.copy(source / "explain.onnx", path)
        await bench.manager.poll()
        assert await answered_by(bench) == 2

    run_bench(ServingBench(tmp_path / "served"), test)


def test_a_folder_without_a_manifest_is_loaded_when_its_files_have_settled(tmp_path):
    (tmp_path / "1").mkdir()
    bench = ServingBench(tmp_path, engine=HeldEngine(RecordingModel()))

    async def test(bench):
        assert bench.states() == {1: "AVAILABLE"}  # at the start nothing is waited for
        (tmp_path / "2").mkdir()
        await bench.manager.poll()
        (tmp_path / "2" / "saved_model.pb").write_bytes(b"a part")
        await bench.manager.poll()
        assert bench.states() == {1: "AVAILABLE"}
        await bench.manager.poll()
        assert bench.states()[2] == "AVAILABLE"

    run_bench(bench, test)


def test_a_version_that_nothing_can_be_made_of_is_listed_and_counted_as_failed(tmp_path):
    path = tmp_path / "1"
    path.mkdir()
    reason = f"{path} holds nothing that the onnxruntime engine can load."

    async def test(bench):
        for _ in range(3):
            (status,) = bench.data_plane.status("dense").versions
            assert status == VersionStatus(1, State.END, Code.NOT_FOUND, reason)
            exposed = bench.metrics.expose().decode()
            assert f'load_attempt_count{{model_path="{path}",status="fail"}} 1' in exposed
            assert 'whyserve_loads_total{code="NOT_FOUND",model="dense"} 1.0' in exposed
            await bench.manager.poll()
        path.rmdir()
        write_bundle(tmp_path, 1)
        await bench.manager.poll()
        assert await answered_by(bench) == 1

    run_bench(ServingBench(tmp_path), test)


def test_removing_the_newest_version_brings_back_the_one_before(tmp_path):
    write_bundle(tmp_path, 1)

    async def test(bench):
        path = write_bundle(tmp_path, 2)
        await bench.manager.poll()
        await settle(lambda: bench.states()[1] == "END")
        shutil.rmtree(path)
        await bench.manager.poll()
        assert await answered_by(bench) == 1
        await settle(lambda: bench.states() == {2: "END", 1: "AVAILABLE"})

    run_bench(ServingBench(tmp_path), test)


def test_an_empty_base_path_unloads_and_a_missing_one_does_not(tmp_path):
    base_path = tmp_path / "dense"
    write_bundle(base_path, 1)

    async def test(bench):
        base_path.rename(tmp_path / "away")
        await bench.manager.poll()
        assert await answered_by(bench) == 1
        base_path.mkdir()
        await bench.manager.poll()
        await settle(lambda: bench.states() == {1: "END"})

    run_bench(ServingBench(base_path), test)


def test_models_of_a_repository_come_and_go(tmp_path):
    write_bundle(tmp_path / "a", 1)

    async def test(bench):
        write_bundle(tmp_path / "b", 3)
        await bench.manager.poll()
        assert {status.name: status.versions[0].version for status in bench.data_plane.models()} == {"a": 1, "b": 3}
        shutil.rmtree(tmp_path / "a")
        await bench.manager.poll()
        await settle(lambda: bench.states("a") == {1: "END"})
        assert bench.states("b") == {3: "AVAILABLE"}
        assert set(bench.manager.served()) == {"b"}

    run_bench(ServingBench(repository=tmp_path), test)


def test_a_repository_that_is_away_for_a_while_unloads_nothing(tmp_path):
    repository = tmp_path / "repository"
    write_bundle(repository / "dense", 1)

    async def test(bench):
        repository.rename(tmp_path / "away")
        await bench.manager.poll()
        assert await answered_by(bench) == 1

    run_bench(ServingBench(repository=repository), test)


def test_polling_finds_new_versions_by_itself(tmp_path):
    write_bundle(tmp_path, 1)
    bench = ServingBench(tmp_path)

    async def test():
        await bench.manager.start(poll_wait_s=0.01)
        write_bundle(tmp_path, 2)
        await settle(lambda: bench.states() == {2: "AVAILABLE", 1: "END"})
        await bench.manager.stop()
        assert bench.states() == {2: "END", 1: "END"}

    asyncio.run(asyncio.wait_for(test(), 20))


def test_the_reasons_why_a_model_is_not_served_are_told(tmp_path):
    (tmp_path / "1").mkdir()
    (write_bundle(tmp_path, 2) / "predict.onnx").unlink()

    async def test(bench):
        reasons = bench.manager.unserved()["dense"]
        assert "2 is not complete: predict.onnx missing" in reasons
        assert "1 holds nothing that the onnxruntime engine can load" in reasons

    run_bench(ServingBench(tmp_path), test)


@pytest.mark.parametrize(
    ("spec", "code", "message"),
    [
        (ModelSpec("nope"), Code.NOT_FOUND, "Servable not found for request: Latest(nope)"),
        (ModelSpec("nope", version=7), Code.NOT_FOUND, "Servable not found for request: Specific(nope, 7)"),
        (ModelSpec("dense", version=99), Code.NOT_FOUND, "Servable not found for request: Specific(dense, 99)"),
        (ModelSpec("dense", label="canary"), Code.INVALID_ARGUMENT, "Unrecognized servable version label: canary"),
        (ModelSpec("nope", label="canary"), Code.INVALID_ARGUMENT, "Unrecognized servable version label: canary"),
        (ModelSpec(""), Code.INVALID_ARGUMENT, "ModelSpec has no name specified."),
    ],
)
def test_what_is_not_served_is_refused_in_tensorflow_servings_words(tmp_path, spec, code, message):
    write_bundle(tmp_path, 1)

    async def test(bench):
        with pytest.raises(ServingError) as refused:
            bench.data_plane.resolve(spec)
        assert (refused.value.code, refused.value.message) == (code, message)

    run_bench(ServingBench(tmp_path), test)


@pytest.mark.parametrize(
    ("name", "version", "message"),
    [
        ("nope", None, "Could not find any versions of model nope"),
        ("", None, "Could not find any versions of model "),
        ("nope", 1, "Could not find any versions of model nope"),
        ("dense", 99, "Could not find version 99 of model dense"),
    ],
)
def test_the_status_of_what_is_unknown_is_refused_in_tensorflow_servings_words(tmp_path, name, version, message):
    write_bundle(tmp_path, 1)

    async def test(bench):
        with pytest.raises(ServingError) as refused:
            bench.data_plane.status(name, version)
        assert (refused.value.code, refused.value.message) == (Code.NOT_FOUND, message)

    run_bench(ServingBench(tmp_path), test)


class SlowEngine(OnnxRuntimeEngine):
    """The real engine, which waits for `gate` before it loads."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Event()

    def load(self, path: Path) -> LoadedModel:
        if not self.gate.is_set():
            self.entered.set()
        if not self.gate.wait(10):
            raise TimeoutError("The test never opened the gate.")
        return super().load(path)


class HeldEngine:
    """Answers every load with the same model."""

    name = "held"
    starts_threads = False

    def __init__(self, model: RecordingModel) -> None:
        self.model = model

    def holds_model(self, path: Path) -> bool:
        return True

    def load(self, path: Path) -> LoadedModel:
        return self.model
