"""The worst that one sender or stranger may do, and what others notice of it.

    python -m tests.bench.worst [--checkout DIR] [--only NAME ...] [--json FILE]

Each attack meets a Goalpost of its own, started by `manage.py up` of the checkout, and goes to the site Loud. Beside
it, events and reads of the site Quiet come at a steady rate. The table says for each attack: the p99 of these before
and meanwhile, the peak memory of web and worker, how much the database grew, how long Loud's events took to be
processed, and what the attack itself saw. Nothing but HTTP reaches the service, so an older checkout measures as well.
"""

import base64
import itertools
import json
import os
import queue
import random
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

import httpx
import psycopg
from dotenv import dotenv_values

from api.runtime.embedded import free_port
from tests.bench.figures import Figure, parser, publish

ROOT: Final = Path(__file__).resolve().parents[2]
READY_SECONDS: Final = 180.0
QUIET_SECONDS: Final = 6.0
DIGEST_SECONDS: Final = 60.0  # then an attack counts as never processed
RATE: Final = 20.0  # events, and as many reads, a second of the site beside
LANES: Final = 12  # requests under way at once of each kind: a slow answer must not hold back the next request
TIMEOUT: Final = 60.0
SETUP: Final = """
import json, django
django.setup()
from api.ingest.provisioning import create_credential, create_site, create_source
from api import models
everything = {"scopes": list(models.Scope)} if hasattr(models, "Scope") else {}  # older ones may do everything
found = {}
for name in ("Loud", "Quiet"):
    site = create_site(name=name, public_traits=["plan"])
    source = create_source(site, name="browser", kind=models.Source.Kind.BROWSER)
    new = create_credential([site], name=name, **everything)
    key = source.write_keys.get().key
    found[name] = [site.pk, site.sitecode, key, new.credential.client_id, new.secret]
print(json.dumps(found))
"""


@dataclass(frozen=True, slots=True)
class Site:
    """A site and what opens it."""

    id: int
    sitecode: str
    write_key: str
    client_id: str
    secret: str

    @property
    def api_key(self) -> str:
        key = json.dumps({"id": self.client_id, "secret": self.secret})
        return "Basic " + base64.b64encode(key.encode()).decode()


@dataclass
class Goalpost:
    """A running Goalpost of a checkout."""

    port: int
    directory: Path
    environment: Mapping[str, str]
    supervisor: "subprocess.Popen[bytes]"
    loud: Site
    quiet: Site
    notes: dict[str, str] = field(default_factory=dict)  # what the attack saw

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def client(self, **options: Any) -> httpx.Client:
        return httpx.Client(base_url=self.url, timeout=TIMEOUT, trust_env=False, **options)

    def scalar(self, sql: str, *parameters: Any) -> Any:
        """The one value of a query."""
        with psycopg.connect(self.environment["DATABASE_URL"], autocommit=True) as connection:
            row = connection.execute(sql, parameters).fetchone()
            return row[0] if row else None

    def pending(self) -> int:
        sql = "SELECT count(*) FROM api_message WHERE site_id = %s AND status = 'pending'"
        return int(self.scalar(sql, self.loud.id))

    @contextmanager
    def signed_in(self) -> Iterator[httpx.Client]:
        """A browser in which the administrator is signed in."""
        password = dotenv_values(self.directory / "first-site.env")["GOALPOST_ADMIN_PASSWORD"]
        with self.client(follow_redirects=True) as browser:
            page = browser.get("/admin/login/")
            token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page.text)
            assert token is not None, page.text[:500]
            form = {"username": "admin", "password": password, "csrfmiddlewaretoken": token[1], "next": "/admin/"}
            referer = {"Referer": f"{self.url}/admin/login/"}
            browser.post("/admin/login/", data=form, headers=referer).raise_for_status()
            yield browser

    def post(self, client: httpx.Client, path: str, body: Any) -> httpx.Response:
        """Send what a page's write key may send to the site Loud."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        key = base64.b64encode(f"{self.loud.write_key}:".encode()).decode()
        return client.post(path, content=content, headers={"Authorization": f"Basic {key}"})

    def see(self, what: str, value: object) -> None:
        self.notes[what] = f"{value:,}" if isinstance(value, int) else str(value)

    def time_get(self, what: str, client: httpx.Client, path: str, **options: Any) -> None:
        """Note the status, size and seconds of a read."""
        begun, size = time.monotonic(), 0
        try:
            with client.stream("GET", path, **options) as answer:
                for piece in answer.iter_raw():
                    size += len(piece)
                status = str(answer.status_code)
        except httpx.HTTPError as error:
            status = type(error).__name__
        self.see(what, f"{status}, {size / 1e6:.2f} MB, {time.monotonic() - begun:.2f} s")

    def processes(self, kind: str) -> list[int]:
        """The processes of web or worker, by their command lines."""
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if str(self.directory) not in (entry / "environ").read_text(errors="replace"):
                    continue
                if kind in (entry / "cmdline").read_text(errors="replace"):
                    found.append(int(entry.name))
        return found

    def peak(self, kind: str) -> float:
        """The largest memory (MB) that one process of a kind has had since `forget_peaks`."""
        peaks = [0.0]
        for pid in self.processes(kind):
            with suppress(OSError):
                status = Path(f"/proc/{pid}/status").read_text()
                found = re.search(r"VmHWM:\s+(\d+)", status)
                peaks.append(int(found[1]) / 1000 if found else 0.0)
        return max(peaks)

    def forget_peaks(self) -> None:
        for kind in KINDS.values():
            for pid in self.processes(kind):
                with suppress(OSError):
                    Path(f"/proc/{pid}/clear_refs").write_text("5")


KINDS: Final = {"web": "granian", "worker": "\0worker\0"}


@contextmanager
def goalpost(checkout: Path) -> Iterator[Goalpost]:
    """Start a Goalpost, with the sites Loud and Quiet."""
    with tempfile.TemporaryDirectory(prefix="goalpost-worst-") as name:
        directory, port = Path(name), free_port()
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("GOALPOST_", "DJANGO_"))}
        kept.pop("DATABASE_URL", None)
        kept.pop("REDIS_URL", None)
        environment = {**kept, "GOALPOST_DATA_DIR": name, "GOALPOST_PORT": str(port), "PYTHONUNBUFFERED": "1"}
        with (directory / "up.log").open("wb") as output:
            supervisor = subprocess.Popen(
                [sys.executable, "manage.py", "up"], cwd=checkout, env=environment, stdout=output, stderr=output
            )
        try:
            until(lambda: answers(port), READY_SECONDS, (directory / "up.log").read_text)
            environment |= {k: v for k, v in dotenv_values(directory / "servers.env").items() if v}
            environment["DJANGO_SETTINGS_MODULE"] = "api.settings"
            made = subprocess.run(
                [sys.executable, "-c", SETUP], cwd=checkout, env=environment, check=True, stdout=subprocess.PIPE
            )
            loud, quiet = (Site(*each) for each in json.loads(made.stdout.splitlines()[-1]).values())
            yield Goalpost(port, directory, environment, supervisor, loud, quiet)
        finally:
            supervisor.terminate()
            with suppress(subprocess.TimeoutExpired):
                supervisor.wait(30)
            if supervisor.poll() is None:
                supervisor.kill()
                supervisor.wait()


def answers(port: int) -> bool:
    with suppress(httpx.HTTPError):
        return httpx.get(f"http://127.0.0.1:{port}/health/ready", timeout=2, trust_env=False).status_code == 200
    return False


def until(condition: Callable[[], bool], seconds: float, tell: Callable[[], str] = str) -> bool:
    """Wait for a condition; with `tell`, end the program by what it says when the time is up."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            if tell is not str:
                sys.exit(f"not ready after {seconds:.0f} s:\n{tell()[-3000:]}")
            return False
        time.sleep(0.05)
    return True


@dataclass
class Neighbour:
    """Events and reads of the site Quiet at a steady rate; how long each took, and how it was answered."""

    here: Goalpost
    waits: dict[str, list[float]] = field(default_factory=lambda: {"events": [], "reads": []})
    answers: "Counter[str]" = field(default_factory=Counter)

    @contextmanager
    def sending(self) -> Iterator[None]:
        is_over = threading.Event()
        threads = [
            threading.Thread(target=self._pace, args=(kind, send, is_over), daemon=True)
            for kind, send in (("events", self._event), ("reads", self._read))
        ]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            is_over.set()
            for thread in threads:
                thread.join(TIMEOUT + 5)

    def _pace(self, kind: str, send: Callable[[httpx.Client, int], int], is_over: threading.Event) -> None:
        """Hand out moments to lanes: a wait counts from the moment at which its request was due."""
        due: queue.SimpleQueue[tuple[int, float] | None] = queue.SimpleQueue()
        lanes = [threading.Thread(target=self._lane, args=(kind, send, due), daemon=True) for _ in range(LANES)]
        for lane in lanes:
            lane.start()
        begun, number = time.monotonic(), 0
        while not is_over.is_set():
            at = begun + number / RATE
            time.sleep(max(0.0, at - time.monotonic()))
            due.put((number, at))
            number += 1
        for _ in lanes:
            due.put(None)
        for lane in lanes:
            lane.join(TIMEOUT)

    def _lane(
        self,
        kind: str,
        send: Callable[[httpx.Client, int], int],
        due: "queue.SimpleQueue[tuple[int, float] | None]",
    ) -> None:
        with self.here.client() as client:
            while (moment := due.get()) is not None:
                number, at = moment
                try:
                    status = str(send(client, number))
                except httpx.HTTPError as error:
                    status = type(error).__name__
                self.waits[kind].append(time.monotonic() - at)
                if status != "200":
                    self.answers[f"{kind} {status}"] += 1

    def _event(self, client: httpx.Client, number: int) -> int:
        key = base64.b64encode(f"{self.here.quiet.write_key}:".encode()).decode()
        event = {"userId": f"user-{number % 50}", "event": f"Event {number % 5}", "properties": {"revenue": 1}}
        return client.post("/v1/track", json=event, headers={"Authorization": f"Basic {key}"}).status_code

    def _read(self, client: httpx.Client, number: int) -> int:
        asked = {"siteCode": self.here.quiet.sitecode, "key": f"IDENTIFY_user-{number % 50}"}
        return client.get("/map/map", params=asked).status_code

    def p99(self, kind: str) -> float:
        """Milliseconds."""
        waits = sorted(self.waits[kind])
        return 1000 * waits[min(len(waits) - 1, int(len(waits) * 0.99))] if waits else 0.0


def in_parallel(tasks: Sequence[Callable[[], Any]]) -> None:
    """Run tasks side by side."""
    threads = [threading.Thread(target=task, daemon=True) for task in tasks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(TIMEOUT * 2)


# The attacks. What each sends is allowed, or costs a stranger nothing.


def sign_in_wrongly(here: Goalpost) -> None:
    """Forty strangers sign in with wrong passwords for ten seconds."""
    end, statuses = time.monotonic() + 10, Counter[str]()

    def stranger(number: int) -> None:
        with here.client() as browser:
            while time.monotonic() < end:
                try:
                    page = browser.get("/admin/login/")
                    token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page.text)
                    if token is None:
                        statuses[f"form {page.status_code}"] += 1
                        time.sleep(0.2)
                        continue
                    form = {"username": f"who-{number}", "password": "wrong", "csrfmiddlewaretoken": token[1]}
                    answer = browser.post("/admin/login/", data=form, headers={"Referer": f"{here.url}/admin/login/"})
                    statuses[str(answer.status_code)] += 1
                except httpx.HTTPError as error:
                    statuses[type(error).__name__] += 1

    in_parallel([partial(stranger, number) for number in range(40)])
    here.see("answers", dict(statuses))


def ask_for_schema(here: Goalpost) -> None:
    """Eight strangers ask for the API document and its page for eight seconds."""
    end, statuses = time.monotonic() + 8, Counter[str]()

    def stranger() -> None:
        with here.client() as client:
            while time.monotonic() < end:
                for path in ("/api/schema", "/api/docs", "/admin/login/"):
                    with suppress(httpx.HTTPError):
                        statuses[str(client.get(path).status_code)] += 1

    in_parallel([stranger] * 8)
    here.see("answers", dict(statuses))


def send_large_numbers(here: Goalpost) -> None:
    """Sixteen events of 0.96 MB, each full of numbers of five bytes that would take 309."""
    numbers = b",".join([b"1e308"] * 160_000)
    with here.client() as client:
        for number in range(16):
            body = b'{"userId":"u%d","event":"Numbers","properties":{"n":[%b]}}' % (number, numbers)
            here.post(client, "/v1/track", body)
    note_digest(here)
    stored = "SELECT coalesce(max(length(properties::text)), 0) FROM goals_conversion WHERE site_id = %s"
    here.see("largest conversion, bytes", int(here.scalar(stored, here.loud.id)))
    read_goal(here, "Numbers")


def send_large_events(here: Goalpost) -> None:
    """A hundred events of 0.9 MB, each read by goal page, Why not?, API and export."""
    text = noise(9_000)
    with here.client() as client:
        for number in range(100):
            properties = {f"p{place}": f"{text}{place}" for place in range(100)}
            here.post(client, "/v1/track", {"userId": f"u{number}", "event": "Large", "properties": properties})
    note_digest(here)
    read_goal(here, "Large")


def send_small_objects(here: Goalpost) -> None:
    """Sixteen events of 1 MB that hold 340,000 empty objects each."""
    objects = b",".join([b"{}"] * 340_000)
    with here.client() as client:
        for number in range(16):
            body = b'{"userId":"u%d","event":"Objects","properties":{"o":[%b]}}' % (number, objects)
            here.post(client, "/v1/track", body)
    note_digest(here)
    read_goal(here, "Objects")


def change_personas(here: Goalpost) -> None:
    """Three thousand personas of one person, whose page and export are read."""
    with here.client() as client:
        for start in range(0, 3_000, 1_000):
            batch = [persona(number, f"Persona {number}", user="one") for number in range(start, start + 1_000)]
            here.post(client, "/v1/batch", {"batch": batch})
    note_digest(here)
    with here.signed_in() as browser:
        site = f"/admin/s/{here.loud.sitecode}"
        here.time_get("person page", browser, f"{site}/people/person/", params={"id": "one", "kind": "user"})
        here.time_get("person export", browser, f"{site}/people/person/export/", params={"id": "one", "kind": "user"})


def make_personas(here: Goalpost) -> None:
    """Sixty thousand personas of 245 letters, then `common` is read without a token."""
    statuses = Counter[int]()
    with here.client() as client:
        for start in range(0, 60_000, 3_000):
            batch = [
                persona(number, f"{number:06d}{'p' * 239}", user=f"u{number % 500}")
                for number in range(start, start + 3_000)
            ]
            statuses[here.post(client, "/v1/batch", {"batch": batch}).status_code] += 1
    here.see("answers", dict(statuses))
    note_digest(here)
    with here.client() as client:
        asked = {"siteCode": here.loud.sitecode, "key": "common"}
        here.time_get("common", client, "/map/map", params=asked)


def grow_person(here: Goalpost) -> None:
    """Twenty identify calls of 0.7 MB for one person; then a small event, and four readers for five seconds."""
    with here.client() as client:
        for call in range(20):
            traits = {f"trait {call} {number}": noise(2_000) for number in range(340)}
            here.post(client, "/v1/identify", {"userId": "one", "traits": traits})
        note_digest(here)
        here.see(
            "registers, bytes",
            int(
                here.scalar(
                    "SELECT coalesce(max(length(registers::text)), 0) FROM cohorts_identity WHERE site_id = %s",
                    here.loud.id,
                )
            ),
        )
        begun = time.monotonic()
        here.post(client, "/v1/identify", {"userId": "one", "traits": {"plan": "pro"}})
        until(lambda: not here.pending(), DIGEST_SECONDS)
        here.see("a small event of theirs, s", f"{time.monotonic() - begun:.2f}")
    end, reads = time.monotonic() + 5, Counter[str]()

    def reader() -> None:
        with here.client() as client:
            while time.monotonic() < end:
                begun = time.monotonic()
                asked = {"siteCode": here.loud.sitecode, "key": "IDENTIFY_one"}
                with suppress(httpx.HTTPError):
                    reads[str(client.get("/map/map", params=asked).status_code)] += 1
                reads["slowest, ms"] = max(reads["slowest, ms"], round(1000 * (time.monotonic() - begun)))

    in_parallel([reader] * 4)
    here.see("reads of theirs", dict(reads))


def flood_refused(here: Goalpost) -> None:
    """Events without a name, of 0.9 MB and with one messageId, for ten seconds on four connections."""
    body = {"userId": "one", "messageId": "same", "properties": {"text": noise(900_000)}}
    flood(here, "/v1/track", lambda _: body)


def flood_different_refused(here: Goalpost) -> None:
    """The same with another body each."""
    text = noise(900_000)
    flood(here, "/v1/track", lambda name: {"userId": "one", "properties": {"n": name, "text": text}})


def flood_events(here: Goalpost) -> None:
    """Batches of 4,000 small events on four connections for ten seconds."""

    def batch(name: str) -> dict[str, Any]:
        event = {"type": "track", "event": "Flood"}
        return {"batch": [{**event, "userId": f"u{n}", "messageId": f"{name}-{n}"} for n in range(4_000)]}

    flood(here, "/v1/batch", batch)
    here.see("stored", int(here.scalar("SELECT count(*) FROM api_message WHERE site_id = %s", here.loud.id)))


def flood(here: Goalpost, path: str, body: Callable[[str], Any]) -> None:
    """Send bodies, each made of a name that no other has, for ten seconds on four connections."""
    end, statuses = time.monotonic() + 10, Counter[int]()

    def sender(lane: int) -> None:
        with here.client() as client:
            for number in itertools.takewhile(lambda _: time.monotonic() < end, itertools.count()):
                statuses[here.post(client, path, body(f"{lane}-{number}")).status_code] += 1

    in_parallel([partial(sender, lane) for lane in range(4)])
    here.see("answers", dict(statuses))


def share_device(here: Goalpost) -> None:
    """Eight thousand users of one device, whose first visitor code then moves earlier ten times."""
    with here.client() as client:
        for start in range(0, 8_000, 2_000):
            batch = [
                {"type": "identify", "userId": f"u{number}", "anonymousId": "kiosk"}
                for number in range(start, start + 2_000)
            ]
            here.post(client, "/v1/batch", {"batch": batch})
        note_digest(here)
        move_first_codes(here, client, {"anonymousId": "kiosk"})


def link_conversions(here: Goalpost) -> None:
    """Thirty thousand conversions of one user, whose first visitor code then moves earlier ten times."""
    with here.client() as client:
        for start in range(0, 30_000, 3_000):
            batch = [
                {"type": "track", "userId": "one", "event": "Many", "messageId": f"m{number}"}
                for number in range(start, start + 3_000)
            ]
            here.post(client, "/v1/batch", {"batch": batch})
        note_digest(here)
        move_first_codes(here, client, {"userId": "one"})


def move_first_codes(here: Goalpost, client: httpx.Client, who: Mapping[str, str]) -> None:
    """Move the first visitor code of an id earlier ten times."""
    begun = time.monotonic()
    for number in range(10):
        at = f"2026-01-{20 - number:02d}T00:00:00Z"
        properties = {"kameleoonVisitorCode": f"code{number}"}
        here.post(client, "/v1/track", {**who, "event": "Seen", "timestamp": at, "properties": properties})
        until(lambda: not here.pending(), DIGEST_SECONDS)
    here.see("ten earlier codes, s", f"{time.monotonic() - begun:.1f}")


ATTACKS: Final[Mapping[str, Callable[[Goalpost], None]]] = {
    "sign-in": sign_in_wrongly,
    "schema": ask_for_schema,
    "numbers": send_large_numbers,
    "objects": send_small_objects,
    "large": send_large_events,
    "personas-of-one": change_personas,
    "personas": make_personas,
    "person": grow_person,
    "refused": flood_refused,
    "refused-different": flood_different_refused,
    "flood": flood_events,
    "device": share_device,
    "conversions": link_conversions,
}


def noise(length: int) -> str:
    """Text that PostgreSQL cannot compress much."""
    return random.randbytes(length // 2).hex()


def persona(number: int, name: str, *, user: str) -> dict[str, Any]:
    """A Segment audience's event."""
    return {
        "type": "track",
        "event": "Audience Entered",
        "userId": user,
        "messageId": f"persona-{number}",
        "properties": {"audience_key": name, name: True},
        "context": {"personas": {"computation_class": "audience", "computation_key": name}},
    }


def note_digest(here: Goalpost) -> None:
    begun = time.monotonic()
    is_done = until(lambda: not here.pending(), DIGEST_SECONDS)
    here.see("processed after, s", f"{time.monotonic() - begun:.1f}" if is_done else f"not in {DIGEST_SECONDS:.0f}")


def read_goal(here: Goalpost, event: str) -> None:
    """Read the conversions of a goal in every way that there is, four at once by the API."""
    goal = here.scalar("SELECT id FROM goals_goal WHERE site_id = %s AND name LIKE %s", here.loud.id, f"%{event}")
    if goal is None:
        here.see("goal", "none")
        return
    headers = {"Authorization": here.loud.api_key}
    with here.client(headers=headers) as client:
        here.time_get("API, 50 conversions", client, f"/api/goals/{goal}/conversions", params={"limit": 50})
    with here.signed_in() as browser:
        site = f"/admin/s/{here.loud.sitecode}"
        here.time_get("goal page", browser, f"{site}/goals/{goal}/")
        here.time_get("conversions page", browser, f"{site}/goals/{goal}/conversions/")
        here.time_get("Why not?", browser, f"{site}/why/", params={"person": "u1", "goal": goal})
        here.time_get("events page", browser, f"{site}/events/")
        here.time_get("person export", browser, f"{site}/people/person/export/", params={"id": "u1", "kind": "user"})


def measure(checkout: Path, name: str, attack: Callable[[Goalpost], None]) -> list[Figure]:
    """Run one attack on a Goalpost of its own."""
    with goalpost(checkout) as here:
        alone = Neighbour(here)
        with alone.sending():
            time.sleep(QUIET_SECONDS)
        here.forget_peaks()
        size = int(here.scalar("SELECT pg_database_size(current_database())"))
        beside, begun = Neighbour(here), time.monotonic()
        with beside.sending():
            attack(here)
        seconds = time.monotonic() - begun
        with suppress(psycopg.Error):
            here.see("database grew by, MB", f"{(int(here.scalar(SIZE)) - size) / 1e6:.0f}")
        if beside.answers:
            here.see("others' answers that were no 200", dict(beside.answers))
        here.see("supervisor", "alive" if here.supervisor.poll() is None else "ended")
        figures = [
            Figure(f"{name}: {kind} of others, p99", beside.p99(kind), "ms", alone.p99(kind), "without it", "2.0")
            for kind in ("events", "reads")
        ]
        figures += [Figure(f"{name}: peak memory of {kind}", here.peak(text), "MB") for kind, text in KINDS.items()]
        print(f"{name} ({(attack.__doc__ or '').strip()}) took {seconds:.0f} s", flush=True)
        for what, value in here.notes.items():
            print(f"    {what}: {value}", flush=True)
        return figures


SIZE: Final = "SELECT pg_database_size(current_database())"


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--checkout", type=Path, default=ROOT, help="measure this one instead")
    options.add_argument("--only", nargs="+", choices=ATTACKS, default=list(ATTACKS))
    given = options.parse_args()
    figures = [figure for name in given.only for figure in measure(given.checkout, name, ATTACKS[name])]
    publish(figures, given.json)


if __name__ == "__main__":
    main()
