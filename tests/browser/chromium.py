"""The published analytics.js in a real browser, on a page of another origin than Goalpost's."""

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
from playwright.sync_api import Browser, Page, Request, Response, StorageState, sync_playwright

HERE = Path(__file__).parent
CHROMIUM = Path("/usr/bin/chromium")
PACKAGES = HERE.parent / "contract/node_modules"
ANALYTICS = PACKAGES / "@segment/analytics-next/dist/umd"
RUDDERSTACK = PACKAGES / "@rudderstack/analytics-js/dist/npm/modern/bundled/umd/index.js"
LOOPBACK = {"127.0.0.1", "localhost"}
PATIENCE = 60.0
INBOX_LIMIT = 200  # messages that the server of the browser tests keeps waiting

# No name but loopback's resolves. Requests are not routed to block them: Playwright would answer the preflights then.
ARGUMENTS = ["--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost"]

# With CI set nothing is skipped: what is missing there must be noticed.
needs_browser = pytest.mark.skipif("CI" not in os.environ and not CHROMIUM.exists(), reason=f"needs {CHROMIUM}")


@contextmanager
def running_browser(arguments: Sequence[str] = ARGUMENTS) -> Iterator[Browser]:
    """Chromium without a window. Meanwhile Playwright runs an event loop in this thread, which Django must bear."""
    with pytest.MonkeyPatch.context() as patch, sync_playwright() as playwright:
        patch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments, timeout=PATIENCE * 1000)
        yield browser
        browser.close()


class ShopFiles(SimpleHTTPRequestHandler):
    """The shop's pages, and the packages' bundles as npm delivers them."""

    def translate_path(self, path: str) -> str:
        pages = {"/": HERE / "page.html", "/rudderstack": HERE / "rudderstack.html", "/rudderstack.js": RUDDERSTACK}
        return str(pages.get(path) or ANALYTICS / Path(path).name)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@contextmanager
def running_shop() -> Iterator[str]:
    """Yield the address of a web server with the shop's page."""
    with ThreadingHTTPServer(("127.0.0.1", 0), ShopFiles) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@dataclass(frozen=True, slots=True)
class Posted:
    """A request of the page: its messageIds, the number of the try, and the answer."""

    message_ids: tuple[str, ...]
    retry: str | None
    status: int
    path: str


@dataclass
class Visit:
    """The shop's page in a browser profile of its own, and what happened there."""

    page: Page
    errors: list[str] = field(default_factory=list)  # of the page's code
    console: list[str] = field(default_factory=list)  # errors and warnings
    hosts: set[str] = field(default_factory=set)  # that anything was asked of
    posted: list[Posted] = field(default_factory=list)
    preflights: list[str] = field(default_factory=list)  # the headers that the browser asked leave for

    def __post_init__(self) -> None:
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("console", self._hear)
        self.page.on("request", self._note_request)
        self.page.on("response", self._note_response)
        session = self.page.context.new_cdp_session(self.page)  # Playwright itself tells nothing of preflights
        session.send("Network.enable")
        session.on("Network.requestWillBeSentExtraInfo", self._note_preflight)

    def run(self, code: str) -> None:
        """Run a piece of script as if the page contained it."""
        self.page.add_script_tag(content=code)

    def call(self, function: str, *arguments: Any) -> Any:
        """Call a function of the page."""
        return self.page.evaluate(f"(given) => {function}(...given)", list(arguments))

    def answered(self, status: int) -> set[str]:
        """Return the messageIds that were answered with this status."""
        return {each for posted in self.posted if posted.status == status for each in posted.message_ids}

    def wait_until(self, is_so: Callable[[], bool]) -> None:
        """Let all pages go on until something has happened."""
        deadline = time.monotonic() + PATIENCE
        while not is_so():
            assert time.monotonic() < deadline, f"in vain: {self}"
            self.page.wait_for_timeout(100)

    def _hear(self, message: Any) -> None:
        if message.type in {"error", "warning"}:
            self.console.append(message.text)

    def _note_request(self, request: Request) -> None:
        host = urlsplit(request.url).hostname
        self.hosts |= {host} if host else set()  # the icon's data: URL has none

    def _note_response(self, response: Response) -> None:
        request = response.request
        if request.method == "POST":
            body = json.loads(request.post_data or "{}")
            events = body.get("batch", [body])
            message_ids = tuple(event["messageId"] for event in events if "messageId" in event)
            retry, path = request.headers.get("x-retry-count"), urlsplit(request.url).path
            self.posted.append(Posted(message_ids, retry, response.status, path))

    def _note_preflight(self, event: Mapping[str, Any]) -> None:
        headers = {name.lower(): value for name, value in event["headers"].items()}
        if "access-control-request-headers" in headers:
            self.preflights.append(headers["access-control-request-headers"])


def open_visit(browser: Browser, url: str, *, visitor_code: str = "", storage: StorageState | None = None) -> Visit:
    """Open a page in a new profile, with a visitor code in its cookie or with the storage of another profile."""
    context = browser.new_context(storage_state=storage)
    context.set_default_timeout(PATIENCE * 1000)
    if visitor_code:
        context.add_cookies([{"name": "kameleoonVisitorCode", "value": quote(visitor_code), "url": url}])
    visit = Visit(context.new_page())
    visit.page.goto(url)
    return visit
