"""The engine for SavedModels, bundles or not: a session of TensorFlow's C API, as TensorFlow Serving runs them.

`tf.saved_model.load` can't load every SavedModel that TensorFlow Serving serves: TF1 graphs whose signatures
contradict the graph, or whose variables are references. The C API's loader is TensorFlow Serving's own; see
`serving.engines.tensorflow_library` for what else speaks for it.
"""

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from export.manifest import Manifest
from serving.engines.bundle import SAVED_MODEL_FILE, is_bundle, open_bundle, read_example_reading, read_explanation
from serving.engines.cpu import count_cpus
from serving.engines.settings import SessionSettings
from serving.engines.shapes import check_shapes
from serving.engines.tensorflow_graph import TensorFlowGraph, load_graph
from serving.engines.tensorflow_library import TensorFlowError, load_library
from serving.engines.tensorflow_session import make_session_config, read_session_config
from serving.engines.tensorflow_tensors import numpy_dtype
from serving.errors import Code, ServingError
from serving.grpc.tensors import decode_tensor
from serving.protos import session_pb2, signature_pb2
from serving.types import Explanation, Signature, TensorInfo

logger = logging.getLogger(__name__)

_INIT_SIGNATURE = "__saved_model_init_op"
_VARIABLES = "variables/variables.index"
_LEAST_RANK = 3
"""Of what a convolution reads."""


class TensorFlowEngine:
    """Loads SavedModels into Sessions.

    Args:
        device: `cpu`, `cuda`, or `auto`: a GPU where TensorFlow sees one.
        num_threads: Threads of the operations of one run; by default as many as the process has processors.
        session: How SavedModels are loaded and run, beyond that.

    Raises:
        ImportError: TensorFlow isn't installed.
        StartError: The session's configuration file can't be read.
    """

    name = "tensorflow"
    starts_threads = True

    def __init__(
        self, *, device: str = "cpu", num_threads: int | None = None, session: SessionSettings | None = None
    ) -> None:
        if device not in ("cpu", "cuda", "auto"):
            raise ValueError(f"`device` must be 'cpu', 'cuda' or 'auto'. Received: device={device!r}.")
        # Read when the first session is made. oneDNN's own allocator keeps what an unloaded model needed for ever; the
        # C library's gives it back; what that costs in speed isn't settled.
        os.environ.setdefault("TF_ONEDNN_USE_SYSTEM_ALLOCATOR", "1")
        self.device = device
        self.num_threads = num_threads or count_cpus()
        self.session = session or SessionSettings()
        base = read_session_config(self.session.config_file)
        self._config = make_session_config(base, self.session, self.num_threads, gpu=device != "cpu")
        load_library()

    def holds_model(self, path: Path) -> bool:
        """Whether `path` holds a SavedModel."""
        return (path / SAVED_MODEL_FILE).is_file()

    def load(self, path: Path) -> "TensorFlowModel":
        """Checks the digests, where the folder is a bundle, and loads the SavedModel's graph with the tags asked for.

        Raises:
            ServingError: The bundle is damaged, TensorFlow can't load it, or the GPU asked for isn't there.
        """
        manifest = open_bundle(path) if is_bundle(path) else None
        try:
            graph, meta_graph = load_graph(path, self.session.tags, self._config.SerializeToString())
        except TensorFlowError as error:
            raise ServingError(Code(error.code), f"TensorFlow can't load {path}: {error.message}") from error
        try:
            provider = self._provider(graph)
            signatures = _read_signatures(path, graph, session_pb2.MetaGraphDef.FromString(meta_graph), manifest)
        except ServingError:
            graph.close()
            raise
        logger.info("SavedModel %s runs on %s", path, provider)
        return TensorFlowModel(graph, signatures, manifest, provider)

    def _provider(self, graph: TensorFlowGraph) -> str:
        devices = graph.devices()
        if "GPU" in devices.values():
            return "GPU"
        if self.device == "cuda":
            raise ServingError(
                Code.FAILED_PRECONDITION,
                f"A GPU was asked for (device='cuda') and must be usable by TensorFlow "
                f"{load_library().TF_Version().decode()}. Received: {sorted(devices)}. Install tensorflow[and-cuda] "
                "and give the container a GPU, or start with --device=cpu.",
            )
        return "CPU"


class TensorFlowModel:
    """A SavedModel in a Session; see `serving.engines.base.LoadedModel`. Shapes are mostly the runtime's business."""

    def __init__(
        self, graph: TensorFlowGraph, signatures: Mapping[str, Signature], manifest: Manifest | None, provider: str
    ) -> None:
        self.provider = provider
        self.refuses_non_finite = manifest is not None
        self.batchable = manifest is not None
        self.explanation: Explanation | None = None if manifest is None else read_explanation(manifest)
        self.signatures = signatures
        self._graph = graph
        self._is_bundle = manifest is not None

    def run(
        self, signature_name: str, inputs: Mapping[str, np.ndarray], output_names: Sequence[str]
    ) -> dict[str, np.ndarray]:
        """Runs one signature.

        Raises:
            ServingError: With the code and the text of TensorFlow's own error.
        """
        signature = self.signatures[signature_name]
        self._check(signature, inputs)
        feeds = {signature.inputs[name].tensor_name: array for name, array in inputs.items()}
        results = self.run_tensors(feeds, [signature.outputs[name].tensor_name for name in output_names])
        return {name: results[signature.outputs[name].tensor_name] for name in output_names}

    def run_tensors(self, feeds: Mapping[str, np.ndarray], fetches: Sequence[str]) -> dict[str, np.ndarray]:
        """Runs the graph, whichever signatures the tensors belong to; see `serving.engines.base.GraphModel`.

        Raises:
            ServingError: With the code and the text of TensorFlow's own error.
        """
        results = dict(feeds)
        # A tensor that is fed can't be fetched: an output that is an input is what came in.
        missing = tuple(sorted(set(fetches) - results.keys()))
        try:
            results.update(zip(missing, self._graph.run(feeds, missing) if missing else [], strict=True))
        except TensorFlowError as error:
            raise ServingError(Code(error.code), error.message) from error
        return {name: np.asarray(results[name]) for name in fetches}

    def _check(self, signature: Signature, inputs: Mapping[str, np.ndarray]) -> None:
        """Refuses shapes over which oneDNN's convolutions end the process, with everything else that it serves.

        A bundle's shapes are known to be right. Of others only the rank of images and volumes is held, for signatures
        may contradict their graph.
        """
        if self._is_bundle:
            check_shapes(signature.inputs, inputs)
            return
        for name, info in signature.inputs.items():
            if info.shape is not None and len(info.shape) >= _LEAST_RANK:
                check_shapes({name: replace(info, shape=(None,) * len(info.shape))}, inputs)

    def close(self) -> None:
        """Closes the session, and lets go of its variables and its graph."""
        self._graph.close()


def _read_signatures(
    path: Path, graph: TensorFlowGraph, meta_graph: session_pb2.MetaGraphDef, manifest: Manifest | None
) -> dict[str, Signature]:
    if meta_graph.HasField("saver_def") and not (path / _VARIABLES).is_file():
        # TensorFlow would log that there are none, and go on.
        raise ServingError(Code.FAILED_PRECONDITION, f"TensorFlow can't load {path}: {_VARIABLES} must be there.")
    signatures = {}
    for name, definition in meta_graph.signature_def.items():
        if name == _INIT_SIGNATURE:
            continue
        tensors = [*definition.inputs.values(), *definition.outputs.values()]
        if any(tensor.WhichOneof("encoding") != "name" for tensor in tensors):
            logger.warning("Signature %r is not served: it has sparse or composite tensors", name)
            continue
        try:
            dtypes = {tensor.name: numpy_dtype(graph.data_type(tensor.name)) for tensor in tensors}
        except KeyError as error:
            raise ServingError(
                Code.FAILED_PRECONDITION,
                f"TensorFlow can't load {path}: signature {name!r} must name tensors of the graph. Received: {error}.",
            ) from error
        known = {tensor_name: dtype for tensor_name, dtype in dtypes.items() if dtype is not None}
        if len(known) < len(dtypes):
            logger.warning("Signature %r is not served: NumPy has no arrays of a tensor's type", name)
            continue
        signatures[name] = _read_signature(definition, known, manifest)
    return signatures


def _read_signature(
    definition: signature_pb2.SignatureDef, dtypes: Mapping[str, np.dtype], manifest: Manifest | None
) -> Signature:
    return Signature(
        inputs={key: _read_tensor(key, info, dtypes) for key, info in sorted(definition.inputs.items())},
        outputs={key: _read_tensor(key, info, dtypes) for key, info in sorted(definition.outputs.items())},
        method_name=definition.method_name,
        defaults={key: decode_tensor(value, key) for key, value in definition.defaults.items()},
        example_reading=None if manifest is None else read_example_reading(manifest, list(definition.outputs)),
    )


def _read_tensor(name: str, info: signature_pb2.TensorInfo, dtypes: Mapping[str, np.dtype]) -> TensorInfo:
    """The declared shape with the graph's own dtype: TensorFlow Serving leaves both to the runtime."""
    shape = (
        None if info.tensor_shape.unknown_rank else tuple(None if d.size < 0 else d.size for d in info.tensor_shape.dim)
    )
    return TensorInfo(name, dtypes[info.name], shape, info.name)
