"""Bench of growing tables: ingest, reads, digest, the management API and the admin's goal list by size.

    python -m tests.bench.growth [--sizes 10000 100000 1000000] [--rounds 5] [--seconds 3] [--json FILE]

A size is a number of conversions, up to 10000000 or more. There are as many identities and messages, at most 1000000.
A few real events are digested, then PostgreSQL multiplies their rows over 60 goals and the last half year. Goals differ
in popularity, and some visitors come often. Indexes are dropped meanwhile. The messages are received by HTTP. Each load
is compared with a bare Django view of the same round, the digest with bare INSERTs.
"""

import argparse
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from tests.bench.digest import PLAIN, digest, insert_rows
from tests.bench.events import make_events
from tests.bench.figures import Figure, describe_machine, make_parser, median, percentile, publish
from tests.bench.load import (
    Connection,
    basic,
    fill_and_digest,
    fill_inbox,
    get,
    post_script,
    read_script,
    require_wrk,
    run_wrk,
)
from tests.bench.stage import Link, Stage, Web, Worker, expect, running_stage

LARGEST = 1_000_000  # of identities, and of messages
DIGESTED = 5_000  # events per round
ASKED = 40  # requests of the management API per round
SEED = "seed-0"  # person whose rows are multiplied
CONNECTIONS = 64


def main() -> None:
    options = make_parser(__doc__)
    options.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    for name, default in (("rounds", 5), ("seconds", 3), ("threads", 32)):
        options.add_argument(f"--{name}", type=int, default=default)
    given = options.parse_args()
    require_wrk()
    with running_stage() as stage:
        with stage.connect() as connection:
            print(describe_machine(connection), flush=True)
        fill_and_digest(stage, make_events(1_000, people=1, crowd="seed", run="seed"))
        figures, grown = [], 0
        for size in sorted(given.sizes):
            begun = time.monotonic()
            with stage.connect() as connection:
                grow(connection, stage, grown, size)
            grown = size
            print(f"{size:,} conversions after {time.monotonic() - begun:.0f} s", flush=True)
            figures += compare(stage, given, size)
        publish(figures, given.json)


def people_of(size: int) -> int:
    """Return the number of people for a size: each has three identities."""
    return min(size, LARGEST) // 3


def grow(connection: Link, stage: Stage, start: int, stop: int) -> None:
    """Multiply conversions from number `start` to `stop`, and identities and messages up to their limits."""
    # This skips the checks of foreign keys, because copies of valid rows are valid.
    connection.execute("SET session_replication_role = replica")
    connection.execute("SET maintenance_work_mem = '1GB'")
    # SQL of the n-th visitor, the same in each column of a row. Some visitors come often.
    visitor = f"'grown-' || floor({people_of(stop)} * power(n * 1000003 % 1000000 / 1e6, 1.5))::int"
    goals = [row[0] for row in connection.execute("SELECT id FROM goals_goal ORDER BY id").fetchall()]
    conversion = {
        "goal_id": f"('{{{','.join(map(str, goals))}}}'::bigint[])[1 + floor({len(goals)} * power(random(), 2))::int]",
        "visitor_code": f"'visitor-' || {visitor}",
        "user_id": f"'user-' || {visitor}",
        "anonymous_id": f"'anonymous-' || {visitor}",
        "keyed_by": "CASE WHEN random() < 0.1 THEN 3 ELSE 0 END",
        "occurred_at": "now() - random() * interval '180 days'",
        "message_key": "'track:' || md5('grown' || n)",
    }
    identity = {name: f"replace(t.{name}, '{SEED}', 'grown-' || n)" for name in ("value", "parent_value")}
    identity["registers"] = f"replace(t.registers::text, '{SEED}', 'grown-' || n)::jsonb"
    multiply(connection, "goals_conversion", "message_key = 'track:seed-0'", conversion, range(start, stop))
    add_messages(connection, stage, min(start, LARGEST), min(stop, LARGEST))
    multiply(
        connection, "cohorts_identity", f"value LIKE '%{SEED}'", identity, range(people_of(start), people_of(stop))
    )
    connection.execute("CHECKPOINT")  # otherwise it would disturb the next measurement
    conversions = stage.scalar("SELECT count(*) FROM goals_conversion")
    expect(conversions >= stop, f"{conversions} conversions instead of {stop}")


def add_messages(connection: Link, stage: Stage, start: int, stop: int) -> None:
    """Receive messages by HTTP, whatever their tables are, and call them done within the last month."""
    with stage.goalpost() as web:
        fill_inbox(web.port, make_events(stop - start, people=people_of(stop), crowd="grown", run=f"grown-{start}"))
    connection.execute(
        "UPDATE api_message SET status = 'done', digested_at = now() - random() * interval '30 days' "
        "WHERE status = 'pending'"
    )
    connection.execute(f"VACUUM (FULL, ANALYZE) {', '.join(stage.inbox_tables())}")


def multiply(connection: Link, table: str, where: str, changed: Mapping[str, str], numbers: range) -> None:
    """Copy the rows of a condition once for each number `n`, with some columns changed and new ids."""
    rows = connection.execute(
        "SELECT column_name FROM information_schema.columns WHERE table_name = %s AND column_name <> 'id'", [table]
    ).fetchall()
    columns = [row[0] for row in rows]
    values = ", ".join(changed.get(name, f"t.{name}") for name in columns)
    with without_indexes(connection, table):
        connection.execute(
            f"INSERT INTO {table} ({', '.join(columns)}) SELECT {values} FROM {table} t, "
            f"generate_series({numbers.start}::bigint, {numbers.stop - 1}) n WHERE {where}"
        )
    connection.execute(f"VACUUM ANALYZE {table}")


@contextmanager
def without_indexes(connection: Link, table: str) -> Iterator[None]:
    """Drop all indexes of a table except the primary key, and create them again after the block."""
    constraints = connection.execute(
        "SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = %s::regclass AND contype = 'u'",
        [table],
    ).fetchall()
    for name, _ in constraints:
        connection.execute(f"ALTER TABLE {table} DROP CONSTRAINT {name}")
    indexes = connection.execute(
        """
        SELECT indexrelid::regclass::text, pg_get_indexdef(indexrelid)
          FROM pg_index WHERE indrelid = %s::regclass AND NOT indisprimary
        """,
        [table],
    ).fetchall()
    for name, _ in indexes:
        connection.execute(f"DROP INDEX {name}")
    yield
    for name, definition in constraints:
        connection.execute(f"ALTER TABLE {table} ADD CONSTRAINT {name} {definition}")
    for _, definition in indexes:
        connection.execute(definition)


def compare(stage: Stage, given: argparse.Namespace, size: int) -> list[Figure]:
    """Measure all figures at one size."""
    rates: dict[str, list[float]] = {"hello": [], "ingest": [], "read": [], "INSERTs": [], "digest": []}
    waits: dict[str, list[float]] = {}
    with (
        stage.hello(threads=given.threads) as hello,
        stage.goalpost() as web,
        stage.worker() as worker,
        worker.paused(),
    ):
        for number in range(given.rounds):
            turn, run = number % len(rates), f"{size}-{number}"
            for name in [*rates, *rates][turn : turn + len(rates)]:
                server = hello if name == "hello" else web
                rates[name].append(measure(server, worker, given, name, size=size, run=run))
            print(
                f"round {number + 1}:", *(f"{name} {values[-1]:,.0f}/s" for name, values in rates.items()), flush=True
            )
            for name, wait in time_requests(stage, hello.port, web.port, people=people_of(size), turn=number).items():
                waits.setdefault(name, []).append(wait)
    at = f"at {size:,}"
    medians = {name: median(values) for name, values in {**rates, **waits}.items()}
    return [
        Figure(f"ingest {at}", medians["ingest"], "requests/s", medians["hello"], "hello view"),
        Figure(f"read {at}", medians["read"], "requests/s", medians["hello"], "hello view"),
        Figure(f"digest {at}", medians["digest"], "events/s", medians["INSERTs"], "bare INSERTs"),
        *(
            Figure(f"{name} {at}", medians[name], "ms", medians["/hello"], "hello view's answer")
            for name in waits
            if name != "/hello"
        ),
    ]


def measure(web: Web, worker: Worker, given: argparse.Namespace, name: str, *, size: int, run: str) -> float:
    """Measure one rate of one round."""
    port, stage = web.port, worker.stage
    shape = {"seconds": given.seconds, "connections": CONNECTIONS}
    if name == "hello":
        return run_wrk(port, "/hello", **shape).rate
    if name == "read":
        return run_wrk(port, "/map/map", read_script("user-grown-", people_of(size)), **shape).rate
    if name == "INSERTs":
        return insert_rows(PLAIN, 1)
    if name == "digest":
        return digest(web, worker, DIGESTED, people=people_of(size), crowd="grown", run=f"digest-{run}").rate
    ingested = run_wrk(port, "/segmentio", post_script(run), **shape)
    with stage.connect() as connection:
        gone = connection.execute("DELETE FROM api_message WHERE status = 'pending'").rowcount
    expect(0 <= gone - ingested.requests <= CONNECTIONS, f"{ingested.requests} answers, {gone} events stored")
    return ingested.rate


def time_requests(stage: Stage, hello: int, web: int, *, people: int, turn: int) -> dict[str, float]:
    """Return the median wait in ms of pages and API lists, requested in sequence on one connection."""
    goal = stage.scalar("SELECT goal_id FROM goals_conversion GROUP BY 1 ORDER BY count(*) DESC LIMIT 1")
    visitors = [f"visitor-grown-{(turn * ASKED + number) % people}" for number in range(ASKED)]
    api, admin = {"authorization": basic()}, {"cookie": f"sessionid={stage.admin_session()}"}
    pages = {
        "/hello": (hello, ["/hello"], {}),
        "/api/goals": (web, ["/api/goals"], api),
        "a visitor's conversions": (web, [f"/api/visitors/{code}/conversions" for code in visitors], api),
        "a goal's conversions": (web, [f"/api/goals/{goal}/conversions"], api),
        "the admin's goal list": (web, ["/admin/goals/goal/"], admin),
    }
    waits = {}
    for name, (port, paths, headers) in pages.items():
        connection = Connection(port)
        seen = []
        for number in range(ASKED):
            begun = time.monotonic()
            status, body = connection.ask(get(paths[number % len(paths)], **headers))
            seen.append((time.monotonic() - begun) * 1000)
            expect(status == 200, f"{name}: {status} {body[:200]!r}")
        connection.close()
        waits[name] = percentile(seen, 50)
    return waits


if __name__ == "__main__":
    main()
