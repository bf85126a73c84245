"""A real data plane over real bundles in ONNX Runtime, for the tests of the transports."""

import contextlib
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
from onnx import TensorProto, helper

from export.manifest import TensorEntry
from serving.config.models import Latest, ModelConfig
from serving.data_plane import DataPlane
from serving.engines.base import Engine
from serving.engines.onnxruntime import OnnxRuntimeEngine
from serving.manager import ModelManager
from serving.metrics import Metrics
from serving.rest.app import App, create_app
from serving.rest.limits import Limits
from serving.servable import ExecutionOptions
from tests.serving.bundles import entry, value_info, write_bundle, write_model


def write_models(root: Path) -> None:
    """Writes the models that the tests ask.

    `dense` (versions 1 and 2, with explanations), `plain` (without), `double` (bare numbers), `pair` (several inputs
    and outputs, floats and strings) and `typed` (an input and an output of many types).
    """
    write_bundle(root / "dense", 1)
    write_bundle(root / "dense", 2)
    write_bundle(root / "plain", 1, name="plain", explain=False)
    write_model(root / "double", 1, *_double())
    write_model(root / "pair", 1, *_pair())
    write_model(root / "typed", 1, *_typed())


@contextlib.asynccontextmanager
async def open_data_plane(
    root: Path, metrics: Metrics, *, engine: Engine | None = None, **options: object
) -> AsyncIterator[DataPlane]:
    """Serves every model below `root`, two versions each, in ONNX Runtime where no other engine is given."""
    with ThreadPoolExecutor(1) as predict, ThreadPoolExecutor(1) as explain:
        manager = ModelManager(
            engine or OnnxRuntimeEngine(device="cpu", num_threads=1),
            execution=ExecutionOptions(predict, explain, **options),
            metrics=metrics,
            models=[ModelConfig(path.name, path, Latest(2)) for path in sorted(root.iterdir())],
        )
        await manager.start(poll_wait_s=0)
        plane = DataPlane(manager)
        plane.set_ready(ready=True)
        try:
            yield plane
        finally:
            await manager.stop()


@contextlib.asynccontextmanager
async def open_app(root: Path, *, limits: Limits | None = None, **options: object) -> AsyncIterator[App]:
    """The REST application over every model below `root`."""
    metrics = Metrics()
    async with open_data_plane(root, metrics, **options) as plane:
        yield create_app(plane, metrics, limits=limits)


@contextlib.asynccontextmanager
async def open_client(
    root: Path, *, limits: Limits | None = None, **options: object
) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the REST application, without a network between them."""
    async with open_app(root, limits=limits, **options) as app:
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://server") as client:
            yield client


def _double() -> tuple:
    """y = x + x."""
    nodes = [helper.make_node("Add", ["x", "x"], ["y"])]
    x, y = value_info("x", TensorProto.FLOAT, ["n"]), value_info("y", TensorProto.FLOAT, ["n"])
    return (
        helper.make_graph(nodes, "double", [x], [y]),
        [entry("x", "float32", (None,))],
        [entry("y", "float32", (None,))],
    )


def _pair() -> tuple:
    """total = a + b, and text handed through."""
    nodes = [helper.make_node("Add", ["a", "b"], ["total"]), helper.make_node("Identity", ["text"], ["echo_bytes"])]
    floats, strings = TensorProto.FLOAT, TensorProto.STRING
    inputs = [value_info("a", floats, ["n", 2]), value_info("b", floats, ["n", 2]), value_info("text", strings, ["n"])]
    outputs = [value_info("total", floats, ["n", 2]), value_info("echo_bytes", strings, ["n"])]
    return (
        helper.make_graph(nodes, "pair", inputs, outputs),
        [entry("a", "float32", (None, 2)), entry("b", "float32", (None, 2)), entry("text", "object", (None,))],
        [entry("total", "float32", (None, 2)), entry("echo_bytes", "object", (None,))],
    )


TYPES = ("float64", "int8", "int32", "int64", "uint8", "bool")


def _typed() -> tuple:
    """Each input handed through: y_<type> = x_<type>."""
    nodes, inputs, outputs = [], [], []
    entries: tuple[list[TensorEntry], list[TensorEntry]] = ([], [])
    for name in TYPES:
        number = helper.np_dtype_to_tensor_dtype(np.dtype(name))
        nodes.append(helper.make_node("Identity", [f"x_{name}"], [f"y_{name}"]))
        inputs.append(value_info(f"x_{name}", number, ["n"]))
        outputs.append(value_info(f"y_{name}", number, ["n"]))
        entries[0].append(entry(f"x_{name}", name, (None,)))
        entries[1].append(entry(f"y_{name}", name, (None,)))
    return helper.make_graph(nodes, "typed", inputs, outputs), *entries
