"""Waits for the counts of sources."""

import time

from api.ingest.source_counts import load_source_counts
from api.models import Site


def wait_until_counted(site: Site, received: int) -> None:
    """Wait until the sources counted this number of events. A web process stores its counts every second."""
    deadline = time.monotonic() + 60
    source_ids = list(site.sources.values_list("pk", flat=True))
    while (counted := sum(counts.received for counts in load_source_counts(site.pk, source_ids).values())) != received:
        assert time.monotonic() < deadline, counted
        time.sleep(0.05)
