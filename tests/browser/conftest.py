"""A browser, a shop's page for it, and a Goalpost on another origin that takes few messages at once."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from playwright.sync_api import Browser

from api.ingest.provisioning import create_source
from api.models import Site, Source
from tests.browser.chromium import INBOX_LIMIT, LOOPBACK, Visit, open_visit, running_browser, running_shop
from tests.contract.server import Server, Shop, open_shop, running_server


@pytest.fixture(scope="package")
def server(django_db_setup: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Yield a web server with low limits, whose webhooks may lead to this machine."""
    with ExitStack() as stack:
        with pytest.MonkeyPatch.context() as patch:  # only for its start: another server may start meanwhile
            patch.setenv("GOALPOST_INBOX_LIMIT", str(INBOX_LIMIT))
            patch.setenv("GOALPOST_SITE_INBOX_LIMIT", str(INBOX_LIMIT))  # a burst is more than its default, a quarter
            patch.setenv("GOALPOST_WEBHOOK_NETWORKS", "127.0.0.0/8")
            server = stack.enter_context(running_server(tmp_path_factory.mktemp("server")))
        yield server


@pytest.fixture
def shop(transactional_db: None, server: Server) -> Iterator[Shop]:
    """Yield a site."""
    with open_shop(server) as shop:
        yield shop


@pytest.fixture
def source(shop: Shop) -> Source:
    """Return the source of the site's web pages, with a write key."""
    return create_source(Site.objects.get(sitecode=shop.sitecode), name="Website", kind=Source.Kind.BROWSER)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with running_browser() as browser:
        yield browser


@pytest.fixture(scope="module")
def shop_url() -> Iterator[str]:
    with running_shop() as url:
        yield url


@pytest.fixture
def arrive(browser: Browser, shop_url: str) -> Iterator[Callable[..., Visit]]:
    """Yield a function that opens the shop's page in a new profile. Assert that it asks no other host."""
    visits: list[Visit] = []

    def arrive(**profile: Any) -> Visit:
        visits.append(open_visit(browser, shop_url, **profile))
        return visits[-1]

    yield arrive
    for visit in visits:
        visit.page.context.close()
    assert set().union(*(visit.hosts for visit in visits)) <= LOOPBACK
