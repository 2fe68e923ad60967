"""Bench of `/v1/batch`: events per second accepted and digested, and the cost of rules in the digest.

    python -m tests.bench.batches [--before DIR] [--rounds 5] [--seconds 5] [--sizes 1 100 1000] [--workers 1]
                                  [--threads 32] [--connections 16] [--events 100000] [--json FILE]

The yardsticks are a bare Django view that reads the same bodies, and another checkout. Within each round the loads take
turns, and so do the digests with and without rules. Needs wrk.
"""

import argparse
import base64
import json
import os
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from tests.bench.digest import digest
from tests.bench.events import is_digested
from tests.bench.figures import Figure, describe_machine, make_parser, median, publish
from tests.bench.load import Connection, basic, require_wrk, run_wrk
from tests.bench.stage import SITECODE, WRITE_KEY, Stage, Web, add_before, expect, running_stages

# A batch as server SDKs send it. Each event has about 500 bytes and a unique messageId.
WRK_BATCH = """
local counter = 0
local one = '{"type":"track","messageId":"%(run)s-%%d","event":"Clicked on Checkout","userId":"user-%%d",' ..
  '"anonymousId":"anon-%%d","timestamp":"2026-11-22T03:19:58.767Z","originalTimestamp":"2026-11-22T03:19:58.767Z",' ..
  '"properties":{"revenue":25.5,"currency":"EUR","products":[{"id":"p1","price":25.5}],' ..
  '"kameleoonVisitorCode":"vc%%d"},"context":{"library":{"name":"analytics-node","version":"3.1.0"},' ..
  '"userAgent":"Mozilla/5.0 (X11; Linux x86_64)","locale":"en-US"},"integrations":{}}'
request = function()
  local events = {}
  for place = 1, %(size)d do
    counter = counter + 1
    local person = counter %% 1000
    events[place] = string.format(one, counter, person, person, person)
  end
  local body = '{"batch":[' .. table.concat(events, ",") .. '],"sentAt":"2026-11-22T03:19:59.000Z"}'
  local headers = {["authorization"] = "Basic %(key)s", ["content-type"] = "application/json"}
  return wrk.format("POST", "%(path)s", headers, body)
end
"""
RULES: list[dict[str, Any]] = [
    {"action": "drop", "nameTest": "prefix", "nameValue": "Heartbeat"},
    {"action": "drop", "path": "properties.is_bot", "pathTest": "equals", "pathValue": "true"},
    {"action": "pattern_goal", "argument": "Viewed order {n}"},
    {"action": "pattern_goal", "argument": "Clicked on product {id}", "eventType": "track"},
    {"action": "no_goal", "nameTest": "pattern", "nameValue": "Debug {any}"},
    {"action": "rename", "argument": "Page: {name}", "eventType": "page"},
    {"action": "group_from", "argument": "properties.country", "eventType": "identify"},
    {"action": "no_goal", "path": "traits.plan", "pathTest": "equals", "pathValue": "internal"},
]


@dataclass(frozen=True, slots=True)
class Sample:
    """Result of one load of one round. CPU is in microseconds per event."""

    rate: float  # events/s
    p99: float  # ms
    web: float
    postgresql: float


def main() -> None:
    options = make_parser(__doc__)
    for name, default in (
        ("rounds", 5),
        ("seconds", 5),
        ("workers", 1),
        ("threads", 32),
        ("connections", 16),
        ("events", 100_000),
    ):
        options.add_argument(f"--{name}", type=int, default=default)
    options.add_argument("--sizes", type=int, nargs="+", default=[1, 100, 1000], help="events a batch")
    add_before(options)
    given = options.parse_args()
    require_wrk()
    with running_stages(given.before) as stages:
        with stages[0].connect() as connection:
            print(describe_machine(connection), flush=True)
        publish([*accept(stages, given), *to_the_end(stages, given), cost_of_rules(stages[0], given)], given.json)


def script(run: str, size: int, path: str) -> str:
    key = base64.b64encode(f"{WRITE_KEY}:".encode()).decode()
    return WRK_BATCH % {"run": run, "size": size, "key": key, "path": path}


def accept(stages: Sequence[Stage], given: argparse.Namespace) -> list[Figure]:
    """Measure batches of each size sent to the inboxes and to the view that only reads them."""
    seen: dict[tuple[str, int], list[Sample]] = {}
    with ExitStack() as stack:
        sides = {
            "view": (stages[0], stack.enter_context(stages[0].hello(workers=given.workers, threads=given.threads)))
        }
        for stage in stages:
            sides[stage.name] = (stage, stack.enter_context(stage.goalpost(workers=given.workers)))
        for number in range(given.rounds):
            for size in given.sizes:
                turn = number % len(sides)
                for name in [*sides, *sides][turn : turn + len(sides)]:
                    done = send(*sides[name], given, f"{number}-{size}", size, is_view=name == "view")
                    seen.setdefault((name, size), []).append(done)
                print(
                    f"round {number + 1}, load {os.getloadavg()[0]:.1f}: {size} a batch:",
                    *(f"{name} {seen[name, size][-1].rate:,.0f}" for name in sides),
                    "events/s",
                    flush=True,
                )
    figures = []
    for size in given.sizes:
        title = f"/v1/batch, {size} event{'s' if size > 1 else ''} a batch"
        of = {
            name: {key: median([getattr(sample, key) for sample in seen[name, size]]) for key in Sample.__slots__}
            for name in sides
        }
        p99 = f"{title}: p99 of {given.connections} at once"
        for name in ("view", "before") if "before" in of else ("view",):
            yardstick = "view that reads it" if name == "view" else name
            limits = ("1.0", "1.5") if size == 100 and name == "before" else ("", "")
            figures += [
                Figure(title, of["now"]["rate"], "events/s", of[name]["rate"], yardstick, *limits),
                Figure(p99, of["now"]["p99"], "ms", of[name]["p99"], yardstick),
            ]
        for key, what in {"web": "CPU of web", "postgresql": "CPU of PostgreSQL"}.items():
            before = of["before"][key] if "before" in of else None
            figures.append(Figure(f"{title}: {what}", of["now"][key], "µs/event", before, "before" if before else ""))
    return figures


def send(stage: Stage, web: Web, given: argparse.Namespace, run: str, size: int, *, is_view: bool) -> Sample:
    """Send batches of a size as fast as they are answered, and require that all their events are stored."""
    path = "/swallow" if is_view else "/v1/batch"
    if not is_view:
        stage.empty_inbox()
    before = web.cpu(), stage.cpu()
    done = run_wrk(web.port, path, script(run, size, path), seconds=given.seconds, connections=given.connections)
    events = done.requests * size
    cpu = [(now - then) * 1e6 / events for now, then in zip((web.cpu(), stage.cpu()), before, strict=True)]
    if not is_view:
        stored, under_way = count_settled(stage), given.connections * size
        expect(
            0 <= stored - events <= under_way,
            f"{done.requests} batches of {size} were answered, {stored} events stored",
        )
    return Sample(done.rate * size, done.p99, *cpu)


def count_settled(stage: Stage) -> int:
    """Wait until the last requests are stored, and return the number of messages."""
    seen = [-1]

    def is_still() -> bool:
        seen.append(int(stage.scalar("SELECT count(*) FROM api_message")))
        time.sleep(0.5)
        return seen[-1] == seen[-2]

    stage.wait_until(is_still, "the last requests")
    return seen[-1]


def to_the_end(stages: Sequence[Stage], given: argparse.Namespace) -> list[Figure]:
    """Measure batches of 100 while one worker digests, until no message is pending."""
    rates: dict[str, list[float]] = {stage.name: [] for stage in stages}
    accepted: dict[str, list[float]] = {stage.name: [] for stage in stages}
    with ExitStack() as stack:
        sides = []
        for stage in stages:
            stage.empty_inbox()
            web = stack.enter_context(stage.goalpost(workers=given.workers))
            sides.append((stage, web, stack.enter_context(stage.worker())))
            sides[-1][2].pause()
        for number in range(given.rounds):
            for stage, web, worker in sides if number % 2 else sides[::-1]:
                stage.empty_inbox()
                worker.go_on()
                begun = time.monotonic()
                done = run_wrk(
                    web.port,
                    "/v1/batch",
                    script(f"end-{number}", 100, "/v1/batch"),
                    seconds=given.seconds,
                    connections=given.connections,
                )
                with stage.connect() as connection:
                    stage.wait_until(lambda: is_digested(connection, stage), "the digest", 600)  # noqa: B023 - called here
                seconds = time.monotonic() - begun
                worker.pause()
                accepted[stage.name].append(done.rate * 100)
                rates[stage.name].append(stage.count("done") / seconds)
                print(
                    f"round {number + 1}: {stage.name} {accepted[stage.name][-1]:,.0f}/s accepted,",
                    f"{rates[stage.name][-1]:,.0f}/s to the end",
                    flush=True,
                )
    titles = {
        "batches of 100 while one worker digests: accepted": accepted,
        "batches of 100, from the first request to the last digest": rates,
    }
    return [
        Figure(
            title,
            median(seen["now"]),
            "events/s",
            median(seen["before"]) if "before" in seen else None,
            "before" if "before" in seen else "",
        )
        for title, seen in titles.items()
    ]


def cost_of_rules(stage: Stage, given: argparse.Namespace) -> Figure:
    """Measure the digest with eight rules that are tested against every event, and without rules."""
    rates: dict[bool, list[float]] = {True: [], False: []}
    stage.empty_inbox()
    with stage.goalpost() as web, stage.worker() as worker:
        digest(web, worker, 2_000, crowd="warm", run="warm")
        for number in range(given.rounds):
            for has_rules in (True, False) if number % 2 else (False, True):
                replace_rules(web, RULES if has_rules else [])
                run = f"rules-{number}-{has_rules}"
                stage.empty_inbox()
                rates[has_rules].append(digest(web, worker, given.events, crowd=run, run=run).rate)
            print(f"round {number + 1}: {rates[True][-1]:,.0f} with rules, {rates[False][-1]:,.0f} without", flush=True)
    return Figure(
        f"digest under {len(RULES)} rules", median(rates[True]), "events/s", median(rates[False]), "without", "0.9"
    )


def replace_rules(web: Web, rules: Sequence[dict[str, Any]]) -> None:
    """Replace the site's rules by the management API."""
    body = json.dumps({"rules": rules}).encode()
    connection = Connection(web.port)
    status, answer = connection.ask(
        (
            f"PUT /api/sites/{SITECODE}/rules HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: {basic()}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        ).encode()
        + body
    )
    expect(status == 200, f"the rules were not replaced: {status} {answer[:300]!r}")
    connection.close()


if __name__ == "__main__":
    main()
