"""Loads on a web server: as many requests as it answers (wrk), or a constant rate whatever it answers."""

import base64
import json
import math
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http import HTTPStatus
from itertools import count, islice
from urllib.parse import quote

from tests.bench.events import Event, is_digested, make_event, person
from tests.bench.stage import CLIENT_ID, SECRET, SITECODE, WRITE_KEY, Stage, expect

# Requests with unique messageIds. The event has three ids.
WRK_POST = """
local counter = 0
request = function()
  counter = counter + 1
  local body = string.format('{"anonymousId":"anon-%%d","userId":"user-%%d","type":"track",' ..
    '"event":"Clicked on Checkout",' ..
    '"properties":{"revenue":25.5,"currency":"EUR","products":[{"id":"p1","price":25.5}],' ..
    '"kameleoonVisitorCode":"vc%%d"},"timestamp":"2026-11-22T03:19:58.767Z","context":{"ip":"127.0.0.1",' ..
    '"userAgent":"Mozilla/5.0 (X11; Linux x86_64)","locale":"en-US"},"messageId":"%(run)s-%%d"}',
    counter %% 1000, counter %% 1000, counter %% 1000, counter)
  local headers = {["authorization"] = "Basic %(key)s", ["x-segment-settings"] = "%(site)s"}
  return wrk.format("POST", "/segmentio", headers, body)
end
"""
WRK_READ = """
local counter = 0
local requests = {}
init = function()
  for person = 0, %(people)d - 1 do
    requests[person] = wrk.format("GET", "/map/map?siteCode=%(site)s&key=IDENTIFY_%(prefix)s" .. person)
  end
end
request = function()
  counter = counter + 1
  return requests[counter * 7 %% %(people)d]
end
"""
FILLERS = 8  # connections that fill an inbox
FILL_TRIES = 20  # a second apart, while the database is too slow
FILLED = 500  # events of each of their requests
UNITS = {"us": 0.001, "ms": 1.0, "s": 1000.0, "m": 60_000.0}
PATIENCE = 30.0


@dataclass(frozen=True, slots=True)
class WrkResult:
    """Result of a wrk run."""

    rate: float  # requests/s
    p50: float  # ms
    p99: float
    requests: int


def run_wrk(port: int, path: str, script: str = "", *, seconds: int, connections: int) -> WrkResult:
    """Run wrk on a number of connections and return its result. Exit if an answer is not 2xx."""
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as file:
        file.write(script)
        file.flush()
        command = [
            *("wrk", "--threads", "1", "--connections", str(connections), "--duration", f"{seconds}s", "--latency"),
            *("--timeout", f"{PATIENCE:.0f}s", *(["--script", file.name] if script else [])),
            f"http://127.0.0.1:{port}{path}",
        ]
        output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    trouble = " ".join(re.findall(r"(?:Non-2xx|Socket errors).*", output))
    rate = re.search(r"Requests/sec:\s+([\d.]+)", output)
    waits = {
        name: float(wait) * UNITS[unit] for name, wait, unit in re.findall(r"(\d+)%\s+([\d.]+)(us|ms|s|m)", output)
    }
    requests = re.search(r"(\d+) requests in", output)
    if trouble or rate is None or "99" not in waits or requests is None:
        sys.exit(f"{path}: {trouble or output}")
    return WrkResult(float(rate[1]), waits["50"], waits["99"], int(requests[1]))


def require_wrk() -> None:
    if shutil.which("wrk") is None:
        sys.exit("the benches need wrk: `apt-get install wrk`, `brew install wrk`, or https://github.com/wg/wrk")


def post_script(run: str) -> str:
    """Return the wrk script of single events, new ones for every run."""
    return WRK_POST % {"run": run, "key": destination_key(), "site": SITECODE}


def read_script(prefix: str, people: int) -> str:
    """Return the wrk script of remote data by key, over the people `<prefix>0` … `<prefix><people - 1>`."""
    return WRK_READ % {"site": SITECODE, "prefix": prefix, "people": people}


def destination_key() -> str:
    """Return the API key with which Segment's destination sends."""
    return base64.b64encode(json.dumps({"id": CLIENT_ID, "secret": SECRET}).encode()).decode()


def post(body: bytes) -> bytes:
    """Return the request of one event."""
    return (
        f"POST /segmentio HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Basic {destination_key()}\r\n"
        f"X-Segment-Settings: {SITECODE}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode() + body


def mixed_post(run: str, *, people: int) -> Callable[[int], bytes]:
    """Return a function that makes the n-th request of the mix by `people` persons of the crowd `run`."""

    def request(number: int) -> bytes:
        sender = person(run, number, people)
        return post(make_event(number, person=sender, at=datetime.now(UTC), message_id=f"{run}-{number}").body)

    return request


def read(key: str) -> bytes:
    """Return the request of remote data with credentials."""
    return get(f"/map/map?siteCode={SITECODE}&key={quote(key)}", authorization=basic())


def basic() -> str:
    return "Basic " + base64.b64encode(f"{CLIENT_ID}:{SECRET}".encode()).decode()


def get(path: str, **headers: str) -> bytes:
    """Return the GET request of a path. Underscores in header names become hyphens."""
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    return f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{lines}\r\n".encode()


class Connection:
    """One kept-alive connection. It does less than http.client, because client and server share the cores."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._stream = self._socket.makefile("rb")

    def ask(self, request: bytes) -> tuple[int, bytes]:
        """Send a request and return (status, body). Raise OSError, also for an answer without Content-Length."""
        self._socket.sendall(request)
        status, length = self._line()[9:12], None
        while line := self._line().lower():
            if line.startswith(b"content-length:"):
                length = int(line[15:])
        if length is None:
            raise ConnectionError("no Content-Length")
        return int(status), self._stream.read(length)

    def close(self) -> None:
        self._stream.close()
        self._socket.close()

    def _line(self) -> bytes:
        line = self._stream.readline()
        if not line:
            raise ConnectionError("the server closed the connection")
        return line.strip()


@dataclass(slots=True)
class Load:
    """Result of a load at a constant rate."""

    latencies: list[float] = field(default_factory=list)  # ms from the due time to the answer
    lateness: list[float] = field(default_factory=list)  # ms from the due time to the sending by a free client
    failures: Counter[str] = field(default_factory=Counter)
    threads: list[threading.Thread] = field(default_factory=list)

    def record(self, due: float, *, failure: str) -> None:
        self.latencies.append((time.monotonic() - due) * 1000)
        if failure:
            self.failures[failure] += 1

    def join(self) -> None:
        """Wait for the last answer."""
        for thread in self.threads:
            thread.join()

    def check(self, name: str) -> None:
        """Exit if a request failed."""
        if self.failures or not self.latencies:
            sys.exit(f"{name}: {len(self.latencies)} answers, {dict(self.failures)} failures")


@contextmanager
def at_rate(
    port: int,
    request: Callable[[int], bytes],
    *,
    rate: float,
    seconds: float,
    connections: int = 32,
    overtime: float = math.inf,
) -> Iterator[Load]:
    """Send `request(0)`, `request(1)`, … at fixed times during the block, whether or not earlier ones were answered.

    A latency counts from the due time, so that requests that a slow server delays are not omitted. All requests are
    answered when the block ends. A request that is still unsent `overtime` seconds after the end counts as a failure
    with its wait so far.
    """
    load = Load()
    numbers, total = count(), round(rate * seconds)
    begun = time.monotonic() + 0.05
    is_over = threading.Event()

    def work() -> None:
        connection = Connection(port)
        while not is_over.is_set() and (number := next(numbers)) < total:
            due = begun + number / rate
            if time.monotonic() > begun + seconds + overtime:
                load.record(due, failure="unsent")
                continue
            bytes_ = request(number)
            wait = due - time.monotonic()
            if wait > 0:
                time.sleep(wait)
                load.lateness.append((time.monotonic() - due) * 1000)
            try:
                status, _ = connection.ask(bytes_)
            except OSError as error:
                load.record(due, failure=type(error).__name__)
                connection.close()
                connection = Connection(port)
            else:
                load.record(due, failure="" if 200 <= status < 300 else str(status))
        connection.close()

    load.threads = [threading.Thread(target=work, daemon=True) for _ in range(connections)]
    for thread in load.threads:
        thread.start()
    try:
        yield load
        load.join()
    finally:
        is_over.set()


def fill_inbox(port: int, events: Iterable[Event]) -> int:
    """Send events in batches by `/v1/batch`, which every version has, and return the number of hits."""
    key = base64.b64encode(f"{WRITE_KEY}:".encode()).decode()
    hits, failures, lock = 0, Counter[str](), threading.Lock()
    batches = take(iter(events), FILLED)

    def work() -> None:
        nonlocal hits
        connection = Connection(port)
        while not failures:
            with lock:
                batch = next(batches, None)
            if batch is None:
                break
            body = b'{"batch":[%b]}' % b",".join(event.body for event in batch)
            head = (
                f"POST /v1/batch HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Basic {key}\r\n"
                f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
            )
            for _ in range(FILL_TRIES):
                status, answer = connection.ask(head.encode() + body)
                if status != HTTPStatus.SERVICE_UNAVAILABLE:
                    break
                time.sleep(1)
            with lock:
                hits += sum(event.is_hit for event in batch)
                if status != 200:
                    failures[f"{status} {answer[:200]!r}"] += 1
        connection.close()

    threads = [threading.Thread(target=work, daemon=True) for _ in range(FILLERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    expect(not failures, f"an inbox was not filled: {dict(failures)}")
    return hits


def take(events: Iterator[Event], size: int) -> Iterator[list[Event]]:
    while batch := list(islice(events, size)):
        yield batch


def fill_and_digest(stage: Stage, events: Iterable[Event]) -> None:
    """Send events to a stage without processes, and have them digested."""
    with stage.goalpost() as web, stage.worker() as worker, stage.connect() as connection:
        fill_inbox(web.port, events)
        worker.go_on()
        stage.wait_until(lambda: is_digested(connection, stage), "the digest", 600)
