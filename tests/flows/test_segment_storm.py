"""Segments that are edited while events come in and sweeps run: no membership is left of an older version."""

import threading
import time
from datetime import UTC, datetime

import pytest
from django.db import connection

from api.digest import run, segments
from api.digest.claims import Claims
from cohorts.segment_tables import Segment, SegmentMember
from cohorts.segments import saving
from cohorts.segments.conditions import Conditions, read_conditions
from tests.support.concurrency import in_threads
from tests.support.segments import LONG_AGO, assert_exact, keep_up, make_segment
from tests.world import World

EDITS = 8
PLANS = ("free", "pro", "team")


def asks(plan: str, *, negated: bool = False) -> Conditions:
    test = {"type": "text", "texts": [plan]}
    return read_conditions([[{"on": "trait", "path": ["plan"], "test": test, "negated": negated}]])


@pytest.mark.promise("N-11")
def test_memberships__after_a_storm_of_edits_events_and_sweeps__are_those_of_a_recomputation(world: World) -> None:
    world.send(*(world.event("identify", userId=f"u{n}", traits={"plan": PLANS[n % 3]}) for n in range(30)))
    edited = make_segment(world.site, [{"on": "trait", "path": ["plan"], "test": {"type": "text", "texts": ["pro"]}}])
    make_segment(world.site, [{"on": "segment", "segment": edited.pk, "negated": True}], name="others")
    is_over = threading.Event()

    def edit() -> None:
        try:
            for number in range(EDITS):
                said = asks(PLANS[number % 3], negated=number > 4)
                saving.edit(edited, name="segment", description="", conditions=said)
                time.sleep(0.2)
        finally:
            is_over.set()

    def send() -> None:
        number = 0
        while not is_over.is_set():
            number += 1
            known = world.event("identify", at=number, userId=f"u{number % 30}", traits={"plan": PLANS[number % 3]})
            new = world.event("identify", at=number, userId=f"new-{number}", traits={"plan": PLANS[number % 2]})
            for event in (known, new):
                assert world.post(event).status_code == 200

    def digest() -> None:
        claims = Claims()
        while not is_over.is_set():
            run.digest_all(claims, seconds=0.2)
        claims.close()

    def sweep() -> None:
        while not is_over.is_set():
            segments.run_upkeep(clock=lambda: datetime.now(UTC), until=time.monotonic() + 0.2)

    parts = [edit, send, digest, digest, sweep, sweep]
    in_threads(len(parts), lambda number: parts[number]())
    world.digest()
    keep_up()

    edited.refresh_from_db()
    assert edited.version == 1 + EDITS
    versions = dict(Segment.objects.values_list("id", "version"))
    assert {(row.segment_id, row.version) for row in SegmentMember.objects.all()} <= set(versions.items())
    assert_exact(world)


def test_sweep__while_an_older_transaction_is_at_work__waits_for_the_people_whom_it_inserts(world: World) -> None:
    """Hold a digest between its look at the segments and its commit."""
    segment = make_segment(world.site, [{"on": "trait", "path": ["plan"], "test": {"type": "text", "texts": ["pro"]}}])
    world.identify(userId="u1", traits={"plan": "free"})
    has_read, may_commit = threading.Event(), threading.Event()
    read_segments = segments.read_segments

    def read_and_wait(site_id: int) -> object:
        found = read_segments(site_id)
        has_read.set()
        assert may_commit.wait(30)
        return found

    def insert() -> None:
        claims = Claims()
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(segments, "read_segments", read_and_wait)
            run.digest_all(claims, seconds=5)
        claims.close()
        connection.close()

    assert world.post(world.event("identify", at=1, userId="u2", traits={"plan": "free"})).status_code == 200
    digesting = threading.Thread(target=insert)
    digesting.start()
    try:
        assert has_read.wait(30)
        saving.edit(segment, name="segment", description="", conditions=asks("free"))
        Segment.objects.update(created_at=LONG_AGO)
        segments.run_upkeep(clock=lambda: datetime.now(UTC), until=time.monotonic() + 60)
        waiting = Segment.objects.get(pk=segment.pk)
        assert (waiting.sweep_after is None, waiting.is_filled) == (False, False)
    finally:
        may_commit.set()
        digesting.join()
    keep_up()

    assert set(SegmentMember.objects.values_list("identity__value", "version")) == {("u1", 2), ("u2", 2)}
    assert_exact(world)
