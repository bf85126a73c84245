from pathlib import Path

import pytest

from tests.serving.rest.planes import write_models


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of real bundles; see `write_models`."""
    root = tmp_path_factory.mktemp("models")
    write_models(root)
    return root
