"""Fixtures for genuine clients: a running server, and a new site on it for each test."""

from collections.abc import Iterator

import pytest

from tests.contract.server import Server, Shop, open_shop, running_server


@pytest.fixture(scope="session")
def server(django_db_setup: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Run the web server during the whole session."""
    with running_server(tmp_path_factory.mktemp("server")) as server:
        yield server


@pytest.fixture
def shop(transactional_db: None, server: Server) -> Iterator[Shop]:
    """Yield a site that serves readers without a token."""
    with open_shop(server) as shop:
        yield shop


@pytest.fixture
def closed_shop(transactional_db: None, server: Server) -> Iterator[Shop]:
    """Yield a site that serves only readers with a token."""
    with open_shop(server, requires_token=True) as shop:
        yield shop


@pytest.fixture
def other_shop(transactional_db: None, server: Server) -> Iterator[Shop]:
    """Yield a second site for comparison."""
    with open_shop(server) as shop:
        yield shop
