"""A running server for the clients of other makers, and a site on it for each test."""

from collections.abc import Iterator

import pytest

from tests.contract.server import Server, Shop, open_shop, running_server


@pytest.fixture(scope="session")
def server(django_db_setup: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The web server, for as long as the tests run."""
    with running_server(tmp_path_factory.mktemp("server")) as server:
        yield server


@pytest.fixture
def shop(transactional_db: None, server: Server) -> Iterator[Shop]:
    """A site that serves everybody."""
    with open_shop(server) as shop:
        yield shop


@pytest.fixture
def closed_shop(transactional_db: None, server: Server) -> Iterator[Shop]:
    """A site that serves nobody without a token."""
    with open_shop(server, requires_token=True) as shop:
        yield shop


@pytest.fixture
def other_shop(transactional_db: None, server: Server) -> Iterator[Shop]:
    """A second site, to compare with."""
    with open_shop(server) as shop:
        yield shop
