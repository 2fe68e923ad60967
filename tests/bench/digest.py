"""Bench of the digest. The yardstick is bare INSERTs of the same bodies into a plain table of the same PostgreSQL.

    python -m tests.bench.digest [--rounds 5] [--events 100000] [--processes 1 2] [--json FILE]

The clock starts with the commit of the transaction that fills the inbox and stops when no message is pending. The
worker is warm. Each round measures the yardstick (500 rows per commit, in as many processes), events of new people,
and events of the same people again. A last pass without clock counts the statements.
"""

import argparse
import multiprocessing
import os
import time
from dataclasses import dataclass
from multiprocessing.synchronize import Barrier
from typing import Any

import psycopg

from tests.bench.events import fill_inbox, is_digested, make_events
from tests.bench.figures import Figure, describe_machine, make_parser, median, publish
from tests.bench.stage import Link, Stage, expect, running_stage

BATCH = 500
TABLES = ("api_message", "cohorts_identity", "goals_conversion")
WARM_UP = 2_000
SLOWEST = 0.01  # seconds per event; a slower run counts as stuck
PLAIN = 50_000  # minimum rows of the yardstick, because fewer are too fast to be timed


@dataclass(frozen=True, slots=True)
class Run:
    """Cost of digesting an inbox."""

    rate: float  # events/s
    wal: float  # bytes per event, without those of the filling
    growth: dict[str, float]  # bytes per event by table, with indexes and with the filling


def main() -> None:
    options = make_parser(__doc__)
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--events", type=int, default=100_000)
    options.add_argument("--processes", type=int, nargs="+", default=[1, 2])
    given = options.parse_args()
    with running_stage() as stage:
        with stage.connect() as connection:
            print(describe_machine(connection), flush=True)
        figures = [figure for processes in given.processes for figure in compare(stage, given, processes)]
        figures.append(count_statements(stage))
        publish(figures, given.json)


def compare(stage: Stage, given: argparse.Namespace, processes: int) -> list[Figure]:
    yardsticks: list[float] = []
    runs: dict[str, list[Run]] = {"new": [], "known": []}
    with stage.worker(processes):
        for number in range(given.rounds):
            crowd = f"{processes}-{number}"
            if number == 0:
                digest(stage, WARM_UP, crowd="warm", run=f"warm-{processes}", processes=processes)
            yardsticks.append(insert_rows(max(given.events, PLAIN), processes))
            for shift, (who, done) in enumerate(runs.items()):
                done.append(
                    digest(stage, given.events, crowd=crowd, run=f"{crowd}-{who}", processes=processes, shift=7 * shift)
                )
                print(f"round {number + 1}: {who} {done[-1].rate:,.0f} events/s", flush=True)
    yardstick = median(yardsticks)
    figures = []
    for who, done in runs.items():
        name = f"digest, {who} people, {processes} process{'es' if processes > 1 else ''}"
        rate = median([run.rate for run in done])
        floor, aim = ("3000 on 2 cores", "6000") if processes == 1 else ("", "")
        figures.append(Figure(name, rate, "events/s", yardstick, "bare INSERTs", floor, aim))
        if processes == 1:
            figures.append(Figure(f"digest, {who} people: WAL", median([run.wal for run in done]), "B/event"))
            figures += [
                Figure(f"digest, {who} people: {table}", median([run.growth[table] for run in done]), "B/event")
                for table in TABLES
            ]
    return figures


def digest(stage: Stage, events: int, *, crowd: str, run: str, processes: int, shift: int = 0) -> Run:
    """Let the worker digest `events` events of as many people, and require that all are digested."""
    from api.tasks import digest as task

    with stage.connect() as connection:
        sizes, conversions = measure_tables(connection), count(connection, "goals_conversion")
        with connection.transaction():
            hits = fill_inbox(connection, stage, make_events(events, people=events, crowd=crowd, run=run, shift=shift))
            wal = wal_position(connection)
        begun = time.monotonic()
        for _ in range(processes):
            task.apply_async(expires=10, retry=False)
        stage.wait_until(lambda: is_digested(connection, stage), "the digest", SLOWEST * events + 30)
        seconds = time.monotonic() - begun
        written = wal_position(connection) - wal
        made = count(connection, "goals_conversion") - conversions
        done = connection.execute(
            "SELECT status, count(*) FROM api_message GROUP BY 1 HAVING status <> 'done'"
        ).fetchall()
        expect(made == hits and not done, f"{hits} hits became {made} conversions; messages that are not done: {done}")
        growth = {name: (size - sizes[name]) / events for name, size in measure_tables(connection).items()}
    return Run(events / seconds, written / events, growth)


def measure_tables(connection: Link) -> dict[str, int]:
    """Return the bytes of each table with its indexes."""
    sizes = [connection.execute("SELECT pg_total_relation_size(%s)", [table]).fetchone() for table in TABLES]
    return {table: size[0] for table, size in zip(TABLES, sizes, strict=True) if size}


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


def count_statements(stage: Stage) -> Figure:
    """Count all statements that a worker sends for a batch, and print them."""
    events = 10 * BATCH
    with stage.connect() as connection:
        track_statements(connection, "all")
        with stage.worker():
            connection.execute("SELECT pg_stat_statements_reset()")
            digest(stage, events, crowd="counted", run="counted", processes=1)
            rows = connection.execute(
                """
                SELECT calls, total_exec_time, query LIKE '% FOR KEY SHARE OF x',
                       left(regexp_replace(query, '\\s+', ' ', 'g'), 110)
                  FROM pg_stat_statements ORDER BY total_exec_time DESC
                """
            ).fetchall()
        track_statements(connection, "none")
    batches = events / BATCH
    print("statements of the digest: calls a batch, ms a call")
    for calls, ms, is_check, query in rows[:20]:
        print(f"{calls / batches:6.1f} {ms / calls:8.2f}  {'(a foreign key) ' if is_check else ''}{query}")
    sent = sum(calls for calls, _, is_check, _ in rows if not is_check)
    return Figure("digest: statements", sent / batches, f"a batch of {BATCH}")


def track_statements(connection: Link, track: str) -> None:
    """Switch pg_stat_statements on (`all`) or off (`none`) for new connections."""
    connection.execute(f"ALTER SYSTEM SET pg_stat_statements.track = '{track}'")
    connection.execute("SELECT pg_reload_conf()")


if __name__ == "__main__":
    main()
