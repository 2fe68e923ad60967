"""Bench of the time from an accepted event until remote data shows it, with the processes of `make run`.

    python -m tests.bench.lag [--rounds 5] [--seconds 20] [--rates 100 500] [--probes 10] [--poll-ms 3]
        [--waiting 1150] [--json FILE]

At each rate most events are the mix of the other benches, and `--probes` per second are probes. The 200 of a probe's
identify starts the clock, then its key is read repeatedly until the new trait appears. The last wait between two reads
is the resolution. The yardstick is a bare Django view's answer at the same rate. The last measurement repeats the
lowest rate while `--waiting` new goal names wait for the site's quota.
"""

import argparse
import json
import threading
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count

from tests.bench.events import is_digested
from tests.bench.figures import Figure, describe_machine, make_parser, median, percentile, publish
from tests.bench.load import Connection, at_rate, get, mixed_post, post, read
from tests.bench.stage import Stage, expect, running_stage

PROBERS = 16
PATIENCE = 30.0
PEOPLE = 10_000


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
    given = options.parse_args()
    with running_stage() as stage:
        with stage.connect() as connection:
            print(describe_machine(connection), flush=True)
        shape = {"workers": 1, "threads": given.threads}
        with stage.hello(**shape) as hello, stage.goalpost(**shape) as web, stage.worker():
            measure(stage, given, web.port, rate=given.rates[0], run="warm")
            figures = [
                figure for rate in given.rates for figure in compare(stage, given, hello.port, web.port, rate=rate)
            ]
            queue_names(stage, given, web.port)
            figures += compare(stage, given, hello.port, web.port, rate=given.rates[0], beside=" beside waiting names")
            left = stage.scalar("SELECT count(*) FROM goals_waitingname WHERE NOT has_goal")
            expect(left > 0, "all names had their goals before the end")
            print(f"{left} names still wait", flush=True)
        publish(figures, given.json)


def queue_names(stage: Stage, given: argparse.Namespace, port: int) -> None:
    """Set the usual quota of a site, and send new names until enough of them wait."""
    stage.scalar("UPDATE api_site SET goals_per_10_seconds = 50, goals_per_hour = 1000 RETURNING id")
    stage.scalar("DELETE FROM goals_goalcreation RETURNING id")
    connection = Connection(port)
    for number in range(given.waiting + 50):
        body = {"type": "track", "event": f"New {number}", "userId": "user-1", "messageId": f"new-{number}"}
        status, answer = connection.ask(post(json.dumps(body).encode()))
        expect(status == 200, f"{status} {answer.decode(errors='replace')}")
    connection.close()
    names = "SELECT count(*) FROM goals_waitingname WHERE NOT has_goal"
    stage.wait_until(lambda: stage.scalar(names) >= given.waiting - 50, "the names to wait")


def compare(
    stage: Stage, given: argparse.Namespace, hello: int, web: int, *, rate: int, beside: str = ""
) -> list[Figure]:
    """Measure the lag and the yardstick at one rate."""
    lags: list[list[float]] = []
    plain: list[list[float]] = []
    for number in range(given.rounds):
        for name in ("hello", "lag") if number % 2 else ("lag", "hello"):
            if name == "hello":
                with at_rate(hello, lambda _: get("/hello"), rate=rate, seconds=given.seconds) as load:
                    pass
                load.check("hello")
                plain.append(load.latencies)
            else:
                probes = measure(stage, given, web, rate=rate, run=f"{rate}-{number}{beside}")
                lags.append(probes.lags)
                print(
                    f"round {number + 1} at {rate}/s: p50 {percentile(probes.lags, 50):.0f} ms,",
                    f"p99 {percentile(probes.lags, 99):.0f} ms of {len(probes.lags)} probes;",
                    f"the poll resolves {percentile(probes.steps, 50):.1f} ms, p99 {percentile(probes.steps, 99):.1f}",
                    flush=True,
                )
    return [
        Figure(
            f"200 until visible at {rate} events/s{beside}: p{percent}",
            median([percentile(times, percent) for times in lags]),
            "ms",
            median([percentile(times, percent) for times in plain]),
            "hello view's answer",
            floor="< 1000" if beside and percent == 99 else "",
            aim="< 150" if (rate, percent, beside) == (100, 99, "") else "",
        )
        for percent in (50, 99)
    ]


def measure(stage: Stage, given: argparse.Namespace, port: int, *, rate: int, run: str) -> Probes:
    """Send probes during a load of events, and require that all of them are digested."""
    probes = Probes()
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
