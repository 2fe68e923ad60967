"""Signs of activity of visitors, collected in memory and written every few seconds by the nudger's thread.

A page that is open sends one every 15 seconds. A web process that is killed loses the signs of its last seconds, but no
fact: those are messages.
"""

import threading
import time
from datetime import datetime, timedelta
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final

from api.http.database import once
from api.ingest.erased import find_erased_hashes, find_erasing_sites, hash_id
from goals.visit_facts import VisitHolder
from goals.visits import VISIT_GAP, Stretch, join_stretches

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import psycopg

FLUSH_SECONDS: Final = 3.0
MOST_ROWS: Final = 2_000  # a statement
MOST_HOLDERS: Final = 100_000  # in memory, some 40 MB, while the database is away

# An event is at most so much later than its receipt (api.events.clock), so that an earlier extension joins no visits.
QUIET: Final = VISIT_GAP - timedelta(minutes=5)

# A sign extends the latest stretch of its visitor, or begins another one after a gap. Two stretches may extend one row,
# from before and after it, and UPDATE would take only one of them.
# Where visits may begin otherwise than before, segments that ask for visits evaluate the person again.
WRITE: Final = """
WITH seen AS MATERIALIZED (
    SELECT * FROM unnest(%(codes)b::text[], %(users)b::bool[], %(starts)b::timestamptz[], %(ends)b::timestamptz[])
           AS seen (visitor_code, is_user, started_at, last_at)
), latest AS MATERIALIZED (
    SELECT seen.*, v.id, v.id IS NULL OR seen.started_at < v.started_at OR v.last_at < now() - %(quiet)b AS is_turn
      FROM seen LEFT JOIN LATERAL (
        SELECT v.id, v.started_at, v.last_at FROM goals_visitactivity v
         WHERE v.site_id = %(site)b AND v.visitor_code = seen.visitor_code AND v.is_user = seen.is_user
         ORDER BY v.started_at DESC LIMIT 1
    ) AS v ON seen.started_at < v.last_at + %(gap)b AND seen.last_at > v.started_at - %(gap)b
), joined AS (
    SELECT id, min(started_at) AS started_at, max(last_at) AS last_at FROM latest WHERE id IS NOT NULL GROUP BY id
), extended AS (
    UPDATE goals_visitactivity v
       SET started_at = least(v.started_at, j.started_at), last_at = greatest(v.last_at, j.last_at)
      FROM joined j WHERE v.site_id = %(site)b AND v.id = j.id
), begun AS (
    INSERT INTO goals_visitactivity AS v (site_id, visitor_code, is_user, started_at, last_at)
    SELECT %(site)b, visitor_code, is_user, started_at, last_at FROM latest WHERE id IS NULL
    ON CONFLICT (site_id, visitor_code, is_user, started_at) DO UPDATE
       SET last_at = greatest(v.last_at, excluded.last_at)
)
INSERT INTO cohorts_segmentrecheck (site_id, identity_id)
SELECT DISTINCT %(site)b, its.id FROM latest CROSS JOIN LATERAL (
    SELECT i.id FROM cohorts_identity i
     WHERE i.site_id = %(site)b AND i.value = latest.visitor_code
       AND i.kind = CASE WHEN latest.is_user THEN 1 ELSE 2 END OFFSET 0
) AS its
 WHERE latest.is_turn AND EXISTS (
    SELECT FROM cohorts_segment s
     WHERE s.site_id = %(site)b
       AND (s.conditions @> '[[{"on": "visits"}]]' OR s.conditions @> '[[{"on": "seen"}]]'))
"""

SiteHolder = tuple[int, VisitHolder]


class ActivityBuffer:
    """The stretches of activity that a process has not written yet."""

    def __init__(self) -> None:
        self._stretches: dict[SiteHolder, list[Stretch]] = {}
        self._being_written: dict[SiteHolder, list[Stretch]] = {}
        self._lock = threading.Lock()
        self._flushing = threading.Lock()
        self._written_at = 0.0

    def touch(self, site_id: int, holder: VisitHolder, at: datetime) -> None:
        """Note that a visitor is there at this moment."""
        self._add((site_id, holder), Stretch(at, at))

    def find(self, site_id: int, holder: VisitHolder) -> list[Stretch]:
        """Return the stretches of a visitor that are not written yet.

        Ask before you read what is written, so that a flush between the two hides none.
        """
        key = (site_id, holder)
        with self._lock:
            return [*self._being_written.get(key, ()), *self._stretches.get(key, ())]

    @property
    def is_written(self) -> bool:
        """Return True if nothing waits to be written."""
        return not self._stretches and not self._being_written

    def write(self, connection: "psycopg.Connection[Any]") -> None:
        """Write what is due; what cannot be written stays for the next time. Raises psycopg.Error."""
        if time.monotonic() - self._written_at >= FLUSH_SECONDS:
            self.flush(connection)

    def flush(self, connection: "psycopg.Connection[Any]") -> None:
        """Write everything, without people who were erased. Raises psycopg.Error."""
        with self._flushing:  # otherwise two flushes might both begin the stretch of one visitor
            with self._lock:
                stretches, self._stretches = self._stretches, {}
                self._being_written = stretches
            self._written_at = time.monotonic()
            try:
                _write(connection, stretches)
            except BaseException:
                for key, of_key in stretches.items():
                    for stretch in of_key:
                        self._add(key, stretch)
                raise
            finally:
                self._being_written = {}

    def _add(self, key: SiteHolder, stretch: Stretch) -> None:
        """Add a stretch, unless its visitor is one too many: a lost sign loses no fact."""
        with self._lock:
            if key not in self._stretches and len(self._stretches) >= MOST_HOLDERS:
                return
            self._stretches[key] = join_stretches([*self._stretches.get(key, ()), stretch])


def _write(connection: "psycopg.Connection[Any]", stretches: "Mapping[SiteHolder, Sequence[Stretch]]") -> None:
    """Write stretches. One query for each site and MOST_ROWS visitors."""
    rows = _without_erased([(key, each) for key, of_key in sorted(stretches.items()) for each in of_key])
    for site_id, of_site in groupby(rows, key=lambda row: row[0][0]):
        holders = [(holder, stretch) for (_, holder), stretch in of_site]
        for start in range(0, len(holders), MOST_ROWS):
            connection.execute(WRITE, _parameters(site_id, holders[start : start + MOST_ROWS]))


def _without_erased(rows: list[tuple[SiteHolder, Stretch]]) -> list[tuple[SiteHolder, Stretch]]:
    """Return the rows of people who were not erased. A query a site, two if it has erased a person."""
    erasing = find_erasing_sites({site_id for (site_id, _), _ in rows})
    hashes = {key: (key[0], hash_id(key[0], key[1].visitor_code)) for key, _ in rows if key[0] in erasing}
    erased = find_erased_hashes(list(hashes.values())) if hashes else set()
    return [(key, stretch) for key, stretch in rows if hashes.get(key) not in erased]


def _parameters(site_id: int, rows: list[tuple[VisitHolder, Stretch]]) -> dict[str, Any]:
    return {
        "site": site_id,
        "gap": VISIT_GAP,
        "quiet": QUIET,
        "codes": [holder.visitor_code for holder, _ in rows],
        "users": [holder.is_user for holder, _ in rows],
        "starts": [stretch.started_at for _, stretch in rows],
        "ends": [stretch.last_at for _, stretch in rows],
    }


@once
def activity_buffer() -> ActivityBuffer:
    """Return the buffer of this process."""
    return ActivityBuffer()
