"""An explanation in the engines that serve it: TensorFlow from a SavedModel, and ONNX Runtime."""

import numpy as np
import onnxruntime
import tensorflow as tf

from explain import build_explainer
from export.onnx import write_onnx
from export.saved_model import Signature, write_saved_model
from tests.explain.running import call, worst


def engines_of(model, folder, **options):
    """Two functions that explain with a model, each from arrays by name (`target` too) to relevance by name."""
    explainer = build_explainer(model, **options)
    specs = dict(sorted({**explainer.inputs, "target": tf.TensorSpec((None,), tf.int32, name="target")}.items()))

    def run(**arrays):
        target = arrays.pop("target")
        return {name: value for name, value in explainer.explain(arrays, target).items() if name != "target"}

    function = tf.function(run, autograph=False).get_concrete_function(**specs)
    outputs = {name: tf.TensorSpec(value.shape, value.dtype) for name, value in function.structured_outputs.items()}
    signature = Signature(function, specs, outputs)
    write_saved_model(folder / "saved", model, {"explain": signature}, explainer)
    loaded = tf.saved_model.load(folder / "saved")
    write_onnx(folder / "explain.onnx", signature, "explain")
    session = onnxruntime.InferenceSession(folder / "explain.onnx", providers=["CPUExecutionProvider"])
    names = [name for name in outputs if name.startswith("relevance")]

    def in_tensorflow(arrays):
        result = loaded.signatures["explain"](**{name: tf.constant(value) for name, value in arrays.items()})
        return {name: np.asarray(result[name]) for name in names}

    def in_onnxruntime(arrays):
        read = {value.name for value in session.get_inputs()}
        found = session.run(names, {name: value for name, value in arrays.items() if name in read})
        return dict(zip(names, found, strict=True))

    return in_tensorflow, in_onnxruntime


def check_engines(reference, model, arrays, folder, *, target=0, least):
    """Holds both engines' relevance of every input against that of the same model in double precision.

    Args:
        reference: The model in float64.
        model: The same in float32.
        arrays: The inputs by name.
        folder: For the exported files.
        target: The class that is explained.
        least: The largest relevance of an input must be larger.
    """
    expected = call(build_explainer(reference, composite="epsilon"), arrays, target=target)
    rows = len(next(iter(arrays.values())))
    found = [
        engine({**arrays, "target": np.full(rows, target, np.int32)})
        for engine in engines_of(model, folder, composite="epsilon")
    ]
    for name in (f"relevance_{name}" for name in arrays):
        assert np.abs(expected[name]).max() > least, name
        for relevances in found:
            assert worst(relevances[name], expected[name]) < 1e-4, name
        assert worst(found[1][name], found[0][name]) < 1e-5, name
