"""Segments by the paths of the Automation API, with their conditions in Kameleoon's words (promise W13)."""

import json
from typing import Any
from urllib.parse import quote

import pytest

from cohorts.models import CustomData
from cohorts.segment_tables import Segment
from tests.support.management_api import Caller, body, message, refusal
from tests.support.segments import make_segment
from tests.world import World

PRO: dict[str, Any] = {"on": "trait", "path": ["plan"], "test": {"type": "text", "texts": ["pro"]}}
DATUM = {"targetingType": "CUSTOM_DATUM", "customDataIndex": "3", "valueMatchType": "EXACT", "value": "pro"}
SAID = {
    "firstLevelOrOperators": [],
    "firstLevel": [{"orOperators": [], "conditions": [{**DATUM, "isInclude": True}]}],
}
OWN = [[{"on": "customData", "index": 3, "test": {"type": "text", "texts": ["pro"]}}]]


@pytest.fixture
def plan(world: World) -> CustomData:
    return CustomData.objects.create(site=world.site, index=3, name="plan")


def new(**fields: Any) -> dict[str, Any]:
    return {"name": "pro", "segmentType": "STANDARD", **fields}


@pytest.mark.promise("W13")
def test_segment__created_in_kameleoons_words__is_an_own_segment(world: World, owner: Caller, plan: CustomData) -> None:
    made = body(owner.post("/segments", new(conditionsData=SAID, siteId=world.site.pk)))
    by_id = {**SAID["firstLevel"][0]["conditions"][0], "customDataIndex": None, "customDataId": plan.pk}
    second = {**SAID, "firstLevel": [{"orOperators": [], "conditions": [by_id]}]}
    other = body(owner.post("/segments", new(name="other", conditionsData=second)))

    assert Segment.objects.get(pk=made["id"]).conditions == OWN
    assert (made["conditionsData"], made["conditions"], made["segmentType"]) == (SAID, OWN, "STANDARD")
    assert (made["siteId"], made["tags"], made["audienceTracking"], made["isFavorite"]) == (
        world.site.pk,
        [],
        False,
        False,
    )
    assert (other["conditionsData"], other["conditions"]) == (SAID, OWN)
    assert owner.get(f"/segments/{made['id']}") == made
    assert owner.get("/segments") == [made, other]


@pytest.mark.promise("W13")
def test_segments__filtered_and_paged__are_those_that_pass(world: World, owner: Caller) -> None:
    for name in ("a", "b", "c"):
        make_segment(world.site, [PRO], name=name)
    names = [{"field": "name", "operator": "EQUAL", "parameters": ["a", "c"]}]
    site = [{"field": "siteId", "operator": "EQUAL", "parameters": [str(world.site.pk)]}]
    sort = quote(json.dumps([{"field": "name", "direction": "DESC"}]))

    chosen = owner.get(f"/segments?filter={quote(json.dumps([*names, *site]))}&sort={sort}")
    page = owner.ask("GET", "/segments?perPage=2&page=2")

    assert [row["name"] for row in chosen] == ["c", "a"]
    assert ([row["name"] for row in body(page)], page["X-Pagination-Page-Count"]) == (["c"], "2")
    assert {row["conditionsData"] for row in chosen} == {None}  # of traits SDKs know nothing


def test_segment__sent_back_as_it_was_read__changes_the_other_fields(
    world: World, owner: Caller, plan: CustomData
) -> None:
    for conditions in (OWN, [[PRO]]):
        segment = make_segment(world.site, *conditions, name=f"{len(conditions[0][0])}-{conditions[0][0]['on']}")
        read = owner.get(f"/segments/{segment.pk}")

        answer = owner.ask("PUT", f"/segments/{segment.pk}", {**read, "description": "New"})

        assert body(answer)["description"] == "New"
        segment.refresh_from_db()
        assert (segment.conditions, segment.version) == (conditions, 1)


def test_segment__with_other_conditions__is_found_again(world: World, owner: Caller, plan: CustomData) -> None:
    segment = make_segment(world.site, [PRO])

    changed = body(owner.patch(f"/segments/{segment.pk}", {"conditionsData": SAID}))
    again = body(owner.patch(f"/segments/{segment.pk}", {"conditions": [[PRO]]}))

    assert (changed["conditions"], again["conditions"], again["conditionsData"]) == (OWN, [[PRO]], None)
    segment.refresh_from_db()
    assert segment.version == 3
    assert owner.ask("DELETE", f"/segments/{segment.pk}").status_code == 204
    assert refusal(owner.ask("GET", f"/segments/{segment.pk}")) == (404, "not_found")


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({}, "conditionsData: Send this, or `conditions`"),
        ({"conditionsData": None}, "conditionsData: Send this, or `conditions`"),
        ({"conditionsData": SAID, "conditions": OWN}, "conditionsData: Send this, or `conditions`"),
        (
            {"conditionsData": {"firstLevel": [{"conditions": [{"targetingType": "PAGE_URL"}]}]}},
            "conditionsData: It asks for PAGE_URL",
        ),
        ({"conditionsData": "x"}, "conditionsData: It has no conditions."),
        ({"conditionsData": SAID}, "[0][0].index: The site has no custom data with the index 3."),
    ],
)
def test_segment__with_conditions_that_cannot_be_read__is_refused(
    world: World, owner: Caller, given: dict[str, Any], sentence: str
) -> None:
    answer = owner.post("/segments", new(**given))

    assert refusal(answer) == (400, "invalid_request")
    assert sentence in message(answer)
    assert not Segment.objects.exists()


def test_segment__that_is_needed_or_named_twice__is_409(world: World, owner: Caller, plan: CustomData) -> None:
    segment = make_segment(world.site, [PRO], name="pro")
    make_segment(world.site, [{"on": "segment", "segment": segment.pk}], name="other")

    assert refusal(owner.ask("DELETE", f"/segments/{segment.pk}")) == (409, "in_use")
    assert refusal(owner.post("/segments", new(conditionsData=SAID))) == (409, "name_taken")
