"""Kameleoon's published SDKs, untouched: for Python, the JavaScript core in Node.js, and a page in Chromium.

Each calls the names of its `network_domain` over TLS on port 443. Those of Python and Node.js are on a network of their
own (own_network.py). Chromium leads the names to the front by an option.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, Protocol

import pytest
from playwright.sync_api import Browser, Page

from api.models import Site
from goals.models import Goal
from tests.contract.server import Shop
from tests.contract.tls_front import DOMAIN, NAMES, Front

HERE = Path(__file__).parent
PACKAGES = HERE / "node_modules"
PATIENCE = 30.0
VISITOR = "vc-1234567890"
NETWORK = ("unshare", "--map-root-user", "--mount", "--net")

# With CI set no test is skipped, because a machine that cannot run the clients must be noticed there.
needs_own_network = pytest.mark.skipif(
    "CI" not in os.environ
    and not (shutil.which("unshare") and subprocess.run([*NETWORK, "true"], check=False).returncode == 0),
    reason="needs a kernel with user, mount and network namespaces",
)


class Client(Protocol):
    """An SDK on a device or a server."""

    def call(self, name: str, *arguments: Any) -> Any:
        """Return the result of a command, or `{"error": words}`."""


@dataclass(frozen=True, slots=True)
class Process:
    """An SDK in a process of its own."""

    child: "subprocess.Popen[str]"

    def call(self, name: str, *arguments: Any) -> Any:
        assert self.child.stdin is not None
        assert self.child.stdout is not None
        self.child.stdin.write(json.dumps([name, *arguments]) + "\n")
        self.child.stdin.flush()
        while line := self.child.stdout.readline():
            with suppress(ValueError):  # an SDK may print, too
                return unwrap(json.loads(line))
        raise AssertionError(f"the SDK's process ended at {name}")


@dataclass(frozen=True, slots=True)
class Tab:
    """The web SDK in a page."""

    page: Page

    def call(self, name: str, *arguments: Any) -> Any:
        return unwrap(self.page.evaluate("(command) => window.obey(command)", [name, *arguments]))


Start = Callable[..., Client]  # starts one more SDK


def unwrap(result: Mapping[str, Any]) -> Any:
    return result.get("ok", result)


def task_of(shop: Shop, **changes: Any) -> dict[str, Any]:
    return {
        "sitecode": shop.sitecode,
        "client_id": shop.client_id,
        "secret": shop.secret,
        "domain": DOMAIN,
        **changes,
    }


def make_goal(shop: Shop, name: str = "Order") -> Goal:
    return Goal.objects.create(site=Site.objects.get(pk=shop.site_id), name=name)


def convert(
    client: Client, goal_id: int, revenue: float, *, visitor: str = VISITOR, negative: bool = False, metadata: Any = ()
) -> None:
    """Have an SDK track a conversion."""
    client.call("convert", visitor, goal_id, revenue, negative, list(metadata))


@dataclass
class Lab:
    """A site behind a front, and the SDKs that a test starts."""

    shop: Shop
    front: Front
    stack: ExitStack

    def start_python(self, **changes: Any) -> Client:
        return self._start(sys.executable, "-P", str(HERE / "kameleoon_device.py"), **changes)

    def start_node(self, **changes: Any) -> Client:
        return self._start("node", str(HERE / "kameleoon_device.mjs"), **changes)

    def _start(self, *command: str, **changes: Any) -> Client:
        child = subprocess.Popen(
            [*self._network, *command, json.dumps(task_of(self.shop, **changes))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=self._environment,
        )
        self.stack.callback(end, child)
        return Process(child)

    def run(self, *command: str, **changes: Any) -> Any:
        """Return the JSON in the last line of a script that ends by itself."""
        done = subprocess.run(
            [*self._network, *command, json.dumps(task_of(self.shop, **changes))],
            capture_output=True,
            text=True,
            env=self._environment,
            timeout=PATIENCE,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    @property
    def _network(self) -> tuple[str, ...]:
        """The beginning of a command on a network of its own."""
        network = json.dumps({"folder": str(self.front.folder), "names": NAMES})
        return *NETWORK, sys.executable, "-P", str(HERE / "own_network.py"), network

    @property
    def _environment(self) -> dict[str, str]:
        trust = str(self.front.authority)
        names = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS")
        return {"PATH": os.environ["PATH"], **dict.fromkeys(names, trust)}

    def open_page(self, browser: Browser, url: str, **changes: Any) -> Client:
        """Open the shop's page in a new profile, with the SDK in it."""
        context = browser.new_context(ignore_https_errors=True)
        self.stack.callback(context.close)
        page = context.new_page()
        page.goto(url)
        page.wait_for_function("() => Boolean(window.begin)")
        page.evaluate("(task) => window.begin(task)", task_of(self.shop, **changes))
        return Tab(page)

    def wait_until(self, is_so: Callable[[], Any]) -> None:
        """Wait until something has happened. Meanwhile events are digested."""
        deadline = time.monotonic() + PATIENCE
        while not is_so():
            assert time.monotonic() < deadline, [str(each) for each in self.front.exchanges[-20:]]
            self.shop.digest()
            time.sleep(0.05)


def end(child: "subprocess.Popen[str]") -> None:
    """End the process of an SDK with its network."""
    for pipe in (child.stdin, child.stdout):
        if pipe is not None:
            pipe.close()
    child.terminate()
    child.wait(10)


class PageFiles(SimpleHTTPRequestHandler):
    """The shop's page, and the SDK's bundle as npm delivers it."""

    def translate_path(self, path: str) -> str:
        if path.startswith("/@"):
            return str(PACKAGES / path.removeprefix("/"))
        if path.endswith(".umd.min.js"):
            return str(PACKAGES / "@kameleoon/javascript-sdk/dist" / Path(path).name)
        return str(HERE / ("kameleoon_page.html" if path == "/" else Path(path).name))

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@contextmanager
def running_pages() -> Iterator[str]:
    """Yield the origin of the shop's page."""
    with ThreadingHTTPServer(("127.0.0.1", 0), PageFiles) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
