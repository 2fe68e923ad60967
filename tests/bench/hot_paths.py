"""Bench of the two hot paths: requests per second, CPU per request, and the wait of a read while the digest works.

    python -m tests.bench.hot_paths [--before DIR] [--rounds 5] [--seconds 5] [--workers 1 2 4] [--connections 64]
                                    [--threads 64] [--rate 200] [--loads ingest read digest] [--json FILE]

The yardsticks are a bare Django view on the same server, and the code of another checkout. The loads take turns within
each round. At the constant rate a wait counts from the time at which the request was due. The filled inbox keeps one
worker busy. CPU is that of all processes of the web server and of PostgreSQL. Needs wrk.
"""

import argparse
import os
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from tests.bench.events import is_digested, make_events
from tests.bench.figures import Figure, describe_machine, make_parser, median, percentile, publish
from tests.bench.load import (
    Load,
    at_rate,
    fill_and_digest,
    fill_inbox,
    get,
    post_script,
    read,
    read_script,
    require_wrk,
    run_wrk,
)
from tests.bench.stage import Stage, Web, Worker, add_before, expect, running_stages

PEOPLE = 1_000
FASTEST = 10_000  # events/s; up to this speed of a worker the filled inbox lasts
FLOORS = {  # (floor, aim) of ratios to the hello view and to the other checkout, by load and web processes
    ("ingest", 1): {"hello": ("0.8", "1.2"), "before": ("1.6", "2.4")},
    ("read", 1): {"hello": ("1.15", "1.6"), "before": ("2.1", "3.0")},
    ("ingest", 2): {"before": ("1.7", "2.4")},
    ("read", 2): {"before": ("2.2", "3.0")},
}
TAIL = ("0.6", "0.4")


@dataclass(frozen=True, slots=True)
class Sample:
    """Result of one load of one round. CPU is in microseconds per request."""

    rate: float
    p50: float
    p99: float
    web: float
    postgresql: float


def main() -> None:
    options = make_parser(__doc__)
    for name, default in (("rounds", 5), ("seconds", 5), ("connections", 64), ("threads", 64), ("rate", 200)):
        options.add_argument(f"--{name}", type=int, default=default)
    options.add_argument("--workers", type=int, nargs="+", default=[1], help="web processes, each in its turn")
    options.add_argument("--loads", nargs="+", choices=LOADS, default=LOADS, help="digest: reads beside the digest")
    add_before(options)
    given = options.parse_args()
    require_wrk()
    with running_stages(given.before) as stages:
        with stages[0].connect() as connection:
            print(describe_machine(connection), flush=True)
        for stage in stages:
            fill_and_digest(stage, make_events(2 * PEOPLE, people=PEOPLE, crowd="reader", run="reader"))
        figures = []
        if doors := [load for load in given.loads if load != "digest"]:
            figures += [figure for workers in given.workers for figure in compare(stages, given, doors, workers)]
        if "digest" in given.loads:
            figures += wait_beside_digest(stages, given)
        publish(figures, given.json)


LOADS = ("ingest", "read", "digest")


def compare(stages: Sequence[Stage], given: argparse.Namespace, doors: Sequence[str], workers: int) -> list[Figure]:
    """Measure the hot paths and the yardsticks with as many requests as they answer."""
    seen: dict[tuple[str, str], list[Sample]] = {("hello", "now"): []}
    seen |= {(door, stage.name): [] for door in doors for stage in stages}
    with ExitStack() as stack:
        hello = stack.enter_context(stages[0].hello(workers=workers, threads=given.threads))
        webs = {stage.name: stack.enter_context(stage.goalpost(workers=workers)) for stage in stages}
        by_name = {stage.name: stage for stage in stages}
        for number in range(given.rounds):
            turn = number % len(seen)
            for door, name in [*seen, *seen][turn : turn + len(seen)]:
                web = hello if door == "hello" else webs[name]
                seen[door, name].append(measure(by_name[name], web, given, door, run=f"{workers}-{number}"))
            print(f"round {number + 1} with {workers}, load {os.getloadavg()[0]:.1f}:", *map(tell, seen.items()))
    return [figure for door in doors for figure in figures_of(seen, door, workers, given.connections)]


def tell(entry: tuple[tuple[str, str], list[Sample]]) -> str:
    (door, name), samples = entry
    last = samples[-1]
    cpu = f"{last.web:.0f}+{last.postgresql:.0f} µs"
    return f"\n    {door:6} {name:6} {last.rate:7,.0f}/s, p50 {last.p50:5.1f} ms, p99 {last.p99:5.1f} ms, {cpu}"


def measure(stage: Stage, web: Web, given: argparse.Namespace, door: str, *, run: str) -> Sample:
    """Run one load of one round."""
    shape = {"seconds": given.seconds, "connections": given.connections}
    path, script = {
        "hello": ("/hello", ""),
        "read": ("/map/map", read_script("user-reader-", PEOPLE)),
        "ingest": ("/segmentio", post_script(run)),
    }[door]
    if door == "ingest":
        stage.empty_inbox()  # the same size in every round
    cpu, begun = (web.cpu(), stage.cpu()), time.monotonic()
    done = run_wrk(web.port, path, script, **shape)
    spent = [
        (after - before) * 1e6 / done.requests for after, before in zip((web.cpu(), stage.cpu()), cpu, strict=True)
    ]
    expect(time.monotonic() - begun < given.seconds + 5, f"{door}: the last answers were late")
    if door == "ingest":
        stored = stage.scalar("SELECT count(*) FROM api_message")
        under_way = given.connections  # maximum at the end
        expect(0 <= stored - done.requests <= under_way, f"{done.requests} answers, {stored} events stored")
    return Sample(done.rate, done.p50, done.p99, *spent)


def figures_of(seen: dict[tuple[str, str], list[Sample]], door: str, workers: int, connections: int) -> list[Figure]:
    """Return rate, p99 and CPU of a load, each beside the hello view and beside the other checkout."""
    where = f"{door}, {workers} web process{'es' if workers > 1 else ''}"
    yardsticks = {"hello": ("hello", "now"), "before": (door, "before")}
    figures = []
    for name, yardstick in yardsticks.items():
        if yardstick not in seen:
            continue
        of = "hello view" if name == "hello" else "before"
        bounds = FLOORS.get((door, workers), {}).get(name, ("", ""))
        tail = TAIL if name == "before" and workers == 1 else ("", "")
        for title, unit, key, limits in (
            (where, "requests/s", "rate", bounds),
            (f"{where}: p50 of {connections} at once", "ms", "p50", ("", "")),
            (f"{where}: p99 of {connections} at once", "ms", "p99", tail),
            (f"{where}: CPU of web", "µs/request", "web", ("", "")),
            (f"{where}: CPU of PostgreSQL", "µs/request", "postgresql", ("", "")),
        ):
            if name == "hello" and key == "postgresql":
                yard = None
            else:
                yard = median([getattr(sample, key) for sample in seen[yardstick]])
            value = median([getattr(sample, key) for sample in seen[door, "now"]])
            figures.append(Figure(title, value, unit, yard, of if yard is not None else "", *limits))
    return figures


def wait_beside_digest(stages: Sequence[Stage], given: argparse.Namespace) -> list[Figure]:
    """Measure reads at a constant rate while the digest works as fast as it can."""
    waits: dict[tuple[str, str], list[Load]] = {("hello", "now"): [], **{("read", stage.name): [] for stage in stages}}
    with ExitStack() as stack:
        hello = stack.enter_context(stages[0].hello(threads=given.threads))
        sides = {}
        for stage in stages:
            stage.empty_inbox()
            web, worker = stack.enter_context(stage.goalpost()), stack.enter_context(stage.worker())
            sides[stage.name] = Side(stage, web, worker)
            worker.pause()
        for number in range(given.rounds):
            for door, name in sorted(waits, reverse=number % 2 == 1):
                side = sides[name]
                side.top_up(int((given.seconds + 2) * FASTEST), run=f"digested-{door}-{number}")
                done, begun = side.stage.count("done"), time.monotonic()
                side.worker.go_on()
                time.sleep(0.5)
                port = hello.port if door == "hello" else side.web.port
                with at_rate(port, requests(door), rate=given.rate, seconds=given.seconds) as load:
                    pass
                speed = (side.stage.count("done") - done) / (time.monotonic() - begun)
                side.worker.pause()
                load.check(door)
                side.require_pending()
                waits[door, name].append(load)
                print(
                    f"round {number + 1}: {door} {name} p50 {percentile(load.latencies, 50):.1f} ms,",
                    f"p99 {percentile(load.latencies, 99):.1f} ms beside {speed:,.0f} events/s;",
                    f"the client was {percentile(load.lateness, 99):.1f} ms late at p99",
                    flush=True,
                )
    figures = []
    for percent in (50, 99):
        of = {key: median([percentile(load.latencies, percent) for load in loads]) for key, loads in waits.items()}
        title = f"read at {given.rate}/s beside the digest: p{percent}"
        figures.append(Figure(title, of["read", "now"], "ms", of["hello", "now"], "hello view"))
        if ("read", "before") in of:
            limits = ("1.0", "0.5") if percent == 99 else ("", "")
            figures.append(Figure(title, of["read", "now"], "ms", of["read", "before"], "before", *limits))
    return figures


@dataclass(frozen=True, slots=True)
class Side:
    """A checkout with web and worker."""

    stage: Stage
    web: Web
    worker: Worker

    def top_up(self, events: int, *, run: str) -> None:
        """Send events of new people until this number is pending. The worker is paused."""
        missing = events - self.stage.count("pending")
        if missing > 0:
            fill_inbox(self.web.port, make_events(missing, people=missing, crowd=run, run=run))

    def require_pending(self) -> None:
        """Exit if the digest had nothing to do at the end."""
        with self.stage.connect() as connection:
            is_dry = is_digested(connection, self.stage)
        expect(not is_dry, "the inbox ran dry: the digest is too fast for this bench")


def requests(door: str) -> Callable[[int], bytes]:
    if door == "hello":
        return lambda _: get("/hello")
    return lambda number: read(f"IDENTIFY_user-reader-{number % PEOPLE}")


if __name__ == "__main__":
    main()
