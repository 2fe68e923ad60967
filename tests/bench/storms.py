"""Bench of one site's events and remote data while clients flood the pages of another site.

    python -m tests.bench.storms [--rounds 1] [--seconds 3] [--rate 40] [--only pages schema] [--json FILE]

A separate process runs the clients of each storm. A client sends its next request a tenth of a second after its last
answer. Each storm is measured between two quiet spells of the same length, and the table compares their p50 and p99.
The bench takes a minute or two on a quiet machine.
"""

import http.client
import multiprocessing
import os
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from tests.bench.events import make_events
from tests.bench.figures import Figure, describe_machine, make_parser, percentile, publish
from tests.bench.load import Load, at_rate, basic, fill_and_digest, get
from tests.bench.stage import CLIENT_ID, SITECODE, Stage, Web, running_stage

if TYPE_CHECKING:
    from multiprocessing.queues import Queue

OTHER_SITECODE = "zzzzzzzzzz"
WRITE_KEY = "a_write_key_of_the_other_site"
PEOPLE = 200
READERS = 16  # connections of each measured load
OVERTIME = 5.0  # seconds after which a blocked load ends
PAUSE = 0.1  # seconds between two requests of a client; without it even the cheapest requests are a flood
FORM = "a" * 32  # Django accepts any CSRF cookie of this shape if the token of the form equals it

Asked = tuple[str, str, str, dict[str, str]]  # method, path, body, headers


@dataclass(frozen=True, slots=True)
class Storm:
    """Requests that a number of clients send in turn until the storm ends."""

    name: str
    asked: Sequence[Asked]
    clients: int


@dataclass(slots=True)
class Spell:
    """Times of events and reads in ms over all spells of a kind."""

    events: list[float] = field(default_factory=list)
    reads: list[float] = field(default_factory=list)
    failures: Counter[str] = field(default_factory=Counter)

    def add(self, events: Load, reads: Load) -> None:
        """Add the times of one spell."""
        self.events += events.latencies
        self.reads += reads.latencies
        self.failures += events.failures + reads.failures


def main() -> None:
    options = make_parser(__doc__)
    for name, default in (("rounds", 1), ("seconds", 3), ("rate", 40)):
        options.add_argument(f"--{name}", type=int, default=default)
    options.add_argument("--only", nargs="+", default=[], help="storms by name")
    given = options.parse_args()
    with running_stage() as stage:
        with stage.connect() as connection:
            print(describe_machine(connection), flush=True)
        fill_and_digest(stage, make_events(6_000, people=PEOPLE, crowd="storm", run="storm"))
        add_other_site()
        storms = [storm for storm in storms_on(stage) if not given.only or storm.name in given.only]
        with stage.goalpost() as web:
            measure(web, given.rate, 1, Spell(), "warm")
            figures = [
                figure for storm in storms for figure in compare(web, storm, given.rounds, given.seconds, given.rate)
            ]
        publish(figures, given.json)


def add_other_site() -> None:
    """Create the site whose events and reads are measured. The storms flood the first site."""
    from api.ingest.provisioning import create_site
    from api.models import Credential

    site = create_site(name="Other", sitecode=OTHER_SITECODE, write_key=WRITE_KEY)
    Credential.objects.get(client_id=CLIENT_ID).sites.add(site)


def storms_on(stage: Stage) -> Iterator[Storm]:
    """Yield every storm, and last all of them together."""
    from goals.models import Goal

    signed_in = {"Cookie": f"sessionid={stage.admin_session()}"}
    site = f"/admin/s/{SITECODE}"
    goal = Goal.objects.order_by("pk")[0].pk
    form = urlencode({"csrfmiddlewaretoken": FORM, "username": "admin", "password": "not the password"})
    sign_in: Asked = (
        "POST",
        "/admin/login/",
        form,
        {"Cookie": f"csrftoken={FORM}", "Content-Type": "application/x-www-form-urlencoded"},
    )
    pages: list[Asked] = [
        ("GET", f"{site}/{page}", "", signed_in)
        for page in ("", "goals/", f"goals/{goal}/", "events/", "delivery/", "guide/", "settings/sources/", "personas/")
    ]
    schema: list[Asked] = [("GET", "/api/schema", "", {})]
    export: list[Asked] = [("GET", f"{site}/goals/export/", "", signed_in)]
    yield Storm("sign-ins", [sign_in], 40)
    yield Storm("pages", pages, 8)
    yield Storm("schema", schema, 8)
    yield Storm("exports", export, 8)
    yield Storm("all", [sign_in] * 5 + pages[:1] + schema + export, 64)


def compare(web: Web, storm: Storm, rounds: int, seconds: int, rate: int) -> list[Figure]:
    """Measure quiet and stormy spells in turn, and return the figures of both."""
    quiet, stormy, answered = Spell(), Spell(), Counter[str]()
    for number in range(rounds):
        run = f"{storm.name}-{number}"
        measure(web, rate, seconds, quiet, f"{run}-before")
        with running_storm(web.port, storm, answered):
            measure(web, rate, seconds, stormy, run)
        measure(web, rate, seconds, quiet, f"{run}-after")
    print(
        f"{storm.name}: {dict(sorted(answered.items()))} answers to the storm, {dict(stormy.failures)} failures beside",
        f"it, {dict(quiet.failures)} without; load {os.getloadavg()[0]:.1f}",
        flush=True,
    )
    return [
        Figure(
            f"{name} beside {storm.name}: p{percent}",
            percentile(getattr(stormy, name), percent),
            "ms",
            percentile(getattr(quiet, name), percent),
            "without it",
        )
        for name in ("events", "reads")
        for percent in (50, 99)
    ]


def measure(web: Web, rate: int, seconds: int, spell: Spell, run: str) -> None:
    """Send events and reads to the other site at a constant rate each."""
    shape: Any = {"rate": rate, "seconds": seconds, "connections": READERS, "overtime": OVERTIME}
    with (
        at_rate(web.port, lambda number: track(f"{run}-{number}"), **shape) as events,
        at_rate(web.port, read, **shape) as reads,
    ):
        pass
    spell.add(events, reads)


def track(message_id: str) -> bytes:
    body = f'{{"event":"Bought","userId":"user-1","messageId":"{message_id}"}}'
    return (
        f"POST /v1/track?writeKey={WRITE_KEY} HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}"
    ).encode()


def read(number: int) -> bytes:
    key = f"IDENTIFY_user-{number % PEOPLE}"
    return get(f"/map/map?siteCode={OTHER_SITECODE}&key={key}", authorization=basic())


@contextmanager
def running_storm(port: int, storm: Storm, answered: Counter[str]) -> Iterator[None]:
    """Run the storm's clients during the block, and count their answers by status."""
    context = multiprocessing.get_context("spawn")
    is_over, results = context.Event(), context.Queue()
    process = context.Process(target=run_clients, args=(port, storm, is_over, results), daemon=True)
    process.start()
    try:
        results.get(timeout=30)  # the clients have sent their first requests
        time.sleep(0.3)
        yield
    finally:
        is_over.set()
        answered += results.get(timeout=90)
        process.join(10)


def run_clients(port: int, storm: Storm, is_over: threading.Event, results: "Queue[Counter[str]]") -> None:
    answers = Counter[str]()
    lock = threading.Lock()

    def ask(number: int) -> None:
        while not is_over.is_set():
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
            method, path, body, headers = storm.asked[number % len(storm.asked)]
            number += 1
            try:
                connection.request(method, path, body or None, headers)
                answer = connection.getresponse()
                answer.read()
                status = str(answer.status)
            except (OSError, http.client.HTTPException) as error:
                status = type(error).__name__
            finally:
                connection.close()
            with lock:
                answers[status] += 1
            time.sleep(PAUSE)

    threads = [threading.Thread(target=ask, args=(number,), daemon=True) for number in range(storm.clients)]
    for thread in threads:
        thread.start()
    results.put(Counter())
    for thread in threads:
        thread.join()
    results.put(answers)


if __name__ == "__main__":
    main()
