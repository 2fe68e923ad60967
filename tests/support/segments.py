"""Segments for tests: made, filled and compared with a recomputation."""

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection

from api.checks import segments as segment_check
from api.checks.run import CHECKS, run_check
from api.digest import digest, segments
from api.models import Site
from cohorts.segment_tables import Segment, SegmentMember, SegmentRecheck
from tests.world import World

CHECK = next(check for check in CHECKS if check.name == "segments")
LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)


class MovingClock:
    """The clock of the digest and of the check, instead of the class `datetime` there."""

    def __init__(self, now: datetime) -> None:
        self.value = now

    def now(self, tz: Any) -> datetime:
        return self.value.astimezone(tz)

    def move(self, **by: float) -> None:
        self.value += timedelta(**by)


def set_clock(monkeypatch: pytest.MonkeyPatch, now: datetime) -> MovingClock:
    """Let memberships be evaluated at a time that the test moves."""
    clock = MovingClock(now)
    for module in (digest, segment_check):
        monkeypatch.setattr(module, "datetime", clock)
    return clock


def make_segment(site: Site, *groups: list[dict[str, Any]], name: str = "segment", is_filled: bool = True) -> Segment:
    """Return a new segment of groups of conditions; workers know of it already."""
    segment = Segment.objects.create(site=site, name=name, conditions=list(groups))
    Segment.objects.filter(site=site, pk=segment.pk).update(created_at=LONG_AGO, updated_at=LONG_AGO)
    segments.forget_lookups()
    segments.note_goals(site.pk)
    if is_filled:
        keep_up(site=site)
    segment.refresh_from_db()
    return segment


def skip_imported_ids() -> None:
    """Give new segments ids that no imported one of a test has."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT setval(s, greatest(nextval(s), 1000)) FROM (SELECT 'cohorts_segment_id_seq') AS _ (s)")


def keep_up(now: datetime | None = None, *, site: Site | None = None) -> None:
    """Do the work of the background until none is left, or none of a site. A sweep waits for older transactions."""
    deadline = time.monotonic() + 60
    sweeps = Segment.objects.filter(sweep=True, **({} if site is None else {"site": site}))
    while True:
        segments.run_upkeep(clock=lambda: now or datetime.now(UTC), until=deadline)
        if not sweeps.exists():
            return
        assert time.monotonic() < deadline, "A sweep waits for a transaction that does not end."
        time.sleep(0.01)


def members(segment: Segment) -> set[str]:
    """Return the ids at which members are kept."""
    rows = SegmentMember.objects.filter(site_id=segment.site_id, segment=segment, is_member=True)
    return set(rows.values_list("identity__value", flat=True))


def assert_exact(world: World, site: Site | None = None) -> None:
    """Compare the memberships with a recomputation; nothing may wait in the background."""
    site = site or world.site
    assert not SegmentRecheck.objects.filter(site=site).exists()
    assert not Segment.objects.filter(site=site, sweep=True).exists()
    assert run_check(CHECK, site.pk).found == {}
