"""Webhooks over TLS: the certificate must be valid for the host name, although the address is dialled."""

import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from django.test import override_settings

from api.alerts import webhook
from tests.alerts.receivers import LOOPBACK

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificate")
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\ntaken"


@pytest.fixture
def port(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """Yield the port of a server whose certificate is trusted and names localhost, not 127.0.0.1."""
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    name = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    files = ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", *name, *files],
        check=True,
        capture_output=True,
    )
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    monkeypatch.setattr(webhook, "SECONDS", 60.0)  # the machine may be slow
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        link, _ = listener.accept()
        with link, suppress(OSError), context.wrap_socket(link, server_side=True) as secure:
            while b"{}" not in secure.recv(65_536):
                pass
            secure.sendall(ANSWER)

    thread = threading.Thread(target=serve)
    thread.start()
    with listener, override_settings(WEBHOOK_NETWORKS=LOOPBACK):
        yield listener.getsockname()[1]
        thread.join()


def test_webhook__certificate_of_its_host__is_sent(port: int) -> None:
    assert webhook.post(f"https://localhost:{port}/hook", {}, secret="secret") == "HTTP 200: taken"


def test_webhook__certificate_of_another_host__is_refused(port: int) -> None:
    with pytest.raises(webhook.WebhookError, match=r"not valid for '127\.0\.0\.1'"):
        webhook.post(f"https://127.0.0.1:{port}/hook", {}, secret="secret")
