"""`ModelServerConfig`, the set of models to serve, read and checked in TensorFlow Serving's words."""

from collections.abc import Collection
from pathlib import Path
from typing import Any

from serving.config.checks import check_base_path, check_names, check_platform, make_specific
from serving.config.models import (
    TENSORFLOW_PLATFORM,
    All,
    Latest,
    ModelConfig,
    RequestLogging,
    VersionPolicy,
)
from serving.config.text_proto import read_text_proto
from serving.errors import invalid_argument
from serving.protos import model_server_config_pb2
from serving.protos.pool import POOL

_TENSORFLOW_TYPE = model_server_config_pb2.ModelType.Value("TENSORFLOW")
_UNSPECIFIED_TYPE = model_server_config_pb2.ModelType.Value("MODEL_TYPE_UNSPECIFIED")


def read_model_config_file(
    path: Path, *, platforms: Collection[str], may_be_empty: bool = False
) -> tuple[ModelConfig, ...]:
    """Reads a file given to `--model_config_file`.

    Args:
        path: The file.
        platforms: As for `read_model_list`.
        may_be_empty: Whether a file that says nothing at all stands for no models. To TensorFlow Serving it does at the
            start; later it changes nothing, as a file that is just being written.

    Raises:
        ServingError: The file can't be read, is no ModelServerConfig, or asks for something impossible.
    """
    config = read_text_proto(path, model_server_config_pb2.ModelServerConfig())
    if may_be_empty and config.WhichOneof("config") is None:
        return ()
    return read_model_list(config, platforms=platforms)


def read_model_list(
    config: model_server_config_pb2.ModelServerConfig, *, platforms: Collection[str]
) -> tuple[ModelConfig, ...]:
    """The models of a `ModelServerConfig`.

    Args:
        config: The message.
        platforms: The values of `model_platform` that this server can run.

    Raises:
        ServingError: INVALID_ARGUMENT with TensorFlow Serving's texts.
    """
    if config.WhichOneof("config") != "model_config_list":
        raise invalid_argument(
            "ServerModelConfig type not supported by HandleReloadConfigRequest. Only ModelConfigList is currently "
            "supported"
        )
    models = list(config.model_config_list.config)
    check_names(model.name for model in models)
    return tuple(_model_config(model, platforms) for model in models)


def read_model_document(name: str, document: Any, *, platforms: Collection[str]) -> ModelConfig:
    """A model from a `ModelConfig` in JSON, as the text form has it; `model_platform` may be left out.

    Args:
        name: The model's name, which the document may repeat.
        document: The parsed JSON.
        platforms: The values of `model_platform` that this server can run.

    Raises:
        ServingError: INVALID_ARGUMENT.
    """
    from google.protobuf import json_format

    if not isinstance(document, dict):
        raise invalid_argument("Expected a JSON object with `base_path`. Received: another JSON value.")
    try:
        model = json_format.ParseDict(document, model_server_config_pb2.ModelConfig(), descriptor_pool=POOL)
    except json_format.ParseError as error:
        raise invalid_argument(f"Expected a ModelConfig in JSON. Received: {error}") from error
    if model.name not in ("", name):
        raise invalid_argument(f"`name` must be that of the URL, {name!r}, or absent. Received: {model.name!r}.")
    model.name = name
    if not model.model_platform and model.model_type == _UNSPECIFIED_TYPE:
        model.model_platform = TENSORFLOW_PLATFORM
    return _model_config(model, platforms)


def _model_config(model: model_server_config_pb2.ModelConfig, platforms: Collection[str]) -> ModelConfig:
    return ModelConfig(
        name=model.name,
        base_path=check_base_path(model.name, model.base_path),
        policy=_policy(model),
        labels=dict(model.version_labels),
        platform=check_platform(model.name, _platform(model), platforms),
        logging=_logging(model),
    )


def _platform(model: model_server_config_pb2.ModelConfig) -> str:
    """`model_platform`, or what stood in its place of old."""
    if model.model_type != _UNSPECIFIED_TYPE:
        if model.model_platform:
            raise invalid_argument(
                "Illegal setting both ModelServerConfig::model_type (deprecated) and ModelServerConfig::model_platform."
            )
        return TENSORFLOW_PLATFORM if model.model_type == _TENSORFLOW_TYPE else "other"
    if not model.model_platform:
        raise invalid_argument(
            "Illegal setting neither ModelServerConfig::model_type (deprecated) nor ModelServerConfig::model_platform, "
            f"model name is {model.name}"
        )
    return model.model_platform


def _policy(model: model_server_config_pb2.ModelConfig) -> VersionPolicy:
    policy: Any = model.model_version_policy
    choice = policy.WhichOneof("policy_choice")
    if choice == "all":
        return All()
    if choice == "specific":
        return make_specific(model.name, policy.specific.versions)
    return Latest(max(1, policy.latest.num_versions))


def _logging(model: model_server_config_pb2.ModelConfig) -> RequestLogging | None:
    if not model.HasField("logging_config"):
        return None
    collector, sampling = model.logging_config.log_collector_config, model.logging_config.sampling_config
    if not 0 <= sampling.sampling_rate <= 1:
        raise invalid_argument(
            f"`sampling_rate` of model {model.name} must lie in [0, 1]. Received: {sampling.sampling_rate}."
        )
    return RequestLogging(collector.type, collector.filename_prefix, sampling.sampling_rate)
