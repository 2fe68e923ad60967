"""Bench of every list and page of the admin and of the management API: time and number of queries.

    python -m tests.bench.pages --data-dir /tmp/million-data [--rounds 7] [--only goals]

It starts a web server on the database of the data directory (or of DATABASE_URL) and reads the first site, which
tests.bench.seed filled. It marks more than 16 queries and medians over 300 ms. The limit is 50 ms for the request
that an open page of events sends every second. It fails for a page that tests/bench/looks.py does not name.
"""

import argparse
import logging
import os
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import httpx

from api.runtime.processes import claim
from tests.bench.figures import percentile
from tests.bench.seed import database
from tests.bench.stage import ENVIRONMENT, ROOT, Stage, Web, expect

if TYPE_CHECKING:
    from tests.bench.looks import Look, Viewer

KEPT = ("GOALPOST_INBOX_LIMIT", "GOALPOST_API_REQUESTS_PER_MINUTE")
SLOW = 2_000  # milliseconds


@dataclass(frozen=True, slots=True)
class Timed:
    """Times of an address in milliseconds."""

    look: "Look"
    queries: int
    times: Sequence[float]

    @property
    def median(self) -> float:
        return statistics.median(self.times)

    @property
    def mark(self) -> str:
        slow = f"over {self.look.most_milliseconds:.0f} ms" if self.median > self.look.most_milliseconds else ""
        return ", ".join(filter(None, [slow, "queries" if self.queries > self.look.most_queries else ""]))


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--data-dir", type=Path, default=Path(tempfile.gettempdir()) / "goalpost-seed")
    options.add_argument("--rounds", type=int, default=7)
    options.add_argument("--only", default="", help="looks whose names hold this")
    given = options.parse_args()
    logging.getLogger("httpx").setLevel(logging.WARNING)
    os.environ |= {name: ENVIRONMENT[name] for name in KEPT}
    with database(given.data_dir), tempfile.TemporaryDirectory() as name, claim(Path(name)) as lock:
        from api.management.commands import up  # needs the settings
        from api.models import Site
        from tests.bench.looks import Viewer, looks

        site = Site.objects.order_by("pk")[0]
        viewer = Viewer.of(site)
        try:
            named = looks(site)
            unnamed = viewer.unnamed(site, named)
            expect(not unnamed, f"tests/bench/looks.py does not name the pages {unnamed}")
            queries = {look: count_queries(viewer, look) for look in named if given.only in look.what}
            stage = Stage("now", ROOT, Path(name), lock, {}, {"web": up.web_command()}, 0, site.pk, 0)
            with stage.goalpost() as web:
                timings = [
                    Timed(look, count, take_times(viewer, web, look, rounds=given.rounds))
                    for look, count in queries.items()
                ]
        finally:
            viewer.leave()
    print_table(timings)
    over = sum(bool(timing.mark) for timing in timings)
    expect(not over, f"{over} of {len(timings)} are over")


def count_queries(viewer: "Viewer", look: "Look") -> int:
    status, queries = viewer.get(look)
    expect(status in look.allowed, f"{look.address} answers {status}")
    return len(queries)


def take_times(viewer: "Viewer", web: Web, look: "Look", *, rounds: int) -> list[float]:
    """Return the times of `rounds` requests after one for warming up, or of two if that one takes seconds."""
    times: list[float] = []
    with httpx.Client(base_url=f"http://127.0.0.1:{web.port}", timeout=60) as client:
        while len(times) <= rounds:
            begun = time.perf_counter()
            answer = client.get(look.address, headers=viewer.headers_for(look))
            times.append((time.perf_counter() - begun) * 1000)
            expect(answer.status_code in look.allowed, f"{look.address} answers {answer.status_code}")
            if len(times) == 3 and times[0] > SLOW:
                break
    return times[1:]


def print_table(timings: Sequence[Timed]) -> None:
    width = max(len(timing.look.what) for timing in timings)
    print(f"{'page':{width}}  queries  median, ms  p95, ms")
    for timing in timings:
        p95 = percentile(timing.times, 95)
        print(
            f"{timing.look.what:{width}}  {timing.queries:7}  {timing.median:10.0f}  {p95:7.0f}  {timing.mark}".rstrip()
        )


if __name__ == "__main__":
    main()
