"""Bench of every list and page of the admin and of the management API: time, number of queries and bytes.

    python -m tests.bench.pages --data-dir /tmp/million-data [--rounds 7] [--only goals]

It starts a web server on the database of the data directory (or of DATABASE_URL) and reads the first site, which
tests.bench.seed filled. It prints each line when it is measured. It marks more than 12 queries and medians over 200 ms.
A search of the palette may take 100 ms, and the request that an open page of events sends every second 50 ms.
`sign-in` is the median of the sign-in page, asked for between the rounds: on a busy machine both rise. The first visit
of a page has 250 kB at most, with its styles, scripts and images, and the next one 30 kB, with the page alone. Caddy
compresses pages in the image, so their bytes count compressed. The bench fails for a page that tests/bench/looks.py
does not name.
"""

import argparse
import gzip
import logging
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

import httpx

from api.runtime.processes import claim
from tests.bench.figures import percentile
from tests.bench.seed import database
from tests.bench.stage import ENVIRONMENT, ROOT, Stage, expect

if TYPE_CHECKING:
    from tests.bench.looks import Look, Viewer

KEPT = ("GOALPOST_INBOX_LIMIT", "GOALPOST_API_REQUESTS_PER_MINUTE")
SLOW = 2_000  # milliseconds
SIGN_IN: Final = "/admin/login/"
MOST_BYTES: Final = 250_000
MOST_BYTES_OF_NEXT: Final = 30_000
STATIC = re.compile(r'(?:src|href)="(/static/[^"#]+)')
FOREVER: Final = "immutable"


@dataclass(frozen=True, slots=True)
class Timed:
    """Times of an address in milliseconds, and its bytes on the first and on the next visit."""

    look: "Look"
    queries: int
    times: Sequence[float]
    yardstick: float
    first: int
    following: int

    @property
    def median(self) -> float:
        return statistics.median(self.times)

    @property
    def mark(self) -> str:
        most = self.look.most_milliseconds
        marks = {
            f"over {most:.0f} ms": self.median > most,
            "queries": self.queries > self.look.most_queries,
            "bytes": self.first > MOST_BYTES or self.following > MOST_BYTES_OF_NEXT,
        }
        return ", ".join(mark for mark, is_over in marks.items() if is_over)


@dataclass(slots=True)
class Browser:
    """An HTTP client that knows the bytes of the static files that it has read."""

    client: httpx.Client
    files: dict[str, int] = field(default_factory=dict)

    def take_times(self, viewer: "Viewer", look: "Look", *, rounds: int) -> tuple[list[float], float, httpx.Response]:
        """Return the times of `rounds` requests after one for warming up, or of two if that one takes seconds."""
        times: list[float] = []
        beside: list[float] = []
        while len(times) <= rounds:
            begun = time.perf_counter()
            with self.client.stream("GET", look.address, headers=viewer.headers_for(look)) as answer:
                if answer.headers["Content-Type"] != "text/event-stream":  # a live page's stream does not end
                    answer.read()
            times.append((time.perf_counter() - begun) * 1000)
            expect(answer.status_code in look.allowed, f"{look.address} answers {answer.status_code}")
            begun = time.perf_counter()
            self.client.get(SIGN_IN)
            beside.append((time.perf_counter() - begun) * 1000)
            if len(times) == 3 and times[0] > SLOW:
                break
        return times[1:], statistics.median(beside), answer

    def weigh(self, answer: httpx.Response) -> tuple[int, int]:
        """Return the bytes of a page with its static files and without those that a browser keeps for good."""
        if not answer.headers["Content-Type"].startswith("text/html"):
            return 0, 0
        page = len(gzip.compress(answer.content, 5))
        static = set(STATIC.findall(answer.text))
        for address in static - set(self.files):
            file = self.client.get(address)
            expect(FOREVER in file.headers.get("Cache-Control", ""), f"browsers do not keep {address}")
            self.files[address] = int(file.headers["Content-Length"])
        return page + sum(self.files[address] for address in static), page


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
            environment = {"GOALPOST_STATIC_ROOT": collect_static_files(Path(name))}
            stage = Stage("now", ROOT, Path(name), lock, environment, {"web": up.web_command()}, 0, site.pk, 0)
            with stage.goalpost() as web, httpx.Client(base_url=f"http://127.0.0.1:{web.port}", timeout=60) as client:
                browser = Browser(client)
                some = [look for look in named if given.only in look.what]
                over = print_table(browser, viewer, some, rounds=given.rounds)
        finally:
            viewer.leave()
    expect(not over, f"{over} of {len(some)} are over")


def collect_static_files(directory: Path) -> str:
    """Collect the static files under the names that browsers keep, and return their directory."""
    root = str(directory / "static")
    command = [sys.executable, "manage.py", "collectstatic", "--noinput", "--verbosity", "0"]
    subprocess.run(command, check=True, cwd=ROOT, env={**os.environ, "GOALPOST_STATIC_ROOT": root})
    return root


def print_table(browser: Browser, viewer: "Viewer", looks: Sequence["Look"], *, rounds: int) -> int:
    """Measure and print each page; return how many are over a limit."""
    width, over = max(len(look.what) for look in looks), 0
    print(f"{'page':{width}}  queries  median, ms  p95, ms  sign-in, ms  first, kB  next, kB")
    for look in looks:
        queries = count_queries(viewer, look)
        times, yardstick, answer = browser.take_times(viewer, look, rounds=rounds)
        timing = Timed(look, queries, times, yardstick, *browser.weigh(answer))
        figures = f"{queries:7}  {timing.median:10.0f}  {percentile(times, 95):7.0f}  {yardstick:11.0f}"
        sizes = f"{timing.first / 1000:9.0f}  {timing.following / 1000:8.1f}"
        print(f"{look.what:{width}}  {figures}  {sizes}  {timing.mark}".rstrip(), flush=True)
        over += bool(timing.mark)
    return over


def count_queries(viewer: "Viewer", look: "Look") -> int:
    status, queries = viewer.get(look)
    expect(status in look.allowed, f"{look.address} answers {status}")
    return len(queries)


if __name__ == "__main__":
    main()
