"""Bench of 1,000 clients that send a byte a second: memory of the web process, and the wait of others' events.

    python -m tests.bench.slow [--before DIR] [--clients 1000] [--rate 100] [--rounds 3] [--seconds 10] [--json FILE]

Half of the slow clients stop within the head of their request, half within the body of an event. A client whose
connection the server closes opens another one. They run in a process of their own. Quiet and slow spells take turns.
"""

import argparse
import asyncio
import multiprocessing
import os
import resource
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection as Pipe

from tests.bench.costs import resident
from tests.bench.figures import Figure, describe_machine, make_parser, median, percentile, publish
from tests.bench.load import at_rate, destination_key, mixed_post
from tests.bench.stage import SITECODE, Web, add_before, expect, running_stages

START_SECONDS = 30.0
OVERTIME = 5.0  # seconds after which a blocked load ends
PAUSE = 1.0  # seconds between two bytes
SPARE_FILES = 500
HEAD = (
    f"POST /segmentio HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Basic {destination_key()}\r\n"
    f"X-Segment-Settings: {SITECODE}\r\nContent-Type: application/json\r\n"
)
SLOW_BYTES = 100_000  # of the head or body that a client never completes


@dataclass(slots=True)
class Spells:
    """Waits of events in ms by spell, and memory of the web server in MB."""

    quiet: list[list[float]] = field(default_factory=list)
    slow: list[list[float]] = field(default_factory=list)
    memory: list[tuple[float, float]] = field(default_factory=list)  # without and with the slow clients


def main() -> None:
    options = make_parser(__doc__)
    for name, default in (("clients", 1_000), ("rate", 100), ("rounds", 3), ("seconds", 10)):
        options.add_argument(f"--{name}", type=int, default=default)
    add_before(options)
    given = options.parse_args()
    allow_files(2 * given.clients + SPARE_FILES)
    with running_stages(given.before) as stages, ExitStack() as stack:
        with stages[0].connect() as connection:
            print(describe_machine(connection), flush=True)
        webs = {stage.name: stack.enter_context(stage.goalpost()) for stage in stages}
        spells = {name: Spells() for name in webs}
        for name, web in webs.items():
            wait_of_events(web, given, run=f"warm-{name}")
        for number in range(given.rounds):
            for name in [*webs] if number % 2 else [*webs][::-1]:
                compare(webs[name], spells[name], given, run=f"{name}-{number}")
        publish(figures_of(spells, given), given.json)


def allow_files(files: int) -> None:
    """Raise the limit of open files, which the web server inherits."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    expect(hard == resource.RLIM_INFINITY or hard >= files, f"this bench needs `ulimit -n {files}`")
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, hard))


def compare(web: Web, spells: Spells, given: argparse.Namespace, *, run: str) -> None:
    """Measure a spell without and one with the slow clients."""
    spells.quiet.append(wait_of_events(web, given, run=f"{run}-quiet"))
    before = sum(resident(web.child.process.pid))
    with slow_clients(web.port, given.clients) as pipe:
        spells.slow.append(wait_of_events(web, given, run=f"{run}-slow"))
        beside = sum(resident(web.child.process.pid))
        spells.memory.append((before, beside))
        pipe.send(None)
        connected, closed = pipe.recv()
    print(
        f"{run}, load {os.getloadavg()[0]:.1f}: p99 {percentile(spells.quiet[-1], 99):.1f} ms without,",
        f"{percentile(spells.slow[-1], 99):.1f} ms with {connected} slow clients ({closed} were closed),",
        f"{before:.0f} to {beside:.0f} MB",
        flush=True,
    )


def wait_of_events(web: Web, given: argparse.Namespace, *, run: str) -> list[float]:
    """Return the waits in ms of events that arrive at a constant rate, of refused and unanswered ones until then."""
    shape = {"rate": given.rate, "seconds": given.seconds, "overtime": OVERTIME}
    with at_rate(web.port, mixed_post(run, people=1_000), **shape) as load:
        pass
    if load.failures:
        print(f"{run}: {dict(load.failures)} failures of {len(load.latencies)} events", flush=True)
    return load.latencies


def figures_of(spells: dict[str, Spells], given: argparse.Namespace) -> list[Figure]:
    title = f"events beside {given.clients:,} slow clients: p99"
    of = {
        name: (
            median([percentile(waits, 99) for waits in seen.slow]),
            median([percentile(waits, 99) for waits in seen.quiet]),
            max(beside - before for before, beside in seen.memory),
        )
        for name, seen in spells.items()
    }
    slow, quiet, memory = of["now"]
    before = of.get("before")
    return [
        Figure(title, slow, "ms", quiet, "without them", "1.5", "1.1"),
        Figure(
            f"memory of the web server for {given.clients:,} slow clients",
            *(memory, "MB", before[2] if before else None, "before" if before else "", "50 MB", "20 MB"),
        ),
        *([Figure(title, slow, "ms", before[0], "before")] if before else []),
    ]


@contextmanager
def slow_clients(port: int, clients: int) -> Iterator[Pipe]:
    """Run slow clients during the block. Send None to the pipe to receive how many are connected and were closed."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(
        target=run_clients, args=(port, clients, theirs), daemon=True
    )
    process.start()
    try:
        expect(ours.poll(START_SECONDS), "the slow clients did not connect")
        ours.recv()
        yield ours
    finally:
        process.terminate()
        process.join()
        time.sleep(PAUSE)  # the server notices


def run_clients(port: int, clients: int, pipe: Pipe) -> None:
    asyncio.run(Clients(port, clients).run(pipe))


@dataclass(slots=True)
class Clients:
    """The slow clients of one process."""

    port: int
    number: int
    connected: int = 0
    closed: int = 0

    async def run(self, pipe: Pipe) -> None:
        """Report when all have tried to connect, and their counts when asked."""
        tasks = [asyncio.create_task(self.keep(place)) for place in range(self.number)]
        await asyncio.sleep(3 * PAUSE)
        await asyncio.to_thread(pipe.send, None)
        await asyncio.to_thread(pipe.recv)
        pipe.send((self.connected, self.closed))
        await asyncio.gather(*tasks)

    async def keep(self, place: int) -> None:
        """Send slowly on one connection after the other. Clients begin one after the other within a second."""
        await asyncio.sleep(place / self.number)
        while True:
            with suppress(OSError):
                await self.send(within_body=place % 2 == 1)
            self.closed += 1
            await asyncio.sleep(PAUSE)

    async def send(self, *, within_body: bool) -> None:
        """Send a byte a second until the server closes the connection."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        self.connected += 1
        try:
            writer.write((HEAD + (f"Content-Length: {SLOW_BYTES}\r\n\r\n" if within_body else "X-Slow: ")).encode())
            for _ in range(SLOW_BYTES):
                with suppress(TimeoutError):
                    if not await asyncio.wait_for(reader.read(1000), PAUSE):
                        break
                writer.write(b"a")
        finally:
            self.connected -= 1
            writer.close()


if __name__ == "__main__":
    main()
