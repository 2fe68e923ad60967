"""OFREP and Goalpost's own segments: all conditions count, and what a reader without a token brings opens none."""

import json
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import pytest
from django.db import OperationalError, connection

from api.http.credentials import encode_api_key
from api.remote_data import judged_segments
from api.remote_data.flag_import import import_file
from api.remote_data.judged_segments import JudgedVisitor
from cohorts.models import CustomData
from cohorts.segment_tables import Segment
from goals.models import Goal
from tests.support.asgi import pending
from tests.support.people import audience
from tests.support.sdk import conversion, custom_data, send_lines
from tests.support.sdk_file import change
from tests.support.segments import make_segment, skip_imported_ids
from tests.world import CLIENT_ID, SECRET, SITECODE, World

KEY = encode_api_key(CLIENT_ID, SECRET)
PRO = {"on": "trait", "path": ["plan"], "test": {"type": "text", "texts": ["pro"]}}
VIP = {"on": "persona", "name": "vip"}
KIND = {"on": "customData", "index": 1, "test": {"type": "text", "texts": ["new"]}}


@pytest.fixture(autouse=True)
def ids(transactional_db: None) -> None:
    skip_imported_ids()


def make(world: World, *groups: list[dict[str, Any]], name: str = "own") -> Segment:
    return make_segment(world.site, *groups, name=name, is_filled=False)


def load(world: World, file: Any) -> None:
    result = import_file(world.site, json.dumps(file), environment="production", actor="ada", now=datetime.now(UTC))
    assert result.problems == []


def target(world: World, segment: Segment) -> None:
    """Let the flag be on for the members of a segment."""
    load(world, change("featureFlags", 0, "rules", 0, "segmentId", to=segment.pk))


def variant(world: World, visitor: str = "v1", *, key: bool = False, **context: Any) -> str:
    answer = world.client.post(
        f"/sites/{SITECODE}/ofrep/v1/evaluate/flags/persona_flag",
        json={"context": {"targetingKey": visitor, **context}},
        headers={"x-api-key": KEY} if key else {},
    )
    assert answer.status_code == 200, answer.text
    found: str = answer.json()["variant"]
    return found


@pytest.mark.promise("N-11", "K-61")
def test_flag__of_a_segment_that_only_goalpost_judges__is_on_for_its_members(world: World) -> None:
    target(world, make(world, [VIP], [PRO]))
    world.send(audience(world, "vip", entered=True, userId="v1"), world.event("identify", userId="v2"))
    assert variant(world) == "off"

    world.identify(userId="v1", traits={"plan": "pro"})

    assert (variant(world), variant(world, "v2"), variant(world, "nobody")) == ("on", "off", "off")


@pytest.mark.promise("K-88")
def test_flag__of_a_goal_converted_twice_in_a_week__counts_both_devices(world: World) -> None:
    goal = Goal.objects.create(site=world.site, name="Order")
    target(world, make(world, [{"on": "goal", "goal": goal.pk, "times": 2, "days": 7}]))
    for code in ("v1", "v2"):
        send_lines(world, custom_data(3, "ann", visitor=code, mappingIdentifier=True), conversion(goal.pk, code))

    assert (variant(world, "v1"), variant(world, "ann"), variant(world, "v3")) == ("on", "on", "off")


def test_flag__of_a_negated_segment__is_on_for_an_unknown_visitor(world: World) -> None:
    target(world, make(world, [{**PRO, "negated": True}]))

    assert variant(world, "nobody") == "on"


def test_imported_segment__that_leads_to_one_that_only_goalpost_judges__counts(world: World) -> None:
    segment = make(world, [VIP])
    lead = {"targetingType": "SEGMENT", "isInclude": True, "segmentId": segment.pk}
    load(world, change("segments", 0, "conditionsData", "firstLevel", 0, "conditions", 0, to=lead))
    world.send(audience(world, "vip", entered=True, userId="v1"))

    assert (variant(world), variant(world, "v2")) == ("on", "off")


def test_custom_data__filled_from_a_segment__targets_its_members(world: World) -> None:
    segment = make(world, [VIP])
    load(world, change("segments", 0, "conditionsData", "firstLevel", 0, "conditions", 0, "value", to="true"))
    CustomData.objects.filter(index=1).update(filled_from="segment", filling=str(segment.pk))
    world.send(audience(world, "vip", entered=True, userId="v1"))

    assert (variant(world), variant(world, "v2")) == ("on", "off")
    assert variant(world, "v2", personas="true") == "on"


def test_judgement__after_the_connection_was_lost__is_made_with_another(world: World) -> None:
    segment = make(world, [PRO])
    world.identify(userId="v1", traits={"plan": "pro"})
    call = pending(JudgedVisitor(world.site.pk, False, "v1", (), None))  # noqa: FBT003 - a named field
    with suppress(OperationalError), connection.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(pg_backend_pid())")

    judged_segments._serve([call])

    assert (call.error, call.result) == (None, {segment.pk: True})


def test_context__with_custom_data__opens_segments_as_far_as_sdks_judge_them(world: World) -> None:
    target(world, make(world, [KIND]))
    assert (variant(world), variant(world, personas="new")) == ("off", "on")

    target(world, make(world, [KIND], [PRO], name="secret"))
    world.identify(traits={"plan": "pro", "kameleoonVisitorCode": "v1"})

    assert variant(world, personas="new") == "off"  # otherwise anybody could ask for the plan
    assert variant(world, personas="new", key=True) == "on"
    send_lines(world, custom_data(1, "new"))
    assert variant(world) == "on"
