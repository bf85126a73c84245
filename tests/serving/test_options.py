from dataclasses import replace
from pathlib import Path

import pytest

from serving.options import OptionsError, ServerOptions, check_options

GOOD = ServerOptions(model_repository=Path("models"))


def test_the_defaults_with_a_repository_are_good():
    check_options(GOOD)
    check_options(ServerOptions(model_base_path=Path("models/digits"), model_name="digits"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"port": -1}, r"`port` must lie in \[0, 65535\], 0 for none. Received: port=-1"),
        ({"rest_api_port": 65536}, r"`rest_api_port` must lie in .* Received: rest_api_port=65536"),
        ({"port": 8501}, "must differ.* Received: port=8501, rest_api_port=8501"),
        ({"port": 0, "rest_api_port": 0}, "one of them must be open"),
        ({"max_batch_size": 0}, "`max_batch_size` must be at least 1. Received: max_batch_size=0"),
        ({"max_wait_ms": -0.5}, "`max_wait_ms` must be at least 0. Received: max_wait_ms=-0.5"),
        ({"grace_period_s": float("nan")}, "`grace_period_s` must be at least 0. Received: grace_period_s=nan"),
        ({"engine": "torch"}, r"`engine` must be one of \['onnxruntime', 'tensorflow'\]. Received: engine='torch'"),
        ({"device": "tpu"}, r"`device` must be one of .* Received: device='tpu'"),
        (
            {"model_repository": None},
            "Exactly one of `model_base_path` .* Received: model_base_path=none, model_repository=none",
        ),
        ({"model_base_path": Path("m")}, "Exactly one of .* Received: model_base_path='m', model_repository='models'"),
        (
            {"model_config_file": Path("models.config")},
            "`model_config_file` is not supported yet. Use `model_base_path`",
        ),
        ({"model_repository": None, "model_base_path": Path("m"), "model_name": ""}, "`model_name` must not be empty"),
    ],
)
def test_what_cannot_work_is_refused(changes, message):
    with pytest.raises(OptionsError, match=message):
        check_options(replace(GOOD, **changes))
