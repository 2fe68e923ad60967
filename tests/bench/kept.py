"""Bench of what stays of events: bytes of all tables and indexes, then the pruning of the processed messages.

    python -m tests.bench.kept [--before DIR] [--events 100000] [--slices 10] [--json FILE]

Ten slices of events are received and digested, each followed by a VACUUM, because space that an update leaves is used
again in life. A third of the people are new. Then the messages are pruned as if 41 days had passed, and what is left of
their tables is measured after a VACUUM. Two checkouts take turns.
"""

import argparse
import os
import subprocess
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass

from tests.bench.digest import WARM_UP, digest, wal_position
from tests.bench.figures import Figure, describe_machine, make_parser, publish
from tests.bench.stage import Stage, Web, Worker, add_before, expect, running_stages

RETURNS = 3  # slices after which people come again
LATER = 41  # days; messages stay for 30
PRUNE = f"""
import time
from datetime import UTC, datetime, timedelta

import django

django.setup()
from api.digest.prune import prune_old

later = datetime.now(UTC) + timedelta(days={LATER})
try:
    from api.digest.partitions import advance_ids
except ImportError:  # an older checkout has no partitions
    pass
else:
    advance_ids(now=later)
begun = time.monotonic()
while prune_old(now=later, seconds=60):
    pass
print(time.monotonic() - begun)
"""
TABLES = r"""
SELECT coalesce(parent.relname, class.relname) AS name, sum(pg_total_relation_size(class.oid))::float8 AS bytes
  FROM pg_class class
  LEFT JOIN pg_inherits ON inhrelid = class.oid
  LEFT JOIN pg_class parent ON parent.oid = inhparent
 WHERE class.relnamespace = 'public'::regnamespace AND class.relkind IN ('r', 'm')
 GROUP BY name
"""


@dataclass(frozen=True, slots=True)
class Kept:
    """Bytes of a checkout's tables before and after the events, and the cost of pruning."""

    before: dict[str, float]
    after: dict[str, float]
    left: dict[str, float]
    seconds: float
    wal: int


def main() -> None:
    options = make_parser(__doc__)
    options.add_argument("--events", type=int, default=100_000)
    options.add_argument("--slices", type=int, default=10)
    add_before(options)
    given = options.parse_args()
    with running_stages(given.before) as stages:
        with stages[0].connect() as connection:
            print(describe_machine(connection), flush=True)
        sizes = {stage.name: [measure_tables(stage)] for stage in stages}
        with ExitStack() as stack:
            sides = [(stack.enter_context(stage.goalpost()), stack.enter_context(stage.worker())) for stage in stages]
            for web, worker in sides:
                digest(web, worker, WARM_UP, crowd="warm", run="warm")
                sizes[worker.stage.name] = [measure_tables(worker.stage)]
            for number in range(given.slices):
                for web, worker in sides if number % 2 else sides[::-1]:
                    add_slice(web, worker, given, number)
        kept = {stage.name: prune(stage, sizes[stage.name][0]) for stage in stages}
        publish(figures_of(kept, given.events), given.json)


def add_slice(web: Web, worker: Worker, given: argparse.Namespace, number: int) -> None:
    """Receive and digest one slice of the events, and clean up."""
    events = given.events // given.slices
    done = digest(web, worker, events, crowd=f"kept-{number % RETURNS}", run=f"kept-{number}", shift=7 * number)
    with worker.stage.connect() as connection:
        connection.execute("VACUUM ANALYZE")
    print(
        f"slice {number + 1}, load {os.getloadavg()[0]:.1f}: {worker.stage.name} {done.rate:,.0f} events/s",
        flush=True,
    )


def prune(stage: Stage, before: dict[str, float]) -> Kept:
    """Prune all messages with the code of the checkout, and return the sizes of all tables."""
    after = measure_tables(stage)
    with stage.connect() as connection:
        connection.execute("CHECKPOINT")  # otherwise it may fall into the time of the pruning
        wal = wal_position(connection)
        environment = {**os.environ, **stage.environment}
        command = [sys.executable, "-c", PRUNE]
        done = subprocess.run(
            command, cwd=stage.checkout, env=environment, check=True, stdout=subprocess.PIPE, text=True
        )
        wal = wal_position(connection) - wal
        expect(stage.scalar("SELECT count(*) FROM api_message") == 0, f"{stage.name}: messages are left")
        begun = time.monotonic()
        connection.execute("VACUUM")
        print(f"{stage.name}: the VACUUM after pruning took {time.monotonic() - begun:.1f} s", flush=True)
    return Kept(before, after, measure_tables(stage), float(done.stdout.splitlines()[-1]), wal)


def measure_tables(stage: Stage) -> dict[str, float]:
    """Return the bytes of each table with its partitions and indexes."""
    with stage.connect() as connection:
        return dict(connection.execute(TABLES).fetchall())


def figures_of(kept: dict[str, Kept], events: int) -> list[Figure]:
    now, before = kept["now"], kept.get("before")
    for name, seen in kept.items():
        grown = {table: (size - seen.before.get(table, 0)) / events for table, size in seen.after.items()}
        largest = sorted(grown.items(), key=lambda item: -item[1])[:15]
        print(f"{name}: bytes an event by table:", ", ".join(f"{table} {size:.0f}" for table, size in largest))

    def figure(what: str, unit: str, of: str, floor: str = "", aim: str = "") -> Figure:
        yardstick = values(before, events)[of] if before else None
        return Figure(what, values(now, events)[of], unit, yardstick, "before" if before else "", floor, aim)

    title = f"pruning of {events:,} done messages"
    return [
        figure("an event kept, all tables and indexes", "B/event", "bytes", "0.8", "0.6"),
        figure("an event kept, tables of messages", "B/event", "messages"),
        figure(title, "s", "seconds", "0.2"),
        figure(f"{title}: WAL", "MB", "wal"),
        figure(f"{title}: left of their tables", "MB", "left", "no bloat"),
    ]


def values(kept: Kept, events: int) -> dict[str, float]:
    def messages(sizes: dict[str, float]) -> float:
        return sum(size for name, size in sizes.items() if name.startswith("api_message"))

    return {
        "bytes": (sum(kept.after.values()) - sum(kept.before.values())) / events,
        "messages": (messages(kept.after) - messages(kept.before)) / events,
        "seconds": kept.seconds,
        "wal": kept.wal / 2**20,
        "left": messages(kept.left) / 2**20,
    }


if __name__ == "__main__":
    main()
