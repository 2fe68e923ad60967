"""Bench of the digest. The yardsticks are another checkout, and bare INSERTs of the same bodies into a plain table.

    python -m tests.bench.digest [--before DIR] [--rounds 5] [--events 100000] [--processes 1 2] [--json FILE]

The clock starts when the paused worker goes on with a full inbox, and stops when no message is pending. The worker is
warm. Each round measures the INSERTs (500 rows per commit, in as many processes), events of new people, and events of
the same people again. Two checkouts take turns. `python -m tests.bench.wal` says which statements write what.
"""

import argparse
import multiprocessing
import os
import time
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from multiprocessing.synchronize import Barrier
from typing import Any

import psycopg

from tests.bench.events import Event, is_digested, make_events
from tests.bench.figures import Figure, describe_machine, make_parser, median, publish
from tests.bench.load import fill_inbox
from tests.bench.stage import Link, Stage, Web, Worker, add_before, expect, running_stages

BATCH = 500
WARM_UP = 2_000
SLOWEST = 0.01  # seconds per event; a slower run counts as stuck
PLAIN = 50_000  # minimum rows of the yardstick, because fewer are too fast to be timed
CROWDS = ("new", "known")
KEYS = {  # attribute of a run: (title, unit)
    "rate": ("", "events/s"),
    "wal": (": WAL", "B/event"),
    "worker": (": CPU of the worker", "µs/event"),
    "postgresql": (": CPU of PostgreSQL", "µs/event"),
}


@dataclass(frozen=True, slots=True)
class Run:
    """Cost of digesting an inbox, without that of the filling."""

    rate: float  # events/s
    wal: float  # bytes per event
    worker: float  # CPU in microseconds per event
    postgresql: float


def main() -> None:
    options = make_parser(__doc__)
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--events", type=int, default=100_000)
    options.add_argument("--processes", type=int, nargs="+", default=[1, 2])
    add_before(options)
    given = options.parse_args()
    with running_stages(given.before) as stages:
        with stages[0].connect() as connection:
            print(describe_machine(connection), flush=True)
        rates: dict[tuple[str, int], float] = {}
        figures = [figure for processes in given.processes for figure in compare(stages, given, processes, rates)]
        figures += [
            Figure(f"digest, {who} people, 2 processes", rates[who, 2], "events/s", rates[who, 1], "1", "1.6", "1.9")
            for who in CROWDS
            if (who, 1) in rates and (who, 2) in rates
        ]
        publish(figures, given.json)


def compare(
    stages: Sequence[Stage], given: argparse.Namespace, processes: int, rates: dict[tuple[str, int], float]
) -> list[Figure]:
    """Measure new and known people with a number of worker processes. Put the rates of this checkout into `rates`."""
    plain: list[float] = []
    runs: dict[tuple[str, str], list[Run]] = {(who, stage.name): [] for who in CROWDS for stage in stages}
    with ExitStack() as stack:
        sides = []
        for stage in stages:
            sides.append((stack.enter_context(stage.goalpost()), stack.enter_context(stage.worker(processes))))
            digest(*sides[-1], WARM_UP * processes, crowd="warm", run=f"warm-{processes}", processes=processes)
        for number in range(given.rounds):
            crowd = f"{processes}-{number}"
            plain.append(insert_rows(max(given.events, PLAIN), processes))
            for shift, who in enumerate(CROWDS):
                for web, worker in sides if number % 2 else sides[::-1]:
                    run = f"{crowd}-{who}"
                    shape = {"processes": processes, "shift": 7 * shift}
                    done = digest(web, worker, given.events, crowd=crowd, run=run, **shape)
                    runs[who, worker.stage.name].append(done)
                    print(
                        f"round {number + 1}, load {os.getloadavg()[0]:.1f}: {who} {worker.stage.name}",
                        f"{done.rate:,.0f} events/s, {done.wal:,.0f} B of WAL,",
                        f"{done.worker:.0f}+{done.postgresql:.0f} µs of CPU an event",
                        flush=True,
                    )
    of = {key: {name: median([getattr(run, name) for run in done]) for name in KEYS} for key, done in runs.items()}
    rates |= {(who, processes): of[who, "now"]["rate"] for who in CROWDS}
    figures = []
    for who in CROWDS:
        title = f"digest, {who} people, {processes} process{'es' if processes > 1 else ''}"
        figures.append(Figure(title, of[who, "now"]["rate"], "events/s", median(plain), "bare INSERTs"))
        for key, (what, unit) in KEYS.items():
            limits = (
                {"rate": ("1.4", "2.0"), "wal": ("2500 B", "1800 B")}.get(key, ("", "")) if processes == 1 else ("", "")
            )
            yardstick = of[who, "before"][key] if len(stages) > 1 else None
            if key != "rate" or yardstick:
                name = "before" if yardstick else ""
                figures.append(Figure(f"{title}{what}", of[who, "now"][key], unit, yardstick, name, *limits))
    return figures


def digest(
    web: Web, worker: Worker, events: int, *, crowd: str, run: str, people: int = 0, processes: int = 1, shift: int = 0
) -> Run:
    """Let the worker digest events of `people` people, or of as many as events, and require that all are digested.

    The worker is paused afterwards.
    """
    made = make_events(events, people=people or events, crowd=crowd, run=run, shift=shift)
    return digest_events(web, worker, made, events, processes=processes)


def digest_events(web: Web, worker: Worker, made: Iterable[Event], events: int, *, processes: int = 1) -> Run:
    """Let the worker digest a number of events, and require that all are digested. The worker is paused afterwards."""
    stage = worker.stage
    with stage.connect() as connection:
        worker.pause()
        conversions = count(connection, "goals_conversion")
        hits = fill_inbox(web.port, made)
        costs, wal, begun = (worker.cpu(), stage.cpu()), wal_position(connection), time.monotonic()
        worker.go_on(nudges=processes)
        stage.wait_until(lambda: is_digested(connection, stage), "the digest", SLOWEST * events + 30)
        seconds = time.monotonic() - begun
        spent = [(now - then) * 1e6 / events for now, then in zip((worker.cpu(), stage.cpu()), costs, strict=True)]
        written = wal_position(connection) - wal
        worker.pause()
        made_conversions = count(connection, "goals_conversion") - conversions
        done = connection.execute(
            "SELECT status, count(*) FROM api_message GROUP BY 1 HAVING status <> 'done'"
        ).fetchall()
        expect(
            made_conversions == hits and not done,
            f"{hits} hits became {made_conversions} conversions; messages that are not done: {done}",
        )
    return Run(events / seconds, written / events, *spent)


def count(connection: Link, table: str) -> int:
    row = connection.execute(f"SELECT count(*) FROM {table}").fetchone()
    return row[0] if row else 0


def wal_position(connection: Link) -> int:
    row = connection.execute("SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn").fetchone()
    return int(row[0]) if row else 0


def insert_rows(events: int, processes: int) -> float:
    """Return rows per second of the yardstick: multi-row INSERTs with a commit each, one unique index."""
    with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as connection:
        connection.execute("DROP TABLE IF EXISTS plain")
        connection.execute("CREATE TABLE plain (message_id text UNIQUE, body bytea)")
    context = multiprocessing.get_context("spawn")
    barrier, times = context.Barrier(processes), context.SimpleQueue()
    share = events // processes
    children = [
        context.Process(target=insert_share, args=(barrier, times, f"plain-{number}", share), daemon=True)
        for number in range(processes)
    ]
    for child in children:
        child.start()
    for child in children:
        child.join()
    expect(not any(child.exitcode for child in children), "the yardstick failed")
    spans: list[tuple[float, float]] = [times.get() for _ in children]
    return share * processes / (max(end for _, end in spans) - min(begin for begin, _ in spans))


def insert_share(barrier: Barrier, times: Any, run: str, events: int) -> None:
    """Run one process of the yardstick, and put its start and end into `times`."""
    rows = [(event.message_id, event.body) for event in make_events(events, people=events, crowd=run, run=run)]
    with psycopg.connect(os.environ["DATABASE_URL"]) as connection:
        barrier.wait(60)
        begun = time.monotonic()
        for start in range(0, events, BATCH):
            batch = rows[start : start + BATCH]
            connection.execute(
                "INSERT INTO plain SELECT * FROM unnest(%b::text[], %b::bytea[])",
                [[id_ for id_, _ in batch], [body for _, body in batch]],
            )
            connection.commit()
        times.put((begun, time.monotonic()))


if __name__ == "__main__":
    main()
