"""A site with an owner who looks at its settings."""

import pytest
from django.test import Client

from api.ingest.provisioning import create_source
from api.models import Site, Source
from tests.support.pages import Enter
from tests.world import World


@pytest.fixture
def site(world: World) -> Site:
    return world.site


@pytest.fixture
def owner(enter: Enter) -> Client:
    return enter("owner")


@pytest.fixture
def source(site: Site) -> Source:
    return create_source(site, name="Web", kind="browser", write_key="key-of-the-web")
