"""A source of a website, whose settings are looked at."""

import pytest

from api.ingest.provisioning import create_source
from api.models import Site, Source


@pytest.fixture
def source(site: Site) -> Source:
    return create_source(site, name="Web", kind="browser", write_key="key-of-the-web")
