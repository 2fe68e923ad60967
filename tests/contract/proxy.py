"""HTTP proxy that injects faults between a sender and the web server."""

import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from enum import Enum, auto
from http.client import HTTPConnection, HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Lock, Thread
from typing import Any

from tests.contract.server import Server

HOLD_SECONDS = 90.0


class Fault(Enum):
    """A fault that happens to one request."""

    NONE = auto()
    BUSY = auto()  # 429 with Retry-After
    AWAY = auto()  # 503
    HALVED = auto()  # the server gets half of the body, then both lose the connection
    UNHEARD = auto()  # the server stores the event, and the sender loses the connection before the answer
    CRASH = auto()  # the server is killed during the request; the test restarts it and sets `is_up`


class Proxy(ThreadingHTTPServer):
    """Proxy that applies `faults` to the first requests in their order and passes later ones."""

    def __init__(self, goalpost: Server, faults: Sequence[Fault]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.goalpost = goalpost
        self.met: list[Fault] = []
        self.unheard: list[int] = []
        self.is_down, self.is_up = Event(), Event()
        self.is_up.set()
        self._faults, self._lock = iter(faults), Lock()

    def next_fault(self) -> Fault:
        with self._lock:
            self.met.append(next(self._faults, Fault.NONE))
            return self.met[-1]


class Handler(BaseHTTPRequestHandler):
    server: Proxy
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        fault = self.server.next_fault()
        if fault is Fault.BUSY:
            self.answer(429, b"{}", {"retry-after": "1"})
        elif fault is Fault.AWAY:
            self.answer(503, b"no upstream", {})
        else:
            try:
                self.pass_on(body, fault)
            except (OSError, HTTPException):
                # Wait for the server, because rudder-node 3.0.13 gives up after a second and a half.
                self.server.is_up.wait(HOLD_SECONDS)
                self.cut()

    def pass_on(self, body: bytes, fault: Fault) -> None:
        goalpost = self.server.goalpost
        with closing(HTTPConnection("127.0.0.1", goalpost.port, timeout=30)) as connection:
            connection.putrequest("POST", self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                connection.putheader(name, value)
            connection.endheaders(body[: len(body) // 2] if fault is Fault.HALVED else body)
            if fault is Fault.HALVED:
                return self.cut()
            if fault is Fault.CRASH:
                self.server.is_up.clear()
                goalpost.kill()
                self.server.is_down.set()
                return self.cut()
            answer = connection.getresponse()
            content = answer.read()
        if fault is Fault.UNHEARD:
            self.server.unheard.append(answer.status)
            return self.cut()
        return self.answer(answer.status, content, {"content-type": answer.headers["content-type"]})

    def answer(self, status: int, content: bytes, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "content-length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def cut(self) -> None:
        self.close_connection = True
        with suppress(OSError):  # the sender may have closed first
            self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, *_: Any) -> None:
        """Override the log of the standard library, which would write to stderr."""


@contextmanager
def running_proxy(goalpost: Server, *faults: Fault) -> Iterator[Proxy]:
    """Run a proxy in front of a server until the block ends."""
    with Proxy(goalpost, faults) as proxy:
        thread = Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield proxy
        finally:
            proxy.is_up.set()
            proxy.shutdown()
            thread.join()
