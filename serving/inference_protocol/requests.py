"""What a request for an inference says, and what answers it, before either is JSON or a message."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from serving.errors import Code, ServingError, invalid_argument
from serving.types import DEFAULT_SIGNATURE, ModelSpec

# Parts a model's name from a signature's. No model's own name can hold it: TensorFlow Serving's URLs end a name at it.
SIGNATURE_MARK = ":"

# The parameter of a request that names a signature.
SIGNATURE_NAME = "signature_name"

Parameters = Mapping[str, Any]


@dataclass(frozen=True)
class RequestedOutput:
    """An output asked for.

    Attributes:
        name: Its name.
        binary: Whether it is wanted as bytes; None: as the request says for all.
        classes: 0, or the number of classes wanted in place of the scores.
    """

    name: str
    binary: bool | None = None
    classes: int = 0


@dataclass(frozen=True)
class InferRequest:
    """A request for an inference.

    Attributes:
        inputs: The arrays by name.
        outputs: The outputs wanted, in that order; all where empty.
        parameters: Flat values by name.
        request_id: Handed back with the answer.
    """

    inputs: Mapping[str, np.ndarray]
    outputs: tuple[RequestedOutput, ...] = ()
    parameters: Parameters = field(default_factory=dict)
    request_id: str = ""


@dataclass(frozen=True)
class InferReply:
    """What answers it: the version and the signature, and the outputs in the order asked for."""

    spec: ModelSpec
    outputs: Mapping[str, np.ndarray]


def model_spec(name: str, version: str = "", *, signature_name: str = "") -> ModelSpec:
    """The model that a name and a version stand for.

    Args:
        name: A model's name, or `model:signature` for one that stands for this signature of it: so that clients which
            know names only reach the explanations, as `digits:explain`.
        version: A number, a label, or empty for the newest.
        signature_name: The signature that is asked for in another way, if any.

    Raises:
        ServingError: INVALID_ARGUMENT; two different signatures are asked for, or the version is no number of 64 bits.
    """
    base, _, of_name = name.partition(SIGNATURE_MARK)
    if of_name and signature_name and of_name != signature_name:
        raise invalid_argument(
            f"Model {name!r} stands for its signature {of_name!r}. Received: {SIGNATURE_NAME}={signature_name!r}. "
            f"Ask model {base!r}."
        )
    signature = of_name or signature_name or DEFAULT_SIGNATURE
    if not (version.isascii() and version.isdigit()):
        return ModelSpec(base, label=version or None, signature_name=signature)
    digits = version.lstrip("0") or "0"
    if len(digits) > 19 or int(digits) >= 2**63:
        raise invalid_argument(f"A version must be below 2^63. Received: {digits[:40]}.")
    return ModelSpec(base, version=int(digits), signature_name=signature)


def signature_parameter(parameters: Parameters) -> str:
    """The signature that the parameters name; empty where they name none.

    Raises:
        ServingError: INVALID_ARGUMENT; it is no string.
    """
    name = parameters.get(SIGNATURE_NAME, "")
    if not isinstance(name, str):
        raise invalid_argument(f"Parameter {SIGNATURE_NAME!r} must be a string. Received: {str(name)[:40]}.")
    return name


def refuse_shared_memory(parameters: Any, what: str) -> None:
    """Refuses a tensor that lies in memory which Triton would share with its client.

    Raises:
        ServingError: UNIMPLEMENTED.
    """
    if "shared_memory_region" in parameters:
        raise ServingError(
            Code.UNIMPLEMENTED, f"{what} lies in shared memory, which is not served. Send its data with the request."
        )
