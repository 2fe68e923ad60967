"""docker/Caddyfile in front of a running server: TLS for the names that senders and SDKs use."""

import gzip
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from api.models import Site
from api.runtime.embedded import free_port
from api.runtime.processes import start, stop
from tests.contract.server import Server, Shop
from tests.support.caddy import CADDY
from tests.support.pages import browser_of, cookie_of

pytestmark = pytest.mark.xdist_group("caddy")  # one Caddy

CADDYFILE = Path(__file__).parents[2] / "docker" / "Caddyfile"
DOMAIN = "goalpost.test"
MEBIBYTE = 1 << 20
PATIENCE = 20.0


@dataclass(frozen=True, slots=True)
class Proxy:
    """Caddy on a free port with certificates of its internal issuer."""

    port: int
    events_port: int  # in place of 8110
    trust: ssl.SSLContext
    client: httpx.Client

    def request(self, name: str, method: str, path: str, *, port: int | None = None, **options: Any) -> httpx.Response:
        """Send a request to one of the names without the DNS."""
        host = f"{name}.{DOMAIN}"
        headers = {**options.pop("headers", {}), "host": host}
        url = f"https://127.0.0.1:{port or self.port}{path}"
        return self.client.request(method, url, headers=headers, extensions={"sni_hostname": host}, **options)


@pytest.fixture(scope="module")
def proxy(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    directory = tmp_path_factory.mktemp("caddy")
    ports = {"https_port": free_port(), "http_port": free_port()}
    ours = [f"{name} {port}" for name, port in ports.items()]
    ours += ["admin off", "local_certs", "skip_install_trust", f"storage file_system {directory}"]
    config = directory / "Caddyfile"
    events_port = free_port()
    text = CADDYFILE.read_text().replace(":8110", f":{events_port}")
    config.write_text(text.replace("\n{\n", "\n{\n" + "".join(f"\t{line}\n" for line in ours), 1))
    environment = {
        "PATH": "/usr/bin:/bin",
        "HOME": str(directory),
        "GOALPOST_DOMAIN": DOMAIN,
        "GOALPOST_UPSTREAM": f"127.0.0.1:{server.port}",
    }
    command = [CADDY, "run", "--adapter", "caddyfile", "--config", str(config)]
    with (directory / "log").open("wb") as log:
        child = start("caddy", command, lock=server.lock, env=environment, cwd=directory, output=log)
    try:
        root = directory / "pki" / "authorities" / "local" / "root.crt"
        deadline = time.monotonic() + PATIENCE
        while not root.exists() or not root.stat().st_size:
            assert child.process.poll() is None, (directory / "log").read_text()
            assert time.monotonic() < deadline, (directory / "log").read_text()
            time.sleep(0.05)
        trust = ssl.create_default_context(cafile=str(root))
        with httpx.Client(verify=trust, timeout=30) as client:
            proxy = Proxy(ports["https_port"], events_port, trust, client)
            await_certificates(proxy, deadline)
            yield proxy
    finally:
        stop([child], within=5)


def await_certificates(proxy: Proxy, deadline: float) -> None:
    for name in ("integrations", "data", "api", "sdk-config", "events"):
        while True:
            with suppress(httpx.TransportError):
                if proxy.request(name, "GET", "/health/live").status_code == 200:
                    break
            assert time.monotonic() < deadline, name
            time.sleep(0.05)


@pytest.mark.promise("K-25", "W10")
def test_caddy__event_and_its_remote_data__pass(proxy: Proxy, shop: Shop) -> None:
    event = shop.event("identify", properties={"plan": "scale"})

    sent = proxy.request("integrations", "POST", "/segmentio", json=event, headers=shop.headers)
    shop.digest()
    query = {"siteCode": shop.sitecode, "key": "IDENTIFY_user-1"}
    read = proxy.request("data", "GET", "/map/map", params=query)
    form = {"client_id": shop.client_id, "client_secret": shop.secret}
    token = proxy.request("api", "POST", "/oauth/token", data=form)

    assert (sent.status_code, sent.json()["status"]) == (200, "accepted")
    assert (read.json(), read.headers["access-control-allow-origin"]) == ({"traits": {"plan": "scale"}}, "*")
    assert token.json()["expires_in"] == 7200


@pytest.mark.promise("K-24", "K-25")
@pytest.mark.parametrize("coding", ["length", "chunked", "gzip"])
@pytest.mark.parametrize(("size", "status"), [(MEBIBYTE, 200), (MEBIBYTE + 1, 413), (8 * MEBIBYTE, 413)])
def test_caddy__body_around_the_limit__is_answered_by_goalpost(
    proxy: Proxy, shop: Shop, coding: str, size: int, status: int
) -> None:
    start = b'{"type":"track","event":"Large","userId":"user-1","properties":{"filling":"'
    body = start + b"x" * (size - len(start) - 3) + b'"}}'
    headers, content = dict(shop.headers), body
    if coding == "gzip":
        headers, content = {**headers, "content-encoding": "gzip"}, gzip.compress(body)
    pieces = (content[start : start + 50_000] for start in range(0, len(content), 50_000))

    sent = pieces if coding == "chunked" else content
    answer = proxy.request("integrations", "POST", "/segmentio", content=sent, headers=headers)

    assert (answer.status_code, answer.json()["success"]) == (status, status == 200)


def test_caddy__admin__answers_under_its_own_name_only(transactional_db: None, proxy: Proxy) -> None:
    assert proxy.request("data", "GET", "/admin/login/").status_code == 404
    assert proxy.request("integrations", "GET", "/admin").status_code == 404
    assert proxy.request("api", "GET", "/health/live").headers["strict-transport-security"]


def test_caddy__stream_of_a_page__passes_each_event_on_at_once(proxy: Proxy, shop: Shop) -> None:
    host = f"api.{DOMAIN}"
    headers = {"host": host, "cookie": cookie_of(browser_of(Site.objects.get(), "viewer")), "accept-encoding": "gzip"}
    url = f"https://127.0.0.1:{proxy.port}/admin/s/{shop.sitecode}/changes/"
    with proxy.client.stream("GET", url, headers=headers, extensions={"sni_hostname": host}) as answer:
        assert answer.status_code == 200
        assert "content-encoding" not in answer.headers
        lines = (line for line in answer.iter_lines() if line)
        assert next(lines) == "data: changed"
        proxy.request("integrations", "POST", "/segmentio", json=shop.event("track"), headers=shop.headers)
        assert next(lines) == "data: changed"


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_caddy__names_and_ports_of_sdks__answer_with_both_versions_of_tls(
    transactional_db: None, proxy: Proxy, shop: Shop, version: ssl.TLSVersion
) -> None:
    """PHP's SDK speaks TLS 1.2 only."""
    plain = socket.create_connection(("127.0.0.1", proxy.events_port), timeout=10)
    trust = ssl.create_default_context()
    trust.load_verify_locations(cadata=ssl.DER_cert_to_PEM_cert(proxy.trust.get_ca_certs(binary_form=True)[0]))
    trust.minimum_version = trust.maximum_version = version
    with trust.wrap_socket(plain, server_hostname=f"events.{DOMAIN}") as connection:
        assert connection.version() == version.name.replace("v1_", "v1.")

    file = proxy.request("sdk-config", "GET", f"/v3/{shop.sitecode}")
    again = {"if-modified-since": file.headers["last-modified"]}

    assert file.json()["configuration"]["dataApiDomain"] == f"data.{DOMAIN}"
    assert proxy.request("sdk-config", "GET", f"/v3/{shop.sitecode}", headers=again).status_code == 304
    assert proxy.request("events", "GET", "/health/live", port=proxy.events_port).status_code == 200


def test_caddy__many_strangers_that_never_finish_their_bodies__keep_nobody_waiting(
    transactional_db: None, proxy: Proxy
) -> None:
    """The web server has no time limit for bodies and only 32 threads per process."""
    started = b"POST /oauth/token HTTP/1.1\r\nHost: api.%s\r\nContent-Length: 10\r\n\r\n" % DOMAIN.encode()
    with ExitStack() as stack:
        for _ in range(40):
            plain = socket.create_connection(("127.0.0.1", proxy.port), timeout=10)
            connection = stack.enter_context(proxy.trust.wrap_socket(plain, server_hostname=f"api.{DOMAIN}"))
            connection.sendall(started)
        time.sleep(0.5)

        begun = time.monotonic()
        assert proxy.request("data", "GET", "/health/live").status_code == 200
        assert time.monotonic() - begun < 5
