"""Deletion of facts and activity of visits by age. Exposures stay, because experiments are read long afterwards."""

import time
from datetime import datetime, timedelta
from itertools import groupby
from operator import itemgetter
from typing import Final

from goals.visit_models import VisitActivity, VisitFact

# A visitor who comes every other week has had 26 visits by then, and SDKs read 25 at most.
KEPT: Final = timedelta(days=400)
PAGE: Final = 5_000  # rows

Row = tuple[int, int, datetime]  # site, id, time


def prune_visits(*, now: datetime, until: float) -> int:
    """Delete facts and activity that are older than KEPT, until a monotonic time, and return how many."""
    return _prune(VisitFact, "occurred_at", before=now - KEPT, until=until) + _prune(
        VisitActivity, "last_at", before=now - KEPT, until=until
    )


def _prune(model: type[VisitFact | VisitActivity], time_field: str, *, before: datetime, until: float) -> int:
    """Delete old rows page by page in the order of ids, which is that of their times but for a few.

    It ends with a page that is not full, or that has no old row. No index of times is needed. A query a page, and one
    for each of its sites.
    """
    after, pruned, goes_on = 0, 0, True
    while goes_on and time.monotonic() < until:
        rows = list_next(model, time_field, after=after)
        old = sorted((site_id, id_) for site_id, id_, at in rows if at < before)
        for site_id, of_site in groupby(old, key=itemgetter(0)):
            # A row of activity may have been extended meanwhile.
            still_old = {"pk__in": [id_ for _, id_ in of_site], f"{time_field}__lt": before}
            count, _ = model.objects.filter(site_id=site_id, **still_old).delete()
            pruned += count
        after = rows[-1][1] if rows else after
        goes_on = len(rows) == PAGE and bool(old)
    return pruned


def list_next(model: type[VisitFact | VisitActivity], time_field: str, *, after: int) -> list[Row]:
    """Return the next rows of all sites by id. One query."""
    rows = model.objects.filter(pk__gt=after).order_by("pk").values_list("site_id", "pk", time_field)
    return list(rows[:PAGE])
