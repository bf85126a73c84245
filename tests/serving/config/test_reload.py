import asyncio

from serving.config.model_list import read_model_config_file
from serving.config.reload import ConfigFile
from serving.types import ModelSpec
from tests.serving.bench import ServingBench, settle
from tests.serving.bundles import write_bundle
from tests.serving.config.configs import list_text, model_text

PLATFORMS = ("tensorflow",)


def watch(path, test):
    """Serves the models of a file that is looked at all the time."""

    async def serve_and_test():
        bench = ServingBench(models=read_model_config_file(path, platforms=PLATFORMS))
        await bench.manager.start(poll_wait_s=0)
        file = ConfigFile(path, bench.manager, platforms=PLATFORMS)
        watching = asyncio.create_task(file.watch(0.01))
        try:
            await test(bench)
        finally:
            watching.cancel()
            await bench.manager.stop()

    asyncio.run(asyncio.wait_for(serve_and_test(), 20))


def test_the_models_are_those_of_the_file_as_it_changes(tmp_path):
    for name in ("a", "b"):
        write_bundle(tmp_path / name, 1)
    path = tmp_path / "models.config"
    path.write_text(list_text(model_text("a", tmp_path / "a")))

    async def test(bench):
        path.write_text(list_text(model_text("a", tmp_path / "a"), model_text("b", tmp_path / "b")))
        await settle(lambda: set(bench.manager.served()) == {"a", "b"})
        labels = 'version_labels { key: "stable" value: 1 }'
        path.write_text(list_text(model_text("b", tmp_path / "b", labels)))
        await settle(lambda: set(bench.manager.served()) == {"b"} and bench.manager.labels("b") == {"stable": 1})
        assert bench.data_plane.resolve(ModelSpec("b", label="stable"))[0].version == 1

    watch(path, test)


def test_a_file_that_cannot_be_used_changes_nothing_and_is_reported_once(tmp_path, caplog):
    write_bundle(tmp_path / "a", 1)
    path = tmp_path / "models.config"
    good = list_text(model_text("a", tmp_path / "a"))
    path.write_text(good)

    def errors():
        return [record.message for record in caplog.records if "stay as they are" in record.message]

    async def test(bench):
        path.write_text("improperly formatted file")
        await settle(lambda: len(errors()) == 1)
        await asyncio.sleep(0.1)
        assert len(errors()) == 1
        assert f"Invalid protobuf file: '{path}'" in errors()[0]
        path.unlink()
        await settle(lambda: len(errors()) == 2)
        path.write_text("")
        await settle(lambda: len(errors()) == 3)
        assert set(bench.manager.served()) == {"a"}
        path.write_text(good)
        await asyncio.sleep(0.05)
        assert set(bench.manager.served()) == {"a"}
        assert len(errors()) == 3

    watch(path, test)


def test_of_a_file_with_a_broken_model_the_others_are_served(tmp_path, caplog):
    write_bundle(tmp_path / "a", 1)
    (write_bundle(tmp_path / "b", 1) / "manifest.json").write_text("{}")
    path = tmp_path / "models.config"
    path.write_text(list_text())

    async def test(bench):
        path.write_text(list_text(*(model_text(name, tmp_path / name) for name in ("a", "b"))))
        await settle(lambda: any("Not every model" in record.message for record in caplog.records))
        await asyncio.sleep(0.05)
        assert set(bench.manager.served()) == {"a"}
        (message,) = [record.message for record in caplog.records if "Not every model" in record.message]
        assert message.startswith(f"Not every model of {path} can be served: 1 model(s) did not become available: ")

    watch(path, test)
