"""Receivers of alerts for tests: a web server and a mail server on this machine."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_network
from typing import Any, Final

from django.test import override_settings

LOOPBACK: Final = [ip_network("127.0.0.0/8")]


@dataclass
class Receiver:
    """Webhook that answers each request with the next status, and with the last one from then on."""

    url: str
    statuses: list[int]
    requests: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    hang: threading.Event | None = None  # answers only once it is set


@contextmanager
def receiving(*statuses: int, hang: threading.Event | None = None) -> Iterator[Receiver]:
    """Run a webhook in a network that the settings allow."""

    class Answer(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = int(self.headers["Content-Length"])
            body = self.rfile.read(length)
            status = receiver.statuses.pop(0) if len(receiver.statuses) > 1 else receiver.statuses[0]
            receiver.requests.append(({name.lower(): value for name, value in self.headers.items()}, body))
            if receiver.hang:
                receiver.hang.wait(60)
            self.send_response(status)
            if 300 <= status < 400:
                self.send_header("Location", receiver.url + "elsewhere")
            self.end_headers()
            self.wfile.write(b"told " * 200)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    receiver = Receiver(f"http://127.0.0.1:{server.server_port}/hook/", list(statuses or (200,)), hang=hang)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        with override_settings(WEBHOOK_NETWORKS=LOOPBACK):
            yield receiver
    finally:
        if hang:
            hang.set()
        server.shutdown()
        thread.join()
        server.server_close()


@dataclass
class Mailbox:
    """Mail that a server accepted, by recipient. It refuses the recipients in `refused` with 550."""

    refused: set[str]
    mails: list[tuple[str, str]] = field(default_factory=list)


@contextmanager
def mail_server(*refused: str) -> Iterator[Mailbox]:
    """Run a mail server that the settings name."""
    mailbox = Mailbox(set(refused))
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                link, _ = listener.accept()
            except OSError:  # closed
                return
            with link, link.makefile("rw", newline="\r\n", encoding="utf-8") as lines:
                converse(lines, mailbox)

    thread = threading.Thread(target=serve)
    thread.start()
    host, port = listener.getsockname()
    try:
        with override_settings(
            EMAIL_BACKEND="django.core.mail.backends.smtp.EmailBackend",
            EMAIL_HOST=host,
            EMAIL_PORT=port,
            EMAIL_TIMEOUT=30,
            DEFAULT_FROM_EMAIL="goalpost@example.com",
        ):
            yield mailbox
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


def converse(lines: Any, mailbox: Mailbox) -> None:
    """Answer one connection of a sender that speaks SMTP."""

    def say(text: str) -> None:
        lines.write(text + "\r\n")
        lines.flush()

    recipient = ""
    say("220 test")
    for line in lines:
        verb, _, rest = line.strip().partition(" ")
        if verb.upper() == "RCPT":
            recipient = rest.partition("<")[2].partition(">")[0]
            say("550 nobody" if recipient in mailbox.refused else "250 ok")
        elif verb.upper() == "DATA":
            say("354 go on")
            mail = []
            for part in lines:
                if part.rstrip("\r\n") == ".":
                    break
                mail.append(part)
            mailbox.mails.append((recipient, "".join(mail)))
            say("250 taken")
        elif verb.upper() == "QUIT":
            say("221 bye")
            return
        else:
            say("250 ok")
