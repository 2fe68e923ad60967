"""Goalpost's own segments in the file of SDKs: what all SDKs judge alike is served, and the rest has a reason."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from api.models.sdk_configuration import note_configuration_changed
from api.remote_data.flag_import import Import, import_file
from api.remote_data.sdk_segments import explain_withheld
from api.remote_data.segment_changes import create_segment, delete_segment
from cohorts.models import CustomData
from cohorts.segment_tables import Segment
from cohorts.segments.saving import SegmentInUseError
from goals.flags.models import ImportedSegment
from goals.models import Goal
from tests.support.sdk_file import change
from tests.support.segments import make_segment, skip_imported_ids
from tests.world import SITECODE, World

GOAL = {"on": "goal", "goal": 1001}
VIP = {"on": "persona", "name": "vip"}
SAID = {"targetingType": "CONVERSIONS", "goalId": 1001, "isInclude": True}


def get_file(world: World) -> Any:
    note_configuration_changed(world.site.pk, now=datetime.now(UTC))
    return world.client.get(f"/v3/{SITECODE}").json()


def load(world: World, file: Any) -> Import:
    return import_file(world.site, json.dumps(file), environment="production", actor="ada", now=datetime.now(UTC))


@pytest.fixture(autouse=True)
def ids(transactional_db: None) -> None:
    skip_imported_ids()


def make(world: World, *groups: list[dict[str, Any]], name: str = "own") -> Segment:
    return make_segment(world.site, *groups, name=name, is_filled=False)


def flag_for(segment_id: int) -> Any:
    return change("featureFlags", 0, "rules", 0, "segmentId", to=segment_id)


def rules_of(file: Any) -> list[int]:
    return [rule["segmentId"] for flag in file["featureFlags"] for rule in flag["rules"]]


@pytest.mark.promise("N-11")
def test_segment__that_every_sdk_judges_alike__is_served_with_its_rules(world: World) -> None:
    segment = make(world, [GOAL, {**GOAL, "negated": True}], [GOAL])

    assert load(world, flag_for(segment.pk)).problems == []

    file = get_file(world)
    (served,) = (each for each in file["segments"] if each["id"] == segment.pk)
    assert served == {
        "id": segment.pk,
        "name": "own",
        "audienceTracking": False,
        "conditionsData": {
            "firstLevelOrOperators": [False],
            "firstLevel": [
                {"orOperators": [True], "conditions": [SAID, {**SAID, "isInclude": False}]},
                {"orOperators": [], "conditions": [SAID]},
            ],
        },
    }
    assert rules_of(file) == [segment.pk, 9]
    assert explain_withheld(world.site.pk) == {}


def test_segment__that_only_goalpost_judges__is_withheld_with_its_rules_and_has_a_reason(world: World) -> None:
    segment = make(world, [VIP])
    naming = make(world, [{"on": "segment", "segment": segment.pk}], name="naming")

    assert load(world, flag_for(naming.pk)).problems == []

    file = get_file(world)
    assert not {segment.pk, naming.pk} & {each["id"] for each in file["segments"]}
    assert rules_of(file) == [9]
    reasons = explain_withheld(world.site.pk)
    assert reasons.keys() == {segment.pk, naming.pk}
    assert all(reason.endswith(".") for reason in reasons.values())


def test_imported_segment__that_leads_to_one_of_goalpost__is_served_if_that_is(world: World) -> None:
    good, bad = make(world, [GOAL]), make(world, [VIP], name="bad")
    to = ("segments", 1, "conditionsData", "firstLevel", 1, "conditions", 0, "segmentId")

    assert load(world, change(*to, to=good.pk)).problems == []
    assert {7, 9, good.pk} <= {each["id"] for each in get_file(world)["segments"]}
    assert load(world, change(*to, to=bad.pk)).problems == []
    file = get_file(world)
    assert 9 not in {each["id"] for each in file["segments"]}
    assert rules_of(file) == [7]


def test_segment__that_leads_through_too_many_others__is_withheld_with_a_reason(world: World) -> None:
    segment = make(world, [GOAL])
    for number in range(20):
        segment = make(world, [{"on": "segment", "segment": segment.pk}], name=str(number))

    assert explain_withheld(world.site.pk) == {segment.pk: "Its conditions lead through more than 20 segments."}
    assert segment.pk not in {each["id"] for each in get_file(world)["segments"]}


def test_number__of_custom_data__is_served_as_its_definition_says(world: World) -> None:
    test = {"type": "number", "how": "above", "number": 5}
    segment = make(world, [{"on": "customData", "index": 8, "test": test}])
    row = CustomData.objects.create(site=world.site, index=8, name="seats", type="LIST")

    assert explain_withheld(world.site.pk).keys() == {segment.pk}
    CustomData.objects.filter(pk=row.pk).update(format="NUMBER")
    assert explain_withheld(world.site.pk) == {}
    (served,) = (each for each in get_file(world)["segments"] if each["id"] == segment.pk)
    (condition,) = served["conditionsData"]["firstLevel"][0]["conditions"]
    assert (condition["valueMatchType"], condition["value"]) == ("GREATER", "5")


def test_file__of_the_site_itself__is_imported_again(world: World) -> None:
    segment = make(world, [GOAL])
    load(world, flag_for(segment.pk))
    file = get_file(world)

    result = load(world, file)

    assert result.problems == []
    assert not ImportedSegment.objects.filter(number=segment.pk).exists()
    assert get_file(world)["segments"] == file["segments"]
    (own,) = (each for each in file["segments"] if each["id"] == segment.pk)
    own["conditionsData"]["firstLevel"][0]["conditions"][0]["goalId"] = 3
    assert "Give this one another" in load(world, file).problems[0].sentence


def create(world: World, conditions: Any, name: str = "new") -> Segment:
    now = datetime.now(UTC)
    return create_segment(world.site, name=name, description="", conditions=conditions, actor="ada", now=now)


def test_segment__that_is_created_and_deleted__is_in_the_file_at_once(world: World) -> None:
    goal = Goal.objects.create(site=world.site, name="Order")
    before = world.client.get(f"/v3/{SITECODE}").headers["last-modified"]

    segment = create(world, [[{"on": "goal", "goal": goal.pk}]])
    answer = world.client.get(f"/v3/{SITECODE}", headers={"if-modified-since": before})
    assert [each["id"] for each in answer.json()["segments"]] == [segment.pk]

    delete_segment(segment, actor="ada", now=datetime.now(UTC))
    assert world.client.get(f"/v3/{SITECODE}").json()["segments"] == []


def test_segment__that_is_created__takes_no_id_of_an_imported_one(world: World) -> None:
    first = create(world, [[VIP]], "first").pk
    ImportedSegment.objects.bulk_create(
        ImportedSegment(site=world.site, number=number, document={}) for number in range(first + 1, first + 7, 2)
    )

    ids = [create(world, [[VIP]], str(number)).pk for number in range(3)]

    assert ids == [first + 2, first + 4, first + 6]


def test_segment__that_a_flag_targets__is_not_deleted(world: World) -> None:
    segment = create(world, [[VIP]])
    load(world, flag_for(segment.pk))

    with pytest.raises(SegmentInUseError, match="persona_flag"):
        delete_segment(segment, actor="ada", now=datetime.now(UTC))
