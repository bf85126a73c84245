"""The same signatures computed by everything that serves them: the Keras model, a TensorFlow Session, ONNX Runtime."""

import contextlib
import functools
import logging
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

import numpy as np
import onnxruntime
import tensorflow as tf

from export.errors import ConversionError
from export.interface import Interface
from export.manifest import EXPLAIN_SIGNATURE, PREDICT_SIGNATURE, SignatureEntry
from export.random_rounding import write_rounded_at_random
from export.saved_model import PREDICTED_CLASS, TARGET

Arrays = Mapping[str, np.ndarray]


class Runner(Protocol):
    """Computes signatures on arrays; `name` says what does it, in reports."""

    @property
    def name(self) -> str:
        """What computes."""
        ...

    def run(self, signature: str, inputs: Arrays) -> dict[str, np.ndarray]:
        """The outputs of one signature by name."""
        ...


class Probe(Runner, Protocol):
    """A program that can be made to round otherwise."""

    @property
    def rounded_at_random(self) -> Runner:
        """The same program with the results of its operations rounded at random, otherwise in each run."""
        ...

    def moved(self, relative: float, seed: int) -> contextlib.AbstractContextManager[None]:
        """Meanwhile each weight w is w (1 + u), u uniform within `relative` of 0."""
        ...


class KerasRunner:
    """The Keras model itself and an explainer, before anything was converted: the reference.

    Args:
        name: What it is called in reports.
        interface: The model; it computes all predictions, layer by layer.
        explainer: What `explain.build_explainer` returned for the same model, perhaps in double precision, or None.
    """

    def __init__(self, name: str, interface: Interface, explainer: Any | None) -> None:
        self.name = name
        self._interface = interface
        self._explainer = explainer
        if explainer is not None:
            target = tf.TensorSpec((None,), tf.int32, TARGET)
            self._explain = tf.function(explainer.explain, input_signature=[explainer.inputs, target], autograph=False)

    def run(self, signature: str, inputs: Arrays) -> dict[str, np.ndarray]:
        """The outputs of one signature."""
        outputs = self._interface.predict(_tensors(self._interface.inputs, inputs))
        if signature != PREDICT_SIGNATURE and self._explainer is not None:
            target = inputs.get(TARGET, np.full(len(next(iter(inputs.values()))), PREDICTED_CLASS, np.int32))
            explained = self._explain(_tensors(self._explainer.inputs, inputs), tf.constant(target, tf.int32))
            outputs = {**explained, **outputs}
        return {name: np.asarray(value) for name, value in outputs.items()}


def _tensors(specs: Mapping[str, tf.TensorSpec], inputs: Arrays) -> dict[str, tf.Tensor]:
    return {name: tf.constant(inputs[name], spec.dtype) for name, spec in specs.items()}


class RecordedRunner:
    """Answers that were recorded when the bundle was made.

    Args:
        name: Who gave them.
        records: Signature, inputs and outputs of each.
    """

    def __init__(self, name: str, records: Sequence[tuple[str, Arrays, Arrays]]) -> None:
        self.name = name
        self._records = records

    @classmethod
    def of(cls, runner: Runner, calls: Sequence[tuple[str, Arrays]]) -> Self:
        """The answers of a runner to these calls, signature and inputs of each; the runner is needed no longer."""
        return cls(runner.name, [(signature, inputs, runner.run(signature, inputs)) for signature, inputs in calls])

    def run(self, signature: str, inputs: Arrays) -> dict[str, np.ndarray]:
        """The recorded outputs of a call; the inputs must be the very arrays of its record."""
        for recorded, arrays, outputs in self._records:
            if recorded == signature and all(arrays[name] is values for name, values in inputs.items()):
                return dict(outputs)
        raise KeyError(signature)


class SessionRunner:
    """The SavedModel in a TensorFlow 1 Session on the CPU: what TensorFlow Serving does.

    Args:
        directory: The folder of `saved_model.pb`; `moved` and `rounded_at_random` read it again.

    Raises:
        ConversionError: The SavedModel can't be loaded.
    """

    name = "SavedModel"

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._session = tf.compat.v1.Session(graph=tf.Graph(), config=tf.compat.v1.ConfigProto(device_count={"GPU": 0}))
        try:
            with self._session.graph.as_default():
                meta_graph = tf.compat.v1.saved_model.load(self._session, [tf.saved_model.SERVING], str(directory))
        except (tf.errors.OpError, OSError, RuntimeError, ValueError, KeyError) as error:
            self._session.close()
            raise ConversionError(f"The SavedModel in {directory} can't be loaded into a Session: {error}") from error
        self.signatures: dict[str, Any] = dict(meta_graph.signature_def)
        self._saver = meta_graph.saver_def
        self._checkpoint = str(directory / tf.saved_model.VARIABLES_DIRECTORY / tf.saved_model.VARIABLES_FILENAME)
        self._opened = contextlib.ExitStack()
        self._opened.callback(self._session.close)

    def run(self, signature: str, inputs: Arrays) -> dict[str, np.ndarray]:
        """The outputs of one signature, by the names of the SavedModel's own signature definition."""
        definition = self.signatures[signature]
        feed = {definition.inputs[name].name: value for name, value in inputs.items()}
        fetches = {name: info.name for name, info in definition.outputs.items()}
        try:
            return dict(self._session.run(fetches, feed))
        except tf.errors.OpError as error:
            raise ConversionError(f"Signature {signature!r} of the SavedModel can't be run: {error.message}") from error

    @contextlib.contextmanager
    def moved(self, relative: float, seed: int) -> Iterator[None]:
        """Meanwhile each weight w is w (1 + u), u uniform within `relative` of 0; they are then read from disk."""
        move, fed_relative, fed_seed = self._move
        try:
            self._session.run(move, {fed_relative: relative, fed_seed: seed})
            yield
        finally:
            if self._variables:
                self._session.run(self._saver.restore_op_name, {self._saver.filename_tensor_name: self._checkpoint})

    @functools.cached_property
    def rounded_at_random(self) -> "SessionRunner":
        """The same SavedModel with the results of its operations rounded at random, in a Session of its own."""
        with tempfile.TemporaryDirectory(prefix="whyserve-") as folder:
            write_rounded_at_random(self._directory, Path(folder))
            return self._opened.enter_context(SessionRunner(Path(folder)))

    @functools.cached_property
    def _variables(self) -> list[Any]:
        """The operations that stand for the floating-point variables; some of tracing are left that have no value."""
        graph = self._session.graph
        found = [op for op in graph.get_operations() if op.type == "VarHandleOp" and op.get_attr("dtype").is_floating]
        with graph.as_default():
            have_values = [tf.raw_ops.VarIsInitializedOp(resource=op.outputs[0]) for op in found]
        return [op for op, has_value in zip(found, self._session.run(have_values), strict=True) if has_value]

    @functools.cached_property
    def _move(self) -> tuple[Any, Any, Any]:
        """An operation that moves all weights, and its two arguments."""
        with self._session.graph.as_default():
            relative, seed = tf.compat.v1.placeholder(tf.float32, ()), tf.compat.v1.placeholder(tf.int32, ())
            moves = [_move(op, relative, tf.stack([seed, index])) for index, op in enumerate(self._variables)]
            return tf.group(*moves), relative, seed

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._opened.close()


def _move(variable: Any, relative: Any, seed: Any) -> Any:
    handle, dtype = variable.outputs[0], variable.get_attr("dtype")
    value = tf.raw_ops.ReadVariableOp(resource=handle, dtype=dtype)
    noise = tf.random.stateless_uniform(tf.shape(value), seed, -1, 1, dtype) * tf.cast(relative, dtype)
    return tf.raw_ops.AssignVariableOp(resource=handle, value=value + value * noise)


class OnnxRunner:
    """The ONNX files in ONNX Runtime on the CPU.

    Args:
        directory: The bundle's folder.
        signatures: The signatures by name, as in the manifest.

    Raises:
        ConversionError: ONNX Runtime can't load a file.
    """

    name = "ONNX"

    def __init__(self, directory: Path, signatures: Mapping[str, SignatureEntry]) -> None:
        self._signatures = signatures
        files = {signature.file for signature in signatures.values()}
        self.sessions = {file: _onnx_session(directory / file) for file in sorted(files)}

    def run(self, signature: str, inputs: Arrays) -> dict[str, np.ndarray]:
        """The outputs of one signature; `explain` is `explain_target` for the predicted class."""
        entry = self._signatures[signature]
        feed = dict(inputs)
        if signature == EXPLAIN_SIGNATURE:
            feed[TARGET] = np.full(len(next(iter(inputs.values()))), PREDICTED_CLASS, np.int32)
        try:
            values = self.sessions[entry.file].run([output.onnx_name for output in entry.outputs], feed)
        except _ONNX_ERRORS as error:
            raise ConversionError(
                f"Signature {signature!r} can't be run in ONNX Runtime ({entry.file}): {error}"
            ) from error
        return {output.name: np.asarray(value) for output, value in zip(entry.outputs, values, strict=True)}


_STATE = onnxruntime.capi.onnxruntime_pybind11_state
_ONNX_ERRORS = (
    _STATE.Fail, _STATE.InvalidArgument, _STATE.InvalidGraph, _STATE.InvalidProtobuf, _STATE.NotImplemented,
    _STATE.NoSuchFile, _STATE.RuntimeException, ValueError,
)  # fmt: skip


def _onnx_session(path: Path) -> Any:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors come as exceptions; warnings are about optimisations
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except _ONNX_ERRORS as error:
        raise ConversionError(f"ONNX Runtime can't load {path.name}: {error}") from error


@contextlib.contextmanager
def full_precision() -> Iterator[None]:
    """TensorFlow without TensorFloat-32 (10 bits of mantissa, which pass no check) and without hints in its log."""
    enabled = tf.config.experimental.tensor_float_32_execution_enabled()
    logger = logging.getLogger("tensorflow")
    level = logger.level
    tf.config.experimental.enable_tensor_float_32_execution(False)
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        tf.config.experimental.enable_tensor_float_32_execution(enabled)
        logger.setLevel(level)
