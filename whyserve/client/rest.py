"""Asks a server over REST: TensorFlow Serving's `:predict` and metadata, and `:explain` beside them."""

import base64
import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import httpx
import numpy as np
import orjson

from serving.types import DEFAULT_SIGNATURE, TensorInfo
from whyserve.client.access import Access
from whyserve.client.base import PREDICTED, Answer, Attribution, ModelDescription, Targets, label_of
from whyserve.errors import CommandError

# TensorFlow's DataType names, as the metadata gives them, to NumPy's where they differ.
DTYPES = {"DT_FLOAT": "float32", "DT_DOUBLE": "float64", "DT_HALF": "float16", "DT_STRING": "object"}


class RestClient:
    """Asks one model of a server over REST.

    Args:
        url: The server, as in `http://localhost:8501`.
        name: The model's name.
        version: The version to ask; the newest by default.
        timeout_s: How long one answer may take, in seconds.
        access: What is shown to the server, and what it is trusted by.
    """

    def __init__(
        self,
        url: str,
        name: str,
        *,
        version: int | None = None,
        timeout_s: float = 60.0,
        access: Access = Access(),  # noqa: B008 -- it can't be changed
    ) -> None:
        self.place = url.rstrip("/")
        self._name = name
        self._path = f"/v1/models/{quote(name, safe='')}" + ("" if version is None else f"/versions/{version}")
        verify = access.ssl_context() if self.place.startswith("https:") else True
        self._http = httpx.Client(base_url=self.place, timeout=timeout_s, headers=access.headers(), verify=verify)
        self._description: ModelDescription | None = None

    def describe(self) -> ModelDescription:
        """The model's metadata."""
        if self._description is None:
            self._description = _description(self._name, self._ask("GET", self._path + "/metadata"))
        return self._description

    def predict(self, inputs: Mapping[str, np.ndarray]) -> Answer:
        """The model's outputs for a batch."""
        answer = self._ask("POST", self._path + ":predict", instances(inputs))
        description = self.describe()
        return Answer(self._name, description.version, _columns(answer["predictions"], description))

    def explain(
        self, inputs: Mapping[str, np.ndarray], *, target: Targets = PREDICTED, contrast: Targets = None, top_k: int = 1
    ) -> Answer:
        """Outputs and attributions: of `target` (against `contrast`), or of the `top_k` highest scores."""
        parameters: dict[str, Any] = {}
        if target != PREDICTED:
            parameters["target"] = target
        if contrast is not None:
            parameters["contrast"] = contrast
        if top_k > 1:
            parameters["top_k"] = top_k
        answer = self._ask("POST", self._path + ":explain", instances(inputs, parameters))
        description = self.describe()
        return Answer(
            self._name,
            description.version,
            _columns(answer["predictions"], description),
            [[_attribution(one) for one in each["attributions"]] for each in answer["explanations"]],
        )

    def close(self) -> None:
        """Closes the connections."""
        self._http.close()

    def _ask(self, method: str, path: str, body: bytes | None = None) -> dict[str, Any]:
        try:
            response = self._http.request(method, path, content=body, headers={"Content-Type": "application/json"})
        except httpx.TimeoutException as error:
            raise CommandError(f"{self.place} did not answer {method} {path} in time. Raise --timeout.") from error
        except (httpx.TransportError, httpx.InvalidURL) as error:
            raise CommandError(
                f"No server answers at {self.place} ({error}). Start one with `whyserve serve --rest_api_port=8501 "
                "--model_name=NAME --model_base_path=/path/to/NAME`, or ask a bundle with `--bundle`."
            ) from error
        if response.status_code != httpx.codes.OK:
            raise CommandError(f"{self.place} answered {response.status_code}: {_error_text(response)}")
        answer: dict[str, Any] = json.loads(response.content)  # not orjson: answers may hold NaN and Infinity
        return answer


def instances(inputs: Mapping[str, np.ndarray], parameters: Mapping[str, Any] | None = None) -> bytes:
    """A request body in TensorFlow Serving's row form.

    Args:
        inputs: Arrays by input name, batch first.
        parameters: `target`, `contrast` or `top_k` of an explanation.

    Returns:
        The JSON text.
    """
    arrays = {name: _jsonable(array) for name, array in inputs.items()}
    names = list(arrays)
    rows: Any = arrays[names[0]]
    if len(names) > 1:
        rows = [dict(zip(names, row, strict=True)) for row in zip(*arrays.values(), strict=True)]
    body: dict[str, Any] = {"instances": rows}
    if parameters:
        body["parameters"] = dict(parameters)
    if all(np.isfinite(array).all() for array in inputs.values() if array.dtype.kind == "f"):
        return orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY, default=np.ndarray.tolist)
    # JSON has no NaN; TensorFlow Serving reads the bare tokens that Python writes.
    return json.dumps(body, default=np.ndarray.tolist).encode()


def _jsonable(array: np.ndarray) -> Any:
    """An array that orjson writes, or nested lists with `{"b64": ...}` for bytes."""
    if array.dtype != object:
        return np.ascontiguousarray(array)
    if array.ndim > 1:
        return [_jsonable(row) for row in array]
    return [{"b64": base64.b64encode(item).decode()} if isinstance(item, bytes) else str(item) for item in array]


def _error_text(response: httpx.Response) -> str:
    try:
        return str(response.json()["error"])
    except (ValueError, KeyError, TypeError):
        return response.text[:500] or response.reason_phrase


def _description(name: str, metadata: Mapping[str, Any]) -> ModelDescription:
    signatures = metadata["metadata"]["signature_def"]["signature_def"]
    if DEFAULT_SIGNATURE not in signatures:
        raise CommandError(
            f"Expected the model '{name}' to have the signature '{DEFAULT_SIGNATURE}'. "
            f"Received: signatures {', '.join(sorted(signatures)) or 'none'}"
        )
    signature = signatures[DEFAULT_SIGNATURE]
    return ModelDescription(
        name=metadata["model_spec"]["name"],
        version=int(metadata["model_spec"]["version"]),
        inputs={key: _tensor(key, info) for key, info in signature["inputs"].items()},
        outputs={key: _tensor(key, info) for key, info in signature["outputs"].items()},
    )


def _tensor(name: str, info: Mapping[str, Any]) -> TensorInfo:
    """A TensorInfo from its JSON: `{"dtype": "DT_FLOAT", "tensor_shape": {"dim": [{"size": "-1"}]}}`."""
    dtype = DTYPES.get(info["dtype"], info["dtype"].removeprefix("DT_").lower())
    shape = info["tensor_shape"]
    sizes = [int(dim["size"]) for dim in shape.get("dim", [])]
    dims = None if shape.get("unknown_rank") else tuple(None if size < 0 else size for size in sizes)
    return TensorInfo(name, np.dtype(dtype), dims)


def _columns(predictions: list[Any], description: ModelDescription) -> dict[str, np.ndarray]:
    """Rows of predictions as arrays by output name; one output comes bare, several as objects."""
    if predictions and isinstance(predictions[0], dict) and len(description.outputs) > 1:
        return {name: _array([row[name] for row in predictions], info) for name, info in description.outputs.items()}
    (name, info), *_ = description.outputs.items()
    return {name: _array(predictions, info)}


def _array(rows: list[Any], info: TensorInfo) -> np.ndarray:
    return np.asarray(rows, info.dtype)


def _attribution(attribution: Mapping[str, Any]) -> Attribution:
    """Reads one attribution. Its `approximationError` has neither sign nor scale, so the gap is computed again."""
    index = int(np.ravel(attribution.get("outputIndex", [0]))[-1])
    value = float(attribution["instanceOutputValue"])
    relevance = _arrays(attribution["featureAttributions"])
    contrast = attribution.get("contrastIndex")
    other = None if contrast is None else int(np.ravel(contrast)[-1])
    return Attribution(
        index=index,
        label=attribution.get("outputDisplayName") or label_of(index, ()),
        value=value,
        gap=value - sum(float(array.sum(dtype=np.float64)) for array in relevance.values()),
        relevance=relevance,
        output=attribution.get("outputName", ""),
        contrast="" if other is None else attribution.get("contrastDisplayName") or label_of(other, ()),
        contrast_index=other,
        layers=_arrays(attribution.get("layerAttributions", {})),
    )


def _arrays(attributions: Mapping[str, Any]) -> dict[str, np.ndarray]:
    return {name: np.asarray(values, np.float32) for name, values in attributions.items()}
