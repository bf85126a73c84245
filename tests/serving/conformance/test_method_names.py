"""`--enable_signature_method_name_check`: a signature's `method_name` must fit; without the flag it doesn't matter."""

import numpy as np
import pytest

from serving.data_plane import DataPlane
from serving.engines.base import LoadedModel
from serving.errors import Code, ServingError
from serving.inference import find_task
from serving.tasks import Method
from serving.types import ModelSpec, Signature
from tests.serving.bench import ServingBench, run_bench
from tests.serving.models import RecordingModel, signature
from tests.serving.test_manager import HeldEngine

PREDICT, CLASSIFY, ODD = "tensorflow/serving/predict", "tensorflow/serving/classify", "something/else"
SPEC = ModelSpec("dense")
X = {"x": np.ones((1, 1), np.float32)}


def model_of(method_name: str) -> LoadedModel:
    model = RecordingModel(signature_names=["serving_default"])
    plain = signature()
    model.signatures = {"serving_default": Signature(plain.inputs, plain.outputs, method_name)}
    return model


def ask(tmp_path, method_name, test, *, checks):
    (tmp_path / "1").mkdir()
    bench = ServingBench(tmp_path, engine=HeldEngine(model_of(method_name)))
    plane = DataPlane(bench.manager, checks_method_names=checks)

    async def run(_):
        await test(plane)

    run_bench(bench, run)


@pytest.mark.parametrize(("method_name", "checks"), [(ODD, False), (PREDICT, True), (CLASSIFY, True)])
def test_predict_takes_it(tmp_path, method_name, checks):
    async def test(plane):
        assert (await plane.predict(SPEC, X)).outputs["y"].tolist() == [[1]]

    ask(tmp_path, method_name, test, checks=checks)


def test_predict_refuses_a_name_that_is_none_of_tensorflow_servings(tmp_path):
    async def test(plane):
        with pytest.raises(ServingError) as refused:
            await plane.predict(SPEC, X)
        assert (refused.value.code, refused.value.message) == (
            Code.INTERNAL,
            (
                "Expected prediction signature method_name to be one of {tensorflow/serving/predict, "
                "tensorflow/serving/classify, tensorflow/serving/regress}. Was: something/else"
            ),
        )

    ask(tmp_path, ODD, test, checks=True)


@pytest.mark.parametrize(
    ("method", "message"),
    [
        (
            Method.CLASSIFY,
            (
                "Expected classification signature method_name to be tensorflow/serving/classify. "
                "Was: tensorflow/serving/predict"
            ),
        ),
        (
            Method.REGRESS,
            (
                "Expected regression signature method_name to be tensorflow/serving/regress. "
                "Was: tensorflow/serving/predict"
            ),
        ),
    ],
)
def test_classify_and_regress_refuse_another_name(tmp_path, method, message):
    async def test(plane):
        with pytest.raises(ServingError) as refused:
            find_task(plane, SPEC, method)
        assert (refused.value.code, refused.value.message) == (Code.INVALID_ARGUMENT, message)

    ask(tmp_path, PREDICT, test, checks=True)
