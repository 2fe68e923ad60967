"""`manage.py load` of a large file, beside bare INSERTs of the same lines into a table of one column.

    python -m tests.bench.bulk [--events 1000000] [--json FILE]

The file holds events of 100000 people in a mix of types, some 600 bytes each. No worker runs: what is measured is the
way from the file into the inbox, with the start of the command, its peak of memory, and what the database grows by.
"""

import itertools
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg

from tests.bench.events import mixed
from tests.bench.figures import Figure, describe_machine, parser, publish
from tests.bench.stage import ROOT, Stage, expect, stage

PEOPLE = 100_000
CHUNK = 5_000  # rows a commit of the yardstick
AIM = 200  # MB
# What libraries send besides, to the size of a usual event.
MORE = (
    b',"integrations":{"All":true},"channel":"browser","originalTimestamp":"2026-01-01T00:00:00.000Z","version":2,'
    b'"receivedAt":"2026-01-01T00:00:01.000Z","page":{"title":"The title of a page of usual length","search":""}}\n'
)


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--events", type=int, default=1_000_000)
    given = options.parse_args()
    with stage() as here:
        with here.connect() as connection:
            print(describe_machine(connection), flush=True)
        file = here.directory / "past.jsonl"
        with file.open("wb") as output:
            output.writelines(each.body[:-1] + MORE for each in mixed(given.events, people=PEOPLE, crowd="a", run="a"))
        size = file.stat().st_size / given.events
        print(f"{given.events:,} events of {size:.0f} bytes", flush=True)
        yardstick = insert_bare(here, file, given.events)
        before = here.scalar("SELECT pg_database_size(current_database())")
        seconds, peak = load(here, file)
        after = here.scalar("SELECT pg_database_size(current_database())")
        stored = here.scalar("SELECT count(*) FROM api_message")
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


def load(here: Stage, file: Path) -> tuple[float, int]:
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


def insert_bare(here: Stage, file: Path, events: int) -> float:
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
