"""What engines, data plane and transports exchange: names, dtypes, shapes and arrays, no transport's types."""

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

DEFAULT_SIGNATURE = "serving_default"
EXPLAIN_SIGNATURE = "explain"
EXPLAIN_TARGET_SIGNATURE = "explain_target"


@dataclass(frozen=True)
class ModelSpec:
    """Which model, version and signature a request asks for; `version` and `label` exclude each other."""

    name: str
    version: int | None = None
    label: str | None = None
    signature_name: str = ""


@dataclass(frozen=True)
class TensorInfo:
    """One named input or output. `shape` has None for a dynamic dimension and is None where the rank is unknown.

    `dtype` is the NumPy dtype; for strings it is `object`, and the elements are `bytes`. `tensor_name` is the engine's
    own name, as in `x:0`.
    """

    name: str
    dtype: np.dtype
    shape: tuple[int | None, ...] | None
    tensor_name: str = ""


@dataclass(frozen=True)
class ExampleReading:
    """How Classify and Regress use a signature of tensors: an input is the feature of its name.

    `output_name` is the output with the scores or the value, empty where it can't be told. `class_labels` are the names
    of its scores, and are left out where there are not as many.
    """

    output_name: str
    class_labels: tuple[str, ...] = ()


@dataclass(frozen=True)
class Signature:
    """A callable of a model: named inputs to named outputs. `defaults` holds values of inputs that may be left out.

    Without an `example_reading` Classify and Regress hand it the serialized tf.Examples, as TensorFlow Serving does.
    """

    inputs: Mapping[str, TensorInfo]
    outputs: Mapping[str, TensorInfo]
    method_name: str = "tensorflow/serving/predict"
    defaults: Mapping[str, np.ndarray] = field(default_factory=dict)
    example_reading: ExampleReading | None = None


@dataclass(frozen=True)
class Explanation:
    """How a model's explain signatures are to be read.

    `relevance` maps an input to the output that explains it, `layers` an inner layer to the output with its relevance.
    """

    output_name: str
    relevance: Mapping[str, str]
    class_labels: tuple[str, ...] = ()
    composite: str = ""
    num_targets: int | None = None
    layers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class ServedVersion:
    """A version that answers requests, as it is described.

    Attributes:
        name: The model.
        version: The version.
        newest: Whether it answers where no version is asked for.
        signatures: Its signatures.
        labels: Its labels.
        explanation: How its explanations are to be read, where it has any.
        refuses_non_finite: Whether NaN and infinity are refused.
    """

    name: str
    version: int
    newest: bool
    signatures: Mapping[str, Signature]
    labels: tuple[str, ...] = ()
    explanation: Explanation | None = None
    refuses_non_finite: bool = True


@dataclass(frozen=True)
class Prediction:
    """The answer to a request: the outputs asked for, and the spec with the version and signature that answered."""

    spec: ModelSpec
    outputs: dict[str, np.ndarray]


class State(enum.IntEnum):
    """State of a model version, with the numbers of TensorFlow Serving's `ModelVersionStatus.State`."""

    UNKNOWN = 0
    START = 10
    LOADING = 20
    AVAILABLE = 30
    UNLOADING = 40
    END = 50


@dataclass(frozen=True)
class VersionStatus:
    """What the server knows of one version; `error_code` is a `serving.errors.Code`, 0 when all is well."""

    version: int
    state: State
    error_code: int = 0
    error_message: str = ""


@dataclass(frozen=True)
class ModelStatus:
    """All versions of one model, newest first."""

    name: str
    versions: tuple[VersionStatus, ...] = field(default_factory=tuple)
