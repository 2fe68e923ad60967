"""Bench of `/v1/batch`: events per second accepted and digested, and the cost of rules in the digest.

    python -m tests.bench.batches [--rounds 5] [--seconds 5] [--sizes 1 100 1000] [--workers 1] [--threads 32]
                                  [--connections 16] [--events 100000] [--json FILE]

The yardstick is a bare Django view that reads the same bodies. Within each round the loads take turns, and so do the
digests with and without rules. Needs wrk.
"""

import argparse
import base64
import time
from typing import Any

from tests.bench.digest import digest
from tests.bench.events import is_digested
from tests.bench.figures import Figure, describe_machine, make_parser, median, publish
from tests.bench.load import WrkResult, require_wrk, run_wrk
from tests.bench.stage import Stage, expect, running_stage

WRITE_KEY = "bench_write_key"
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
    {"action": "drop", "name_test": "prefix", "name_value": "Heartbeat"},
    {"action": "drop", "path": "properties.is_bot", "path_test": "equals", "path_value": "true"},
    {"action": "pattern_goal", "argument": "Viewed order {n}"},
    {"action": "pattern_goal", "argument": "Clicked on product {id}", "event_type": "track"},
    {"action": "no_goal", "name_test": "pattern", "name_value": "Debug {any}"},
    {"action": "rename", "argument": "Page: {name}", "event_type": "page"},
    {"action": "group_from", "argument": "properties.country", "event_type": "identify"},
    {"action": "no_goal", "path": "traits.plan", "path_test": "equals", "path_value": "internal"},
]


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
    given = options.parse_args()
    require_wrk()
    with running_stage() as stage:
        with stage.connect() as connection:
            print(describe_machine(connection), flush=True)
        add_source(stage)
        publish([*accept(stage, given), *to_the_end(stage, given), cost_of_rules(stage, given)], given.json)


def add_source(stage: Stage) -> None:
    from api.ingest.provisioning import create_source
    from api.models import Site, Source
    from api.models.budgets import BUDGET_FIELDS, MAX_BUDGET

    create_source(Site.objects.get(pk=stage.site_id), name="SDK", kind="server", write_key=WRITE_KEY)
    Source.objects.update(**dict.fromkeys(BUDGET_FIELDS, MAX_BUDGET))


def script(run: str, size: int, path: str) -> str:
    key = base64.b64encode(f"{WRITE_KEY}:".encode()).decode()
    return WRK_BATCH % {"run": run, "size": size, "key": key, "path": path}


def accept(stage: Stage, given: argparse.Namespace) -> list[Figure]:
    """Measure batches of each size sent to the inbox and to the view that only reads them."""
    seen: dict[tuple[str, int], list[WrkResult]] = {}
    width = 0.0
    shape = {"workers": given.workers, "threads": given.threads}
    load = {"seconds": given.seconds, "connections": given.connections}
    with stage.hello(**shape) as hello, stage.goalpost(**shape) as web:
        for number in range(given.rounds):
            for size in given.sizes:
                for name in ("swallow", "batch") if number % 2 else ("batch", "swallow"):
                    port, path = (hello.port, "/swallow") if name == "swallow" else (web.port, "/v1/batch")
                    if name == "batch":
                        stage.empty_inbox()
                    done = run_wrk(port, path, script(f"{number}-{size}", size, path), **load)
                    seen.setdefault((name, size), []).append(done)
                    if name == "batch":
                        stored = count_settled(stage)
                        under_way = given.connections * size
                        expect(
                            0 <= stored - done.requests * size <= under_way,
                            f"{done.requests} batches of {size} were answered, {stored} events stored",
                        )
                        width = float(stage.scalar("SELECT avg(octet_length(body)) FROM api_message"))
                print(
                    f"round {number + 1}: {size} a batch: {seen['batch', size][-1].rate * size:,.0f} events/s,",
                    f"view {seen['swallow', size][-1].rate * size:,.0f}",
                    flush=True,
                )
    figures = []
    for size in given.sizes:
        rate, yardstick = (median([result.rate * size for result in seen[name, size]]) for name in ("batch", "swallow"))
        floor, aim = ("8000 on 2 cores", "15000") if size == 100 else ("", "")
        title = f"/v1/batch, {size} event{'s' if size > 1 else ''} a batch"
        figures.append(Figure(title, rate, "events/s", yardstick, "view that reads it", floor, aim))
        figures.append(Figure(f"{title}: bodies", rate * width / 1e6, "MB/s", yardstick * width / 1e6, "same view"))
        figures.append(
            Figure(
                f"{title}: p99 of {given.connections} at once",
                median([result.p99 for result in seen["batch", size]]),
                "ms",
                median([result.p99 for result in seen["swallow", size]]),
                "same view",
            )
        )
    return figures


def count_settled(stage: Stage) -> int:
    """Wait until the last requests are stored, and return the number of messages."""
    seen = [-1]

    def is_still() -> bool:
        seen.append(int(stage.scalar("SELECT count(*) FROM api_message")))
        time.sleep(0.5)
        return seen[-1] == seen[-2]

    stage.wait_until(is_still, "the last requests")
    return seen[-1]


def to_the_end(stage: Stage, given: argparse.Namespace) -> list[Figure]:
    """Measure batches of 100 while one worker digests, until no message is pending."""
    rates, accepted = [], []
    with (
        stage.goalpost(workers=given.workers, threads=given.threads) as web,
        stage.worker(),
        stage.connect() as connection,
    ):
        for number in range(given.rounds):
            stage.empty_inbox()
            begun = time.monotonic()
            done = run_wrk(
                web.port,
                "/v1/batch",
                script(f"end-{number}", 100, "/v1/batch"),
                seconds=given.seconds,
                connections=given.connections,
            )
            stage.wait_until(lambda: is_digested(connection, stage), "the digest", 600)
            seconds = time.monotonic() - begun
            events = stage.scalar("SELECT count(*) FROM api_message WHERE status = 'done'")
            accepted.append(done.rate * 100)
            rates.append(events / seconds)
            print(f"round {number + 1}: {accepted[-1]:,.0f}/s accepted, {rates[-1]:,.0f}/s to the end", flush=True)
    return [
        Figure("batches of 100 while one worker digests: accepted", median(accepted), "events/s"),
        Figure("batches of 100, from the first request to the last digest", median(rates), "events/s"),
    ]


def cost_of_rules(stage: Stage, given: argparse.Namespace) -> Figure:
    """Measure the digest with eight rules that are tested against every event, and without rules."""
    from api.models import Rule

    rates: dict[bool, list[float]] = {True: [], False: []}
    stage.empty_inbox()
    with stage.worker():
        digest(stage, 2_000, crowd="warm", run="warm", processes=1)
        for number in range(given.rounds):
            for has_rules in (True, False) if number % 2 else (False, True):
                Rule.objects.all().delete()
                if has_rules:
                    Rule.objects.bulk_create(
                        Rule(site_id=stage.site_id, position=place, **rule) for place, rule in enumerate(RULES)
                    )
                run = f"rules-{number}-{has_rules}"
                stage.empty_inbox()
                rates[has_rules].append(digest(stage, given.events, crowd=run, run=run, processes=1).rate)
            print(f"round {number + 1}: {rates[True][-1]:,.0f} with rules, {rates[False][-1]:,.0f} without", flush=True)
    return Figure(
        f"digest under {len(RULES)} rules", median(rates[True]), "events/s", median(rates[False]), "without", "0.9"
    )


if __name__ == "__main__":
    main()
