"""A mark of a site, which differs when its pages would show something else: events, their outcomes, alerts."""

from collections.abc import Collection
from datetime import UTC, datetime
from typing import Any, Final

from api.http.database import fetch_all
from api.http.refused_keys import SLOT, slot_of

Mark = tuple[Any, ...]

SECONDS_OF_NONE: Final = 30  # a key of no site, which anybody may send, rouses the pages of all sites no more often
MOST_COUNTED: Final = 1_000  # a longer queue is one whose beginning moves, or to which events are added
READ: Final = f"""
SELECT (SELECT id FROM api_message WHERE site_id = %(site)s ORDER BY id DESC LIMIT 1) AS newest,
       (SELECT id FROM api_message WHERE site_id = %(site)s AND status = 'pending' ORDER BY id LIMIT 1) AS oldest,
       (SELECT count(*) FROM (SELECT FROM api_message
         WHERE site_id = %(site)s AND status = 'pending' LIMIT {MOST_COUNTED}) AS those) AS pending,
       (SELECT count(*) FROM (SELECT FROM api_message
         WHERE site_id = %(site)s AND status = 'deferred' LIMIT {MOST_COUNTED}) AS those) AS deferred,
       (SELECT sum(last.received) FROM api_source s CROSS JOIN LATERAL (
          SELECT t.received FROM api_sourcetally t
           WHERE t.site_id = %(site)s AND t.source_id = s.id ORDER BY t.hour DESC LIMIT 1) AS last
         WHERE s.site_id = %(site)s) AS received,
       (SELECT max(last_at) FROM api_refusedkey WHERE site_id = %(site)s AND hour >= %(recent)s) AS refused,
       (SELECT date_bin('{SECONDS_OF_NONE} s', max(last_at), 'epoch') FROM api_refusedkey
         WHERE site_id IS NULL AND hour >= %(recent)s) AS refused_of_none,
       (SELECT array_agg(firing_since ORDER BY id) FROM api_alert WHERE site_id = %(site)s) AS alerts
"""


def read_marks(site_ids: Collection[int]) -> dict[int, Mark]:
    """Return the marks of these sites. One statement a site, of rows by an index. Raises DatabaseDownError."""
    recent = slot_of(datetime.now(UTC)) - SLOT
    return {site_id: fetch_all(READ, {"site": site_id, "recent": recent})[0] for site_id in site_ids}
