"""What the protocol tells of the server and of its models: metadata, configuration, the index of the repository."""

import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from serving.errors import Code, ServingError
from serving.inference_protocol.datatypes import BYTES, datatype_of
from serving.inference_protocol.requests import SIGNATURE_MARK
from serving.types import DEFAULT_SIGNATURE, ModelSpec, Signature, State, TensorInfo

if TYPE_CHECKING:
    from serving.data_plane import DataPlane

SERVER_NAME = "whyserve"

# Triton's names of what is answered beyond the protocol itself; `explain` is ours.
EXTENSIONS = (
    "binary_tensor_data",
    "classification",
    "explain",
    "model_configuration",
    "model_repository",
    "parameters",
    "statistics",
)

# What Triton calls the models of our engines.
PLATFORMS = {"onnxruntime": "onnxruntime_onnx", "tensorflow": "tensorflow_savedmodel"}

# What Triton's client can ask for beyond, with the reason why it isn't served.
NOT_SERVED = {
    "repository": "Models are not loaded or unloaded over this protocol: the server finds them on its disk.",
    "shared memory": "Shared memory is not served. Send tensors with the request, as binary data.",
    "trace": "Tracing is set by the server's flags, not by its clients.",
    "log": "Logging is set by the server's flags, not by its clients.",
}

STATES = {
    State.UNKNOWN: "UNKNOWN",
    State.START: "LOADING",
    State.LOADING: "LOADING",
    State.AVAILABLE: "READY",
    State.UNLOADING: "UNLOADING",
    State.END: "UNAVAILABLE",
}


@dataclass(frozen=True)
class Tensor:
    """A tensor of a signature; -1 is a dynamic dimension, and [-1] stands for an unknown rank too."""

    name: str
    datatype: str
    shape: tuple[int, ...]

    @property
    def config_type(self) -> str:
        """Its type as a Triton model configuration writes it."""
        return "TYPE_STRING" if self.datatype == BYTES else f"TYPE_{self.datatype}"


@dataclass(frozen=True)
class ModelDescription:
    """What is told of one signature of a model.

    Attributes:
        name: As it was asked for.
        versions: Those that answer, newest first.
        platform: Triton's name for such a model.
        inputs: Its inputs.
        outputs: Its outputs.
    """

    name: str
    versions: tuple[str, ...]
    platform: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]


@dataclass(frozen=True)
class IndexEntry:
    """A version in the index of the repository."""

    name: str
    version: str
    state: str
    reason: str


@functools.cache
def server_version() -> str:
    """The version of the installed program."""
    from importlib import metadata  # 10 ms that a start can do without

    try:
        return metadata.version(SERVER_NAME)
    except metadata.PackageNotFoundError:
        return "unknown"


def find_signature(data_plane: "DataPlane", spec: ModelSpec) -> tuple[ModelSpec, Signature]:
    """The version and the signature that answer `spec`.

    Raises:
        ServingError: The model or version isn't served; FAILED_PRECONDITION where it has no such signature, which lists
            those that it has.
    """
    try:
        return data_plane.signature(spec)
    except ServingError as error:
        if error.code != Code.FAILED_PRECONDITION:
            raise
        known = ", ".join(repr(f"{spec.name}{SIGNATURE_MARK}{name}") for name in data_plane.resolve(spec)[1])
        raise ServingError(
            error.code,
            f"{error.message} Model {spec.name!r} has these, each of which answers as a model of its own: {known}.",
        ) from error


def describe_model(data_plane: "DataPlane", spec: ModelSpec, *, name: str, engine: str) -> ModelDescription:
    """Describes the signature that `spec` names.

    Args:
        data_plane: What knows it.
        spec: The model, with its signature filled in.
        name: The model's name as it was asked for.
        engine: The engine's name.

    Raises:
        ServingError: The model or version isn't served, has no such signature, or a type that the protocol lacks.
    """
    spec, signature = find_signature(data_plane, spec)
    available = [
        version.version for version in data_plane.status(spec.name).versions if version.state == State.AVAILABLE
    ]
    return ModelDescription(
        name=name,
        versions=tuple(map(str, available)),
        platform=PLATFORMS.get(engine, engine),
        inputs=_tensors(signature.inputs),
        outputs=_tensors(signature.outputs),
    )


def check_ready(data_plane: "DataPlane", spec: ModelSpec) -> None:
    """Refuses a model that doesn't answer requests, or a signature that it hasn't.

    Raises:
        ServingError: It isn't served, as for a request.
    """
    if spec.signature_name == DEFAULT_SIGNATURE:
        data_plane.resolve(spec)
    else:
        find_signature(data_plane, spec)


def is_ready(data_plane: "DataPlane", spec: ModelSpec) -> bool:
    """Whether a model answers requests."""
    try:
        check_ready(data_plane, spec)
    except ServingError:
        return False
    return True


def index(data_plane: "DataPlane", *, ready: bool = False) -> Iterator[IndexEntry]:
    """Every version of every model, or those only that answer requests."""
    for model in data_plane.models():
        for version in model.versions:
            if version.state == State.AVAILABLE or not ready:
                yield IndexEntry(model.name, str(version.version), STATES[version.state], version.error_message)


def _tensors(tensors: Mapping[str, TensorInfo]) -> tuple[Tensor, ...]:
    return tuple(
        Tensor(name, datatype_of(tensor.dtype, name), _shape(tensor.shape)) for name, tensor in tensors.items()
    )


def _shape(shape: tuple[int | None, ...] | None) -> tuple[int, ...]:
    return (-1,) if shape is None else tuple(-1 if size is None else size for size in shape)
