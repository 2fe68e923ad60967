"""Bench of `manage.py load` with a large file. The yardstick is bare INSERTs of its lines into a table of one column.

    python -m tests.bench.bulk [--events 1000000] [--json FILE]

The file holds events of 100000 people in a mix of types, about 600 bytes each. No worker runs, so the figures cover
only the load into the inbox: time with the start of the command, peak memory, and growth of the database.
"""

import itertools
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg

from tests.bench.events import make_events
from tests.bench.figures import Figure, describe_machine, make_parser, publish
from tests.bench.stage import ROOT, Stage, expect, running_stage

PEOPLE = 100_000
CHUNK = 5_000  # rows per commit of the yardstick
AIM = 200  # MB
# Further fields that libraries send, up to the size of a usual event.
MORE = (
    b',"integrations":{"All":true},"channel":"browser","originalTimestamp":"2026-01-01T00:00:00.000Z","version":2,'
    b'"receivedAt":"2026-01-01T00:00:01.000Z","page":{"title":"The title of a page of usual length","search":""}}\n'
)


def main() -> None:
    options = make_parser(__doc__)
    options.add_argument("--events", type=int, default=1_000_000)
    given = options.parse_args()
    with running_stage() as stage:
        with stage.connect() as connection:
            print(describe_machine(connection), flush=True)
        file = stage.directory / "past.jsonl"
        with file.open("wb") as output:
            output.writelines(
                event.body[:-1] + MORE for event in make_events(given.events, people=PEOPLE, crowd="a", run="a")
            )
        size = file.stat().st_size / given.events
        print(f"{given.events:,} events of {size:.0f} bytes", flush=True)
        yardstick = insert_bare(stage, file, given.events)
        before = stage.scalar("SELECT pg_database_size(current_database())")
        seconds, peak = load(stage, file)
        after = stage.scalar("SELECT pg_database_size(current_database())")
        stored = stage.scalar("SELECT count(*) FROM api_message")
        expect(stored == given.events, f"{stored:,} messages instead of {given.events:,}")
        megabytes = 2**20
        figures = [
            Figure("load of a file", given.events / seconds, "events/s", yardstick, "bare INSERTs"),
            Figure("load of a file: time", seconds, "s"),
            Figure("load of a file: peak memory", peak / megabytes, "MB", aim=str(AIM)),
            Figure("database before the load", before / megabytes, "MB"),
            Figure("database after the load", after / megabytes, "MB"),
            Figure("load of a file: growth", (after - before) / given.events, "B/event", size, "the lines"),
        ]
        publish(figures, given.json)


def load(stage: Stage, file: Path) -> tuple[float, int]:
    """(seconds, the most bytes that the process ever had in memory) of the command."""
    command = [sys.executable, "manage.py", "load", str(file), "--source", "Segment destination"]
    begun, peak = time.monotonic(), 0
    child = subprocess.Popen(command, cwd=ROOT)
    try:
        while child.poll() is None:
            # Nothing while it begins and ends: then it has no memory of its own.
            lines = Path(f"/proc/{child.pid}/status").read_text().splitlines()
            peak = next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")), peak)
            time.sleep(0.05)
        seconds = time.monotonic() - begun
    finally:
        child.kill()
        child.wait()
    expect(child.returncode == 0, f"the load ended with {child.returncode}")
    return seconds, peak


def insert_bare(stage: Stage, file: Path, events: int) -> float:
    """Rows a second of the yardstick; its table is gone afterwards."""
    with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as connection, file.open("rb") as lines:
        connection.execute("CREATE TABLE plain (body bytea)")
        begun = time.monotonic()
        for chunk in batches(lines):
            connection.execute("INSERT INTO plain SELECT unnest(%b::bytea[])", [chunk])
        seconds = time.monotonic() - begun
        connection.execute("DROP TABLE plain")
        connection.execute("CHECKPOINT")  # not in the middle of what is measured next
    return events / seconds


def batches(lines: Iterator[bytes]) -> Iterator[list[bytes]]:
    while batch := list(itertools.islice(lines, CHUNK)):
        yield batch


if __name__ == "__main__":
    main()
