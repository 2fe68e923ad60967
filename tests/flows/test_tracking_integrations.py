"""Integrations that a sender switches off, in an event and in a batch."""

import json
from typing import Any

import pytest

from api.models import Source
from cohorts.models import Identity
from tests.support.messages import body_of
from tests.support.tracking import post
from tests.world import World

NOT_HERE = (
    {"All": False},
    {"all": False, "Mixpanel": True},
    {"All": False, "Goalpost": None},
    {"Goalpost": False},
    {"Kameleoon": False},
    {"All": True, "kameleoon": False},
    {"All": False, "Goalpost": True, "Kameleoon (Actions)": False},
)

HERE: tuple[Any, ...] = (
    None,
    {},
    [],
    "All",
    {"All": True},
    {"All": False, "Goalpost": True},
    {"All": False, "Kameleoon": {"visitorCode": "x"}},
    {"All": False, "GOALPOST": []},
    {"Mixpanel": False},
    {"All": "false"},
)


@pytest.mark.parametrize("place", ["/segmentio", "/v1/track", "the event of a batch", "the batch"])
@pytest.mark.parametrize(
    ("integrations", "is_taken"), [*((each, False) for each in NOT_HERE), *((each, True) for each in HERE)]
)
def test_integrations__that_exclude_us__are_the_senders_wish(
    world: World, source: Source, place: str, integrations: Any, *, is_taken: bool
) -> None:
    event: dict[str, Any] = {"type": "track", "userId": "u1", "event": "Buy", "integrations": integrations}
    if place == "/segmentio":
        answer = world.post(event)
    elif place == "/v1/track":
        answer = post(world, place, event)
    elif place == "the batch":
        del event["integrations"]
        answer = post(world, "/v1/batch", {"batch": [event], "integrations": integrations})
    else:
        beneath = {"All": not (integrations and "All" in integrations), "Goalpost": True} if is_taken else {"All": True}
        answer = post(world, "/v1/batch", {"batch": [event], "integrations": beneath})
    assert answer.status_code == 200

    world.digest()

    message = world.last_message()
    if is_taken:
        assert (message.status, message.reason, len(world.visitors())) == ("done", "", 1)
    else:
        assert (message.status, message.reason) == ("done", "excluded_by_sender")
        assert (message.effects, world.visitors(), Identity.objects.count()) == (["nothing"], [], 0)
        assert json.loads(body_of(message))["userId"] == "u1"


def test_integrations__of_a_batch__stand_beneath_the_events_own(world: World, source: Source) -> None:
    events = [
        {"type": "track", "userId": "u1", "event": "A"},
        {"type": "track", "userId": "u1", "event": "B", "integrations": {"Goalpost": True}},
        {"type": "track", "userId": "u1", "event": "C", "integrations": {"Mixpanel": True}},
    ]

    post(world, "/v1/batch", {"batch": events, "integrations": {"All": False}})
    world.digest()

    assert world.goals() == {"SegmentIO track – B": 1}


def test_integrations__of_what_segment_computed__are_its_routing(world: World, source: Source) -> None:
    """Engage names the destinations that it sends to, and a webhook that leads here is none of our names."""
    personas = {"computation_class": "audience", "computation_key": "vip"}
    routed = {"All": False, "Webhooks": True, "Warehouses": {"all": False}}
    event = {"type": "identify", "userId": "u1", "traits": {"vip": True}, "context": {"personas": personas}}

    world.send({**event, "integrations": routed}, {**event, "userId": "u2", "integrations": {"Kameleoon": False}})

    assert (world.read("COHORTS_u1"), world.read("COHORTS_u2")) == ({"vip": True}, {})
