"""Segments that people create, change and delete: checks, the audit log, and the version of the SDKs' file."""

from datetime import UTC, datetime
from typing import Any

import pytest
from django.http import Http404

from api.models import AuditEntry, SdkConfiguration
from api.remote_data import segment_changes
from api.remote_data.segment_changes import WrongConditionsError
from cohorts.models import CustomData
from cohorts.segment_tables import Segment
from cohorts.segments.saving import SegmentInUseError, SegmentNameTakenError
from goals.models import Goal
from tests.support.segments import make_segment
from tests.world import World

PRO = {"on": "trait", "path": ["plan"], "test": {"type": "text", "texts": ["pro"]}}


def create(world: World, *conditions: Any, name: str = "pro") -> Segment:
    return segment_changes.create_segment(
        world.site, name=name, description="", conditions=[list(conditions)], actor="ada", now=datetime.now(UTC)
    )


def change(segment: Segment, *conditions: Any, name: str = "pro") -> Segment:
    given = {"name": name, "description": "", "conditions": [list(conditions)]}
    return segment_changes.change_segment(segment, given, actor="ada", now=datetime.now(UTC))


def test_name__that_is_changed_alone__keeps_conditions_that_another_saved_meanwhile(world: World) -> None:
    segment = create(world, PRO)
    read_before = Segment.objects.get(site=world.site, pk=segment.pk)
    change(segment, {**PRO, "negated": True})

    segment_changes.change_segment(read_before, {"name": "New"}, actor="bob", now=datetime.now(UTC))

    saved = Segment.objects.get(site=world.site)
    assert (saved.name, saved.conditions) == ("New", [[{**PRO, "negated": True}]])


def delete(segment: Segment) -> None:
    segment_changes.delete_segment(segment, actor="ada", now=datetime.now(UTC))


def test_segment__created_changed_and_deleted__is_in_the_log_and_a_new_version_each(world: World) -> None:
    versions = []
    segment = create(world, PRO)
    versions.append(SdkConfiguration.objects.get().changed_at)
    change(segment, PRO, name="Pro")
    versions.append(SdkConfiguration.objects.get().changed_at)
    id_ = segment.pk
    delete(segment)
    versions.append(SdkConfiguration.objects.get().changed_at)

    entries = AuditEntry.objects.order_by("pk").values_list("who", "what", "before", "after")
    fields = {"description": "", "conditions": [[PRO]]}
    assert list(entries) == [
        ("ada", f"Created the segment {id_}", None, {"name": "pro", **fields}),
        ("ada", f"Changed the segment {id_}", {"name": "pro"}, {"name": "Pro"}),
        ("ada", f"Deleted the segment {id_}", {"name": "Pro", **fields}, None),
    ]
    assert versions == sorted(set(versions))
    assert not Segment.objects.exists()


def test_segment__saved_unchanged__has_no_entry(world: World) -> None:
    segment = create(world, PRO)

    change(segment, PRO)

    assert AuditEntry.objects.count() == 1


def test_segment__on_a_goal__counts_its_conversions_from_the_beginning(world: World) -> None:
    world.track("Buy")
    goal = Goal.objects.get()

    segment = create(world, {"on": "goal", "goal": goal.pk})
    assert segment.counted_goals == [goal.pk]

    assert change(segment, PRO).counted_goals == []


@pytest.mark.parametrize(
    ("condition", "sentence"),
    [
        ({"on": "goal", "goal": 7}, "[0][0].goal: The site has no goal with the id 7."),
        ({"on": "source", "source": 7}, "[0][0].source: The site has no source with the id 7."),
        ({"on": "segment", "segment": 7}, "[0][0].segment: The site has no segment with the id 7."),
        (
            {"on": "customData", "index": 7, "test": {"type": "any"}},
            "[0][0].index: The site has no custom data with the index 7.",
        ),
        ({"on": "moon"}, "[0][0].on: Invalid value 'moon'."),
    ],
)
def test_conditions__that_name_what_is_not_there__are_refused(
    world: World, condition: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(WrongConditionsError) as refused:
        create(world, condition)

    assert str(refused.value) == sentence
    assert not Segment.objects.exists()


def test_conditions__that_lead_back__are_refused(world: World) -> None:
    segment = create(world, PRO)
    other = create(world, {"on": "segment", "segment": segment.pk}, name="other")

    with pytest.raises(WrongConditionsError, match="lead back"):
        change(segment, {"on": "segment", "segment": other.pk})


def test_conditions__that_stay__may_name_a_goal_that_is_gone(world: World) -> None:
    segment = make_segment(world.site, [{"on": "goal", "goal": 7}])

    assert change(segment, {"on": "goal", "goal": 7}, name="renamed").name == "renamed"
    with pytest.raises(WrongConditionsError):
        change(segment, {"on": "goal", "goal": 8}, name="renamed")


def test_segment__that_others_need__stays(world: World) -> None:
    segment = create(world, PRO)
    other = create(world, {"on": "segment", "segment": segment.pk}, name="other")
    CustomData.objects.create(site=world.site, index=1, name="x", filled_from="segment", filling=str(other.pk))

    with pytest.raises(SegmentInUseError, match="Another segment"):
        delete(segment)
    with pytest.raises(SegmentInUseError, match="custom data 1"):
        delete(other)
    with pytest.raises(SegmentNameTakenError):
        change(other, PRO, name="pro")
    assert Segment.objects.count() == 2


def test_segment__deleted_meanwhile__is_404(world: World) -> None:
    segment = create(world, PRO)
    Segment.objects.filter(site=world.site).delete()

    with pytest.raises(Http404):
        change(segment, PRO)
    with pytest.raises(Http404):
        delete(segment)
