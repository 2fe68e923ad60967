"""Times of events and remote data of one site while people and strangers storm the pages of another.

    python -m tests.bench.storms [--rounds 1] [--seconds 3] [--rate 40] [--only pages schema] [--json FILE]

Each storm keeps so many clients asking in a process of their own, each a tenth of a second after its last answer, and
is measured between two quiet spells of the same length: the table has its p50 and p99 beside those of the quiet ones.
A minute or two on a quiet machine.
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

from tests.bench.events import mixed, settle
from tests.bench.figures import Figure, describe_machine, parser, percentile, publish
from tests.bench.load import Load, at_rate, basic, get
from tests.bench.stage import CLIENT_ID, SITECODE, Stage, Web, stage

if TYPE_CHECKING:
    from multiprocessing.queues import Queue

OTHER_SITECODE = "zzzzzzzzzz"
WRITE_KEY = "a_write_key_of_the_other_site"
PEOPLE = 200
READERS = 16  # connections of each measured load
OVERTIME = 5.0  # seconds after which a load stops that the storm has stopped
PAUSE = 0.1  # seconds until a client of a storm asks again: without it a flood of the cheapest requests is one, too
FORM = "a" * 32  # Django takes any cookie of this form, if the form's token equals it

Asked = tuple[str, str, str, dict[str, str]]  # method, path, body, headers


@dataclass(frozen=True, slots=True)
class Storm:
    """The requests that so many clients make without end, in turns."""

    name: str
    asked: Sequence[Asked]
    clients: int


@dataclass(slots=True)
class Spell:
    """The times of events and reads, in ms, over all spells of a kind."""

    events: list[float] = field(default_factory=list)
    reads: list[float] = field(default_factory=list)
    failures: Counter[str] = field(default_factory=Counter)

    def add(self, events: Load, reads: Load) -> None:
        """Add what one spell saw."""
        self.events += events.latencies
        self.reads += reads.latencies
        self.failures += events.failures + reads.failures


def main() -> None:
    options = parser(__doc__)
    for name, default in (("rounds", 1), ("seconds", 3), ("rate", 40), ("threads", 48)):
        options.add_argument(f"--{name}", type=int, default=default)
    options.add_argument("--only", nargs="+", default=[], help="storms by name")
    given = options.parse_args()
    with stage() as here:
        with here.connect() as connection:
            print(describe_machine(connection), flush=True)
        settle(here, mixed(6_000, people=PEOPLE, crowd="storm", run="storm"))
        add_other_site()
        storms = [each for each in storms_on(here) if not given.only or each.name in given.only]
        with here.goalpost(workers=1, threads=given.threads) as web:
            measure(web, given.rate, 1, Spell(), "warm")
            figures = [
                figure for each in storms for figure in compare(web, each, given.rounds, given.seconds, given.rate)
            ]
        publish(figures, given.json)


def add_other_site() -> None:
    """Make the site whose events and reads are measured; the storms ask for pages of the first one."""
    from api.ingest.provisioning import create_site
    from api.models import Credential

    site = create_site(name="Other", sitecode=OTHER_SITECODE, write_key=WRITE_KEY)
    Credential.objects.get(client_id=CLIENT_ID).sites.add(site)


def storms_on(here: Stage) -> Iterator[Storm]:
    """Yield every storm, the last one being all of them at once."""
    from goals.models import Goal

    signed_in = {"Cookie": f"sessionid={here.admin_session()}"}
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
    """Measure quiet, storm, quiet, … and return the figures of both kinds."""
    quiet, stormy, answered = Spell(), Spell(), Counter[str]()
    for number in range(rounds):
        run = f"{storm.name}-{number}"
        measure(web, rate, seconds, quiet, f"{run}-before")
        with raging(web.port, storm, answered):
            measure(web, rate, seconds, stormy, run)
        measure(web, rate, seconds, quiet, f"{run}-after")
    print(
        f"{storm.name}: {dict(sorted(answered.items()))} answers to the storm, {dict(stormy.failures)} failures beside",
        f"it, {dict(quiet.failures)} without; load {os.getloadavg()[0]:.1f}",
        flush=True,
    )
    return [
        Figure(
            f"{what} beside {storm.name}: p{percent}",
            percentile(getattr(stormy, what), percent),
            "ms",
            percentile(getattr(quiet, what), percent),
            "without it",
        )
        for what in ("events", "reads")
        for percent in (50, 99)
    ]


def measure(web: Web, rate: int, seconds: int, spell: Spell, run: str) -> None:
    """Send events and reads of the other site at a constant rate each."""
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
def raging(port: int, storm: Storm, answered: Counter[str]) -> Iterator[None]:
    """Keep the storm's clients busy during the block, and count how they were answered."""
    context = multiprocessing.get_context("spawn")
    is_over, told = context.Event(), context.Queue()
    process = context.Process(target=rage, args=(port, storm, is_over, told), daemon=True)
    process.start()
    try:
        told.get(timeout=30)  # its clients have asked
        time.sleep(0.3)
        yield
    finally:
        is_over.set()
        answered += told.get(timeout=90)
        process.join(10)


def rage(port: int, storm: Storm, is_over: threading.Event, told: "Queue[Counter[str]]") -> None:
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
    told.put(Counter())
    for thread in threads:
        thread.join()
    told.put(answers)


if __name__ == "__main__":
    main()
