"""Requests that need more than one run, or something of the version after it, while that version is swapped."""

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from serving.config.models import Latest, ModelConfig
from serving.metrics import Metrics
from serving.rest.app import create_app
from serving.servable import Servable
from tests.serving.bench import ServingBench, run_bench, settle
from tests.serving.bundles import kernel_of, write_bundle

X = np.array([[1, 2, 3, 4]], np.float32)
RANKED = np.argsort(-(X.astype(float) @ kernel_of(1))[0]).tolist()
TENSORS = {"inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP32", "data": X.ravel().tolist()}]}
CLASSES = {"outputs": [{"name": "probabilities", "parameters": {"classification": 3}}]}


def v1_targets(reply: Any) -> list[int]:
    (explained,) = reply["explanations"]
    return [attribution["outputIndex"][0] for attribution in explained["attributions"]]


def v2_targets(reply: Any) -> list[int]:
    (targets,) = (output["data"] for output in reply["outputs"] if output["name"] == "target")
    return list(targets)


def v2_classes(reply: Any) -> list[int]:
    """The indices out of `score:index:label`."""
    return [int(text.split(":")[1]) for text in reply["outputs"][0]["data"]]


@pytest.mark.parametrize(
    ("path", "body", "read", "expected"),
    [
        ("/v1/models/dense:explain", {"instances": X.tolist(), "parameters": {"top_k": 3}}, v1_targets, RANKED),
        ("/v2/models/dense/explain", {**TENSORS, "parameters": {"top_k": 3}}, v2_targets, RANKED),
        ("/v2/models/dense/infer", {**TENSORS, **CLASSES}, v2_classes, RANKED),
    ],
)
def test_a_version_that_is_let_go_meanwhile_answers_to_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str, body: Any, read: Any, expected: list[int]
) -> None:
    write_bundle(tmp_path, 1)
    run = Servable.run

    async def run_and_swap(servable: Servable, *args: Any, **kwargs: Any) -> Any:
        outputs = await run(servable, *args, **kwargs)
        if not (tmp_path / "2").exists():
            write_bundle(tmp_path, 2)
            await bench.manager.poll(settled=True)
            assert bench.states() == {2: "AVAILABLE", 1: "UNLOADING"}
        return outputs

    async def test(bench: ServingBench) -> None:
        monkeypatch.setattr(Servable, "run", run_and_swap)
        transport = httpx.ASGITransport(app=create_app(bench.data_plane, Metrics()))
        async with httpx.AsyncClient(transport=transport, base_url="http://server") as client:
            reply = await client.post(path, content=json.dumps(body))
        assert reply.status_code == 200, reply.text
        assert read(reply.json()) == expected
        await asyncio.wait_for(settle(lambda: bench.states()[1] == "END"), 5)

    bench = ServingBench(models=[ModelConfig("dense", tmp_path, Latest(1))])
    run_bench(bench, test)
