import numpy as np
import pytest

from serving.errors import Code, ServingError
from serving.protos import types_pb2
from serving.protos.convert import data_type, model_spec_from_proto, model_spec_to_proto
from serving.protos.model_pb2 import ModelSpec as ModelSpecProto
from serving.types import ModelSpec


@pytest.mark.parametrize(
    ("dtype", "name"),
    [("float32", "DT_FLOAT"), ("bool", "DT_BOOL"), ("object", "DT_STRING"), ("S3", "DT_STRING"), ("U3", "DT_STRING")],
)
def test_dtypes_have_tensorflow_s_names(dtype: str, name: str) -> None:
    assert types_pb2.DataType.Name(data_type(np.dtype(dtype))) == name


def test_a_dtype_that_tensorflow_lacks_is_refused() -> None:
    with pytest.raises(ServingError, match=r"Expected a dtype that TensorFlow has.*Received: datetime64") as caught:
        data_type(np.dtype("datetime64[s]"))
    assert caught.value.code is Code.UNIMPLEMENTED


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (ModelSpecProto(name="m"), ModelSpec("m")),
        (ModelSpecProto(name="m", version={"value": 0}), ModelSpec("m", version=0)),
        (ModelSpecProto(name="m", version_label="stable"), ModelSpec("m", label="stable")),
        (ModelSpecProto(name="m", signature_name="explain"), ModelSpec("m", signature_name="explain")),
    ],
)
def test_a_model_spec_keeps_what_it_chooses(message: ModelSpecProto, expected: ModelSpec) -> None:
    assert model_spec_from_proto(message) == expected


def test_a_model_spec_needs_a_name() -> None:
    with pytest.raises(ServingError, match=r"^ModelSpec has no name specified\.$"):
        model_spec_from_proto(ModelSpecProto(signature_name="explain"))


def test_a_reply_names_version_and_signature_but_no_label() -> None:
    message = ModelSpecProto()
    model_spec_to_proto(ModelSpec("m", version=3, signature_name="s"), message)
    assert message == ModelSpecProto(name="m", version={"value": 3}, signature_name="s")
