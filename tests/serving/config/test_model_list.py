from pathlib import Path

import pytest

from serving.config.model_list import read_model_config_file, read_model_document
from serving.config.models import All, Latest, ModelConfig, RequestLogging, Specific
from serving.errors import Code, ServingError
from tests.serving.config.configs import list_text, model_text

PLATFORMS = ("tensorflow", "onnxruntime")

LOGGING = """logging_config {
  log_collector_config { type: "jsonl" filename_prefix: "/var/log/m" }
  sampling_config { sampling_rate: 0.25 }
}"""


def read(tmp_path, text):
    path = tmp_path / "models.config"
    path.write_text(text)
    return read_model_config_file(path, platforms=PLATFORMS)


@pytest.mark.parametrize(
    ("text", "policy"),
    [
        ("", Latest(1)),
        ("model_version_policy { latest {} }", Latest(1)),
        ("model_version_policy { latest { num_versions: 2 } }", Latest(2)),
        ("model_version_policy { all {} }", All()),
        ("model_version_policy: { specific: { versions: 43, versions: 42 } }", Specific((42, 43))),
    ],
)
def test_version_policies_are_read(tmp_path, text, policy):
    assert read(tmp_path, list_text(model_text("m", "/models/m", text))) == (
        ModelConfig("m", Path("/models/m"), policy),
    )


def test_labels_logging_and_several_models_are_read(tmp_path):
    labels = 'version_labels { key: "stable" value: 42 } version_labels { key: "canary" value: 43 }'
    one, other = read(tmp_path, list_text(model_text("a", "/a", labels + LOGGING), model_text("b", "file:///b")))
    assert one.labels == {"stable": 42, "canary": 43}
    assert one.logging == RequestLogging("jsonl", "/var/log/m", 0.25)
    assert other == ModelConfig("b", Path("/b"))


def test_the_old_type_stands_for_the_platform(tmp_path):
    text = 'model_config_list { config { name: "m" base_path: "/m" model_type: TENSORFLOW } }'
    assert read(tmp_path, text)[0].platform == "tensorflow"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("model_version_policy { specific {} }", "specific versions of model m must be .* Received: \\[\\]"),
        (LOGGING.replace("0.25", "2.5"), r"`sampling_rate` of model m must lie in \[0, 1\]. Received: 2.5"),
    ],
)
def test_what_cannot_be_is_refused(tmp_path, text, message):
    with pytest.raises(ServingError, match=message):
        read(tmp_path, list_text(model_text("m", "/m", text)))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (model_text("", "/m"), "Each model must have a name"),
        (model_text("m", "gs://bucket/m"), "mounted file system. Received: base_path='gs://bucket/m'"),
    ],
)
def test_a_model_that_cannot_be_found_is_refused(tmp_path, text, message):
    with pytest.raises(ServingError, match=message):
        read(tmp_path, list_text(text))


def test_a_model_is_read_from_json():
    document = {
        "base_path": "/m",
        "model_version_policy": {"specific": {"versions": ["1", 2]}},
        "version_labels": {"stable": "1"},
    }
    expected = ModelConfig("m", Path("/m"), Specific((1, 2)), {"stable": 1})
    assert read_model_document("m", document, platforms=PLATFORMS) == expected
    assert read_model_document("m", {**document, "name": "m"}, platforms=PLATFORMS) == expected


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ([], "Expected a JSON object with `base_path`"),
        ({}, r"Expected model m to have an absolute path or URI; got base_path\(\)=$"),
        ({"base_path": "/m", "name": "n"}, "`name` must be that of the URL, 'm', or absent. Received: 'n'"),
        ({"base_path": "/m", "versions": 1}, "Expected a ModelConfig in JSON. Received: .*versions"),
        ({"base_path": 7}, "Expected a ModelConfig in JSON. Received: "),
        ({"base_path": "/m", "model_platform": "caffe"}, "Model m requests unsupported platform caffe"),
    ],
)
def test_json_that_is_no_model_is_refused(document, message):
    with pytest.raises(ServingError, match=message) as refused:
        read_model_document("m", document, platforms=PLATFORMS)
    assert refused.value.code == Code.INVALID_ARGUMENT
