"""Custom data that Goalpost fills, in `/visit/visitor`: where SDKs take it from, and who sees which."""

from typing import Any

import pytest

from cohorts.models import CustomData
from tests.support.people import audience
from tests.support.sdk import FLAGS, custom_data, get_visitor, line, read_visitor, send_lines
from tests.support.segments import make_segment
from tests.world import CLIENT_ID, SECRET, World

PRO = {"on": "trait", "path": ["plan"], "test": {"type": "text", "texts": ["pro"]}}


def define(world: World, index: int, filled_from: str, filling: str = "") -> None:
    CustomData.objects.create(site=world.site, index=index, name=f"c{index}", filled_from=filled_from, filling=filling)


def values_of(visit: Any) -> dict[int, list[str]]:
    """Return the values of each index as SDKs take them: those of the last event."""
    return {event["data"]["index"]: list(event["data"]["valuesCountMap"]) for event in visit["customDataEvents"]}


def token_of(world: World) -> str:
    token = world.client.post("/oauth/token", auth=(CLIENT_ID, SECRET)).json()["access_token"]
    return f"Bearer {token}"


@pytest.mark.promise("K-61", "N-11")
def test_visitor__known_by_events_alone__has_a_visit_with_its_values(world: World) -> None:
    segment = make_segment(world.site, [PRO])
    define(world, 1, "personas")
    define(world, 2, "group")
    define(world, 3, "segment", str(segment.pk))
    world.send(
        world.event("identify", userId="ann", traits={"plan": "pro"}),
        world.event("group", userId="ann", groupId="acme"),
        audience(world, "vip", entered=True, userId="ann"),
        world.event("identify", userId="bob", traits={"plan": "free"}),
    )

    ann, bob = read_visitor(world, "visitorCode=ann"), read_visitor(world, "visitorCode=bob")

    visit = ann["currentVisit"]
    assert values_of(visit) == {1: ["vip"], 2: ["acme"], 3: ["true"]}
    assert visit["visitorCode"] == "ann"
    assert visit["timeStarted"] <= visit["customDataEvents"][0]["time"] <= visit["timeLastEvent"]
    assert values_of(bob["currentVisit"]) == {3: ["false"]}
    assert read_visitor(world, "visitorCode=nobody") == {}
    assert get_visitor(world, "visitorCode=ann&conversion=true&currentVisit=true").json() == {}


def test_visitor__with_visits__has_its_values_at_the_end_of_the_latest(world: World) -> None:
    define(world, 1, "personas")
    world.send(audience(world, "vip", entered=True, userId="v1"))
    send_lines(world, line("page", href="/"), custom_data(1, "sent by an SDK"), custom_data(7, "own"))

    visit = read_visitor(world, "visitorCode=v1")["currentVisit"]

    assert values_of(visit) == {7: ["own"], 1: ["vip"]}
    assert len(visit["customDataEvents"]) == 2
    assert visit["customDataEvents"][-1]["time"] == visit["timeLastEvent"]


def test_visitor__of_a_user__has_the_values_of_the_person(world: World) -> None:
    define(world, 1, "trait", "plan")
    world.change_site(public_traits=["plan"], identified_visits_require_token=False)
    world.identify(userId="ann", traits={"plan": "pro", "kameleoonVisitorCode": "v1"})

    assert values_of(read_visitor(world, "visitorCode=v1")["currentVisit"]) == {1: ["pro"]}
    assert values_of(read_visitor(world, "mappingValue=ann")["currentVisit"]) == {1: ["pro"]}


def test_trait__that_is_not_public__is_shown_to_a_reader_with_a_token_alone(world: World) -> None:
    define(world, 1, "trait", "email")
    world.identify(userId="v1", traits={"email": "ada@example.com"})
    authorization = token_of(world)

    assert read_visitor(world, "visitorCode=v1") == {}
    answer = get_visitor(world, "visitorCode=v1" + FLAGS, authorization=authorization)
    assert values_of(answer.json()["currentVisit"]) == {1: ["ada@example.com"]}

    # A server sends back what it read.
    send_lines(world, custom_data(1, "ada@example.com"))
    assert "ada@" not in get_visitor(world, "visitorCode=v1" + FLAGS).text


def test_values__of_a_site_whose_remote_data_requires_a_token__need_one(world: World) -> None:
    define(world, 1, "personas")
    world.send(audience(world, "vip", entered=True, userId="v1"))
    world.change_site(requires_token=True)

    assert read_visitor(world, "visitorCode=v1") == {}
    answer = get_visitor(world, "visitorCode=v1" + FLAGS, authorization=token_of(world))
    assert values_of(answer.json()["currentVisit"]) == {1: ["vip"]}


def test_value__of_a_segment_that_is_gone__is_left_out(world: World) -> None:
    define(world, 1, "segment", "999999999")
    define(world, 2, "group")
    world.send(world.event("group", userId="v1", groupId="acme"))

    assert values_of(read_visitor(world, "visitorCode=v1")["currentVisit"]) == {2: ["acme"]}
