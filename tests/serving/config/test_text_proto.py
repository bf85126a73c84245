import pytest

from serving.config.text_proto import read_text_proto
from serving.errors import Code, ServingError
from serving.protos.model_server_config_pb2 import ModelServerConfig


def test_the_place_of_a_mistake_is_told(tmp_path):
    path = tmp_path / "models.config"
    path.write_text("model_config_list {\n  configs { } }")
    message = (
        rf"^Invalid protobuf file: '{path}'. Error parsing text-format tensorflow.serving.ModelServerConfig: 2:3: .*"
        'no field named "configs"'
    )
    with pytest.raises(ServingError, match=message) as refused:
        read_text_proto(path, ModelServerConfig())
    assert refused.value.code == Code.INVALID_ARGUMENT


def test_a_file_that_is_no_text_is_refused(tmp_path):
    path = tmp_path / "models.config"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ServingError, match=r"Invalid protobuf file: .*utf-8"):
        read_text_proto(path, ModelServerConfig())


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(ServingError, match=r"must be a readable file. Received: No such file") as refused:
        read_text_proto(tmp_path / "none", ModelServerConfig())
    assert refused.value.code == Code.NOT_FOUND
