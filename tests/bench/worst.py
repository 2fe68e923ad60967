"""Bench of attacks: the worst that one sender or stranger may do, and its effect on other sites.

    python -m tests.bench.worst [--checkout DIR] [--only NAME ...] [--json FILE]

Each attack runs against a new Goalpost, started by `manage.py up` of the checkout, and goes to the site Loud. Meanwhile
events and reads of the site Quiet arrive at a steady rate. The table has for each attack:

- the p99 of Quiet's events and reads before and during the attack
- peak memory of web and worker, and growth of the database
- the time until Loud's events were processed, and the answers to the attack

The attacks use only HTTP, so older checkouts can be measured too.
"""

import itertools
import random
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Final

import httpx
import psycopg

from tests.bench.figures import Figure, make_parser, publish
from tests.bench.target import KINDS, TIMEOUT, Goalpost, Neighbour, running_goalpost, wait_until

ROOT: Final = Path(__file__).resolve().parents[2]
QUIET_SECONDS: Final = 6.0
DIGEST_SECONDS: Final = 60.0  # then an attack counts as never processed


def run_in_parallel(tasks: Sequence[Callable[[], Any]]) -> None:
    """Run each task in a thread, and wait for all."""
    threads = [threading.Thread(target=task, daemon=True) for task in tasks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(TIMEOUT * 2)


# The attacks send only allowed requests, or requests that cost a stranger nothing.


def sign_in_wrongly(target: Goalpost) -> None:
    """Sign in with wrong passwords from forty clients for ten seconds."""
    end, statuses = time.monotonic() + 10, Counter[str]()

    def stranger(number: int) -> None:
        with target.client() as browser:
            while time.monotonic() < end:
                try:
                    page = browser.get("/admin/login/")
                    token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page.text)
                    if token is None:
                        statuses[f"form {page.status_code}"] += 1
                        time.sleep(0.2)
                        continue
                    form = {"username": f"who-{number}", "password": "wrong", "csrfmiddlewaretoken": token[1]}
                    answer = browser.post("/admin/login/", data=form, headers={"Referer": f"{target.url}/admin/login/"})
                    statuses[str(answer.status_code)] += 1
                except httpx.HTTPError as error:
                    statuses[type(error).__name__] += 1

    run_in_parallel([partial(stranger, number) for number in range(40)])
    target.note("answers", dict(statuses))


def ask_for_schema(target: Goalpost) -> None:
    """Request the API document and its page from eight clients for eight seconds."""
    end, statuses = time.monotonic() + 8, Counter[str]()

    def stranger() -> None:
        with target.client() as client:
            while time.monotonic() < end:
                for path in ("/api/schema", "/api/docs", "/admin/login/"):
                    with suppress(httpx.HTTPError):
                        statuses[str(client.get(path).status_code)] += 1

    run_in_parallel([stranger] * 8)
    target.note("answers", dict(statuses))


def send_large_numbers(target: Goalpost) -> None:
    """Send sixteen events of 0.96 MB full of numbers that have five bytes and would take 309 as digits."""
    numbers = b",".join([b"1e308"] * 160_000)
    with target.client() as client:
        for number in range(16):
            body = b'{"userId":"u%d","event":"Numbers","properties":{"n":[%b]}}' % (number, numbers)
            target.post(client, "/v1/track", body)
    note_digest(target)
    stored = "SELECT coalesce(max(length(properties::text)), 0) FROM goals_conversion WHERE site_id = %s"
    target.note("largest conversion, bytes", int(target.scalar(stored, target.loud.id)))
    read_goal(target, "Numbers")


def send_large_events(target: Goalpost) -> None:
    """Send a hundred events of 0.9 MB, then read them by goal page, Why not?, API and export."""
    text = make_noise(9_000)
    with target.client() as client:
        for number in range(100):
            properties = {f"p{place}": f"{text}{place}" for place in range(100)}
            target.post(client, "/v1/track", {"userId": f"u{number}", "event": "Large", "properties": properties})
    note_digest(target)
    read_goal(target, "Large")


def send_small_objects(target: Goalpost) -> None:
    """Send sixteen events of 1 MB with 340,000 empty objects each."""
    objects = b",".join([b"{}"] * 340_000)
    with target.client() as client:
        for number in range(16):
            body = b'{"userId":"u%d","event":"Objects","properties":{"o":[%b]}}' % (number, objects)
            target.post(client, "/v1/track", body)
    note_digest(target)
    read_goal(target, "Objects")


def change_personas(target: Goalpost) -> None:
    """Send three thousand personas of one person, then read the person's page and export."""
    with target.client() as client:
        for start in range(0, 3_000, 1_000):
            batch = [
                make_audience_event(number, f"Persona {number}", user="one") for number in range(start, start + 1_000)
            ]
            target.post(client, "/v1/batch", {"batch": batch})
    note_digest(target)
    with target.signed_in_client() as browser:
        site = f"/admin/s/{target.loud.sitecode}"
        target.time_get("person page", browser, f"{site}/people/person/", params={"id": "one", "kind": "user"})
        target.time_get("person export", browser, f"{site}/people/person/export/", params={"id": "one", "kind": "user"})


def make_personas(target: Goalpost) -> None:
    """Send sixty thousand personas with names of 245 letters, then read `common` without a token."""
    statuses = Counter[int]()
    with target.client() as client:
        for start in range(0, 60_000, 3_000):
            batch = [
                make_audience_event(number, f"{number:06d}{'p' * 239}", user=f"u{number % 500}")
                for number in range(start, start + 3_000)
            ]
            statuses[target.post(client, "/v1/batch", {"batch": batch}).status_code] += 1
    target.note("answers", dict(statuses))
    note_digest(target)
    with target.client() as client:
        asked = {"siteCode": target.loud.sitecode, "key": "common"}
        target.time_get("common", client, "/map/map", params=asked)


def grow_person(target: Goalpost) -> None:
    """Send twenty identify calls of 0.7 MB for one person, then a small event, then read from four clients."""
    with target.client() as client:
        for call in range(20):
            traits = {f"trait {call} {number}": make_noise(2_000) for number in range(340)}
            target.post(client, "/v1/identify", {"userId": "one", "traits": traits})
        note_digest(target)
        target.note(
            "registers, bytes",
            int(
                target.scalar(
                    "SELECT coalesce(max(length(registers::text)), 0) FROM cohorts_identity WHERE site_id = %s",
                    target.loud.id,
                )
            ),
        )
        begun = time.monotonic()
        target.post(client, "/v1/identify", {"userId": "one", "traits": {"plan": "pro"}})
        wait_until(lambda: not target.pending(), DIGEST_SECONDS)
        target.note("a small event of the same person, s", f"{time.monotonic() - begun:.2f}")
    end, reads = time.monotonic() + 5, Counter[str]()

    def reader() -> None:
        with target.client() as client:
            while time.monotonic() < end:
                begun = time.monotonic()
                asked = {"siteCode": target.loud.sitecode, "key": "IDENTIFY_one"}
                with suppress(httpx.HTTPError):
                    reads[str(client.get("/map/map", params=asked).status_code)] += 1
                reads["slowest, ms"] = max(reads["slowest, ms"], round(1000 * (time.monotonic() - begun)))

    run_in_parallel([reader] * 4)
    target.note("reads of the same person", dict(reads))


def flood_refused(target: Goalpost) -> None:
    """Send nameless events of 0.9 MB with one messageId on four connections for ten seconds."""
    body = {"userId": "one", "messageId": "same", "properties": {"text": make_noise(900_000)}}
    flood(target, "/v1/track", lambda _: body)


def flood_different_refused(target: Goalpost) -> None:
    """Send nameless events of 0.9 MB with different bodies on four connections for ten seconds."""
    text = make_noise(900_000)
    flood(target, "/v1/track", lambda name: {"userId": "one", "properties": {"n": name, "text": text}})


def flood_events(target: Goalpost) -> None:
    """Send batches of 4,000 small events on four connections for ten seconds."""

    def batch(name: str) -> dict[str, Any]:
        event = {"type": "track", "event": "Flood"}
        return {"batch": [{**event, "userId": f"u{n}", "messageId": f"{name}-{n}"} for n in range(4_000)]}

    flood(target, "/v1/batch", batch)
    target.note("stored", int(target.scalar("SELECT count(*) FROM api_message WHERE site_id = %s", target.loud.id)))


def flood(target: Goalpost, path: str, body: Callable[[str], Any]) -> None:
    """Send bodies made from unique names on four connections for ten seconds."""
    end, statuses = time.monotonic() + 10, Counter[int]()

    def sender(lane: int) -> None:
        with target.client() as client:
            for number in itertools.takewhile(lambda _: time.monotonic() < end, itertools.count()):
                statuses[target.post(client, path, body(f"{lane}-{number}")).status_code] += 1

    run_in_parallel([partial(sender, lane) for lane in range(4)])
    target.note("answers", dict(statuses))


def share_device(target: Goalpost) -> None:
    """Link eight thousand users to one device, then move the device's first visitor code earlier ten times."""
    with target.client() as client:
        for start in range(0, 8_000, 2_000):
            batch = [
                {"type": "identify", "userId": f"u{number}", "anonymousId": "kiosk"}
                for number in range(start, start + 2_000)
            ]
            target.post(client, "/v1/batch", {"batch": batch})
        note_digest(target)
        move_first_codes(target, client, {"anonymousId": "kiosk"})


def link_conversions(target: Goalpost) -> None:
    """Send thirty thousand conversions of one user, then move the user's first visitor code earlier ten times."""
    with target.client() as client:
        for start in range(0, 30_000, 3_000):
            batch = [
                {"type": "track", "userId": "one", "event": "Many", "messageId": f"m{number}"}
                for number in range(start, start + 3_000)
            ]
            target.post(client, "/v1/batch", {"batch": batch})
        note_digest(target)
        move_first_codes(target, client, {"userId": "one"})


def move_first_codes(target: Goalpost, client: httpx.Client, ids: Mapping[str, str]) -> None:
    """Move the first visitor code of an id earlier ten times."""
    begun = time.monotonic()
    for number in range(10):
        at = f"2026-01-{20 - number:02d}T00:00:00Z"
        properties = {"kameleoonVisitorCode": f"code{number}"}
        target.post(client, "/v1/track", {**ids, "event": "Seen", "timestamp": at, "properties": properties})
        wait_until(lambda: not target.pending(), DIGEST_SECONDS)
    target.note("ten earlier codes, s", f"{time.monotonic() - begun:.1f}")


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


def make_noise(length: int) -> str:
    """Return text that PostgreSQL can hardly compress."""
    return random.randbytes(length // 2).hex()


def make_audience_event(number: int, name: str, *, user: str) -> dict[str, Any]:
    """Return an event with which Segment reports the entry into an audience."""
    return {
        "type": "track",
        "event": "Audience Entered",
        "userId": user,
        "messageId": f"persona-{number}",
        "properties": {"audience_key": name, name: True},
        "context": {"personas": {"computation_class": "audience", "computation_key": name}},
    }


def note_digest(target: Goalpost) -> None:
    begun = time.monotonic()
    is_done = wait_until(lambda: not target.pending(), DIGEST_SECONDS)
    target.note("processed after, s", f"{time.monotonic() - begun:.1f}" if is_done else f"not in {DIGEST_SECONDS:.0f}")


def read_goal(target: Goalpost, event: str) -> None:
    """Read the conversions of a goal by the API and by every page that shows them."""
    goal = target.scalar("SELECT id FROM goals_goal WHERE site_id = %s AND name LIKE %s", target.loud.id, f"%{event}")
    if goal is None:
        target.note("goal", "none")
        return
    headers = {"Authorization": target.loud.api_key}
    with target.client(headers=headers) as client:
        target.time_get("API, 50 conversions", client, f"/api/goals/{goal}/conversions", params={"limit": 50})
    with target.signed_in_client() as browser:
        site = f"/admin/s/{target.loud.sitecode}"
        target.time_get("goal page", browser, f"{site}/goals/{goal}/")
        target.time_get("conversions page", browser, f"{site}/goals/{goal}/conversions/")
        target.time_get("Why not?", browser, f"{site}/why/", params={"person": "u1", "goal": goal})
        target.time_get("events page", browser, f"{site}/events/")
        target.time_get("person export", browser, f"{site}/people/person/export/", params={"id": "u1", "kind": "user"})


def measure(checkout: Path, name: str, attack: Callable[[Goalpost], None]) -> list[Figure]:
    """Run one attack against a new Goalpost and return its figures."""
    with running_goalpost(checkout) as target:
        alone = Neighbour(target)
        with alone.sending():
            time.sleep(QUIET_SECONDS)
        target.forget_peaks()
        size = int(target.scalar("SELECT pg_database_size(current_database())"))
        beside, begun = Neighbour(target), time.monotonic()
        with beside.sending():
            attack(target)
        seconds = time.monotonic() - begun
        with suppress(psycopg.Error):
            target.note("database grew by, MB", f"{(int(target.scalar(SIZE)) - size) / 1e6:.0f}")
        if beside.answers:
            target.note("answers to others other than 200", dict(beside.answers))
        target.note("supervisor", "alive" if target.supervisor.poll() is None else "ended")
        figures = [
            Figure(f"{name}: {kind} of others, p99", beside.p99(kind), "ms", alone.p99(kind), "without it", "2.0")
            for kind in ("events", "reads")
        ]
        figures += [Figure(f"{name}: peak memory of {kind}", target.peak(text), "MB") for kind, text in KINDS.items()]
        print(f"{name} ({(attack.__doc__ or '').strip()}) took {seconds:.0f} s", flush=True)
        for note, value in target.notes.items():
            print(f"    {note}: {value}", flush=True)
        return figures


SIZE: Final = "SELECT pg_database_size(current_database())"


def main() -> None:
    options = make_parser(__doc__)
    options.add_argument("--checkout", type=Path, default=ROOT, help="measure this one instead")
    options.add_argument("--only", nargs="+", choices=ATTACKS, default=list(ATTACKS))
    given = options.parse_args()
    figures = [figure for name in given.only for figure in measure(given.checkout, name, ATTACKS[name])]
    publish(figures, given.json)


if __name__ == "__main__":
    main()
