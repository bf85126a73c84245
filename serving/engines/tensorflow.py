"""The engine for SavedModels, bundles or not: a TF1-style Session, as TensorFlow Serving runs them.

`tf.saved_model.load` can't load every SavedModel that TensorFlow Serving serves: TF1 graphs whose signatures
contradict the graph, or whose variables are references. `tf.compat.v1.saved_model.load` into a Session can.
`Session.run` in turn refuses shapes that the graph doesn't declare, though the runtime takes them;
`Session._make_callable_from_options` has no such check and
is three times as fast.
"""

import logging
import os
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import config_pb2
from tensorflow.python.framework.ops import dismantle_graph

from export.manifest import Manifest
from serving.engines.bundle import SAVED_MODEL_FILE, is_bundle, open_bundle, read_example_reading, read_explanation
from serving.engines.cpu import count_cpus
from serving.engines.settings import SessionSettings
from serving.engines.tensorflow_session import make_session_config, read_session_config
from serving.errors import Code, ServingError, invalid_argument
from serving.types import Explanation, Signature, TensorInfo

logger = logging.getLogger(__name__)

_INIT_SIGNATURE = "__saved_model_init_op"


class TensorFlowEngine:
    """Loads SavedModels into Sessions.

    Args:
        device: `cpu`, `cuda`, or `auto`: a GPU where TensorFlow sees one.
        num_threads: Threads of the operations of one run; by default as many as the process has processors.
        session: How SavedModels are loaded and run, beyond that.

    Raises:
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
        self._base_config = read_session_config(self.session.config_file, config_pb2.ConfigProto())
        # Every load would say that the TF1 loader is deprecated; see above why it is the right one.
        tf.get_logger().setLevel(logging.ERROR)

    def holds_model(self, path: Path) -> bool:
        """Whether `path` holds a SavedModel."""
        return (path / SAVED_MODEL_FILE).is_file()

    def load(self, path: Path) -> "TensorFlowModel":
        """Checks the digests, where the folder is a bundle, and loads the SavedModel's graph with the tags asked for.

        Raises:
            ServingError: The bundle is damaged, TensorFlow can't load it, or the GPU asked for isn't there.
        """
        manifest = open_bundle(path) if is_bundle(path) else None
        provider = self._provider()
        session = tf.compat.v1.Session(graph=tf.Graph(), config=self._config(provider))
        try:
            with session.graph.as_default():
                meta_graph = tf.compat.v1.saved_model.load(session, list(self.session.tags), str(path))
            model = TensorFlowModel(session, meta_graph, manifest, provider)
        except tf.errors.OpError as error:
            session.close()
            raise ServingError(Code(error.error_code), f"TensorFlow can't load {path}: {error.message}") from error
        except (OSError, RuntimeError, ValueError, TypeError, KeyError) as error:
            session.close()
            raise ServingError(Code.FAILED_PRECONDITION, f"TensorFlow can't load {path}: {error}") from error
        logger.info("SavedModel %s runs on %s", path, provider)
        return model

    def _provider(self) -> str:
        if self.device == "cpu":
            return "CPU"
        if tf.config.list_physical_devices("GPU"):
            return "GPU"
        if self.device == "cuda":
            raise ServingError(
                Code.FAILED_PRECONDITION,
                f"A GPU was asked for (device='cuda') and must be usable by TensorFlow {tf.__version__}. Received: "
                f"{[device.name for device in tf.config.list_physical_devices()]}. Install tensorflow[and-cuda] and "
                "give the container a GPU, or start with --device=cpu.",
            )
        return "CPU"

    def _config(self, provider: str) -> Any:
        return make_session_config(self._base_config, self.session, self.num_threads, gpu=provider == "GPU")


class TensorFlowModel:
    """A SavedModel in a Session; see `serving.engines.base.LoadedModel`. Shapes are the runtime's business."""

    def __init__(self, session: Any, meta_graph: Any, manifest: Manifest | None, provider: str) -> None:
        self.provider = provider
        self.refuses_non_finite = manifest is not None
        self.batchable = manifest is not None
        self.explanation: Explanation | None = None if manifest is None else read_explanation(manifest)
        self.signatures: Mapping[str, Signature] = _read_signatures(session.graph, meta_graph, manifest)
        self._session = session
        self._callables: dict[tuple[tuple[str, ...], tuple[str, ...]], Any] = {}
        self._lock = threading.Lock()

    def run(
        self, signature_name: str, inputs: Mapping[str, np.ndarray], output_names: Sequence[str]
    ) -> dict[str, np.ndarray]:
        """Runs one signature.

        Raises:
            ServingError: With the code and the text of TensorFlow's own error.
        """
        signature = self.signatures[signature_name]
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
            values = self._callable(tuple(results), missing)(*results.values()) if missing else []
        except tf.errors.OpError as error:
            raise ServingError(Code(error.error_code), error.message) from error
        except UnicodeDecodeError as error:  # TensorFlow's text repeats what came, bytes of any kind
            raise invalid_argument(error.object.decode(errors="replace")) from error
        results.update(zip(missing, values, strict=True))
        return {name: np.asarray(results[name]) for name in fetches}

    def close(self) -> None:
        """Closes the Session, and lets go of its variables and its graph."""
        self._callables.clear()
        self._session.close()
        # Operations and their graph refer to one another: until the collector finds them, all constants stay.
        dismantle_graph(self._session.graph)

    def _callable(self, feeds: tuple[str, ...], fetches: tuple[str, ...]) -> Any:
        key = (feeds, fetches)
        call = self._callables.get(key)
        if call is None:
            with self._lock:
                options = config_pb2.CallableOptions(feed=feeds, fetch=fetches)
                call = self._callables[key] = self._session._make_callable_from_options(options)  # noqa: SLF001
        return call


def _read_signatures(graph: Any, meta_graph: Any, manifest: Manifest | None) -> dict[str, Signature]:
    signatures = {}
    for name, definition in meta_graph.signature_def.items():
        if name == _INIT_SIGNATURE:
            continue
        tensors = [*definition.inputs.values(), *definition.outputs.values()]
        if any(tensor.WhichOneof("encoding") != "name" for tensor in tensors):
            logger.warning("Signature %r is not served: it has sparse or composite tensors", name)
            continue
        signatures[name] = Signature(
            inputs={key: _tensor(key, graph, info) for key, info in sorted(definition.inputs.items())},
            outputs={key: _tensor(key, graph, info) for key, info in sorted(definition.outputs.items())},
            method_name=definition.method_name,
            defaults={key: tf.make_ndarray(value) for key, value in definition.defaults.items()},
            example_reading=None if manifest is None else read_example_reading(manifest, list(definition.outputs)),
        )
    return signatures


def _tensor(name: str, graph: Any, info: Any) -> TensorInfo:
    """The declared shape with the graph's own dtype: TensorFlow Serving leaves both to the runtime."""
    dtype = graph.get_tensor_by_name(info.name).dtype.base_dtype
    shape = (
        None if info.tensor_shape.unknown_rank else tuple(None if d.size < 0 else d.size for d in info.tensor_shape.dim)
    )
    return TensorInfo(name, np.dtype(dtype.as_numpy_dtype), shape, info.name)
