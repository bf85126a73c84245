from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.serving.conformance.server import Server, open_both
from tests.serving.rest.planes import write_models
from tests.serving.saved_models import write_counter_model, write_examples_model, write_half_plus_three_model


@pytest.fixture(scope="package")
def onnx(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Serves the bundles of `write_models` in ONNX Runtime."""
    root = tmp_path_factory.mktemp("bundles")
    write_models(root)
    with open_both(root) as server:
        yield server


@pytest.fixture(scope="package")
def tensorflow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Serves the SavedModels `half_plus_two` (versions 1 and 2), `other`, `counter` and `half_plus_three`."""
    from serving.engines.tensorflow import TensorFlowEngine

    root: Path = tmp_path_factory.mktemp("saved_models")
    for name, version in (("half_plus_two", 1), ("half_plus_two", 2), ("other", 1)):
        write_examples_model(root / name, version)
    write_counter_model(root / "counter")
    write_half_plus_three_model(root / "half_plus_three")
    with open_both(root, engine=TensorFlowEngine()) as server:
        yield server
