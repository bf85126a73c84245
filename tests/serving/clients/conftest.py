from collections.abc import Iterator

import pytest

from tests.serving.clients.servers import ENGINES, serve, write_repository


@pytest.fixture(scope="session")
def addresses(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str]]:
    """A REST and a gRPC address of a server for each engine."""
    repository = tmp_path_factory.mktemp("repository")
    write_repository(repository)
    with serve(repository, *ENGINES) as addresses:
        yield addresses
