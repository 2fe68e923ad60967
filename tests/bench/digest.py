"""Events a second through the digest, beside bare INSERTs of the same bodies into a plain table of the same PostgreSQL.

    python -m tests.bench.digest [--rounds 5] [--events 100000] [--processes 1 2] [--json FILE]

The inbox is filled in a transaction whose commit starts the clock, with the worker warm; it stops when nothing is
pending. Each round: the yardstick (500 rows a commit, in as many processes), people whom nobody knows, the same
people again. A last, untimed pass counts the statements.
"""

import argparse
import multiprocessing
import os
import time
from dataclasses import dataclass
from multiprocessing.synchronize import Barrier
from typing import Any

import psycopg

from tests.bench.events import fill_inbox, is_digested, mixed
from tests.bench.figures import Figure, describe_machine, median, parser, publish
from tests.bench.stage import Link, Stage, expect, stage

BATCH = 500
TABLES = ("api_message", "cohorts_identity", "goals_conversion")
WARM_UP = 2_000
SLOWEST = 0.01  # seconds an event, before a run counts as stuck
PLAIN = 50_000  # rows of the yardstick at least: fewer are over before they can be timed


@dataclass(frozen=True, slots=True)
class Run:
    """What it took to digest an inbox."""

    rate: float  # events/s
    wal: float  # bytes an event, without the filling's
    growth: dict[str, float]  # bytes an event with indexes, by table, with the filling's


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--events", type=int, default=100_000)
    options.add_argument("--processes", type=int, nargs="+", default=[1, 2])
    given = options.parse_args()
    with stage() as here:
        with here.connect() as connection:
            print(describe_machine(connection), flush=True)
        figures = [figure for processes in given.processes for figure in compare(here, given, processes)]
        figures.append(count_statements(here))
        publish(figures, given.json)


def compare(here: Stage, given: argparse.Namespace, processes: int) -> list[Figure]:
    yardsticks: list[float] = []
    runs: dict[str, list[Run]] = {"new": [], "known": []}
    with here.worker(processes):
        for number in range(given.rounds):
            crowd = f"{processes}-{number}"
            if number == 0:
                digest(here, WARM_UP, crowd="warm", run=f"warm-{processes}", processes=processes)
            yardsticks.append(insert_plainly(max(given.events, PLAIN), processes))
            for shift, (who, done) in enumerate(runs.items()):
                done.append(
                    digest(here, given.events, crowd=crowd, run=f"{crowd}-{who}", processes=processes, shift=7 * shift)
                )
                print(f"round {number + 1}: {who} {done[-1].rate:,.0f} events/s", flush=True)
    yardstick = median(yardsticks)
    figures = []
    for who, done in runs.items():
        what = f"digest, {who} people, {processes} process{'es' if processes > 1 else ''}"
        rate = median([run.rate for run in done])
        floor, aim = ("3000 on 2 cores", "6000") if processes == 1 else ("", "")
        figures.append(Figure(what, rate, "events/s", yardstick, "bare INSERTs", floor, aim))
        if processes == 1:
            figures.append(Figure(f"digest, {who} people: WAL", median([run.wal for run in done]), "B/event"))
            figures += [
                Figure(f"digest, {who} people: {table}", median([run.growth[table] for run in done]), "B/event")
                for table in TABLES
            ]
    return figures


def digest(here: Stage, events: int, *, crowd: str, run: str, processes: int, shift: int = 0) -> Run:
    """Let the worker digest so many events of as many people, and check that it did."""
    from api.tasks import digest as task

    with here.connect() as connection:
        sizes, conversions = measure_tables(connection), count(connection, "goals_conversion")
        with connection.transaction():
            hits = fill_inbox(connection, here, mixed(events, people=events, crowd=crowd, run=run, shift=shift))
            wal = wal_position(connection)
        begun = time.monotonic()
        for _ in range(processes):
            task.apply_async(expires=10, retry=False)
        here.until(lambda: is_digested(connection, here), "the digest", SLOWEST * events + 30)
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
    """The bytes of each table with its indexes."""
    sizes = [connection.execute("SELECT pg_total_relation_size(%s)", [table]).fetchone() for table in TABLES]
    return {table: size[0] for table, size in zip(TABLES, sizes, strict=True) if size}


def count(connection: Link, table: str) -> int:
    row = connection.execute(f"SELECT count(*) FROM {table}").fetchone()
    return row[0] if row else 0


def wal_position(connection: Link) -> int:
    row = connection.execute("SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn").fetchone()
    return int(row[0]) if row else 0


def insert_plainly(events: int, processes: int) -> float:
    """Rows a second of the yardstick: multi-row INSERTs into a table with one unique index, a commit each."""
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
    """One process of the yardstick; puts when it began and ended into `times`."""
    rows = [(each.message_id, each.body) for each in mixed(events, people=events, crowd=run, run=run)]
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


def count_statements(here: Stage) -> Figure:
    """How many statements a batch takes, everything that a worker sends counted; prints what they are."""
    events = 10 * BATCH
    with here.connect() as connection:
        wake(connection, "all")
        with here.worker():
            connection.execute("SELECT pg_stat_statements_reset()")
            digest(here, events, crowd="counted", run="counted", processes=1)
            rows = connection.execute(
                """
                SELECT calls, total_exec_time, query LIKE '% FOR KEY SHARE OF x',
                       left(regexp_replace(query, '\\s+', ' ', 'g'), 110)
                  FROM pg_stat_statements ORDER BY total_exec_time DESC
                """
            ).fetchall()
        wake(connection, "none")
    batches = events / BATCH
    print("statements of the digest: calls a batch, ms a call")
    for calls, ms, is_check, query in rows[:20]:
        print(f"{calls / batches:6.1f} {ms / calls:8.2f}  {'(a foreign key) ' if is_check else ''}{query}")
    sent = sum(calls for calls, _, is_check, _ in rows if not is_check)
    return Figure("digest: statements", sent / batches, f"a batch of {BATCH}")


def wake(connection: Link, track: str) -> None:
    """Let pg_stat_statements count what new connections do, or nothing."""
    connection.execute(f"ALTER SYSTEM SET pg_stat_statements.track = '{track}'")
    connection.execute("SELECT pg_reload_conf()")


if __name__ == "__main__":
    main()
