"""TLS of `make run ARGS=--tls`: certificates that clients accept, kept between starts, before the real web server."""

import asyncio
import socket
import ssl
import stat
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest

from api.management.commands import up
from api.runtime.certificates import Certificates, make_certificates
from api.runtime.embedded import free_port
from api.runtime.processes import StartRefusedError
from api.runtime.sdk_hosts import LABELS, domain_of, hosts_of
from api.runtime.tls_proxy import serve

DOMAIN = "goalpost.test"
NAMES = hosts_of([DOMAIN])


class Upstream(BaseHTTPRequestHandler):
    """A web server that repeats what it gets, with the host that was asked."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"])) + self.headers["host"].encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Write nothing."""


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("tls"), NAMES)


@pytest.fixture(scope="module")
def port(files: Certificates) -> Iterator[int]:
    """Run the proxy before a web server, and yield its port."""
    upstream = ThreadingHTTPServer(("127.0.0.1", 0), Upstream)
    threading.Thread(target=upstream.serve_forever, daemon=True).start()
    port, loop = free_port(), asyncio.new_event_loop()
    task = loop.create_task(
        serve(str(files.certificate), str(files.key), f"127.0.0.1:{upstream.server_port}", [f"127.0.0.1:{port}"])
    )

    def run() -> None:
        with suppress(asyncio.CancelledError):
            loop.run_until_complete(task)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    deadline = time.monotonic() + 20
    while not answers(port):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    yield port
    loop.call_soon_threadsafe(task.cancel)
    thread.join(5)
    upstream.shutdown()
    upstream.server_close()


def answers(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=5):
        return True
    return False


def post(files: Certificates, port: int, name: str, body: bytes, *, most: ssl.TLSVersion | None = None) -> bytes:
    trust = ssl.create_default_context(cafile=str(files.authority))
    if sys.version_info >= (3, 13):
        assert trust.verify_flags & ssl.VERIFY_X509_STRICT
    trust.verify_flags |= ssl.VERIFY_X509_STRICT
    if most is not None:
        trust.maximum_version = most
    host = f"{name}.{DOMAIN}"
    with httpx.Client(verify=trust, trust_env=False, timeout=20) as client:
        answer = client.post(
            f"https://127.0.0.1:{port}/", content=body, headers={"host": host}, extensions={"sni_hostname": host}
        )
    return answer.content


@pytest.mark.parametrize("name", LABELS)
def test_proxy__with_the_authority_trusted__answers_under_each_name(files: Certificates, port: int, name: str) -> None:
    assert post(files, port, name, b"a") == f"a{name}.{DOMAIN}".encode()


def test_proxy__large_bodies_and_the_tls_of_php__pass_unchanged(files: Certificates, port: int) -> None:
    body = bytes(range(256)) * 20_000

    assert post(files, port, "data", body, most=ssl.TLSVersion.TLSv1_2) == body + b"data.goalpost.test"


def test_proxy__name_that_the_certificate_lacks__is_refused_by_the_client(files: Certificates, port: int) -> None:
    with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
        post(files, port, "other", b"")


def test_certificates__asked_again__stay_until_names_or_time_need_others(tmp_path: Path) -> None:
    now = datetime(2026, 11, 26, tzinfo=UTC)
    files = make_certificates(tmp_path, NAMES, now=now)
    authority, first = files.authority.read_bytes(), files.certificate.read_bytes()

    def again(names: list[str], days: int) -> bytes:
        return make_certificates(tmp_path, names, now=now + timedelta(days=days)).certificate.read_bytes()

    assert again(NAMES, 300) == first
    assert again(NAMES[:2], 300) == first
    more = again([*NAMES, "api.other.test"], 300)
    assert more != first
    assert again(NAMES, 660) == more
    assert again(NAMES, 670) != more
    assert files.authority.read_bytes() == authority
    assert [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("ca-key.pem", "server-key.pem")] == [0o600] * 2


def test_up__port_of_sdks_that_is_taken__says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), Upstream) as taken:
        monkeypatch.setattr(up, "TLS_PORTS", (taken.server_port,))
        with pytest.raises(StartRefusedError, match="SDKs know no other port"):
            up.prepare_tls(tmp_path)


@pytest.mark.parametrize(
    ("host", "domain"),
    [
        ("data.shop.example", "shop.example"),
        ("SDK-Config.Shop.Example.:443", "shop.example"),
        ("shop.example", "shop.example"),
        ("data.api.shop.example", "api.shop.example"),
        ("data.localhost", "localhost"),
        ("data.", "data"),
        ("[::1]:8000", ""),
        ("a b", ""),
        ("-a.example", ""),
        ("", ""),
    ],
)
def test_domain__of_a_host__is_without_the_first_label_of_sdks(host: str, domain: str) -> None:
    assert domain_of(host) == domain


def test_public_address__unless_one_is_set__is_that_of_people_under_tls() -> None:
    assert up.tls_environment({"GOALPOST_PUBLIC_URL": ""}) == {
        "GOALPOST_SDK_DOMAINS": DOMAIN,
        "GOALPOST_PUBLIC_URL": f"https://api.{DOMAIN}",
    }
    given = {"GOALPOST_PUBLIC_URL": "https://goals.example.com"}
    assert up.tls_environment(given)["GOALPOST_PUBLIC_URL"] == "https://goals.example.com"
