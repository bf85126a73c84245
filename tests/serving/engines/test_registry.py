import pytest

from serving.engines.onnxruntime import OnnxRuntimeEngine
from serving.engines.registry import ENGINES, create_engine, register


def test_engines_are_made_by_name():
    engine = create_engine("onnxruntime", num_threads=3)
    assert isinstance(engine, OnnxRuntimeEngine)
    assert engine.num_threads == 3
    assert set(ENGINES) == {"onnxruntime", "tensorflow"}


def test_an_unknown_engine_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match=r"one of \['onnxruntime', 'tensorflow'\]. Received: engine='torch'"):
        create_engine("torch")


def test_a_name_that_is_taken_is_refused():
    with pytest.raises(ValueError, match="'onnxruntime', which is registered already"):
        register("onnxruntime", ENGINES["onnxruntime"])


@pytest.mark.parametrize("name", sorted(ENGINES))
@pytest.mark.slow
def test_every_engine_refuses_a_device_it_does_not_know(name):
    with pytest.raises(ValueError, match=r"`device` must be 'cpu', 'cuda' or 'auto'. Received: device='tpu'"):
        create_engine(name, device="tpu")
