"""Bench of the two hot paths: requests per second, and the wait of a read while the digest works.

    python -m tests.bench.hot_paths [--rounds 5] [--seconds 5] [--workers 1 2 4] [--threads 64] [--connections 64]
                                [--rate 200] [--json FILE]

The yardstick is a bare Django view on the same server. The three loads take turns within each round. At the constant
rate a wait counts from the time at which the request was due. The filled inbox keeps one worker busy. Needs wrk.
"""

import argparse
import time
from collections.abc import Callable

from tests.bench.events import fill_and_digest, fill_inbox, is_digested, make_events
from tests.bench.figures import Figure, describe_machine, make_parser, median, percentile, publish
from tests.bench.load import WrkResult, at_rate, get, post_script, read, read_script, require_wrk, run_wrk
from tests.bench.stage import Stage, expect, running_stage

PEOPLE = 1_000
FASTEST = 10_000  # events/s; up to this speed of a worker the filled inbox lasts


def main() -> None:
    options = make_parser(__doc__)
    for name, default in (("rounds", 5), ("seconds", 5), ("connections", 64), ("threads", 64), ("rate", 200)):
        options.add_argument(f"--{name}", type=int, default=default)
    options.add_argument("--workers", type=int, nargs="+", default=[1], help="web processes, each in its turn")
    given = options.parse_args()
    require_wrk()
    with running_stage() as stage:
        with stage.connect() as connection:
            print(describe_machine(connection), flush=True)
        fill_and_digest(stage, make_events(2 * PEOPLE, people=PEOPLE, crowd="reader", run="reader"))
        figures = [figure for workers in given.workers for figure in compare(stage, given, workers)]
        publish([*figures, *wait_beside_digest(stage, given)], given.json)


def compare(stage: Stage, given: argparse.Namespace, workers: int) -> list[Figure]:
    """Measure the hot paths and the yardstick with as many requests as they answer."""
    seen: dict[str, list[WrkResult]] = {"hello": [], "ingest": [], "read": []}
    shape = {"workers": workers, "threads": given.threads}
    with stage.hello(**shape) as hello, stage.goalpost(**shape) as web:
        ports = {"hello": hello.port, "ingest": web.port, "read": web.port}
        for number in range(given.rounds):
            turn = number % len(seen)
            for name in [*seen, *seen][turn : turn + len(seen)]:
                seen[name].append(measure(stage, given, ports, name, run=f"{workers}-{number}"))
            print(
                f"round {number + 1}:",
                *(f"{name} {results[-1].rate:,.0f}/s" for name, results in seen.items()),
                flush=True,
            )
    rates = {name: median([result.rate for result in results]) for name, results in seen.items()}
    tails = {name: median([result.p99 for result in results]) for name, results in seen.items()}
    where = f"{workers} web process{'es' if workers > 1 else ''}"
    return [
        figure
        for name in ("ingest", "read")
        for figure in (
            Figure(f"{name}, {where}", rates[name], "requests/s", rates["hello"], "hello view"),
            Figure(
                f"{name}, {where}: p99 of {given.connections} at once", tails[name], "ms", tails["hello"], "hello view"
            ),
        )
    ]


def measure(stage: Stage, given: argparse.Namespace, ports: dict[str, int], name: str, *, run: str) -> WrkResult:
    """Run one load of one round."""
    shape = {"seconds": given.seconds, "connections": given.connections}
    if name == "hello":
        return run_wrk(ports[name], "/hello", **shape)
    if name == "read":
        return run_wrk(ports[name], "/map/map", read_script("user-reader-", PEOPLE), **shape)
    stage.empty_inbox()  # the same size in every round
    hammered = run_wrk(ports[name], "/segmentio", post_script(run), **shape)
    stored = stage.scalar("SELECT count(*) FROM api_message")
    under_way = given.connections  # maximum at the end
    expect(0 <= stored - hammered.requests <= under_way, f"{hammered.requests} answers, {stored} events stored")
    return hammered


def wait_beside_digest(stage: Stage, given: argparse.Namespace) -> list[Figure]:
    """Measure reads at a constant rate while the digest works as fast as it can."""
    waits: dict[str, list[list[float]]] = {"hello": [], "read": []}
    shape = {"workers": given.workers[0], "threads": given.threads}
    events = int(len(waits) * given.rounds * (given.seconds + 1) * FASTEST)
    stage.empty_inbox()
    with stage.connect() as connection:
        fill_inbox(connection, stage, make_events(events, people=events, crowd="digested", run="digested"))
        with stage.hello(**shape) as hello, stage.goalpost(**shape) as web, stage.worker():
            stage.wait_until(
                lambda: stage.scalar("SELECT count(*) FROM api_message WHERE status = 'done'") > 0, "the digest"
            )
            ports = {"hello": hello.port, "read": web.port}
            for number in range(given.rounds):
                for name in sorted(waits, reverse=number % 2 == 1):
                    before, begun = conversions(stage), time.monotonic()
                    with at_rate(ports[name], requests(name), rate=given.rate, seconds=given.seconds) as load:
                        pass
                    load.check(name)
                    expect(
                        not is_digested(connection, stage), "the inbox ran dry: the digest is too fast for this bench"
                    )
                    speed = (conversions(stage) - before) / 0.8 / (time.monotonic() - begun)  # a fifth makes none
                    waits[name].append(load.latencies)
                    print(
                        f"round {number + 1}: {name} p50 {percentile(load.latencies, 50):.1f} ms,",
                        f"p99 {percentile(load.latencies, 99):.1f} ms beside {speed:,.0f} events/s;",
                        f"the client was {percentile(load.lateness, 99):.1f} ms late at p99",
                        flush=True,
                    )
    figures = []
    for percent in (50, 99):
        of = {name: median([percentile(load, percent) for load in loads]) for name, loads in waits.items()}
        title = f"read at {given.rate}/s beside the digest: p{percent}"
        figures.append(Figure(title, of["read"], "ms", of["hello"], "hello view"))
    return figures


def requests(name: str) -> Callable[[int], bytes]:
    if name == "hello":
        return lambda _: get("/hello")
    return lambda number: read(f"IDENTIFY_user-reader-{number % PEOPLE}")


def conversions(stage: Stage) -> int:
    return int(stage.scalar("SELECT last_value FROM goals_conversion_id_seq"))


if __name__ == "__main__":
    main()
