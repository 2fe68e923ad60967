"""Waits for the counts of sources."""

import time

from api.http.budgets import budget_counter
from api.ingest.source_counts import load_source_counts
from api.models import Site


def wait_until_counted(site: Site, received: int) -> None:
    """Wait until the sources counted this number of events. A web process stores its counts every second."""
    deadline = time.monotonic() + 60
    source_ids = list(site.sources.values_list("pk", flat=True))
    while (counted := _count_received(site, source_ids)) != received or not budget_counter().is_written:
        assert time.monotonic() < deadline, counted
        time.sleep(0.05)


def _count_received(site: Site, source_ids: list[int]) -> int:
    return sum(counts.received for counts in load_source_counts(site.pk, source_ids).values())
