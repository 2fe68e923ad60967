"""Bench of memory under a long ordinary load: the memory of each process and the queues must not grow.

    python -m tests.bench.soak [--minutes 10] [--events 300] [--reads 100] [--warm-up 60] [--json FILE]

The processes of `make run` receive events and reads at a constant rate. A bare Django view on the same web server
receives the rate of the reads as the yardstick. After the warm-up the bench samples six times a minute: resident memory
of each process, backlog of the inbox, length of Valkey's queue. A slope is the linear fit through all samples.
"""

import os
import statistics
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field

import redis

from api.runtime.processes import Child
from tests.bench.costs import resident
from tests.bench.events import is_digested, person
from tests.bench.figures import Figure, describe_machine, make_parser, percentile, publish
from tests.bench.load import Load, at_rate, get, mixed_post, read
from tests.bench.stage import Stage, expect, running_stage

PEOPLE = 100_000
SAMPLES_A_MINUTE = 6


@dataclass(slots=True)
class Samples:
    """Resident memory in MB by process, and the minutes since the first sample."""

    minutes: list[float] = field(default_factory=list)
    memory: dict[str, list[float]] = field(default_factory=dict)
    backlog: list[int] = field(default_factory=list)
    queue: list[int] = field(default_factory=list)


def main() -> None:
    options = make_parser(__doc__)
    for name, default in (("minutes", 10.0), ("events", 300.0), ("reads", 100.0), ("warm-up", 60.0)):
        options.add_argument(f"--{name}", type=float, default=default)
    given = options.parse_args()
    with running_stage() as stage, ExitStack() as stack:
        with stage.connect() as connection:
            print(describe_machine(connection), flush=True)
        hello = stack.enter_context(stage.hello(threads=32))
        web = stack.enter_context(stage.goalpost())
        worker = stack.enter_context(stage.worker())
        before = stage.scalar("SELECT count(*) FROM api_message")
        shape = {"seconds": given.warm_up + given.minutes * 60}
        requests = {
            "events": (web.port, mixed_post("soak", people=PEOPLE), given.events),
            "reads": (
                web.port,
                lambda number: read(f"IDENTIFY_user-{person('soak', number, PEOPLE)}"),
                given.reads,
            ),
            "hello": (hello.port, lambda _: get("/hello"), given.reads),
        }
        loads = {
            name: stack.enter_context(at_rate(port, request, rate=rate, connections=16, **shape))
            for name, (port, request, rate) in requests.items()
        }
        time.sleep(given.warm_up)
        children = {"hello": hello.child, "web": web.child, "worker": worker.worker, "beat": worker.beat}
        samples = watch(stage, children, minutes=given.minutes)
        finish(stage, loads, before=before)
        publish(figures_of(samples), given.json)


def watch(stage: Stage, children: Mapping[str, Child], *, minutes: float) -> Samples:
    """Take samples for `minutes` minutes, and print a line every minute."""
    samples = Samples()
    begun = time.monotonic()
    broker = redis.Redis.from_url(os.environ["REDIS_URL"])
    total = round(minutes * SAMPLES_A_MINUTE)
    for number in range(total + 1):
        time.sleep(max(0.0, begun + number * 60 / SAMPLES_A_MINUTE - time.monotonic()))
        samples.minutes.append(number / SAMPLES_A_MINUTE)
        sizes = {
            f"{role} {place}": size
            for role, child in children.items()
            for place, size in enumerate(resident(child.process.pid))
        }
        expect(not samples.memory or sizes.keys() == samples.memory.keys(), f"processes came or went: {sorted(sizes)}")
        for name, size in sizes.items():
            samples.memory.setdefault(name, []).append(size)
        samples.backlog.append(stage.scalar("SELECT count(*) FROM api_message WHERE status = 'pending'"))
        samples.queue.append(int(broker.llen("goalpost")))
        if number % SAMPLES_A_MINUTE == 0:
            text = ", ".join(f"{name} {size:.1f}" for name, size in sizes.items())
            print(
                f"minute {samples.minutes[-1]:.0f}: {text} MB;",
                f"{samples.backlog[-1]} pending, {samples.queue[-1]} tasks in the queue",
                flush=True,
            )
    return samples


def finish(stage: Stage, loads: Mapping[str, Load], *, before: int) -> None:
    """Wait for the end of the loads, and require that every request succeeded and every event was digested."""
    for name, load in loads.items():
        load.join()
        load.check(name)
        print(
            f"{name}: {len(load.latencies)} answers, p50 {percentile(load.latencies, 50):.1f} ms,",
            f"p99 {percentile(load.latencies, 99):.1f} ms",
        )
    with stage.connect() as connection:
        stage.wait_until(lambda: is_digested(connection, stage), "the digest")
    stored = stage.scalar("SELECT count(*) FROM api_message WHERE status = 'done'") - before
    sent = len(loads["events"].latencies)
    expect(stored == sent, f"{sent} events were accepted, {stored} are done")


def figures_of(samples: Samples) -> list[Figure]:
    """Return memory at the start and the end, and its slope, by process. The yardstick is the bare view's processes."""
    figures = []
    for name, sizes in samples.memory.items():
        slope = statistics.linear_regression(samples.minutes, sizes).slope
        figures += [
            Figure(f"memory of {name}, at the end", sizes[-1], "MB", sizes[0], "at the start"),
            Figure(f"memory of {name}, slope", slope, "MB/minute", floor="flat" if name.startswith("web") else ""),
        ]
    return [
        *figures,
        Figure("inbox, most pending", max(samples.backlog), "messages"),
        Figure("Valkey, longest queue", max(samples.queue), "tasks"),
    ]


if __name__ == "__main__":
    main()
