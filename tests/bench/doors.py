"""Requests a second through the two hot paths, beside a bare Django view on the same server; and how long a read waits
while the digest works.

    python -m tests.bench.doors [--rounds 5] [--seconds 5] [--workers 1 2 4] [--threads 64] [--connections 64]
                                [--rate 200] [--json FILE]

Needs wrk. The three loads take turns within each round. The constant rate has its client measure from the time a
request was due; the inbox is filled so that one worker is busy all the while.
"""

import argparse
import time
from collections.abc import Callable

from tests.bench.events import fill_inbox, is_digested, mixed, settle
from tests.bench.figures import Figure, describe_machine, median, parser, percentile, publish
from tests.bench.load import Hammered, at_rate, get, hammer, need_wrk, posts, read, reads
from tests.bench.stage import Stage, expect, stage

PEOPLE = 1_000
FASTEST = 10_000  # events/s that one worker may digest, so that the inbox lasts


def main() -> None:
    options = parser(__doc__)
    for name, default in (("rounds", 5), ("seconds", 5), ("connections", 64), ("threads", 64), ("rate", 200)):
        options.add_argument(f"--{name}", type=int, default=default)
    options.add_argument("--workers", type=int, nargs="+", default=[1], help="web processes, each in its turn")
    given = options.parse_args()
    need_wrk()
    with stage() as here:
        with here.connect() as connection:
            print(describe_machine(connection), flush=True)
        settle(here, mixed(2 * PEOPLE, people=PEOPLE, crowd="reader", run="reader"))
        figures = [figure for workers in given.workers for figure in compare(here, given, workers)]
        publish([*figures, *wait_beside_digest(here, given)], given.json)


def compare(here: Stage, given: argparse.Namespace, workers: int) -> list[Figure]:
    """The hot paths and the yardstick under as many requests as they take."""
    seen: dict[str, list[Hammered]] = {"hello": [], "ingest": [], "read": []}
    shape = {"workers": workers, "threads": given.threads}
    with here.hello(**shape) as hello, here.goalpost(**shape) as door:
        ports = {"hello": hello.port, "ingest": door.port, "read": door.port}
        for number in range(given.rounds):
            turn = number % len(seen)
            for name in [*seen, *seen][turn : turn + len(seen)]:
                seen[name].append(measure(here, given, ports, name, run=f"{workers}-{number}"))
            print(
                f"round {number + 1}:", *(f"{name} {each[-1].rate:,.0f}/s" for name, each in seen.items()), flush=True
            )
    rates = {name: median([each.rate for each in done]) for name, done in seen.items()}
    tails = {name: median([each.p99 for each in done]) for name, done in seen.items()}
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


def measure(here: Stage, given: argparse.Namespace, ports: dict[str, int], name: str, *, run: str) -> Hammered:
    """One load of one round."""
    shape = {"seconds": given.seconds, "connections": given.connections}
    if name == "hello":
        return hammer(ports[name], "/hello", **shape)
    if name == "read":
        return hammer(ports[name], "/map/map", reads("user-reader-", PEOPLE), **shape)
    here.empty_inbox()  # as small in every round
    hammered = hammer(ports[name], "/segmentio", posts(run), **shape)
    stored = here.scalar("SELECT count(*) FROM api_message")
    under_way = given.connections  # at the end, at most
    expect(0 <= stored - hammered.requests <= under_way, f"{hammered.requests} answers, {stored} events stored")
    return hammered


def wait_beside_digest(here: Stage, given: argparse.Namespace) -> list[Figure]:
    """How long a read takes at a constant rate while the digest works as fast as it can."""
    waits: dict[str, list[list[float]]] = {"hello": [], "read": []}
    shape = {"workers": given.workers[0], "threads": given.threads}
    events = int(len(waits) * given.rounds * (given.seconds + 1) * FASTEST)
    here.empty_inbox()
    with here.connect() as connection:
        fill_inbox(connection, here, mixed(events, people=events, crowd="digested", run="digested"))
        with here.hello(**shape) as hello, here.goalpost(**shape) as door, here.worker():
            here.until(lambda: here.scalar("SELECT count(*) FROM api_message WHERE status = 'done'") > 0, "the digest")
            ports = {"hello": hello.port, "read": door.port}
            for number in range(given.rounds):
                for name in sorted(waits, reverse=number % 2 == 1):
                    before, begun = conversions(here), time.monotonic()
                    with at_rate(ports[name], requests(name), rate=given.rate, seconds=given.seconds) as load:
                        pass
                    load.check(name)
                    expect(
                        not is_digested(connection, here), "the inbox ran dry: the digest is too fast for this bench"
                    )
                    speed = (conversions(here) - before) / 0.8 / (time.monotonic() - begun)  # a fifth makes none
                    waits[name].append(load.latencies)
                    print(
                        f"round {number + 1}: {name} p50 {percentile(load.latencies, 50):.1f} ms,",
                        f"p99 {percentile(load.latencies, 99):.1f} ms beside {speed:,.0f} events/s;",
                        f"the client was {percentile(load.lateness, 99):.1f} ms late at p99",
                        flush=True,
                    )
    figures = []
    for percent in (50, 99):
        of = {name: median([percentile(each, percent) for each in done]) for name, done in waits.items()}
        what = f"read at {given.rate}/s beside the digest: p{percent}"
        figures.append(Figure(what, of["read"], "ms", of["hello"], "hello view"))
    return figures


def requests(name: str) -> Callable[[int], bytes]:
    if name == "hello":
        return lambda _: get("/hello")
    return lambda number: read(f"IDENTIFY_user-reader-{number % PEOPLE}")


def conversions(here: Stage) -> int:
    return int(here.scalar("SELECT last_value FROM goals_conversion_id_seq"))


if __name__ == "__main__":
    main()
