"""Personas that a person enters and exits, from events of every kind."""

from typing import Any

import pytest

from cohorts.models import Persona
from goals.models import Goal
from tests.support.people import audience
from tests.world import World


@pytest.mark.promise("K-55", "K-56", "K-63", "K-64")
@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_persona__entered_then_exited__is_false_in_any_order(world: World, order: tuple[int, ...]) -> None:
    events = [audience(world, "vip", entered=True, at=1), audience(world, "vip", entered=False, at=2)]

    world.send(*(events[index] for index in order))

    assert world.read("COHORTS_user-1") == {"vip": False}
    assert Goal.objects.count() == 0


@pytest.mark.promise("K-62")
@pytest.mark.parametrize(
    ("properties", "personas", "expected"),
    [
        ({"audience_key": "a", "a": True}, {"computation_key": "b"}, {"a": True}),
        ({"a": True}, {"computation_class": "audience", "computation_key": "a"}, {"a": True}),
        ({"a": True, "x": "text"}, {}, {"a": True}),
        ({"audience_key": "j_o_1", "recent_buyer": True}, {}, {"j_o_1": True}),
        ({"a": True, "b": False}, {}, {}),
        ({}, {}, {}),
    ],
)
def test_persona__named_in_several_ways__is_found(
    world: World, properties: dict[str, Any], personas: dict[str, Any], expected: dict[str, bool]
) -> None:
    world.track("Audience Entered", properties=properties, context={"personas": personas})

    assert world.read("COHORTS_user-1") == expected
    assert world.last_message().effects == (["profile_updated"] if expected else ["nothing"])


@pytest.mark.promise("K-55")
def test_persona__event_with_a_configured_name__is_recognised(world: World) -> None:
    world.change_site(entered_event_names=["Segment Joined"], exited_event_names=["Segment Left"])

    world.track("Segment Left", properties={"audience_key": "vip"})

    assert world.read("COHORTS_user-1") == {"vip": False}


@pytest.mark.promise("K-63")
def test_persona__site_wants_goals_of_audiences__makes_one(world: World) -> None:
    world.change_site(audience_events_make_goals=True)

    world.send(audience(world, "vip", entered=True))

    assert world.goals() == {"SegmentIO track – Audience Entered": 1}
    assert world.read("COHORTS_user-1") == {"vip": True}


@pytest.mark.promise("K-65")
def test_persona__audience_as_identify__is_persona_and_trait_where_the_context_says_so(world: World) -> None:
    personas = {"computation_class": "audience", "computation_key": "vip"}
    world.send(
        world.event("identify", traits={"vip": True}, context={"personas": personas}),
        world.event("identify", traits={"plain": True}),
    )

    assert world.read("COHORTS_user-1") == {"vip": True}
    assert world.traits("user-1") == {"vip": True, "plain": True}


@pytest.mark.promise("K-58", "K-59")
def test_common__personas_of_two_people__are_listed_once_and_sorted_after_exits_too(world: World) -> None:
    world.send(
        audience(world, "vip", entered=True, at=1),
        audience(world, "VIP", entered=True, at=1, userId="user-2"),
        audience(world, "beta", entered=True, at=1, userId="user-2"),
        audience(world, "vip", entered=False, at=2),
    )

    assert world.read("common") == {"cohorts": ["VIP", "beta", "vip"]}
    assert Persona.objects.count() == 3
