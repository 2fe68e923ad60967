"""Bench of the largest allowed inputs: bytes of each answer, memory and time of each read and each digest.

    python -m tests.bench.sizes [--events 32] [--only person] [--seconds 15]

It fills a site of temporary servers with the worst of each kind:

- events of 0.9 MB that consist of numbers, empty objects, quotes or deep nesting
- a person who entered 3,000 personas
- an event that is refused repeatedly
- goals with long names and many tags

Each line is one read in a separate process, which ends after `--seconds` or above 4 GiB. The bench ends within three
minutes after the start of the servers. `CPU s` and `peak MB` (growth of memory) are those of the process without
PostgreSQL. A copy of this file also runs in older versions.
"""

import argparse
import json
import os
import resource
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Any

from tests.bench.stage import Stage, running_stage

LARGE = 900_000
MOST_MEMORY = 4 * 2**30
PERSONAS = 3_000
NOW = datetime.now(UTC) - timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Cost:
    """Cost of one read or one digest."""

    name: str
    status: str
    bytes: int
    seconds: float
    cpu: float  # seconds of the process without PostgreSQL
    peak: int


# Inputs


def repeat(item: str) -> str:
    """Return a JSON list of about 0.9 MB."""
    return "[" + ",".join([item] * (LARGE // (len(item) + 1))) + "]"


def nest(depth: int) -> str:
    """Return nested lists, which a printer with indents writes as one number per line, far to the right."""
    return "[" * depth + ",".join(["1"] * (LARGE // 2)) + "]" * depth


VALUES: Mapping[str, Callable[[], str]] = {
    "numbers": lambda: repeat("1e308"),
    "objects": lambda: repeat('{"":{"":{}}}'),
    "lists": lambda: repeat("[]"),
    "quotes": lambda: json.dumps("\"'<&" * (LARGE // 5)),
    "deep": lambda: nest(200),
}


def event(kind: str, number: int, **fields: Any) -> bytes:
    """Return a track event of the user u1 with 0.9 MB of properties of a kind."""
    head = {"type": "track", "event": "Buy", "userId": "u1", "messageId": f"{kind}-{number}", **fields}
    return f'{json.dumps(head)[:-1]},"properties":{{"value":{VALUES[kind]()}}}}}'.encode()


def identify(kind: str, number: int) -> bytes:
    """Return an identify event of a new user with 0.9 MB of traits."""
    head = {"type": "identify", "userId": f"{kind}-user-{number}", "messageId": f"identify-{kind}-{number}"}
    return f'{json.dumps(head)[:-1]},"traits":{{"value":{VALUES[kind]()}}}}}'.encode()


def insert(
    site: Stage, rows: Sequence[tuple[str, str | None, bytes]], *, status: str = "pending", reason: str = ""
) -> None:
    """Insert messages (type, messageId, body) into the inbox."""
    with site.connect() as connection, connection.transaction(), connection.cursor() as cursor:
        cursor.executemany(
            """
            WITH message AS (
                INSERT INTO api_message (site_id, source_id, type, message_id, position, received_at, occurred_at, size,
                                         status, reason, detail, warnings, effects, attempts, waiting_for)
                VALUES (%s, %s, %s, %s, 0, %s, %s, %s, %s, %s, '', '{}', '{}', 0, '')
                RETURNING site_id, id
            )
            INSERT INTO api_messagebody (site_id, id, body, content_encoding) SELECT site_id, id, %s, '' FROM message
            """,
            [(site.site_id, site.source_id, *row[:2], NOW, NOW, len(row[2]), status, reason, row[2]) for row in rows],
        )


def fill(site: Stage, *, events: int) -> None:
    """Insert all rows that need no digest."""
    from django.db import connection

    from cohorts.models import Identity, Persona, PersonaFact
    from goals.models import Goal, GoalTag, Tag

    names = [f"{number:04} {'p' * 250}" for number in range(PERSONAS)]
    registers = {
        "traits": {"text": [0, 0, "", "x" * 400_000]},
        "personas": {name: [number, 0, "", True] for number, name in enumerate(names)},
    }
    person = Identity.objects.create(site_id=site.site_id, kind=Identity.Kind.USER, value="u3", registers=registers)
    personas = Persona.objects.bulk_create(Persona(site_id=site.site_id, name=name) for name in names)
    PersonaFact.objects.bulk_create(
        PersonaFact(
            site_id=site.site_id,
            identity=person,
            persona=persona,
            occurred_at=NOW,
            position=number,
            message_id="",
            is_member=True,
        )
        for number, persona in enumerate(personas)
    )
    tags = Tag.objects.bulk_create(Tag(site_id=site.site_id, name=f"{n:03} {'é' * 95}") for n in range(100))
    goals = Goal.objects.bulk_create(Goal(site_id=site.site_id, name=f"{n:03} {'é' * 490}") for n in range(200))
    GoalTag.objects.bulk_create(
        GoalTag(site_id=site.site_id, goal_id=goal.pk, tag_id=tag.pk) for goal in goals for tag in tags
    )
    refused = event("quotes", 0, userId=None).replace(b'"messageId": "quotes-0"', b'"messageId": "refused"')
    insert(site, [("track", "refused", refused)] * events, status="rejected", reason="missing_name")
    connection.close()


# Measured actions


def digest() -> tuple[str, int]:
    """Digest all pending messages as a worker does."""
    from api.digest import run
    from api.digest.claims import Claims
    from api.models import Message

    claims = Claims()
    while Message.objects.filter(status="pending").exists():
        run.digest_all(claims, seconds=60)
    claims.close()
    return "done", 0


def command(*arguments: str) -> Callable[[], tuple[str, int]]:
    """Return a call of a management command."""

    def run() -> tuple[str, int]:
        from django.core.management import CommandError, call_command

        output = StringIO()
        try:
            call_command(*arguments, stdout=output, stderr=output)
        except (CommandError, SystemExit) as error:
            return f"ended: {str(error)[:30]}", len(output.getvalue())
        return "done", len(output.getvalue())

    return run


def erase(person: str) -> Callable[[], tuple[str, int]]:
    """Return a call that erases a person completely, as pages and the worker do."""

    def run() -> tuple[str, int]:
        from api.erasure import erase as erasure
        from api.models import Site

        receipt = erasure.erase(Site.objects.get(), person, by="bench", now=datetime.now(UTC))
        while erasure.sweep(now=datetime.now(UTC)):
            pass
        return f"{receipt.conversions if receipt else 0} conversions", 0

    return run


def page(name: str, *parts: Any, data: Mapping[str, str] | None = None, **query: str) -> Callable[[], tuple[str, int]]:
    """Return a call that GETs a page as the administrator, or POSTs it with `data`."""

    def run() -> tuple[str, int]:
        from django.contrib.auth import get_user_model
        from django.test import Client
        from django.urls import NoReverseMatch, reverse

        from tests.bench.stage import SITECODE

        client = Client(raise_request_exception=False, headers={"host": "localhost"})
        client.force_login(get_user_model().objects.get(is_superuser=True))
        try:
            address = reverse(name, args=parts if name.startswith("admin:") else [SITECODE, *parts])
        except NoReverseMatch:
            return "no such page", 0
        answer = client.get(address, query) if data is None else client.post(address, data)
        return str(answer.status_code), size_of(answer)

    return run


def api(path: str, *, body: Any = None) -> Callable[[], tuple[str, int]]:
    """Return a call of the management API with the site's credential."""

    def run() -> tuple[str, int]:
        from django.test import Client

        from api.http.credentials import encode_api_key
        from tests.bench.stage import CLIENT_ID, SECRET

        client = Client(raise_request_exception=False, headers={"host": "localhost"})
        headers = {"authorization": f"Basic {encode_api_key(CLIENT_ID, SECRET)}"}
        given = b"" if body is None else json.dumps(body).encode()
        way = "GET" if body is None else "POST"
        answer = client.generic(way, path, given, content_type="application/json", headers=headers)
        return str(answer.status_code), size_of(answer)

    return run


def size_of(answer: Any) -> int:
    """Read an answer without holding it, and return its bytes."""
    return sum(map(len, answer.streaming_content)) if answer.streaming else len(answer.content)


def reads(facts: Mapping[str, int]) -> Iterator[tuple[str, Callable[[], tuple[str, int]]]]:
    """Yield the reads of people, programs and workers, cheap ones first."""
    goal = facts["goal"]
    buy = {"event_type": "track", "action": "no_goal", "do": "try", "is_enabled": "on", "name": "Try"}
    yield "home", page("pages:home")
    yield "goals, 50 with 100 tags", page("pages:goals")
    yield "goals as CSV", page("pages:goals-export")
    yield "goal", page("pages:goal", goal)
    yield "goal's conversions", page("pages:goal-conversions", goal)
    yield "breakdown by a property", page("pages:goal-breakdown", goal, by="property", path="value")
    yield "events", page("pages:events")
    yield "events with a text", page("pages:events", text="nothing-is-called-so")
    for kind in VALUES:
        yield f"event of {kind}", page("pages:event", facts[kind])
    yield "event's body", page("pages:event-body", facts["quotes"])
    yield "why not", page("pages:why", person="u1", goal=str(goal))
    yield "people found", page("pages:people", q="u")
    yield "person with 3,000 personas", page("pages:person", id="u3")
    yield "person with large conversions", page("pages:person", id="u1")
    yield "person with large traits", page("pages:person", id="objects-user-0")
    yield "export, 3,000 personas", page("pages:person-export", id="u3")
    yield "export, large conversions", page("pages:person-export", id="u1")
    yield "personas", page("pages:personas")
    yield "rule tried", page("pages:settings-rule-new", data=buy)
    yield "reconciliation", page("pages:reconciliation")
    yield "delivery", page("pages:delivery")
    yield "refused events tried again", page("pages:events-again", status="rejected", reason="missing_name")
    yield "table of conversions", page("admin:goals_conversion_changelist")
    yield "table of identities", page("admin:cohorts_identity_changelist")
    yield "row of a conversion of numbers", page("admin:goals_conversion_change", facts["conversion"])
    yield "API: goals", api("/api/goals?perPage=200")
    yield "API: conversions, 50", api(f"/api/goals/{goal}/conversions")
    yield "API: conversions, 200", api(f"/api/goals/{goal}/conversions?limit=200")
    yield "API: visitor's conversions", api("/api/visitors/u1/conversions?limit=200")
    yield "API: trace of what is refused again", api("/api/trace?messageId=refused")
    yield "API: why not", api(f"/api/why-not?visitor=u1&goal={goal}")
    yield "API: what if", api(f"/api/sites/{facts_sitecode()}/rules/what-if", body={"rules": [], "last": 1000})
    yield "verify", command("verify")
    yield "rekey", command("rekey", "--again")
    yield "replay, dry", command("replay", "--site", facts_sitecode(), "--reason", "missing_name", "--dry-run")
    yield "erasure", erase("u1")


def facts_sitecode() -> str:
    from tests.bench.stage import SITECODE

    return SITECODE


# Measuring


def run_apart(name: str, run: Callable[[], tuple[str, int]], *, seconds: float) -> Cost:
    """Run an action in a forked process and return its cost. Kill the process after `seconds`."""
    from django.db import connections

    connections.close_all()
    end, begin = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(end)
        os.write(begin, json.dumps(asdict(run_and_measure(name, run))).encode())
        os._exit(0)
    os.close(begin)
    begun, peak = time.monotonic(), 0
    try:
        while os.waitpid(child, os.WNOHANG) == (0, 0):
            time.sleep(0.02)
            if time.monotonic() > begun + seconds:
                peak = memory_of(child)
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
                break
    except KeyboardInterrupt:
        os.kill(child, signal.SIGKILL)
        raise
    with open(end, "rb") as pipe:  # noqa: PTH123 - a file descriptor
        result = pipe.read()
    return (
        Cost(**json.loads(result)) if result else Cost(name, f"not done in {seconds:.0f} s", 0, seconds, seconds, peak)
    )


def run_and_measure(name: str, run: Callable[[], tuple[str, int]]) -> Cost:
    resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY, MOST_MEMORY))
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # reset the peak of memory
    before, begun, cpu = memory_of(os.getpid(), "VmRSS"), time.monotonic(), time.process_time()
    try:
        status, size = run()
    except MemoryError:
        status, size = "out of 4 GiB", 0
    except Exception as error:  # noqa: BLE001 - shown in the table
        status, size = f"{type(error).__name__}: {error}"[:40], 0
    seconds, cpu = time.monotonic() - begun, time.process_time() - cpu
    return Cost(name, status, size, seconds, cpu, memory_of(os.getpid()) - before)


def memory_of(process: int, figure: str = "VmHWM") -> int:
    """Return a memory figure of a process in bytes."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith(f"{figure}:"))) * 1024


def digest_some(site: Stage, kind: str, rows: Sequence[tuple[str, str | None, bytes]], seconds: float) -> None:
    """Measure the digest of messages. Reject those that are still pending, so that they do not disturb the next."""
    insert(site, rows)
    show(run_apart(f"digest of {len(rows)} events of {kind}", digest, seconds=3 * seconds))
    with site.connect() as connection:
        connection.execute(
            "UPDATE api_message SET status = 'rejected', reason = 'no_identity' WHERE status = 'pending'"
        )


def find_facts() -> dict[str, int]:
    """Return the ids for the measured addresses."""
    from api.models import Message
    from goals.models import Conversion, Goal

    goal = Goal.objects.filter(name__contains="Buy").order_by("pk").first()
    conversion = Conversion.objects.filter(message_key="track:numbers-0").first()
    kinds = {kind: Message.objects.filter(message_id=f"{kind}-0").latest("pk").pk for kind in VALUES}
    return {"goal": goal.pk if goal else 0, "conversion": conversion.pk if conversion else 0, **kinds}


def show(cost: Cost) -> None:
    figures = f"{cost.bytes / 1e6:9.2f} {cost.seconds:8.2f} {cost.cpu:8.2f} {cost.peak / 1e6:9.0f}"
    print(f"{cost.name:38} {cost.status:22} {figures}", flush=True)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--events", type=int, default=32, help="large events of all kinds together")
    options.add_argument("--only", default="", help="what holds this")
    options.add_argument("--seconds", type=float, default=15, help="that one read may take; a digest three times that")
    options.add_argument("--whole", type=float, default=175, help="seconds in all")
    given = options.parse_args()
    print(f"{'':38} {'status':22} {'MB':>9} {'s':>8} {'CPU s':>8} {'peak MB':>9}")

    with running_stage() as site:
        begun = time.monotonic()
        fill(site, events=given.events)
        # Only four events of numbers, because a version without bounds needs 50 MB for each.
        counts = {"numbers": 4, "deep": 1} | dict.fromkeys(("objects", "lists", "quotes"), (given.events - 5) // 3)
        for kind, count in counts.items():
            digest_some(site, kind, [("track", f"{kind}-{n}", event(kind, n)) for n in range(count)], given.seconds)
        for kind in ("numbers", "objects"):
            rows = [("identify", f"identify-{kind}-{n}", identify(kind, n)) for n in range(4)]
            digest_some(site, f"{kind}, profiles", rows, given.seconds)
        facts = find_facts()
        for name, run in reads(facts):
            if given.only in name and time.monotonic() < begun + given.whole - given.seconds:
                show(run_apart(name, run, seconds=given.seconds))
        print(f"{time.monotonic() - begun:.0f} s", file=sys.stderr)


if __name__ == "__main__":
    main()
