import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.serving.bundles import kernel_of, softmax
from tests.serving.grpc.servers import open_server

ROOT = Path(__file__).parents[3]


async def ask(models: Path) -> dict[str, Any]:
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "TF_CPP_MIN_LOG_LEVEL": "3"}
    async with open_server(models) as client:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tests.serving.grpc.official_client",
            client.address,
            cwd=ROOT,
            env=environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        output, errors = await asyncio.wait_for(process.communicate(), 180)
    assert process.returncode == 0, errors.decode()
    return json.loads(output)


@pytest.mark.slow
def test_the_stubs_of_tensorflow_serving_api_work_unmodified(models: Path) -> None:
    answers = asyncio.run(ask(models))
    x = np.array([[1, 2, 3, 4]], np.float32)
    logits = x.astype(float) @ kernel_of(2)
    np.testing.assert_allclose(answers["predict"]["probabilities"], softmax(logits), atol=1e-6)
    np.testing.assert_allclose(answers["explain"]["explained_value"], logits.max(axis=1), atol=1e-5)
    np.testing.assert_allclose(answers["explain"]["relevance"], x * kernel_of(2)[:, logits.argmax()], atol=1e-5)
    assert answers["version"] == 2
    assert answers["signatures"] == ["explain", "explain_target", "serving_default"]
    assert answers["states"] == [[2, 30, 0], [1, 30, 0]]
    assert [label for label, _ in answers["classify"]] == ["a", "b", "c"]
    np.testing.assert_allclose([score for _, score in answers["classify"]], softmax(logits)[0], atol=1e-6)
    np.testing.assert_allclose(answers["multi"], softmax(logits)[0], atol=1e-6)
    assert answers["multi_signature"] == "serving_default"
    assert answers["regress"] == [3.0]
    assert answers["refused"] == ["INVALID_ARGUMENT", "Missing ModelSpec"]
