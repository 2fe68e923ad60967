"""What becomes of the rates as the tables grow: ingest, reads, digest, the management API and the admin's goal list.

    python -m tests.bench.growth [--sizes 10000 100000 1000000] [--rounds 5] [--seconds 3] [--json FILE]

A size is a number of conversions, up to 10000000 or more; there are as many identities and messages, 1000000 at most. A
few real events are digested and PostgreSQL multiplies their rows: 60 goals, some far more popular than others, over the
last half year, and visitors some of whom come often. Indexes are dropped meanwhile. Each load stands beside a bare
Django view in the same round, the digest beside bare INSERTs.
"""

import argparse
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from tests.bench.digest import PLAIN, insert_plainly
from tests.bench.events import mixed, settle
from tests.bench.figures import Figure, describe_machine, median, parser, percentile, publish
from tests.bench.load import Connection, basic, get, hammer, need_wrk, posts, reads
from tests.bench.stage import Link, Stage, expect, stage

LARGEST = 1_000_000  # of identities, and of messages
DIGESTED = 5_000  # events a round
ASKED = 40  # requests of the management API a round
SEED = "seed-0"  # the person whose rows are multiplied
CONNECTIONS = 64


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    for name, default in (("rounds", 5), ("seconds", 3), ("threads", 32)):
        options.add_argument(f"--{name}", type=int, default=default)
    given = options.parse_args()
    need_wrk()
    with stage() as here:
        with here.connect() as connection:
            print(describe_machine(connection), flush=True)
        settle(here, mixed(1_000, people=1, crowd="seed", run="seed"))
        figures, grown = [], 0
        for size in sorted(given.sizes):
            begun = time.monotonic()
            with here.connect() as connection:
                grow(connection, here, grown, size)
            grown = size
            print(f"{size:,} conversions after {time.monotonic() - begun:.0f} s", flush=True)
            figures += compare(here, given, size)
        publish(figures, given.json)


def people_of(size: int) -> int:
    """Each has three identities."""
    return min(size, LARGEST) // 3


def grow(connection: Link, here: Stage, start: int, stop: int) -> None:
    """Multiply conversions from `start` to `stop`, and identities and messages as far as they go."""
    # Without it each row's foreign key would be checked at the end; what is multiplied is right.
    connection.execute("SET session_replication_role = replica")
    connection.execute("SET maintenance_work_mem = '1GB'")
    # The n-th visitor: some come often, the same in each column of a row.
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
    message = {"message_id": "md5('grown' || n)", "digested_at": "now() - random() * interval '30 days'"}
    identity = {name: f"replace(t.{name}, '{SEED}', 'grown-' || n)" for name in ("value", "parent_value")}
    identity["registers"] = f"replace(t.registers::text, '{SEED}', 'grown-' || n)::jsonb"
    messages = range(min(start, LARGEST), min(stop, LARGEST))
    multiply(connection, "goals_conversion", "message_key = 'track:seed-0'", conversion, range(start, stop))
    multiply(connection, "api_message", "message_id = 'seed-0'", message, messages)
    multiply(
        connection, "cohorts_identity", f"value LIKE '%{SEED}'", identity, range(people_of(start), people_of(stop))
    )
    connection.execute("CHECKPOINT")  # not in the middle of what is measured next
    conversions = here.scalar("SELECT count(*) FROM goals_conversion")
    expect(conversions >= stop, f"{conversions} conversions instead of {stop}")


def multiply(connection: Link, table: str, where: str, changed: Mapping[str, str], numbers: range) -> None:
    """Copy the rows that meet a condition for each number `n`, with some columns changed; ids are drawn."""
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
    """Drop a table's indexes but the primary key's, and make them again from their own definitions."""
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


def compare(here: Stage, given: argparse.Namespace, size: int) -> list[Figure]:
    """All figures at one size."""
    rates: dict[str, list[float]] = {"hello": [], "ingest": [], "read": [], "INSERTs": [], "digest": []}
    waits: dict[str, list[float]] = {}
    shape = {"workers": 1, "threads": given.threads}
    with here.hello(**shape) as hello, here.goalpost(**shape) as door:
        for number in range(given.rounds):
            turn, run = number % len(rates), f"{size}-{number}"
            for name in [*rates, *rates][turn : turn + len(rates)]:
                port = hello.port if name == "hello" else door.port
                rates[name].append(measure(here, given, port, name, size=size, run=run))
            print(f"round {number + 1}:", *(f"{name} {each[-1]:,.0f}/s" for name, each in rates.items()), flush=True)
            for name, each in ask(here, hello.port, door.port, people=people_of(size), turn=number).items():
                waits.setdefault(name, []).append(each)
    at = f"at {size:,}"
    medians = {name: median(each) for name, each in {**rates, **waits}.items()}
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


def measure(here: Stage, given: argparse.Namespace, port: int, name: str, *, size: int, run: str) -> float:
    """One rate of one round."""
    shape = {"seconds": given.seconds, "connections": CONNECTIONS}
    if name == "hello":
        return hammer(port, "/hello", **shape).rate
    if name == "read":
        return hammer(port, "/map/map", reads("user-grown-", people_of(size)), **shape).rate
    if name == "INSERTs":
        return insert_plainly(PLAIN, 1)
    if name == "digest":
        before = here.scalar("SELECT last_value FROM goals_conversion_id_seq")
        rate = DIGESTED / settle(here, mixed(DIGESTED, people=people_of(size), crowd="grown", run=f"digest-{run}"))
        expect(here.scalar("SELECT last_value FROM goals_conversion_id_seq") > before, "nothing was digested")
        return rate
    ingested = hammer(port, "/segmentio", posts(run), **shape)
    with here.connect() as connection:
        gone = connection.execute("DELETE FROM api_message WHERE status = 'pending'").rowcount
    expect(0 <= gone - ingested.requests <= CONNECTIONS, f"{ingested.requests} answers, {gone} events stored")
    return ingested.rate


def ask(here: Stage, hello: int, door: int, *, people: int, turn: int) -> dict[str, float]:
    """The median wait in ms for pages that people and programs look at, one after the other on one connection."""
    goal = here.scalar("SELECT goal_id FROM goals_conversion GROUP BY 1 ORDER BY count(*) DESC LIMIT 1")
    visitors = [f"visitor-grown-{(turn * ASKED + number) % people}" for number in range(ASKED)]
    api, admin = {"authorization": basic()}, {"cookie": f"sessionid={here.admin_session()}"}
    pages = {
        "/hello": (hello, ["/hello"], {}),
        "/api/goals": (door, ["/api/goals"], api),
        "a visitor's conversions": (door, [f"/api/visitors/{code}/conversions" for code in visitors], api),
        "a goal's conversions": (door, [f"/api/goals/{goal}/conversions"], api),
        "the admin's goal list": (door, ["/admin/goals/goal/"], admin),
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
