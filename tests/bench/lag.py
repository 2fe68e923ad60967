"""Bench of the time from an accepted event until remote data shows it, with the processes of `make run`.

    python -m tests.bench.lag [--before DIR] [--rounds 5] [--seconds 20] [--rates 100 500] [--probes 10]
                              [--poll-ms 3] [--waiting 1150] [--json FILE]

At each rate most events are the mix of the other benches, and `--probes` per second are probes. The 200 of a probe's
identify starts the clock, then its key is read repeatedly until the new trait appears. The last wait between two reads
is the resolution. The yardsticks are a bare Django view's answer at the same rate, and another checkout. The last
measurement repeats the lowest rate while `--waiting` new goal names wait for the site's quota.
"""

import argparse
import json
import os
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count

from tests.bench.events import is_digested
from tests.bench.figures import Figure, describe_machine, make_parser, median, percentile, publish
from tests.bench.load import Connection, at_rate, get, mixed_post, post, read
from tests.bench.stage import Stage, Web, Worker, add_before, expect, running_stages

PROBERS = 16
PATIENCE = 30.0
PEOPLE = 10_000


@dataclass(frozen=True, slots=True)
class Side:
    """A checkout with web and worker. The worker is paused while others are measured."""

    web: Web
    worker: Worker

    @property
    def stage(self) -> Stage:
        return self.worker.stage

    @contextmanager
    def awake(self) -> Iterator[None]:
        """Let the worker work during the block."""
        self.worker.go_on()
        yield
        self.worker.pause()


@dataclass(slots=True)
class Probes:
    """Results of the probes in ms."""

    lags: list[float] = field(default_factory=list)
    steps: list[float] = field(default_factory=list)  # between the last read without the trait and the first with it
    failures: list[str] = field(default_factory=list)


def main() -> None:
    options = make_parser(__doc__)
    for name, default in (
        ("rounds", 5),
        ("seconds", 20),
        ("probes", 10),
        ("poll-ms", 3),
        ("threads", 32),
        ("waiting", 1150),
    ):
        options.add_argument(f"--{name}", type=int, default=default)
    options.add_argument("--rates", type=int, nargs="+", default=[100, 500])
    add_before(options)
    given = options.parse_args()
    with running_stages(given.before) as stages:
        with stages[0].connect() as connection:
            print(describe_machine(connection), flush=True)
        with ExitStack() as stack:
            hello = stack.enter_context(stages[0].hello(threads=given.threads))
            sides = [
                Side(stack.enter_context(stage.goalpost()), stack.enter_context(stage.worker())) for stage in stages
            ]
            for side in sides:
                measure(side, given, rate=given.rates[0], run="warm")
                side.worker.pause()
            figures = [figure for rate in given.rates for figure in compare(sides, given, hello, rate=rate)]
            for side in sides:
                with side.awake():
                    queue_names(side, given)
            figures += compare(sides, given, hello, rate=given.rates[0], beside=" beside waiting names")
            for side in sides:
                left = side.stage.scalar("SELECT count(*) FROM goals_waitingname WHERE NOT has_goal")
                expect(left > 0, "all names had their goals before the end")
                print(f"{left} names still wait", flush=True)
        publish(figures, given.json)


def queue_names(side: Side, given: argparse.Namespace) -> None:
    """Set the usual quota of a site, and send new names until enough of them wait."""
    stage = side.stage
    stage.scalar("UPDATE api_site SET goals_per_10_seconds = 50, goals_per_hour = 1000 RETURNING id")
    stage.scalar("DELETE FROM goals_goalcreation RETURNING id")
    connection = Connection(side.web.port)
    for number in range(given.waiting + 50):
        body = {"type": "track", "event": f"New {number}", "userId": "user-1", "messageId": f"new-{number}"}
        status, answer = connection.ask(post(json.dumps(body).encode()))
        expect(status == 200, f"{status} {answer.decode(errors='replace')}")
    connection.close()
    names = "SELECT count(*) FROM goals_waitingname WHERE NOT has_goal"
    stage.wait_until(lambda: stage.scalar(names) >= given.waiting - 50, "the names to wait")


def compare(
    sides: Sequence[Side], given: argparse.Namespace, hello: Web, *, rate: int, beside: str = ""
) -> list[Figure]:
    """Measure the lag and the yardsticks at one rate."""
    waits: dict[str, list[list[float]]] = {"hello": [], **{side.stage.name: [] for side in sides}}
    for number in range(given.rounds):
        turn = number % len(waits)
        for name in [*waits, *waits][turn : turn + len(waits)]:
            if name == "hello":
                with at_rate(hello.port, lambda _: get("/hello"), rate=rate, seconds=given.seconds) as load:
                    pass
                load.check("hello")
                waits[name].append(load.latencies)
                continue
            side = next(side for side in sides if side.stage.name == name)
            with side.awake():
                probes = measure(side, given, rate=rate, run=f"{rate}-{number}{beside}")
            waits[name].append(probes.lags)
            print(
                f"round {number + 1}, load {os.getloadavg()[0]:.1f}, {name} at {rate}/s:",
                f"p50 {percentile(probes.lags, 50):.0f} ms, p99 {percentile(probes.lags, 99):.0f} ms",
                f"of {len(probes.lags)} probes; the poll resolves {percentile(probes.steps, 50):.1f} ms,",
                f"p99 {percentile(probes.steps, 99):.1f}",
                flush=True,
            )
    figures = []
    for percent in (50, 99):
        of = {name: median([percentile(times, percent) for times in seen]) for name, seen in waits.items()}
        title = f"200 until visible at {rate} events/s{beside}: p{percent}"
        floor = "< 1000" if beside and percent == 99 else ""
        aim = "< 150" if (rate, percent, beside) == (100, 99, "") else ""
        figures.append(Figure(title, of["now"], "ms", of["hello"], "hello view's answer", floor, aim))
        if "before" in of:
            limits = ("1.0", "0.7") if aim else ("", "")
            figures.append(Figure(title, of["now"], "ms", of["before"], "before", *limits))
    return figures


def measure(side: Side, given: argparse.Namespace, *, rate: int, run: str) -> Probes:
    """Send probes during a load of events, and require that all of them are digested."""
    probes, stage, port = Probes(), side.stage, side.web.port
    with at_rate(port, mixed_post(run, people=PEOPLE), rate=rate - given.probes, seconds=given.seconds) as load:
        probe(port, probes, given, run)
    sent = len(load.latencies) + len(probes.lags)
    load.check("events")
    expect(bool(probes.lags) and not probes.failures, f"probes that failed: {probes.failures}")
    with stage.connect() as connection:
        stage.wait_until(lambda: is_digested(connection, stage), "the digest")
    done = stage.scalar(
        "SELECT count(*) FROM api_message WHERE status = 'done' AND starts_with(message_id, %s)", f"{run}-"
    )
    expect(done == sent, f"{sent} events were accepted, {done} are done")
    return probes


def probe(port: int, probes: Probes, given: argparse.Namespace, run: str) -> None:
    """Send probes at fixed times and follow each in a separate thread."""
    numbers, total = count(), round(given.probes * given.seconds)
    begun = time.monotonic() + 0.05

    def work() -> None:
        connection = Connection(port)
        while (number := next(numbers)) < total:
            time.sleep(max(0.0, begun + number / given.probes - time.monotonic()))
            try:
                follow(connection, probes, f"{run}-probe-{number}", pause=given.poll_ms / 1000)
            except OSError as error:
                probes.failures.append(repr(error))
                connection.close()
                connection = Connection(port)
        connection.close()

    threads = [threading.Thread(target=work, daemon=True) for _ in range(PROBERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def follow(connection: Connection, probes: Probes, name: str, *, pause: float) -> None:
    """Send one probe, and read its key until the new trait appears."""
    body = {
        "type": "identify",
        "messageId": name,
        "userId": name,
        "anonymousId": f"anonymous-{name}",
        "properties": {"plan": name, "kameleoonVisitorCode": f"visitor-{name}"},
        "timestamp": datetime.now(UTC).isoformat(),
    }
    status, answer = connection.ask(post(json.dumps(body).encode()))
    accepted = before = time.monotonic()
    if status != 200:
        probes.failures.append(f"{status} {answer.decode(errors='replace')}")
        return
    request = read(f"IDENTIFY_{name}")
    while before - accepted < PATIENCE:
        status, answer = connection.ask(request)
        now = time.monotonic()
        if status != 200:
            probes.failures.append(f"{status} {answer.decode(errors='replace')}")
            return
        if json.loads(answer).get("traits", {}).get("plan") == name:
            probes.lags.append((now - accepted) * 1000)
            probes.steps.append((now - before) * 1000)
            return
        before = now
        time.sleep(pause)
    probes.failures.append(f"{name} was not visible after {PATIENCE:.0f} s")


if __name__ == "__main__":
    main()
