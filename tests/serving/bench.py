"""A manager and a data plane over real bundles, for tests without transports."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from serving.config.models import ModelConfig
from serving.data_plane import DataPlane
from serving.engines.base import Engine
from serving.engines.onnxruntime import OnnxRuntimeEngine
from serving.loader import LoadOptions
from serving.manager import ModelManager
from serving.metrics import Metrics
from serving.servable import ExecutionOptions


class ServingBench:
    """What a server holds, without its ports; `manager.start` is the test's."""

    def __init__(
        self,
        base_path: Path | None = None,
        *,
        repository: Path | None = None,
        models: Sequence[ModelConfig] = (),
        engine: Engine | None = None,
        loading: LoadOptions | None = None,
        labels_for_unavailable: bool = False,
        **execution: Any,
    ) -> None:
        self.metrics = Metrics()
        self.manager = ModelManager(
            engine or OnnxRuntimeEngine(),
            execution=ExecutionOptions(ThreadPoolExecutor(1), ThreadPoolExecutor(1), **execution),
            metrics=self.metrics,
            models=models if base_path is None else [ModelConfig("dense", base_path)],
            repository=repository,
            loading=loading,
            labels_for_unavailable=labels_for_unavailable,
        )
        self.data_plane = DataPlane(self.manager)

    def states(self, name: str = "dense") -> dict[int, str]:
        """State of every version, by name."""
        return {status.version: status.state.name for status in self.data_plane.status(name).versions}


def run_bench(bench: ServingBench, test: Callable[[ServingBench], Awaitable[None]]) -> None:
    """Starts the models, runs the test, and unloads them."""

    async def start_and_stop() -> None:
        await bench.manager.start(poll_wait_s=0)
        try:
            await test(bench)
        finally:
            await bench.manager.stop()

    asyncio.run(asyncio.wait_for(start_and_stop(), 20))


async def settle(condition: Callable[[], bool]) -> None:
    """Waits until something that other tasks bring about is so."""
    while not condition():
        await asyncio.sleep(0.001)
