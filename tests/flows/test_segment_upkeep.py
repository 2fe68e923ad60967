"""Upkeep of segments in the background: one site's trouble, order of work, and its clock."""

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from threading import Event

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from api.checks.run import run_check
from api.digest import segments
from api.ingest.provisioning import create_site
from cohorts.models import Identity
from cohorts.segment_tables import Segment, SegmentChange, SegmentMember, SegmentRecheck
from cohorts.segments import membership, upkeep
from goals.models import Goal
from sessions import read_next_transaction, read_oldest_transaction
from tests.support.concurrency import wait_until
from tests.support.segments import CHECK, LONG_AGO, assert_exact, keep_up, make_segment, members
from tests.world import START, World

PRO = {"on": "trait", "path": ["plan"], "test": {"type": "text", "texts": ["pro"]}}


def work_on(world: World) -> upkeep.Upkeep:
    return upkeep.Upkeep(
        world.site.pk, company_is_group=False, load_outside=segments.load_outside, clock=lambda: datetime.now(UTC)
    )


def begin_sweep(segment: Segment) -> None:
    Segment.objects.filter(site=segment.site_id, pk=segment.pk).update(sweep=True)


def test_upkeep__of_a_site_that_fails__goes_on_with_the_others(world: World) -> None:
    for name in ("a", "b", "c"):
        site = create_site(name=name)
        Segment.objects.create(site=site, name="broken", conditions=[[{"on": "nothing"}]])
        SegmentRecheck.objects.create(site=site, segment=Segment.objects.get(site=site))
    Segment.objects.update(created_at=LONG_AGO)
    world.identify(traits={"plan": "pro"})

    segment = make_segment(world.site, [PRO])
    segments.tend(now=datetime.now(UTC), until=time.monotonic() + 10)

    assert members(segment) == {"user-1"}


def test_upkeep__of_a_person_that_is_locked_for_long__takes_the_time_after_the_lock(world: World) -> None:
    world.identify(traits={"plan": "pro"})
    segment = make_segment(world.site, [PRO], is_filled=False)
    after = read_next_transaction()
    upkeep.admit_sweeps(world.site.pk, [segment.pk], after=after)
    wait_until(lambda: read_oldest_transaction() >= after)  # a sweep waits for older writers, as the nudger's
    is_locked = Event()
    released = list[datetime]()

    def hold() -> None:
        with transaction.atomic():
            list(Identity.objects.select_for_update().filter(site=world.site))
            is_locked.set()
            time.sleep(0.5)
            released.append(datetime.now(UTC))
        connection.close()

    with ThreadPoolExecutor() as pool:
        held = pool.submit(hold)
        assert is_locked.wait(5)
        segments.run_upkeep(clock=lambda: datetime.now(UTC), until=time.monotonic() + 10)
        held.result()

    assert members(segment) == {"user-1"}
    assert SegmentMember.objects.get(site=world.site).since >= released[0]


def test_recheck__of_people_behind_many_notes_of_segments__comes_to_them(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cohorts.segments.upkeep.recheck.__kwdefaults__", {"limit": 2})
    segment = make_segment(world.site, [PRO])
    world.identify(traits={"plan": "pro"})
    begin_sweep(segment)
    for _ in range(5):
        upkeep.note_segments(world.site.pk, [segment.pk])
    membership.note_people(world.site.pk, list(Identity.objects.values_list("id", flat=True)))

    assert upkeep.recheck(work_on(world))

    assert not SegmentRecheck.objects.exclude(identity=None).exists()
    assert SegmentRecheck.objects.count() == 5  # they came after the sweep began


def test_recheck__of_a_segment_that_was_noted_often__begins_one_sweep(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cohorts.segments.upkeep.recheck.__kwdefaults__", {"limit": 2})
    segments_ = [make_segment(world.site, [PRO], name=name) for name in ("a", "b")]
    for _ in range(5):
        upkeep.note_segments(world.site.pk, [segment.pk for segment in segments_])
    upkeep.note_segments(world.site.pk, [2_000_000_000])  # one that was removed meanwhile

    assert upkeep.recheck(work_on(world))

    assert Segment.objects.filter(sweep=True).count() == 2
    assert not SegmentRecheck.objects.exists()


@pytest.mark.promise("N-11")
def test_membership__of_a_person_with_many_identities__asks_all_of_them(world: World) -> None:
    segment = make_segment(world.site, [PRO])
    world.send(world.event("identify", userId=None, anonymousId="z", traits={"plan": "pro"}))
    assert members(segment) == {"z"}
    world.send(*(world.event("track", userId="u1", anonymousId=f"a{number}") for number in range(300)))

    world.send(world.event("track", at=1, userId="u1", anonymousId="z"))

    assert members(segment) == {"u1"}
    assert_exact(world)


def test_membership__of_a_person_with_too_many_identities__follows_in_the_background(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    segment = make_segment(world.site, [PRO])
    world.send(*(world.event("track", userId="u1", anonymousId=f"a{number}") for number in range(3)))
    monkeypatch.setattr(segments, "MOST_IDENTITIES", 3)

    world.identify(at=1, userId="u1", traits={"plan": "pro"})

    assert members(segment) == set()
    assert run_check(CHECK, world.site.pk).found == {}
    keep_up()
    assert members(segment) == {"u1"}
    assert_exact(world)


def test_membership__of_a_device_that_joins_a_user__leaves_none_at_it(world: World) -> None:
    segment = make_segment(world.site, [PRO])
    world.send(world.event("identify", userId=None, anonymousId="a9", traits={"plan": "pro"}))
    assert members(segment) == {"a9"}

    world.send(world.event("track", at=1, userId="u1", anonymousId="a9"))

    assert members(segment) == {"u1"}
    assert SegmentMember.objects.filter(site=world.site).count() == 1
    assert_exact(world)


def test_turn__of_one_of_two_due_memberships_of_a_person__leaves_the_other_due(world: World) -> None:
    """The limit of a step counts rows, not people."""
    soon = {"on": "trait", "path": ["day"], "test": {"type": "date", "how": "in_next", "days": 1}}
    first, second = make_segment(world.site, [soon]), make_segment(world.site, [soon], name="second")
    day = datetime.now(UTC) + timedelta(days=2)
    world.send(world.event("identify", userId="u1", traits={"day": day.isoformat()}))
    assert (members(first), members(second)) == (set(), set())

    later = datetime.now(UTC) + timedelta(days=1, hours=1)
    while upkeep.turn_due(replace(work_on(world), clock=lambda: later), limit=1):
        pass

    assert (members(first), members(second)) == ({"u1"}, {"u1"})


def test_membership__of_an_anonymous_person_whose_code_goes_to_a_user__ends(world: World) -> None:
    world.send(world.event("track", event="Buy", userId=None, anonymousId="a1", properties={"k_visitorCode": "v1"}))
    segment = make_segment(world.site, [{"on": "goal", "goal": Goal.objects.get().pk}])
    assert members(segment) == {"a1"}

    world.send(world.event("identify", at=1, userId="u1", traits={"k_visitorCode": "v1"}))

    assert members(segment) == {"u1"}
    assert_exact(world)


def test_sweep__of_a_device_at_which_a_membership_was_left__removes_it(world: World) -> None:
    segment = make_segment(world.site, [PRO])
    world.send(world.event("identify", userId=None, anonymousId="a9", traits={"plan": "pro"}))
    (left,) = SegmentMember.objects.filter(site=world.site)
    world.send(world.event("identify", at=1, userId="u1", anonymousId="a9", traits={"plan": "free"}))
    assert members(segment) == set()
    left.save(force_insert=True)

    assert run_check(CHECK, world.site.pk).found
    begin_sweep(segment)
    keep_up()

    assert members(segment) == set()
    assert_exact(world)


def test_changes__that_are_old__are_deleted_by_the_index_of_each_segment(world: World) -> None:
    for name in ("a", "b"):
        segment = make_segment(world.site, [PRO], name=name)
        for at in (LONG_AGO, LONG_AGO, START):
            SegmentChange.objects.create(site=world.site, segment=segment, identity_id=1, at=at, is_member=True)

    with CaptureQueriesContext(connection) as queries:
        while upkeep.prune_changes(world.site.pk, before=START, limit=2):
            pass

    assert list(SegmentChange.objects.values_list("at", flat=True)) == [START, START]
    reads = [each["sql"] for each in queries if each["sql"].startswith('SELECT "cohorts_segmentchange"')]
    assert reads
    assert all('"segment_id" =' in sql for sql in reads)
