"""Fixtures for genuine clients: a running server, and a new site on it for each test."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from playwright.sync_api import Browser

from tests.browser.chromium import running_browser
from tests.contract.kameleoon_clients import Lab, Start, running_pages
from tests.contract.server import Server, Shop, open_shop, running_server
from tests.contract.tls_front import DOMAIN, Front, running_front


@pytest.fixture(scope="session")
def server(django_db_setup: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Run the web server during the whole session. Its pages answer behind a proxy, too."""
    with ExitStack() as stack:
        with pytest.MonkeyPatch.context() as patch:  # only for its start
            patch.setenv("GOALPOST_ALLOWED_HOSTS", f"localhost,127.0.0.1,api.{DOMAIN}")
            server = stack.enter_context(running_server(tmp_path_factory.mktemp("server")))
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


@pytest.fixture(scope="session")
def front(server: Server) -> Iterator[Front]:
    """End TLS in front of the server, for the names that Kameleoon's SDKs call."""
    with running_front(server.port) as front:
        yield front


@pytest.fixture
def open_lab(front: Front) -> Iterator[Callable[[Shop], Lab]]:
    """Yield a function that puts a site behind the front. The SDKs that a test starts there end with it."""
    front.exchanges.clear()
    front.come_back()
    with ExitStack() as stack:
        yield lambda shop: Lab(shop, front, stack)


@pytest.fixture(scope="module")
def browser(front: Front) -> Iterator[Browser]:
    names = f"MAP *.{DOMAIN} 127.0.0.1:{front.port}, MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"
    with running_browser([f"--host-resolver-rules={names}"]) as browser:
        yield browser


@pytest.fixture(scope="module")
def page_url() -> Iterator[str]:
    with running_pages() as url:
        yield url


@pytest.fixture
def lab(shop: Shop, open_lab: Callable[[Shop], Lab]) -> Lab:
    return open_lab(shop)


@pytest.fixture(params=["python", "node", "web"])
def start(request: pytest.FixtureRequest, lab: Lab) -> Start:
    """Return the function that starts one more SDK of a kind."""
    if request.param == "web":
        browser, url = (request.getfixturevalue(name) for name in ("browser", "page_url"))
        return lambda **changes: lab.open_page(browser, url, **changes)
    return {"python": lab.start_python, "node": lab.start_node}[request.param]
