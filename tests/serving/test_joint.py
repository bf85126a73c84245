import asyncio
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from serving.engines.base import GraphModel
from serving.errors import ServingError
from serving.joint import JointModel, join_inputs, join_signatures
from serving.metrics import Metrics
from serving.servable import ExecutionOptions, Servable
from serving.types import Signature, TensorInfo
from tests.serving.models import FLOAT, RecordingModel

X = np.ones((2, 1), np.float32)


def signature(tensor: str, output: str) -> Signature:
    return Signature({"x": TensorInfo("x", FLOAT, (None, 1), tensor)}, {"y": TensorInfo("y", FLOAT, (None, 1), output)})


class Graph(RecordingModel):
    """Answers the tensor `OUT+k` with the sum of what it was fed plus k, and notes the runs."""

    def __init__(self) -> None:
        super().__init__()
        self.signatures = {
            "plus_one": signature("a", "out+1"),
            "plus_two": signature("a", "out+2"),
            "other": signature("b", "out+3"),
        }
        self.runs: list[tuple[list[str], list[str]]] = []

    def run_tensors(self, feeds: Mapping[str, np.ndarray], fetches: Sequence[str]) -> dict[str, np.ndarray]:
        self.runs.append((sorted(feeds), sorted(fetches)))
        return {name: sum(feeds.values()) + float(name.partition("+")[2]) for name in fetches}


def run_together(model: RecordingModel, inputs: dict[str, np.ndarray]) -> dict[str, dict[str, np.ndarray]]:
    async def run() -> dict[str, dict[str, np.ndarray]]:
        with ThreadPoolExecutor(1) as threads:
            servable = Servable("m", 1, model, ExecutionOptions(threads, threads), Metrics())
            outputs = dict.fromkeys(inputs, ("y",))
            return await servable.run_together({name: {"x": array} for name, array in inputs.items()}, outputs)

    return asyncio.run(run())


def test_signatures_of_one_graph_are_one_run():
    model = Graph()
    outputs = run_together(model, {"plus_two": X, "plus_one": X})
    assert model.runs == [(["a"], ["out+1", "out+2"])]
    assert {name: output["y"].tolist() for name, output in outputs.items()} == {
        "plus_two": [[3.0], [3.0]],
        "plus_one": [[2.0], [2.0]],
    }
    model = Graph()
    outputs = run_together(model, {"plus_one": X, "other": X})
    assert model.runs == [(["a", "b"], ["out+1", "out+3"])]
    assert outputs["other"]["y"].tolist() == [[5.0], [5.0]]  # 1 + 1 + 3


def test_a_tensor_that_would_be_fed_two_arrays_is_run_twice():
    model = Graph()
    outputs = run_together(model, {"plus_one": X, "plus_two": X + 1})
    assert model.runs == []
    assert len(model.batches) == 2
    assert set(outputs) == {"plus_one", "plus_two"}


def test_other_models_run_each_signature():
    model = RecordingModel(signature_names=("one", "two"))
    outputs = run_together(model, {"one": X, "two": X * 2})
    assert {name: output["y"].tolist() for name, output in outputs.items()} == {
        "one": [[1.0], [1.0]],
        "two": [[2.0], [2.0]],
    }


def test_when_one_of_several_runs_fails_so_does_the_request():
    def refuse(x: np.ndarray) -> np.ndarray:
        raise ServingError(3, "refused")

    with pytest.raises(ServingError, match="refused"):
        run_together(RecordingModel(refuse, signature_names=("one", "two")), {"one": X, "two": X})


def test_a_joint_signature_has_the_tensors_of_all():
    model = Graph()
    joint = join_signatures(model.signatures)
    assert list(joint.inputs) == ["a", "b"]
    assert list(joint.outputs) == ["out+1", "out+2", "out+3"]
    assert isinstance(model, GraphModel)
    assert not isinstance(RecordingModel(), GraphModel)
    assert JointModel(model).run("any", {"a": X}, ["out+1"])["out+1"].tolist() == [[2.0], [2.0]]
    assert join_inputs(model.signatures, {"plus_one": {"x": X}, "plus_two": {"x": X.copy()}}) is None
