"""Segments that people save: edits, storms of them, the preview before, and what may be removed."""

from datetime import UTC, datetime
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from api.digest import segments
from api.digest.segments import load_outside
from api.erasure import removal
from api.models import Removal
from api.remote_data import segment_changes
from cohorts.models import Identity
from cohorts.segment_tables import Segment, SegmentChange, SegmentMember, SegmentRecheck
from cohorts.segments import saving, upkeep
from cohorts.segments.conditions import Conditions, read_conditions
from cohorts.segments.saving import SegmentError
from tests.support.segments import LONG_AGO, assert_exact, keep_up, members
from tests.world import World


def plan(*texts: str) -> Conditions:
    return read_conditions([[{"on": "trait", "path": ["plan"], "test": {"type": "text", "texts": texts}}]])


def create(world: World, name: str, conditions: Conditions) -> Segment:
    segment = saving.create(world.site.pk, name=name, description="", conditions=conditions)
    Segment.objects.filter(site=world.site).update(created_at=LONG_AGO)
    segments.forget_lookups()
    return segment


def edit(segment: Segment, conditions: Conditions, **fields: Any) -> Segment:
    return saving.edit(segment, **{"name": segment.name, "description": "", "conditions": conditions, **fields})


def preview_edit(segment: Segment, conditions: Conditions) -> saving.Preview:
    return saving.preview(
        segment.site_id,
        conditions,
        segment_id=segment.pk,
        load_outside=load_outside,
        company_is_group=False,
        now=datetime.now(UTC),
    )


def people(world: World) -> None:
    world.send(*(world.event("identify", userId=f"u{n}", traits={"plan": ["pro", "free"][n % 2]}) for n in range(5)))


@pytest.mark.promise("N-11")
def test_edits__in_a_storm__leave_no_member_of_an_older_version(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cohorts.segments.upkeep.sweep.__kwdefaults__", {"limit": 2})
    people(world)
    segment = create(world, "s", plan("pro"))
    work = upkeep.Upkeep(world.site.pk, company_is_group=False, load_outside=load_outside, clock=lambda: LONG_AGO)
    for texts in (("free",), ("pro", "free"), ("none",), ("free",), ("pro",), ("free",)):
        segments.sweep_settled(work)
        edit(segment, plan(*texts))
        world.identify(userId=f"new-{texts}", traits={"plan": "free"})
        assert world.read("SEGMENTS_u0") == {}

    keep_up()

    segment.refresh_from_db()
    assert segment.version == 7
    assert members(segment) == set(
        Identity.objects.filter(registers__traits__plan__3="free").values_list("value", flat=True)
    )
    assert set(SegmentMember.objects.values_list("version", flat=True)) == {7}
    assert_exact(world)


def test_edit__of_a_segment_that_another_names__renews_both(world: World) -> None:
    people(world)
    segment = create(world, "s", plan("pro"))
    other = create(world, "other", read_conditions([[{"on": "segment", "segment": segment.pk, "negated": True}]]))
    keep_up()
    assert members(other) == {"u1", "u3"}

    edit(segment, plan("free"))
    assert world.read("SEGMENTS_u1") == {}
    keep_up()

    assert members(other) == {"u0", "u2", "u4"}
    with pytest.raises(SegmentError, match="names this one"):
        segment_changes.delete_segment(segment, actor="x", now=datetime.now(UTC))
    for each in (other, segment):
        segment_changes.delete_segment(each, actor="x", now=datetime.now(UTC))
    finish_removals()
    assert not SegmentMember.objects.exists()


def test_removal__of_a_segment__is_seen_at_once_and_deletes_its_rows_step_by_step(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.erasure.removal.CHUNK", 2)
    people(world)
    segment = create(world, "s", plan("pro"))
    kept = create(world, "kept", plan("pro"))
    keep_up()
    upkeep.note_segments(world.site.pk, [segment.pk])
    world.send(world.event("identify", userId="u0", traits={"plan": "free"}))
    mine = [
        model.objects.filter(site=world.site, segment_id=segment.pk)
        for model in (SegmentMember, SegmentChange, SegmentRecheck)
    ]

    segment_changes.delete_segment(segment, actor="x", now=datetime.now(UTC))

    assert [rows.count() for rows in mine] == [2, 1, 1]  # of any number
    assert world.read("SEGMENTS_u2") == {"kept": True}
    assert world.read("common")["segments"] == ["kept"]
    with CaptureQueriesContext(connection) as queries:
        assert removal.sweep(now=datetime.now(UTC))
    assert [rows.count() for rows in mine] == [0, 1, 1]
    assert len(queries) <= 8
    finish_removals()
    assert not any(rows.exists() for rows in mine)
    assert members(kept) == {"u2", "u4"}
    assert Removal.objects.get().rows == 4


def test_removal__of_a_segment_while_a_batch_is_at_work__waits_for_what_it_adds(world: World) -> None:
    people(world)
    segment = create(world, "s", plan("pro"))
    segment_changes.delete_segment(segment, actor="x", now=datetime.now(UTC))
    removal.sweep(now=datetime.now(UTC))
    SegmentMember.objects.create(
        site=world.site, segment_id=segment.pk, identity_id=1, version=1, is_member=True, since=LONG_AGO
    )

    assert removal.sweep(now=datetime.now(UTC))  # deletes it
    assert not removal.sweep(now=datetime.now(UTC))  # another batch may be at work
    assert Removal.objects.get().finished_at is None
    assert not SegmentMember.objects.exists()
    finish_removals()
    assert Removal.objects.get().finished_at is not None


def finish_removals() -> None:
    """Delete all rows of what was removed, as if the last batches that knew it had ended."""
    Removal.objects.update(created_at=LONG_AGO)
    while removal.sweep(now=datetime.now(UTC)):
        pass


def test_edit__of_the_name_alone__keeps_the_members(world: World) -> None:
    people(world)
    segment = create(world, "s", plan("pro"))
    create(world, "taken", plan("pro"))
    keep_up()

    assert edit(segment, plan("pro"), name="renamed").version == 1
    assert world.read("SEGMENTS_u0") == {"renamed": True, "taken": True}
    with pytest.raises(SegmentError, match="has this name"):
        edit(segment, plan("pro"), name="taken")


def test_preview__of_an_edit__says_who_would_enter_and_leave(world: World) -> None:
    people(world)
    segment = create(world, "s", plan("pro"))
    keep_up()

    preview = preview_edit(segment, plan("free"))

    assert (preview.people, preview.members, preview.entering, preview.leaving) == (5, 2, 2, 3)
    assert preview.is_complete
    assert [value for _, value in preview.sample] == ["u1", "u3"]
    assert members(segment) == {"u0", "u2", "u4"}


def test_preview__of_a_segment_that_is_filling__counts_no_member_of_an_older_version(world: World) -> None:
    people(world)
    segment = create(world, "s", plan("pro"))
    keep_up()
    edit(segment, plan("none"))

    preview = preview_edit(segment, plan("free"))

    assert (preview.entering, preview.leaving) == (2, 0)
