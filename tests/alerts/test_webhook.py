"""Webhooks POST only to allowed addresses, within a total time that the receiver cannot extend."""

import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest
from django.test import override_settings

from api.alerts import webhook
from tests.alerts.receivers import LOOPBACK, receiving

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\ntaken"


@pytest.fixture(autouse=True)
def _have_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhook, "SECONDS", 60.0)  # the machine may be slow


@contextmanager
def answering(serve: Callable[[socket.socket], None]) -> Iterator[int]:
    """Let a function answer one connection, and yield the port. It must end once the connection has ended."""
    listener = socket.create_server(("127.0.0.1", 0))

    def accept() -> None:
        link, _ = listener.accept()
        with link, suppress(OSError):
            serve(link)

    thread = threading.Thread(target=accept)
    thread.start()
    with listener, override_settings(WEBHOOK_NETWORKS=LOOPBACK):
        yield listener.getsockname()[1]
        thread.join()


def refusal(url: str) -> str:
    """Return why a webhook is not sent."""
    with pytest.raises(webhook.WebhookError) as refused:
        webhook.post(url, {}, secret="secret")
    return str(refused.value)


# Answers


def test_webhook__that_redirects__is_not_followed() -> None:
    with receiving(302) as receiver:
        reason = refusal(receiver.url)

    assert len(receiver.requests) == 1
    assert "Redirects are not followed" in reason


def test_webhook__that_answers_byte_by_byte__is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """A timeout per read alone would wait forever."""
    monkeypatch.setattr(webhook, "SECONDS", 1.0)

    def drip(link: socket.socket) -> None:
        for _ in range(200):  # at most, until the client closes
            link.sendall(b"H")
            time.sleep(0.05)

    with answering(drip) as port:
        assert refusal(f"http://127.0.0.1:{port}/") == "127.0.0.1 did not answer in 1 seconds."


def test_webhook__that_says_yes_and_never_ends__is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhook, "SECONDS", 1.0)

    def hang(link: socket.socket) -> None:
        link.sendall(ANSWER.replace(b" 5", b" 100"))
        while link.recv(65_536):
            pass

    with answering(hang) as port:
        assert webhook.post(f"http://127.0.0.1:{port}/", {}, secret="secret") == "HTTP 200: taken"


def test_webhook__with_a_proxy_in_the_environment__is_sent_directly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    with receiving(200) as receiver:
        webhook.post(receiver.url, {}, secret="secret")

    assert len(receiver.requests) == 1


# TLS


@pytest.fixture
def tls_port(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """Yield the port of a server whose certificate is trusted and names localhost, not 127.0.0.1."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl makes the certificate")
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    name = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    files = ["-keyout", str(key), "-out", str(certificate)]
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", *name, *files]
    subprocess.run(command, check=True, capture_output=True)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)

    def serve(link: socket.socket) -> None:
        with context.wrap_socket(link, server_side=True) as secure:
            while b"{}" not in secure.recv(65_536):
                pass
            secure.sendall(ANSWER)

    with answering(serve) as port:
        yield port


def test_webhook__certificate_of_its_host__is_sent(tls_port: int) -> None:
    assert webhook.post(f"https://localhost:{tls_port}/hook", {}, secret="secret") == "HTTP 200: taken"


def test_webhook__certificate_of_another_host__is_refused(tls_port: int) -> None:
    assert "not valid for '127.0.0.1'" in refusal(f"https://127.0.0.1:{tls_port}/hook")


def test_webhook__of_tls_to_a_server_without__says_so() -> None:
    with receiving(200) as receiver:
        assert "did not answer as it should" in refusal(receiver.url.replace("http:", "https:"))

    assert receiver.requests == []


# Addresses


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]", "2130706433", "0x7f.1", "nobody.invalid"])
def test_webhook__that_is_refused__says_the_same_of_every_name_and_no_address(host: str) -> None:
    with override_settings(WEBHOOK_NETWORKS=[]):
        reason = refusal(f"http://{host}:1/")

    host = host.strip("[]")
    assert reason.startswith(f"The host {host} is not known, or leads to an address that is not public.")
    assert not [address for address in ("127.0.0.1", "::1") if address != host and address in reason]


def test_webhook__to_an_address_of_this_machine__is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A public address may belong to this machine, and a firewall does not protect its ports from local requests."""
    monkeypatch.setattr(webhook, "NOT_PUBLIC", ())  # loopback serves as a public address of the machine
    address = ip_address("127.0.0.1")

    with override_settings(WEBHOOK_NETWORKS=[]):
        assert not webhook.is_allowed(address)
    with override_settings(WEBHOOK_NETWORKS=LOOPBACK):
        assert webhook.is_allowed(address)


def test_webhook__into_the_private_network__is_refused_and_says_how_to_allow_it() -> None:
    with receiving(200) as receiver, override_settings(WEBHOOK_NETWORKS=[]):
        reason = refusal(receiver.url.replace("127.0.0.1", "localhost"))

    assert receiver.requests == []
    assert "GOALPOST_WEBHOOK_NETWORKS" in reason


@pytest.mark.parametrize("allowed", [[], ["0.0.0.0/0", "::/0"]])
@pytest.mark.parametrize(
    ("address", "is_public", "is_never"),
    [
        ("93.184.216.34", True, False),
        ("2606:2800:220:1:248:1893:25c8:1946", True, False),
        ("127.0.0.1", False, False),
        ("10.1.2.3", False, False),
        ("192.168.1.1", False, False),
        ("100.64.0.1", False, False),
        ("100.127.255.255", False, False),
        ("0.0.0.0", False, False),
        ("192.0.0.8", False, False),
        ("192.0.0.255", False, False),
        ("192.0.2.1", False, False),
        ("192.88.99.1", False, False),
        ("198.18.0.1", False, False),
        ("203.0.113.7", False, False),
        ("240.0.0.1", False, False),
        ("255.255.255.255", False, False),
        ("::", False, False),
        ("::7f00:1", False, False),
        ("64:ff9b:1::7f00:1", False, False),
        ("64:ff9b::5db8:d822", True, False),
        ("100::1", False, False),
        ("2001:db8::1", False, False),
        ("2001:20::1", False, False),
        ("3fff::1", False, False),
        ("5f00::1", False, False),
        ("ff02::1", False, False),
        ("224.0.0.1", False, False),
        ("::1", False, False),
        ("fd12::1", False, False),
        ("::ffff:127.0.0.1", False, False),
        ("64:ff9b::7f00:1", False, False),
        ("2002:7f00:1::", False, False),
        ("169.254.169.254", False, True),
        ("::ffff:169.254.169.254", False, True),
        ("64:ff9b::a9fe:a9fe", False, True),
        ("fe80::1", False, True),
        ("fec0::1", False, True),
        ("fd00:ec2::254", False, True),
        ("fd20:ce::254", False, True),
        ("192.0.0.192", False, True),
        ("100.100.100.200", False, True),
        ("168.63.129.16", False, True),
    ],
)
def test_webhook__to_this_address__is_allowed_as_the_operator_says(
    *, address: str, is_public: bool, is_never: bool, allowed: list[str]
) -> None:
    with override_settings(WEBHOOK_NETWORKS=[ip_network(network) for network in allowed]):
        assert webhook.is_allowed(ip_address(address)) is (is_public or bool(allowed and not is_never))


@pytest.mark.parametrize(
    "url",
    [
        "ftp://example.com/",
        "file:///etc/passwd",
        "//example.com",
        "http://",
        "http://user:password@example.com/",
        "http://example.com:0/",
        "http://example.com:99999/",
        "http://[::1/",
        "http://example.com/a b",
        "http://example.com/\r\nX: y",
        "http://exämple.com/",
    ],
)
def test_webhook__address_that_is_none__is_refused(url: str) -> None:
    assert "address" in refusal(url)
