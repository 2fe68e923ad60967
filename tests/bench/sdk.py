"""Bench of what Kameleoon's SDKs send and read, each load beside a bare Django view on the same server.

    python -m tests.bench.sdk [--rounds 3] [--seconds 3] [--connections 64] [--flags 50] [--loads NAME ...]
                              [--json FILE]

The loads take turns within each round: the file of 50 flags, 304 for it, requests of one line and of 100 lines. Then
come heartbeats of 1,000 open pages, reads of these visitors, and evaluations of one flag and of all. Nothing is
digested meanwhile. CPU is that of the web server and of PostgreSQL. At the end a worker digests page views, each of
which is read back until it appears. Needs wrk.
"""

import argparse
import json
import logging
import time
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import Any, Final

import httpx

from tests.bench.figures import Figure, describe_machine, make_parser, median, percentile, publish
from tests.bench.hot_paths import Sample
from tests.bench.load import require_wrk, run_wrk
from tests.bench.stage import SITECODE, Stage, Web, expect, running_stage

PAGES: Final = 1_000
LARGE_AT_ONCE: Final = 4
PROBES: Final = 50
POLL_SECONDS: Final = 0.003
PATIENCE: Final = 30.0
FILE: Final = f"/v3/{SITECODE}"
EVALUATION: Final = f"/sites/{SITECODE}/ofrep/v1/evaluate/flags"
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
KNOWN_FILE: Final = """
request = function()
  return wrk.format("GET", nil, {["if-modified-since"] = "%(version)s"})
end
"""
CONTEXTS: Final = """
local counter = 0
request = function()
  counter = counter + 1
  local body = string.format('{"context":{"targetingKey":"page%%d"}}', counter %% %(pages)d)
  return wrk.format("POST", nil, {["content-type"] = "application/json"}, body)
end
"""
TITLES: Final = {
    "hello": "hello view",
    "file": "/v3",
    "known": "/v3, 304",
    "line": "/visit/events of 1 line",
    "lines": "/visit/events of 100 lines",
    "heartbeats": f"/visit/events, heartbeats of {PAGES:,} pages",
    "visitor": "/visit/visitor",
    "flag": "OFREP, one flag",
    "flags": "OFREP, all flags",
}


def main() -> None:
    options = make_parser(__doc__)
    for name, default in (("rounds", 3), ("seconds", 3), ("connections", 64), ("flags", 50)):
        options.add_argument(f"--{name}", type=int, default=default)
    options.add_argument("--loads", nargs="+", choices=TITLES, default=list(TITLES))
    given = options.parse_args()
    require_wrk()
    logging.getLogger("httpx").setLevel(logging.WARNING)  # a line for every request hides the rest
    with running_stage() as stage, ExitStack() as stack:
        with stage.connect() as connection:
            print(describe_machine(connection), flush=True)
        hello, web = stack.enter_context(stage.hello()), stack.enter_context(stage.goalpost())
        make_flags(given.flags)
        open_pages(stage, web)
        samples: dict[str, list[Sample]] = {load: [] for load in dict.fromkeys(["hello", *given.loads])}
        for number in range(given.rounds):
            for load, of_load in samples.items():
                of_load.append(measure(stage, hello if load == "hello" else web, given, load, run=f"{number}"))
                last = of_load[-1]
                print(f"round {number + 1}: {load:10} {last.rate:7,.0f}/s, p99 {last.p99:5.1f} ms", flush=True)
        lags = follow_page_views(stage, web)
    figures = [figure for load in samples if load != "hello" for figure in figures_of(samples, load)]
    title = "204 for a page view until /visit/visitor shows it"
    figures += [Figure(f"{title}: p{percent}", percentile(lags, percent), "ms") for percent in (50, 99)]
    publish(figures, given.json)


def make_flags(number: int) -> None:
    """Import a file of flags, each with a segment by custom data."""
    from api.models import Site
    from api.remote_data.flag_import import import_file

    file = {"configuration": {}, "customData": [], "segments": [], "featureFlags": []} | flags_of(number)
    result = import_file(
        Site.objects.get(), json.dumps(file), environment="production", actor="bench", now=datetime.now(UTC)
    )
    expect(not result.problems, f"the flags were not imported: {result.problems}")


def flags_of(number: int) -> dict[str, Any]:
    """Return flags with a rule for everybody in their segment, and the segments, as a file has them."""
    entry = {"id": 1, "index": 1, "name": "plan", "localOnly": False, "isMappingIdentifier": False, "scope": "VISITOR"}
    condition = {
        "targetingType": "CUSTOM_DATUM",
        "isInclude": True,
        "customDataIndex": "1",
        "valueMatchType": "EXACT",
    }
    segments = [
        {
            "id": place,
            "name": f"on plan {place}",
            "conditionsData": {
                "firstLevelOrOperators": [],
                "firstLevel": [{"orOperators": [], "conditions": [{**condition, "value": f"plan-{place}"}]}],
            },
        }
        for place in range(1, number + 1)
    ]
    variations = [
        {"key": key, "name": key, "variables": [{"key": "price", "type": "NUMBER", "value": price}]}
        for key, price in (("off", 1.0), ("on", 2.5))
    ]
    flags = [
        {
            "id": place,
            "featureKey": f"flag-{place}",
            "environmentEnabled": True,
            "defaultVariationKey": "off",
            "variations": variations,
            "rules": [
                {
                    "id": 10 * place,
                    "order": 0,
                    "type": "EXPERIMENTATION",
                    "exposition": 1.0,
                    "experimentId": 5_000 + place,
                    "segmentId": place,
                    "variationByExposition": [{"variationKey": "on", "variationId": 70_000 + place, "exposition": 1.0}],
                }
            ],
        }
        for place in range(1, number + 1)
    ]
    return {"customData": [entry], "segments": segments, "featureFlags": flags}


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
        "file": (FILE, ""),
        "known": (FILE, KNOWN_FILE % {"version": version_of_file(web) if load == "known" else ""}),
        "line": (EVENTS, LINES % {"lines": 1, "run": f"A{run}X"}),
        "lines": (EVENTS, LINES % {"lines": 100, "run": f"B{run}X"}),
        "heartbeats": (EVENTS, HEARTBEATS % {"static": STATIC, "pages": PAGES}),
        "visitor": ("/visit/visitor", VISITORS % {"site": SITECODE, "flags": FLAGS, "pages": PAGES}),
        "flag": (f"{EVALUATION}/flag-1", CONTEXTS % {"pages": PAGES}),
        "flags": (EVALUATION, CONTEXTS % {"pages": PAGES}),
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


def version_of_file(web: Web) -> str:
    """Return the Last-Modified of the file, and require that it brings 304."""
    with httpx.Client(base_url=f"http://127.0.0.1:{web.port}") as client:
        version = client.get(FILE).headers["last-modified"]
        known = client.get(FILE, headers={"if-modified-since": version})
        expect(known.status_code == 304, f"the known file was answered {known.status_code}")
        return version


def follow_page_views(stage: Stage, web: Web) -> list[float]:
    """Send page views one after the other while a worker digests, and return the ms until each is read back."""
    stage.empty_inbox()
    lags = []
    with stage.worker(), httpx.Client(base_url=f"http://127.0.0.1:{web.port}") as client:
        for number in range(PROBES):
            visitor, address = f"probe{number}", f"https://shop.example/{number}"
            body = f"eventType=page&href={address}&title=Shop&nonce=P{number}&visitorCode={visitor}"
            expect(client.post(EVENTS, content=body).status_code == 204, "a page view was not taken")
            accepted = time.monotonic()
            path = f"/visit/visitor?siteCode={SITECODE}&visitorCode={visitor}&{FLAGS}"
            while address not in client.get(path).text:
                expect(time.monotonic() < accepted + PATIENCE, f"the page view of {visitor} did not appear")
                time.sleep(POLL_SECONDS)
            lags.append((time.monotonic() - accepted) * 1000)
    return lags


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
