import pytest

from serving.errors import Code, ServingError
from serving.inference_protocol.requests import model_spec, refuse_shared_memory, signature_parameter
from serving.types import ModelSpec


@pytest.mark.parametrize(
    ("name", "version", "signature", "expected"),
    [
        ("m", "", "", ModelSpec("m", signature_name="serving_default")),
        ("m", "007", "", ModelSpec("m", version=7, signature_name="serving_default")),
        ("m", "0", "", ModelSpec("m", version=0, signature_name="serving_default")),
        ("m", "stable", "", ModelSpec("m", label="stable", signature_name="serving_default")),
        ("m", "²", "", ModelSpec("m", label="²", signature_name="serving_default")),
        ("m:explain", "", "", ModelSpec("m", signature_name="explain")),
        ("m:explain", "3", "explain", ModelSpec("m", version=3, signature_name="explain")),
        ("m", "", "explain", ModelSpec("m", signature_name="explain")),
    ],
)
def test_names_and_versions_stand_for_models(name: str, version: str, signature: str, expected: ModelSpec) -> None:
    assert model_spec(name, version, signature_name=signature) == expected


def test_what_no_model_can_be_is_refused() -> None:
    with pytest.raises(ServingError, match=r"stands for its signature 'explain'\. Received: signature_name='other'"):
        model_spec("m:explain", signature_name="other")
    for version in (str(2**63), "9" * 5000):
        with pytest.raises(ServingError, match=r"A version must be below 2\^63"):
            model_spec("m", version)


def test_parameters_are_checked() -> None:
    assert signature_parameter({}) == ""
    assert signature_parameter({"signature_name": "explain"}) == "explain"
    with pytest.raises(ServingError, match=r"must be a string\. Received: 3"):
        signature_parameter({"signature_name": 3})
    with pytest.raises(ServingError, match="Input 'x' lies in shared memory") as caught:
        refuse_shared_memory({"shared_memory_region": "r"}, "Input 'x'")
    assert caught.value.code == Code.UNIMPLEMENTED
