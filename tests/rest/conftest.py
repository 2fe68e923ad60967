"""Callers of the management API: the site's own credential, a teammate's and an outsider's."""

import pytest

from api.http.credentials import encode_api_key
from api.ingest.provisioning import create_site
from tests.support.management_api import Caller
from tests.world import CLIENT_ID, SECRET, World


@pytest.fixture
def owner(world: World) -> Caller:
    return Caller(f"Basic {encode_api_key(CLIENT_ID, SECRET)}", world.credential)


@pytest.fixture
def teammate(world: World) -> Caller:
    """Return a second credential of the site, which also opens another site."""
    return Caller.build(world.site, create_site(name="Second shop"))


@pytest.fixture
def outsider(world: World) -> Caller:
    """Return a credential of another site only."""
    return Caller.build(create_site(name="Elsewhere"))
