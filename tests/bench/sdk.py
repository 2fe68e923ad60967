"""Bench of what Kameleoon's SDKs send and read, each load beside a bare Django view on the same server.

    python -m tests.bench.sdk [--rounds 3] [--seconds 3] [--connections 64] [--json FILE]

The loads take turns within each round: requests of one line, requests of 100 lines, heartbeats of 1,000 open pages and
reads of 1,000 visitors. Nothing is digested meanwhile. CPU is that of the web server and of PostgreSQL. Needs wrk.
"""

import argparse
import logging
import time
from contextlib import ExitStack
from typing import Final

import httpx

from tests.bench.figures import Figure, describe_machine, make_parser, median, publish
from tests.bench.hot_paths import Sample
from tests.bench.load import require_wrk, run_wrk
from tests.bench.stage import SITECODE, Stage, Web, expect, running_stage

PAGES: Final = 1_000
LARGE_AT_ONCE: Final = 4
EVENTS: Final = f"/visit/events?sdkName=javascript&sdkVersion=4.17.1&siteCode={SITECODE}"
FLAGS: Final = "currentVisit=true&customData=true&conversion=true&experiment=true&page=true&staticData=true"
STATIC: Final = "eventType=staticData&browser=CHROME&browserIndex=0&browserVersion=156&os=LINUX&osIndex=3"
# Requests of new page views, each of another visitor; or of the same static data of one page after the other.
LINES: Final = """
local counter = 0
request = function()
  counter = counter + 1
  local lines = {}
  for line = 1, %(lines)d do
    lines[line] = string.format("eventType=page&href=https://shop.example/&title=Shop" ..
      "&nonce=%(run)s%%dX%%d&visitorCode=vc%%dx%%d", counter, line, counter %% 1000, line)
  end
  return wrk.format("POST", nil, {["content-type"] = "*/*"}, table.concat(lines, "\\n"))
end
"""
HEARTBEATS: Final = """
local counter = 0
request = function()
  counter = counter + 1
  local body = string.format("%(static)s&nonce=%%016X&visitorCode=page%%d", counter, counter %% %(pages)d)
  return wrk.format("POST", nil, {["content-type"] = "*/*"}, body)
end
"""
VISITORS: Final = """
local counter = 0
request = function()
  counter = counter + 1
  return wrk.format("GET", string.format("/visit/visitor?siteCode=%(site)s&visitorCode=page%%d&%(flags)s",
    counter %% %(pages)d))
end
"""
TITLES: Final = {
    "hello": "hello view",
    "line": "/visit/events of 1 line",
    "lines": "/visit/events of 100 lines",
    "heartbeats": f"/visit/events, heartbeats of {PAGES:,} pages",
    "visitor": "/visit/visitor",
}


def main() -> None:
    options = make_parser(__doc__)
    for name, default in (("rounds", 3), ("seconds", 3), ("connections", 64)):
        options.add_argument(f"--{name}", type=int, default=default)
    given = options.parse_args()
    require_wrk()
    logging.getLogger("httpx").setLevel(logging.WARNING)  # a line for every request hides the rest
    with running_stage() as stage, ExitStack() as stack:
        with stage.connect() as connection:
            print(describe_machine(connection), flush=True)
        hello, web = stack.enter_context(stage.hello()), stack.enter_context(stage.goalpost())
        open_pages(stage, web)
        samples: dict[str, list[Sample]] = {load: [] for load in TITLES}
        for number in range(given.rounds):
            for load, of_load in samples.items():
                of_load.append(measure(stage, hello if load == "hello" else web, given, load, run=f"{number}"))
                last = of_load[-1]
                print(f"round {number + 1}: {load:10} {last.rate:7,.0f}/s, p99 {last.p99:5.1f} ms", flush=True)
    publish([figure for load in TITLES if load != "hello" for figure in figures_of(samples, load)], given.json)


def open_pages(stage: Stage, web: Web) -> None:
    """Send the first static data of each page, digest it, and give the source a budget that no bench uses up."""
    with httpx.Client(base_url=f"http://127.0.0.1:{web.port}") as client:
        for page in range(PAGES):
            body = f"{STATIC}&nonce=A{page}&visitorCode=page{page}"
            expect(client.post(EVENTS, content=body).status_code == 204, "static data was not taken")
    with stage.connect() as connection:
        budget = ", ".join(
            f"{name}_per_{span} = 1000000000000" for name in ("events", "bytes") for span in ("minute", "day")
        )
        connection.execute(f"UPDATE api_source SET {budget} WHERE kind = 'sdk'")
    with stage.worker():
        stage.wait_until(lambda: not stage.count("pending"), "the digest of the first static data")
    time.sleep(5)  # until the web process reads the budget, and has written the activity


def measure(stage: Stage, web: Web, given: argparse.Namespace, load: str, *, run: str) -> Sample:
    """Run one load of one round, and check that it stored what it should."""
    path, script = {
        "hello": ("/hello", ""),
        "line": (EVENTS, LINES % {"lines": 1, "run": f"A{run}X"}),
        "lines": (EVENTS, LINES % {"lines": 100, "run": f"B{run}X"}),
        "heartbeats": (EVENTS, HEARTBEATS % {"static": STATIC, "pages": PAGES}),
        "visitor": ("/visit/visitor", VISITORS % {"site": SITECODE, "flags": FLAGS, "pages": PAGES}),
    }[load]
    stage.empty_inbox()
    cpu = (web.cpu(), stage.cpu())
    # Threads read large bodies, and a sender that has too many there gets 503.
    connections = min(given.connections, LARGE_AT_ONCE) if load == "lines" else given.connections
    done = run_wrk(web.port, path, script, seconds=given.seconds, connections=connections)
    spent = [
        (after - before) * 1e6 / done.requests for after, before in zip((web.cpu(), stage.cpu()), cpu, strict=True)
    ]
    stored = stage.scalar("SELECT count(*) FROM api_message")
    lines = {"line": 1, "lines": 100}.get(load, 0)
    under_way = connections * lines  # maximum at the end
    expect(0 <= stored - done.requests * lines <= under_way, f"{load}: {done.requests} answers, {stored} events stored")
    return Sample(done.rate, done.p50, done.p99, *spent)


def figures_of(samples: dict[str, list[Sample]], load: str) -> list[Figure]:
    """Return rate, p99 and CPU of a load, beside the hello view."""

    def of(name: str, key: str) -> float:
        return median([getattr(sample, key) for sample in samples[name]])

    return [
        Figure(TITLES[load], of(load, "rate"), "requests/s", of("hello", "rate"), "hello view"),
        Figure(f"{TITLES[load]}: p99", of(load, "p99"), "ms", of("hello", "p99"), "hello view"),
        Figure(f"{TITLES[load]}: CPU of web", of(load, "web"), "µs/request", of("hello", "web"), "hello view"),
        Figure(f"{TITLES[load]}: CPU of PostgreSQL", of(load, "postgresql"), "µs/request"),
    ]


if __name__ == "__main__":
    main()
