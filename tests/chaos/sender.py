"""Sender that behaves like Segment: many connections, and a retry of each event without a 2xx answer."""

import http.client
import json
import random
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from tests.chaos.events import Event
from tests.chaos.stack import PATIENCE, Site

CONNECTIONS: Final = 8
PAUSE: Final = 0.2  # seconds before a retry; Segment waits longer
SCRAMBLED: Final = 1_000  # deliveries from which the next one is chosen
TIMEOUT: Final = 60.0  # seconds for one answer; the service answers within 8


@dataclass
class Sender:
    """Events sent to a site, and the answers to all requests."""

    site: Site
    ports: Sequence[int]
    connections: int = CONNECTIONS
    events: dict[str, Event] = field(default_factory=dict)  # by messageId
    # Per request `2xx`, `429`, `503`, `other`, or `none` for a broken connection.
    answers: list[str] = field(default_factory=list)
    accepted: "Counter[str]" = field(default_factory=Counter)  # answers `accepted` by messageId
    given_up: list[str] = field(default_factory=list)
    others: "Counter[str]" = field(default_factory=Counter)  # answers that no sender should get
    answered_at: float = 0.0  # time.monotonic() of the last 2xx
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _is_over: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def sending(self, deliveries: Iterable[Event]) -> Iterator[None]:
        """Deliver events during the block; afterwards wait until all are delivered or given up."""
        queue = iter(deliveries)
        threads = [
            threading.Thread(target=self._deliver_all, args=(queue, number)) for number in range(self.connections)
        ]
        for thread in threads:
            thread.start()
        try:
            yield
        except BaseException:
            self._is_over.set()
            raise
        finally:
            for thread in threads:
                thread.join()

    def was_answered_since(self, at: float) -> bool:
        """Return True if a 2xx arrived after this value of time.monotonic()."""
        return self.answered_at > at

    def _deliver_all(self, queue: Iterator[Event], number: int) -> None:
        port = self.ports[number % len(self.ports)]
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT)
        while not self._is_over.is_set():
            with self._lock:  # a paced queue sleeps here and holds up all threads
                event = next(queue, None)
            if event is None:
                break
            self.events[event["messageId"]] = event
            self._deliver(connection, event)
        connection.close()

    def _deliver(self, connection: http.client.HTTPConnection, event: Event) -> None:
        """Send one event until a 2xx arrives or the patience of the scenarios is over."""
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until and not self._is_over.is_set():
            kind = self._send(connection, event)
            self.answers.append(kind)
            if kind == "2xx":
                self.answered_at = time.monotonic()
                return
            time.sleep(PAUSE)
        self.given_up.append(event["messageId"])

    def _send(self, connection: http.client.HTTPConnection, event: Event) -> str:
        headers = {
            "Authorization": self.site.authorization,
            "X-Segment-Settings": self.site.sitecode,
            "Content-Type": "application/json",
        }
        try:
            connection.request("POST", "/segmentio", json.dumps(event).encode(), headers)
            response = connection.getresponse()
            body = response.read()
        except (OSError, http.client.HTTPException):
            connection.close()
            return "none"
        if 200 <= response.status < 300:
            if json.loads(body)["status"] == "accepted":
                with self._lock:
                    self.accepted[event["messageId"]] += 1
            return "2xx"
        if response.status in {429, 503}:
            return str(response.status)
        self.others[f"{response.status} {body[:200]!r}"] += 1
        return "other"


def repeated(chooser: random.Random, events: Iterable[Event], *, most: int) -> Iterator[Event]:
    """Yield each event once to `most` times, out of order."""
    waiting: list[Event] = []
    for event in events:
        waiting += [event] * chooser.randint(1, most)
        while len(waiting) > SCRAMBLED:
            yield waiting.pop(chooser.randrange(len(waiting)))
    chooser.shuffle(waiting)
    yield from waiting


def paced(chooser: random.Random, events: Iterable[Event], *, per_second: float, burst: int = 1) -> Iterator[Event]:
    """Yield events at a steady rate, or in bursts of this mean size at the same rate."""
    for event in events:
        yield event
        if chooser.random() < 1 / burst:
            time.sleep(burst / per_second)


def take_until(is_over: threading.Event, events: Iterable[Event], *, least: int = 0) -> Iterator[Event]:
    """Yield at least `least` events, and more until `is_over` is set."""
    for number, event in enumerate(events):
        if is_over.is_set() and number >= least:
            return
        yield event
