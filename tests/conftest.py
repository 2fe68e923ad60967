"""A site to talk to, and the whole WSGI application to talk to it with."""

from collections.abc import Iterator

import httpx
import pytest

from api import access
from api.digest.claims import Claims
from api.wsgi import application
from tests.world import World


@pytest.fixture(scope="session")
def django_db_keepdb() -> bool:
    """The server is thrown away with its databases; the threads of the door keep connections until then."""
    return True


@pytest.fixture
def world(transactional_db: None) -> Iterator[World]:
    """A site with a credential, and a client that talks to the application as a sender would."""
    access.forget_lookups()
    claims = Claims()
    with httpx.Client(transport=httpx.WSGITransport(app=application), base_url="http://testserver") as client:
        yield World.build(client, claims)
    claims.close()
