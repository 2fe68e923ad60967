"""Bench of 5,000 idle streams of `/sse`: memory, the wait of others' events, and the time of a change to each stream.

    python -m tests.bench.streams [--streams 5000] [--rate 100] [--rounds 3] [--seconds 10] [--changes 3] [--json FILE]

Each stream has an address of its own, as behind a proxy. They are opened by a process of their own, and get a comment
every 15 seconds. Spells without and with them take turns. A change counts from its commit to the arrival of its event
at each stream. A client whose stream ends makes the bench fail.
"""

import argparse
import asyncio
import multiprocessing
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection as Pipe
from typing import Final

from tests.bench.costs import cpu_seconds, resident
from tests.bench.figures import Figure, describe_machine, make_parser, median, percentile, publish
from tests.bench.slow import allow_files, wait_of_events
from tests.bench.stage import SITECODE, Stage, Web, expect, running_stage

START_SECONDS: Final = 60.0
ARRIVAL_SECONDS: Final = 10.0
SPARE_FILES: Final = 500
AT_ONCE: Final = 100  # connections that are being opened
SETTLING_SECONDS: Final = 1.0
EVENT: Final = b"event: configuration-update-event"
SWITCH_ON: Final = """
INSERT INTO api_sdkconfiguration AS c (site_id, has_real_time, requires_consent, opt_out, changed_at)
VALUES (%s, true, false, 'PARTIALLY_BLOCK', date_trunc('second', now()))
ON CONFLICT (site_id) DO UPDATE SET has_real_time = true, changed_at = c.changed_at + interval '1 second'
"""


@dataclass(slots=True)
class Spells:
    """Waits of events in ms by spell, memory of the web server in MB, and its CPU for idle streams."""

    quiet: list[list[float]] = field(default_factory=list)
    beside: list[list[float]] = field(default_factory=list)
    memory: list[float] = field(default_factory=list)  # that the streams take
    arrivals: list[float] = field(default_factory=list)  # ms from the commit to each stream
    cores: list[float] = field(default_factory=list)


def main() -> None:
    options = make_parser(__doc__)
    for name, default in (("streams", 5_000), ("rate", 100), ("rounds", 3), ("seconds", 10), ("changes", 3)):
        options.add_argument(f"--{name}", type=int, default=default)
    given = options.parse_args()
    allow_files(given.streams + SPARE_FILES)
    with running_stage() as stage, stage.goalpost() as web:
        with stage.connect() as connection:
            print(describe_machine(connection), flush=True)
        commit_change(stage)
        wait_of_events(web, given, run="warm")
        spells = Spells()
        for number in range(given.rounds):
            compare(stage, web, spells, given, run=f"round-{number + 1}")
        publish(figures_of(spells, given), given.json)


def commit_change(stage: Stage) -> float:
    """Change the configuration of the site, and return the moment of the commit."""
    with stage.connect() as connection:
        connection.execute(SWITCH_ON, [stage.site_id])
    return time.monotonic()


def compare(stage: Stage, web: Web, spells: Spells, given: argparse.Namespace, *, run: str) -> None:
    """Measure a spell without and one with the streams, then changes."""
    spells.quiet.append(wait_of_events(web, given, run=f"{run}-quiet"))
    before = sum(resident(web.child.process.pid))
    with open_streams(web.port, given.streams) as pipe:
        time.sleep(SETTLING_SECONDS)
        spells.cores.append(cores_of(web))
        spells.beside.append(wait_of_events(web, given, run=f"{run}-beside"))
        beside = sum(resident(web.child.process.pid))
        spells.memory.append(beside - before)
        found = [arrivals_of(stage, pipe, given.streams) for _ in range(given.changes)]
        spells.arrivals += [arrival for each in found for arrival in each]
    print(
        f"{run}, load {os.getloadavg()[0]:.1f}: p99 {percentile(spells.quiet[-1], 99):.1f} ms without,",
        f"{percentile(spells.beside[-1], 99):.1f} ms with {given.streams:,} streams, {before:.0f} to {beside:.0f} MB,",
        f"{spells.cores[-1]:.3f} cores for them alone, a change is everywhere after",
        ", ".join(f"{max(each):.0f}" for each in found),
        "ms",
        flush=True,
    )


def cores_of(web: Web, seconds: float = 2.0) -> float:
    """Return the cores that the web server uses while it is left alone."""
    used, begun = cpu_seconds(web.child.process.pid), time.monotonic()
    time.sleep(seconds)
    return (cpu_seconds(web.child.process.pid) - used) / (time.monotonic() - begun)


def arrivals_of(stage: Stage, pipe: Pipe, streams: int) -> list[float]:
    """Change the configuration, and return the ms until each stream has the event. Exit if one has not."""
    committed = commit_change(stage)
    deadline, arrived = committed + ARRIVAL_SECONDS, list[float]()
    while len(arrived) < streams:
        expect(time.monotonic() < deadline, f"{len(arrived)} of {streams} streams have the event of a change")
        time.sleep(0.05)
        pipe.send(None)
        arrived += pipe.recv()
    return [(moment - committed) * 1000 for moment in arrived]


def figures_of(spells: Spells, given: argparse.Namespace) -> list[Figure]:
    title, memory = f"{given.streams:,} idle streams", max(spells.memory)
    beside, quiet = (
        median([percentile(waits, 99) for waits in of_spell]) for of_spell in (spells.beside, spells.quiet)
    )
    return [
        Figure(f"events beside {title}: p99", beside, "ms", quiet, "without them", "1.5", "1.1"),
        Figure(f"{title}: memory of the web server", memory, "MB"),
        Figure(f"{title}: memory of a stream", memory * 1024 / given.streams, "kB"),
        Figure(f"{title}: CPU of web", median(spells.cores), "cores"),
        *(
            Figure(f"{title}: change until its event, p{percent}", percentile(spells.arrivals, percent), "ms")
            for percent in (50, 99, 100)
        ),
    ]


@contextmanager
def open_streams(port: int, streams: int) -> Iterator[Pipe]:
    """Hold streams open during the block. Send None to the pipe to receive the moments of the events since then."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(
        target=run_clients, args=(port, streams, theirs), daemon=True
    )
    process.start()
    try:
        expect(ours.poll(START_SECONDS), "the streams were not opened")
        ours.recv()
        yield ours
        expect(process.is_alive(), "a stream was closed")
    finally:
        process.terminate()
        process.join()
        time.sleep(SETTLING_SECONDS)  # the server notices


def run_clients(port: int, streams: int, pipe: Pipe) -> None:
    asyncio.run(hold(port, streams, pipe))


async def hold(port: int, streams: int, pipe: Pipe) -> None:
    """Open all streams, report when each has its first event, then report moments when asked."""
    arrivals: list[float] = []
    room, loop = asyncio.Semaphore(AT_ONCE), asyncio.get_running_loop()

    async def open_one(number: int) -> None:
        async with room:
            _, client = await loop.create_connection(lambda: Client(number, arrivals), "127.0.0.1", port)
            await client.begun

    await asyncio.gather(*(open_one(number) for number in range(streams)))
    arrivals.clear()
    await asyncio.to_thread(pipe.send, None)
    while True:
        await asyncio.to_thread(pipe.recv)
        moments = arrivals.copy()
        arrivals.clear()
        pipe.send(moments)


class Client(asyncio.Protocol):
    """One stream, whose events it notes. The process ends with a stream that the server closes."""

    def __init__(self, number: int, arrivals: list[float]) -> None:
        self._address = f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"
        self._arrivals = arrivals
        self.begun = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        head = f"GET /sse?siteCode={SITECODE} HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Forwarded-For: {self._address}\r\n\r\n"
        transport.write(head.encode())

    def data_received(self, data: bytes) -> None:
        if EVENT in data:
            self._arrivals.append(time.monotonic())
            if not self.begun.done():
                self.begun.set_result(None)

    def connection_lost(self, _: Exception | None) -> None:
        os._exit(1)


if __name__ == "__main__":
    main()
