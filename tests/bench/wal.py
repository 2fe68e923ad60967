"""Bench of what an event writes: WAL by statement and by table, when it is received and when it is digested.

    python -m tests.bench.wal [--before DIR] [--events 10000] [--top 25] [--json FILE]

Events of new people are received and digested, then events of the same people. WAL and time of each statement come from
pg_stat_statements, records of each table and index from pg_walinspect. There is no checkpoint before, so full pages are
few. No time here is a figure, because counting costs time.
"""

import argparse
from collections.abc import Callable, Sequence
from functools import partial

from tests.bench.digest import BATCH, CROWDS, WARM_UP, digest, wal_position
from tests.bench.events import make_events
from tests.bench.figures import Figure, describe_machine, make_parser, publish
from tests.bench.load import FILLED, fill_inbox
from tests.bench.stage import Link, Stage, Worker, add_before, running_stages

STATEMENTS = """
SELECT wal_bytes::float8, total_exec_time, calls, rows, query LIKE '%% FOR KEY SHARE OF x',
       left(regexp_replace(query, '\\s+', ' ', 'g'), %s)
  FROM pg_stat_statements WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
 ORDER BY wal_bytes DESC, total_exec_time DESC LIMIT %s
"""
RELATIONS = """
SELECT coalesce(class.relname, record.resource_manager), sum(record_length), sum(block_fpi_length), count(*)
  FROM (SELECT DISTINCT ON (start_lsn) start_lsn, relfilenode, resource_manager, record_length,
               coalesce(block_fpi_length, 0) AS block_fpi_length
          FROM pg_get_wal_block_info('0/0'::pg_lsn + %s, '0/0'::pg_lsn + %s)
         ORDER BY start_lsn, block_id) AS record
  LEFT JOIN pg_class class ON pg_relation_filenode(class.oid) = record.relfilenode
 GROUP BY 1 ORDER BY 2 DESC LIMIT %s
"""


def main() -> None:
    options = make_parser(__doc__)
    options.add_argument("--events", type=int, default=10_000)
    options.add_argument("--top", type=int, default=25, help="lines of each table")
    options.add_argument("--width", type=int, default=110, help="letters of each statement")
    add_before(options)
    given = options.parse_args()
    with running_stages(given.before) as stages:
        with stages[0].connect() as connection:
            print(describe_machine(connection), flush=True)
        written = {stage.name: measure(stage, given) for stage in stages}
        publish(figures_of(written), given.json)


def figures_of(written: dict[str, dict[str, float]]) -> Sequence[Figure]:
    figures = []
    for title, value in written["now"].items():
        yardstick = written["before"][title] if "before" in written else None
        limits = ("2500 B", "1800 B") if title.startswith("digest") else ("", "")
        figures.append(Figure(f"WAL, {title}", value, "B/event", yardstick, "before" if yardstick else "", *limits))
    return figures


def measure(stage: Stage, given: argparse.Namespace) -> dict[str, float]:
    """Print the tables of a checkout, and return its WAL per event by title."""
    written: dict[str, float] = {}
    with stage.connect() as connection:
        connection.execute("ALTER SYSTEM SET pg_stat_statements.track = 'all'")
        connection.execute("SELECT pg_reload_conf()")
        connection.execute("SET pg_stat_statements.track = 'none'")
        with stage.goalpost() as web, stage.worker() as worker:
            digest(web, worker, WARM_UP, crowd="warm", run="warm")
            for shift, who in enumerate(CROWDS):
                events = make_events(given.events, people=given.events, crowd="crowd", run=who, shift=7 * shift)
                receive = partial(fill_inbox, web.port, events)
                for title, act in (
                    (f"receipt in batches of {FILLED}, {who} people", receive),
                    (f"digest, {who} people", partial(digest_pending, worker)),
                ):
                    written[title] = observe(connection, given, f"{stage.name}: {title}", act)
    return written


def digest_pending(worker: Worker) -> None:
    """Let the paused worker digest all pending messages."""
    worker.go_on()
    worker.stage.wait_until(lambda: not worker.stage.count("pending"), "the digest", 300)
    worker.pause()


def observe(connection: Link, given: argparse.Namespace, title: str, act: Callable[[], object]) -> float:
    """Print what an act writes, and return its WAL per event."""
    connection.execute("SELECT pg_stat_statements_reset()")
    begun: int = wal_position(connection)
    act()
    ended = wal_position(connection)
    print_costs(connection, given, title, begun, ended)
    return (ended - begun) / float(given.events)


def print_costs(connection: Link, given: argparse.Namespace, title: str, begun: int, ended: int) -> None:
    """Print WAL and time by statement, and WAL by table and index."""
    print(f"\n{title}: {(ended - begun) / given.events:,.0f} B of WAL an event")
    print(f"WAL B/event  µs/event  calls/{BATCH}  rows/event  statement")
    batches = given.events / BATCH
    for wal, ms, calls, rows, is_check, query in connection.execute(STATEMENTS, [given.width, given.top]).fetchall():
        print(
            f"{wal / given.events:11,.0f} {ms * 1000 / given.events:9.1f} {calls / batches:10.1f}",
            f"{rows / given.events:11.2f}  {'(a foreign key) ' if is_check else ''}{query}",
        )
    print("WAL B/event  of full pages  records/event  table or index")
    for name, size, full, records in connection.execute(RELATIONS, [begun, ended, given.top]).fetchall():
        print(
            f"{float(size) / given.events:11,.0f} {float(full) / given.events:14,.0f} {records / given.events:14.2f}",
            f" {name}",
            flush=True,
        )


if __name__ == "__main__":
    main()
