"""Configurations in TensorFlow Serving's text form, over the bundles of the tests."""

from pathlib import Path

from serving.protos.model_server_config_pb2 import ModelServerConfig


def model_text(name: str, base_path: Path | str, more: str = "") -> str:
    """One `config` of a `model_config_list`."""
    return f'config {{ name: "{name}" base_path: "{base_path}" model_platform: "tensorflow" {more} }}'


def list_text(*models: str) -> str:
    """A `ModelServerConfig`."""
    return f"model_config_list {{ {' '.join(models)} }}"


def list_message(*models: dict) -> ModelServerConfig:
    """The same as a message; `tensorflow` where no platform is given."""
    return ModelServerConfig(
        model_config_list={"config": [{"model_platform": "tensorflow", **model} for model in models]}
    )
