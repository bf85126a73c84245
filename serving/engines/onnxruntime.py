"""The default engine: a bundle's ONNX files in ONNX Runtime, without TensorFlow or Keras in the process."""

import ctypes
import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from export.manifest import WEIGHTS_FILE, Manifest
from serving.engines.bundle import is_bundle, open_bundle, read_explanation, read_signatures
from serving.engines.cpu import count_cpus
from serving.engines.shapes import check_shapes
from serving.errors import Code, ServingError, invalid_argument
from serving.memory import return_free_memory
from serving.types import EXPLAIN_SIGNATURE, EXPLAIN_TARGET_SIGNATURE, Signature

logger = logging.getLogger(__name__)

CPU_PROVIDER = "CPUExecutionProvider"
CUDA_PROVIDER = "CUDAExecutionProvider"
PREDICTED_CLASS = -1
"""The `target` that asks for the predicted class."""

_ERRORS_SEVERITY = 3
_PAUSE_S = 0.001
_STATE = ort.capi.onnxruntime_pybind11_state
_RUNTIME_ERRORS: tuple[type[Exception], ...] = (
    _STATE.EPFail,
    _STATE.Fail,
    _STATE.InvalidGraph,
    _STATE.InvalidProtobuf,
    _STATE.NoModel,
    _STATE.NoSuchFile,
    _STATE.NotImplemented,
    _STATE.RuntimeException,
    RuntimeError,
    ValueError,
)


class OnnxRuntimeEngine:
    """Loads bundles into ONNX Runtime.

    ONNX Runtime falls back to the CPU in silence, when a session is made and again when a run fails. Here a GPU that
    was asked for and can't be had is an error, and what a model really runs on is logged and reported.

    Args:
        device: `cpu`, `cuda`, or `auto`: CUDA where there is a GPU, else the CPU.
        num_threads: Threads of one run; by default as many as the process has processors.
    """

    name = "onnxruntime"

    def __init__(self, *, device: str = "cpu", num_threads: int | None = None) -> None:
        if device not in ("cpu", "cuda", "auto"):
            raise ValueError(f"`device` must be 'cpu', 'cuda' or 'auto'. Received: device={device!r}.")
        self.device = device
        self.num_threads = num_threads or count_cpus()
        self.starts_threads = self.num_threads > 1 or device != "cpu"

    def holds_model(self, path: Path) -> bool:
        """Whether `path` holds a bundle: the manifest says which ONNX file answers which signature."""
        return is_bundle(path)

    def load(self, path: Path) -> "OnnxRuntimeModel":
        """Checks the bundle's digests and makes a session for each of its ONNX files.

        Raises:
            ServingError: The bundle is damaged, ONNX Runtime can't load it, or the GPU asked for isn't there.
        """
        manifest = open_bundle(path)
        files = sorted({signature.file for signature in manifest.signatures.values()})
        mapped = WEIGHTS_FILE in manifest.files
        sessions = {file: self._session(path / file, mapped=mapped) for file in files if file.endswith(".onnx")}
        return_free_memory()  # loading moves kernels about, and leaves up to as much as the weights take
        providers = {file: session.get_providers()[0] for file, session in sessions.items()}
        logger.info("%s runs on %s", path, providers)
        return OnnxRuntimeModel(manifest, sessions)

    def _session(self, path: Path, *, mapped: bool) -> Any:
        if self.device == "cpu" or (self.device == "auto" and not _has_cuda()):
            return self._open(path, [CPU_PROVIDER], mapped=mapped)
        _preload_cuda()
        try:
            session = self._open(path, [CUDA_PROVIDER], mapped=mapped, strict=True)
        except ServingError as error:
            # Also raised where a GPU is there and a few nodes (of shapes, mostly) have no kernel for it.
            logger.debug("%s", error.message)
            session = self._open(path, [CUDA_PROVIDER, CPU_PROVIDER], mapped=mapped)
            if session.get_providers()[0] == CUDA_PROVIDER:
                logger.warning("%s runs on %s, with some nodes on %s", path, CUDA_PROVIDER, CPU_PROVIDER)
        if session.get_providers()[0] == CUDA_PROVIDER:
            return session
        if self.device == "auto":
            logger.warning("ONNX Runtime can't use the GPU: %s runs on %s", path, session.get_providers()[0])
            return session
        raise ServingError(Code.FAILED_PRECONDITION, _gpu_missing(session.get_providers()))

    def _open(self, path: Path, providers: list[str], *, mapped: bool, strict: bool = False) -> Any:
        options = ort.SessionOptions()
        options.intra_op_num_threads = self.num_threads
        options.inter_op_num_threads = 1
        # Threads that spin between runs take the processor from the ones that read and write requests.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = _ERRORS_SEVERITY
        if mapped:
            # Matrices are read where the file is mapped, which all sessions share; a packed copy in each gains nothing.
            options.add_session_config_entry("session.disable_prepacking", "1")
        if strict:
            options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
        try:
            return ort.InferenceSession(str(path), options, providers=providers, enable_fallback=0)
        except (*_RUNTIME_ERRORS, _STATE.InvalidArgument) as error:
            raise ServingError(Code.FAILED_PRECONDITION, f"ONNX Runtime can't load {path}: {error}") from error


class OnnxRuntimeModel:
    """A bundle in memory; see `serving.engines.base.LoadedModel`.

    `explain` and `explain_target` share a session: `explain` is `explain_target` with every target the predicted class.
    """

    refuses_non_finite = True
    batchable = True

    def __init__(self, manifest: Manifest, sessions: Mapping[str, Any]) -> None:
        self.signatures: Mapping[str, Signature] = read_signatures(manifest)
        self.explanation = read_explanation(manifest)
        self._files = {name: signature.file for name, signature in manifest.signatures.items()}
        self._sessions = dict(sessions)
        self._feeds = {name: self._match(name) for name in self.signatures}
        self.provider: str = next(iter(self._sessions.values())).get_providers()[0]

    def run(
        self, signature_name: str, inputs: Mapping[str, np.ndarray], output_names: Sequence[str]
    ) -> dict[str, np.ndarray]:
        """Runs one signature.

        Raises:
            ServingError: INVALID_ARGUMENT for shapes and values that the model doesn't take, INTERNAL where it failed.
        """
        signature = self.signatures[signature_name]
        check_shapes(signature.inputs, inputs)
        feed = {signature.inputs[name].tensor_name: _to_runtime(name, array) for name, array in inputs.items()}
        for name in self._feeds[signature_name]:
            feed[name] = np.full(_batch_size(signature, inputs), PREDICTED_CLASS, np.int32)
        fetches = [signature.outputs[name].tensor_name for name in output_names]
        try:
            values = self._sessions[self._files[signature_name]].run(fetches, feed)
        except _STATE.InvalidArgument as error:
            raise invalid_argument(str(error)) from error
        except _RUNTIME_ERRORS as error:
            raise ServingError(Code.INTERNAL, f"ONNX Runtime failed to run {signature_name!r}: {error}") from error
        return {name: _from_runtime(value) for name, value in zip(output_names, values, strict=True)}

    def close(self) -> None:
        """Lets go of the sessions one by one: nothing else in the process runs while the memory of one is freed."""
        while self._sessions:
            self._sessions.popitem()
            time.sleep(_PAUSE_S)

    def _match(self, signature_name: str) -> tuple[str, ...]:
        """Compares a signature with its file; returns the file's inputs that the signature fills in itself."""
        signature = self.signatures[signature_name]
        file = self._files[signature_name]
        if file not in self._sessions:
            raise ServingError(
                Code.FAILED_PRECONDITION, f"Signature {signature_name!r} must name an ONNX file. Received: {file!r}."
            )
        session = self._sessions[file]
        has = {node.name for node in session.get_inputs()}, {node.name for node in session.get_outputs()}
        needs = _tensor_names(signature.inputs), _tensor_names(signature.outputs)
        filled: set[str] = set()
        if signature_name == EXPLAIN_SIGNATURE and EXPLAIN_TARGET_SIGNATURE in self.signatures:
            filled = _tensor_names(self.signatures[EXPLAIN_TARGET_SIGNATURE].inputs) - needs[0]
        if has[0] != needs[0] | filled or not needs[1] <= has[1]:
            raise ServingError(
                Code.FAILED_PRECONDITION,
                f"{file} must have the tensors of signature {signature_name!r}: inputs {sorted(needs[0] | filled)}, "
                f"outputs {sorted(needs[1])}. Received: inputs {sorted(has[0])}, outputs {sorted(has[1])}. "
                "Export the model again.",
            )
        return tuple(sorted(filled))


def _tensor_names(tensors: Mapping[str, Any]) -> set[str]:
    return {tensor.tensor_name for tensor in tensors.values()}


def _batch_size(signature: Signature, inputs: Mapping[str, np.ndarray]) -> int:
    return int(inputs[next(iter(signature.inputs))].shape[0])


def _to_runtime(name: str, array: np.ndarray) -> np.ndarray:
    """Strings are `bytes` everywhere else; ONNX Runtime takes `str` and would write `b'...'` into the tensor."""
    if array.dtype != object:
        return array
    try:
        texts = [item.decode() if isinstance(item, bytes) else str(item) for item in array.flat]
    except UnicodeDecodeError as error:
        raise invalid_argument(
            f"Input {name!r} must hold strings in UTF-8. Received: {error.object[:40]!r}."
        ) from error
    return _to_objects(texts, array.shape)


def _from_runtime(value: np.ndarray) -> np.ndarray:
    if value.dtype != object:
        return value
    return _to_objects([str(item).encode() for item in value.flat], value.shape)


def _to_objects(items: Sequence[object], shape: tuple[int, ...]) -> np.ndarray:
    array = np.empty(len(items), object)
    array[:] = items
    return array.reshape(shape)


def _has_cuda() -> bool:
    """Whether this build knows CUDA and the driver is there; asking ONNX Runtime itself would print errors."""
    if CUDA_PROVIDER not in ort.get_available_providers():
        return False
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    return True


def _preload_cuda() -> None:
    """Loads the CUDA libraries that pip installed beside ONNX Runtime; does nothing the second time."""
    if CUDA_PROVIDER in ort.get_available_providers() and _has_cuda():
        ort.preload_dlls()


def _gpu_missing(providers: Sequence[str]) -> str:
    return (
        f"A GPU was asked for (device='cuda') and must be usable by ONNX Runtime {ort.__version__}. "
        f"Received: a session on {', '.join(providers)}; this build has {', '.join(ort.get_available_providers())}. "
        "Install onnxruntime-gpu with its CUDA libraries and give the container a GPU, or start with --device=cpu."
    )
