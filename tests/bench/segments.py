"""Bench of segments: what 30 of them cost an event, and how they behave at the size of a large site.

    python -m tests.bench.segments [--what cost fill midnight storm] [--rounds 3] [--events 10000] [--people 200000]
                                   [--leaving 100000] [--seconds 20] [--json FILE]

`cost` digests events of known people with and without segments, in turns on two servers. One mix is
typical. The others have segments on the last conversion and on a source, identify calls that each turn segments, and
new people.
`fill` fills all segments of a large site. At `midnight` people leave a segment at one moment, while remote data is read
at 200/s; the same reads come before. In the `storm` a segment is edited all the time while events are digested.
Afterwards all memberships must equal a recomputation.
"""

import argparse
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from multiprocessing import get_context
from typing import Any, Final

from tests.bench.costs import resident
from tests.bench.digest import Run, digest_events
from tests.bench.events import NAMES, PAGES, PLANS, Event, is_digested, make_event
from tests.bench.figures import Figure, describe_machine, make_parser, median, percentile, publish
from tests.bench.load import at_rate, fill_inbox, read
from tests.bench.segment_people import make_people
from tests.bench.stage import ROOT, Stage, Worker, expect, running_stage, running_stages

KNOWN: Final = 5_000  # people
LAST_SEEN: Final = "typical mix, also last seen and source"
WHAT: Final = ("cost", "fill", "midnight", "storm")
NEVER: Final = "2000-01-01T00:00:00Z"
READS: Final = 200  # a second
EDIT_EVERY: Final = 0.3  # seconds
COUNTRIES: Final = ("FR", "DE", "IT", "ES")


def main() -> None:
    options = make_parser(__doc__)
    options.add_argument("--what", nargs="+", choices=WHAT, default=["cost"])
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--events", type=int, default=10_000)
    options.add_argument("--people", type=int, default=200_000)
    options.add_argument("--leaving", type=int, default=100_000)
    options.add_argument("--seconds", type=float, default=20, help="of reads and of the storm")
    given = options.parse_args()
    measured = {"cost": measure_cost, "fill": measure_fill, "midnight": measure_midnight, "storm": brave_storm}
    # Each in a process of its own: Django stays with the first database that it was set up for.
    with ProcessPoolExecutor(1, mp_context=get_context("spawn"), max_tasks_per_child=1) as processes:
        found = [figure for what in given.what for figure in processes.submit(measured[what], given).result()]
    publish(found, given.json)


# The cost of an event


def measure_cost(given: argparse.Namespace) -> list[Figure]:
    """Return the CPU of an event with segments beside that without."""
    runs: dict[tuple[str, str], list[Run]] = {}
    with running_stages(ROOT) as stages, ExitStack() as stack:
        with stages[0].connect() as connection:
            print(describe_machine(connection), flush=True)
        sides = [(stack.enter_context(stage.goalpost()), stack.enter_context(stage.worker())) for stage in stages]
        for web, worker in sides:
            digest_events(web, worker, typical(KNOWN, "warm", new=True), KNOWN)
            digest_events(web, worker, turning(KNOWN, "warm-turns", 0), KNOWN)
        mixes: dict[str, Callable[[str, int], Iterator[Event]]] = {
            "typical mix": lambda run, _: typical(given.events, run),
            LAST_SEEN: lambda run, _: typical(given.events, run),
            "each event turns segments": lambda run, number: turning(given.events, run, number),
            "new people": lambda run, _: typical(given.events, run, new=True),
        }
        for title, make in mixes.items():
            create_segments(sides[0][1], has_all=title == LAST_SEEN)
            for number in range(given.rounds):
                for side in sides if number % 2 else sides[::-1]:
                    name = "with" if side is sides[0] else "without"
                    run = digest_events(*side, make(f"{title}-{number}", number), given.events)
                    runs.setdefault((title, name), []).append(run)
                    print(
                        f"load {os.getloadavg()[0]:.1f}: {title}, {name}: {run.rate:,.0f} events/s,",
                        f"{run.worker:.0f}+{run.postgresql:.0f} µs of CPU, {run.wal:,.0f} B of WAL an event",
                        flush=True,
                    )
        expect_exact()
    return [figure for title in dict.fromkeys(title for title, _ in runs) for figure in figures_of(title, runs)]


def figures_of(title: str, runs: dict[tuple[str, str], list[Run]]) -> list[Figure]:
    def middle(name: str, key: str) -> float:
        return median([sum(getattr(run, part) for part in key.split("+")) for run in runs[title, name]])

    limit = "1.10" if title == "typical mix" else ""
    return [
        Figure(f"30 segments, {title}: {what}", middle("with", key), unit, middle("without", key), "none", floor)
        for what, key, unit, floor in (
            ("CPU", "worker+postgresql", "µs/event", limit),
            ("CPU of the worker", "worker", "µs/event", ""),
            ("CPU of PostgreSQL", "postgresql", "µs/event", ""),
            ("WAL", "wal", "B/event", ""),
        )
    ]


def typical(count: int, run: str, *, new: bool = False) -> Iterator[Event]:
    """Yield events of known people: 60 % track, 20 % page, 20 % identify, of which one in 20 changes a trait.

    One event in 100 is of a new person; with `new` each is.
    """
    now = datetime.now(UTC)
    for number in range(count):
        place = number * 7_919 % KNOWN
        person = f"{run}-{number}" if new and not run.startswith("warm") else f"known-{place}"
        if number % 100 == 99 and not new:
            person = f"{run}-{number}"
        at = now + timedelta(milliseconds=number - count)
        kind = number % 20
        event = make_event(number, person=person, at=at, message_id=f"{run}-{number}", shift=-kind)  # a track event
        body = json.loads(event.body)
        type_ = "track" if kind < 12 else "page" if kind < 16 else "identify"
        traits = traits_of(place, place if number // 20 % 20 else number)
        if type_ == "page":
            body |= {"name": PAGES[number // 20 % len(PAGES)]}
        elif type_ == "identify":
            body["properties"] = {"kameleoonVisitorCode": body["properties"]["kameleoonVisitorCode"], **traits}
        yield replace(
            event,
            type=type_,
            body=json.dumps(without_event(body, type_), separators=(",", ":")).encode(),
            is_hit=type_ != "identify",
        )


def turning(count: int, run: str, number: int) -> Iterator[Event]:
    """Yield identify events of known people, each of which changes three traits that segments ask for."""
    now = datetime.now(UTC)
    for place in range(count):
        person = f"known-{place * 7_919 % KNOWN}"
        event = make_event(
            16, person=person, at=now + timedelta(milliseconds=place - count), message_id=f"{run}-{place}"
        )
        body = json.loads(event.body)
        body["properties"] |= traits_of(place, place // KNOWN + number + 1)
        yield replace(event, body=json.dumps(body, separators=(",", ":")).encode(), is_hit=False)


def traits_of(place: int, number: int) -> dict[str, Any]:
    return {
        "plan": PLANS[number % len(PLANS)],
        "email": f"person-{place}@example.com",
        "seats": number % 97,
        "country": COUNTRIES[place % len(COUNTRIES)],
        "is_trial": number % 3 == 0,
    }


def without_event(body: dict[str, Any], type_: str) -> dict[str, Any]:
    return {**{name: value for name, value in body.items() if type_ == "track" or name != "event"}, "type": type_}


# The segments


def text(path: str, *texts: str, **more: Any) -> dict[str, Any]:
    return {"on": "trait", "path": path.split("."), "test": {"type": "text", "texts": list(texts)}, **more}


def seats(number: int) -> dict[str, Any]:
    return {"on": "trait", "path": ["seats"], "test": {"type": "number", "how": "at_least", "number": number}}


def persona(number: int, **more: Any) -> dict[str, Any]:
    return {"on": "persona", "name": f"audience_{number}", **more}


def conditions(goals: Sequence[int], source: int, *, has_all: bool) -> list[list[list[dict[str, Any]]]]:
    """Return the conditions of 30 segments, as a product team would make them."""
    trial = {"on": "trait", "path": ["is_trial"], "test": {"type": "boolean", "isTrue": True}}

    def goal(number: int, **more: Any) -> dict[str, Any]:
        return {"on": "goal", "goal": goals[number % len(goals)], **more}

    group = {"on": "group", "ids": ["acme", "initech"]}
    group_plan = {"on": "groupTrait", "path": ["plan"], "test": {"type": "text", "texts": ["enterprise"]}}
    custom = {"on": "customData", "index": 1, "test": {"type": "text", "texts": ["team"]}}
    of_date = {"type": "date", "how": "within", "days": 30}
    said = [
        *([[text("plan", plan)]] for plan in PLANS),
        *([[text("plan", "team", "business")], [text("country", country)]] for country in COUNTRIES),
        *([[seats(number)]] for number in (5, 20, 50)),
        [[trial], [text("country", "FR", "DE")]],
        [[text("plan", "free", negated=True)], [seats(10)]],
        [[{"on": "trait", "path": ["email"], "test": {"type": "text", "texts": ["@example.com"], "how": "ends"}}]],
        [[text("address.city", "Paris")]],
        [[{"on": "trait", "path": ["created"], "test": of_date}]],
        [[persona(1)], [text("plan", "team")]],
        [[persona(2), persona(3)]],
        [[persona(4, negated=True)], [trial]],
        [[group]],
        [[group_plan]],
        [[custom]],
        [[goal(0)]],
        [[goal(1, times=3)], [text("plan", "team", "business", "enterprise")]],
        [[goal(2, days=7)]],
        [[goal(3, times=2, days=30)]],
        [[goal(4, revenue="1000", currency="EUR")]],
    ]
    if has_all:
        last = {"on": "seen", "which": "last", "test": of_date}
        return [*said, [[last]], [[{"on": "source", "source": source}]]]
    return [*said, [[goal(0, negated=True)], [seats(30)]], [[text("plan", "free")], [goal(2)]]]


def create_segments(worker: Worker, *, has_all: bool, paused: bool = True) -> float:
    """Replace the segments of a site by 30 others, wait until all are filled, and return the seconds."""
    stage = worker.stage
    with stage.connect() as connection:
        connection.execute("DELETE FROM cohorts_segmentmember")
        connection.execute("DELETE FROM cohorts_segmentchange")
        connection.execute("DELETE FROM cohorts_segment")
        connection.execute(
            """
            INSERT INTO cohorts_customdata (site_id, index, name, description, type, format, scope,
                        is_mapping_identifier, is_local_only, filled_from, filling, created_at, updated_at)
            VALUES (%s, 1, 'plan', '', 'UNIQUE', 'STRING', 'VISITOR', false, false, 'trait', 'plan', now(), now())
            ON CONFLICT DO NOTHING
            """,
            [stage.site_id],
        )
        found = connection.execute(
            "SELECT id FROM goals_goal WHERE name LIKE ANY(%s) ORDER BY id LIMIT 5", [[f"%{name}" for name in NAMES]]
        ).fetchall()
        said = conditions([row[0] for row in found], stage.source_id, has_all=has_all)
        said = [*said, [[{"on": "segment", "segment": 0}], [said[4][1][0]]], [[{"on": "segment", "segment": 0}]]][:30]
        expect(len(said) == 30, f"there are {len(said)} segments")
        first = 0
        for number, each in enumerate(said):
            row = connection.execute(
                """
                INSERT INTO cohorts_segment (site_id, name, description, conditions, version, is_filled, sweep, swept,
                                             to_sweep, counted_goals, created_at, updated_at)
                VALUES (%s, %s, '', %s, 1, false, true, 0, 0, '[]', now(), now()) RETURNING id
                """,
                [stage.site_id, f"s{number}", json.dumps(each).replace('"segment": 0', f'"segment": {first}')],
            ).fetchone()
            first = first or (row[0] if row else 0)
        begun = time.monotonic()
        worker.go_on()
        stage.wait_until(lambda: is_filled(stage), "the segments to be filled", 1_200)
        seconds = time.monotonic() - begun
        if paused:
            worker.pause()
    return seconds


def is_filled(stage: Stage) -> bool:
    return bool(stage.scalar("SELECT bool_and(is_filled AND NOT sweep) FROM cohorts_segment")) and not bool(
        stage.scalar("SELECT count(*) FROM cohorts_segmentrecheck")
    )


def expect_exact() -> None:
    """Exit if a stored membership differs from a recomputation. Django knows the first stage."""
    from api.checks.run import CHECKS, run_check

    result = run_check(next(check for check in CHECKS if check.name == "segments"), None)
    print(f"verify: {result.line}", flush=True)
    expect(not result.found, f"memberships differ: {result.found}")


# The size of a large site


def measure_fill(given: argparse.Namespace) -> list[Figure]:
    """Return time, rate and memory of filling 30 segments of a large site."""
    with running_stage() as stage, stage.goalpost() as web, stage.worker() as worker:
        with stage.connect() as connection:
            print(describe_machine(connection), flush=True)
        digest_events(web, worker, typical(KNOWN, "warm", new=True), KNOWN)
        make_people(stage, given.people, turns_at=datetime.now(UTC) + timedelta(days=1))
        before = max(resident(worker.worker.process.pid))
        load = os.getloadavg()[0]
        seconds = create_segments(worker, has_all=True)
        after = max(resident(worker.worker.process.pid))
        identities = stage.scalar("SELECT count(*) FROM cohorts_identity")
        members = stage.scalar("SELECT count(*) FROM cohorts_segmentmember WHERE is_member")
        print(f"load {load:.1f}: {identities:,} identities, {members:,} memberships", flush=True)
        expect_exact()
    title = f"fill 30 segments of {given.people:,} people"
    return [
        Figure(f"{title}: time", seconds, "s"),
        Figure(f"{title}: rate", given.people / seconds, "people/s"),
        Figure(f"{title}: memory of the worker", after, "MB", before, "before"),
    ]


def measure_midnight(given: argparse.Namespace) -> list[Figure]:
    """Return the waits of reads while people leave a segment at one moment, and those of reads before."""
    with running_stage() as stage, stage.goalpost() as web, stage.worker() as worker:
        digest_events(web, worker, typical(KNOWN, "warm", new=True), KNOWN)
        moment = datetime.now(UTC) + timedelta(seconds=240 + given.people / 400)
        make_people(stage, given.people, turns_at=moment, leaving=given.leaving)
        seconds = create_segments(worker, has_all=False, paused=False)
        print(f"filled in {seconds:.0f} s, {(moment - datetime.now(UTC)).total_seconds():.0f} s before", flush=True)
        expect(datetime.now(UTC) + timedelta(seconds=given.seconds + 5) < moment, "the segments were filled too late")
        due = "SELECT count(*) FROM cohorts_segmentmember WHERE until < now()"
        waits = {}
        for name in ("before", "while they leave"):
            if name != "before":
                time.sleep(max(0.0, (moment - datetime.now(UTC)).total_seconds()))
            begun, load = time.monotonic(), os.getloadavg()[0]
            request = lambda number: read(f"SEGMENTS_large-{number * 7_919 % given.people}")  # noqa: E731
            with at_rate(web.port, request, rate=READS, seconds=given.seconds) as sent:
                pass
            sent.check(name)
            waits[name] = sent.latencies
            left = stage.scalar(due)
            print(
                f"load {load:.1f}: {name}: p50 {percentile(sent.latencies, 50):.1f} ms,",
                f"p99 {percentile(sent.latencies, 99):.1f} ms; {left:,} are due after {time.monotonic() - begun:.0f} s",
                flush=True,
            )
        stage.wait_until(lambda: not stage.scalar(due), "all to have left", 1_200)
        turned = (datetime.now(UTC) - moment).total_seconds()
        worker.pause()
        expect_exact()
    title = f"{given.leaving:,} people leave at once"
    return [
        Figure(
            f"{title}: p{percent} of reads",
            percentile(waits["while they leave"], percent),
            "ms",
            percentile(waits["before"], percent),
            "before",
        )
        for percent in (50, 99)
    ] + [Figure(f"{title}: until all have left", turned, "s")]


def brave_storm(given: argparse.Namespace) -> list[Figure]:
    """Edit a segment all the time while events are digested, and require that no membership is wrong afterwards."""
    with running_stage() as stage, stage.goalpost() as web, stage.worker(2) as worker:
        digest_events(web, worker, typical(KNOWN, "warm", new=True), KNOWN)
        create_segments(worker, has_all=True, paused=False)
        from cohorts.segment_tables import Segment
        from cohorts.segments import saving
        from cohorts.segments.conditions import read_conditions

        segment = Segment.objects.filter(name="s0").get()
        until, edits, number = time.monotonic() + given.seconds, 0, 0
        while time.monotonic() < until:
            fill_inbox(web.port, list(typical(200, f"storm-{number}", new=bool(number % 2))))
            plan = {"type": "text", "texts": [PLANS[number % len(PLANS)]]}
            said = read_conditions([[{"on": "trait", "path": ["plan"], "test": plan, "negated": number % 3 == 0}]])
            saving.edit(segment, name="s0", description="", conditions=said)
            edits, number = edits + 1, number + 1
            time.sleep(EDIT_EVERY)
        begun = time.monotonic()
        with stage.connect() as connection:
            stage.wait_until(lambda: is_digested(connection, stage), "the digest", 300)
        stage.wait_until(lambda: is_filled(stage), "the segments to be filled", 300)
        settled = time.monotonic() - begun
        worker.pause()
        expect_exact()
    return [Figure("storm: edits", edits, "edits"), Figure("storm: until all is filled", settled, "s")]


if __name__ == "__main__":
    main()
