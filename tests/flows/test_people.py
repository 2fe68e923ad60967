"""Traits, groups, owners and aliases of people, as remote data shows them."""

import itertools
import random
from typing import Any

import pytest

from cohorts.models import Group, Identity
from goals.models import Goal
from tests.world import World


@pytest.mark.promise("K-53", "K-67", "K-66")
def test_identify__with_three_ids__is_read_alike_under_each(world: World) -> None:
    world.identify(traits={"plan": "scale"}, anonymousId="anon-1", kameleoonVisitorCode="vc1")

    bodies = {world.get(f"IDENTIFY_{id_}").content for id_ in ("user-1", "anon-1", "vc1")}

    assert bodies == {b'{"traits":{"plan":"scale"}}'}


@pytest.mark.promise("W4", "K-50")
def test_identify__traits_and_properties__are_joined_without_the_visitor_code(world: World) -> None:
    world.send(world.event("identify", traits={"a": 1, "b": 1}, properties={"b": 2, "kameleoonVisitorCode": "vc1"}))

    assert world.traits("user-1") == {"a": 1, "b": 2}


@pytest.mark.promise("K-68", "K-73")
@pytest.mark.parametrize(
    "value", ["scale", 42, 2.5, True, False, ["a", {"b": 1}], {"city": {"zip": "1"}}, "", 0, {}, []]
)
def test_trait__of_any_type__comes_back_as_sent(world: World, value: object) -> None:
    world.identify(traits={"plan": value})

    assert world.traits("user-1") == {"plan": value}
    assert type(world.traits("user-1")["plan"]) is type(value)


@pytest.mark.promise("K-72")
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_trait__null__removes_it_whatever_comes_first(world: World, order: tuple[int, ...]) -> None:
    events = [
        world.event("identify", at=1, traits={"plan": "free", "keep": 1}),
        world.event("identify", at=2, traits={"plan": "scale"}),
        world.event("identify", at=3, traits={"plan": None}),
    ]

    world.send(*(events[index] for index in order))

    assert world.traits("user-1") == {"keep": 1}


@pytest.mark.promise("K-71", "K-92")
def test_profile__identify_and_group_interleaved__equals_a_plain_model(world: World) -> None:
    chooser = random.Random(7)
    events: list[dict[str, Any]] = []
    expected: dict[str, Any] = {"traits": {}}
    for second in range(100):
        if chooser.random() < 0.3:
            events.append(world.event("group", at=second, groupId=f"g{second}", traits={"size": second}))
            expected["groupId"] = f"g{second}"
        else:
            trait, value = chooser.choice("abc"), chooser.choice([1, "x", None, [2]])
            events.append(world.event("identify", at=second, traits={trait: value}))
            expected["traits"].pop(trait, None)
            expected["traits"] |= {} if value is None else {trait: value}
    chooser.shuffle(events)

    world.send(*events)

    assert world.read("IDENTIFY_user-1") == expected
    assert world.read("IDENTIFY_user-1") == expected


@pytest.mark.promise("K-69", "K-70")
def test_group__latest_by_time__is_the_persons_and_a_string(world: World) -> None:
    world.send(
        world.event("group", at=2, groupId=42, traits={"name": "Initech"}),
        world.event("group", at=1, groupId="older", traits={"name": "Older"}),
        world.event("identify", at=3, traits={"plan": "scale"}),
    )

    assert world.read("IDENTIFY_user-1") == {"traits": {"plan": "scale"}, "groupId": "42"}
    assert set(Group.objects.values_list("group_id", flat=True)) == {"42", "older"}
    assert Group.objects.get(group_id="42").registers["traits"]["name"][3] == "Initech"


FIRST, LAST, GIVEN = {"firstName": "Ada"}, {"last_name": "Lovelace"}, {"name": "Countess"}


@pytest.mark.promise("I-14", "I-15")
@pytest.mark.parametrize(
    ("said", "name"),
    [
        ([FIRST, LAST], "Ada Lovelace"),
        ([FIRST], None),
        ([FIRST, LAST, GIVEN], "Countess"),
        ([GIVEN, FIRST, LAST], "Countess"),
        ([FIRST, LAST, {"firstName": "Augusta Ada"}], "Augusta Ada Lovelace"),
        ([FIRST, LAST, {"last_name": None}], None),
        ([GIVEN, FIRST, LAST, {"name": None}], "Ada Lovelace"),
        ([FIRST, LAST, {"name": ""}], ""),
    ],
)
@pytest.mark.parametrize("is_reversed", [False, True])
def test_name__of_first_and_last__is_filled_in_unless_given(
    world: World, said: list[dict[str, Any]], name: str | None, *, is_reversed: bool
) -> None:
    events = [world.event("identify", at=second, traits=traits) for second, traits in enumerate(said)]

    world.send(*(reversed(events) if is_reversed else events))

    assert world.traits("user-1").get("name") == name
    stored = Identity.objects.get().registers["traits"]
    assert ("name" in stored) is any("name" in traits for traits in said)


@pytest.mark.promise("I-14")
def test_name__filled_in__is_seen_without_token_only_where_it_is_allowed(world: World) -> None:
    world.identify(traits={**FIRST, **LAST, "plan": "scale"})

    assert world.read("IDENTIFY_user-1", token=False) == {"traits": {"plan": "scale"}}
    world.change_site(public_traits=["name"])
    assert world.read("IDENTIFY_user-1", token=False) == {"traits": {"name": "Ada Lovelace"}}


@pytest.mark.promise("I-12")
@pytest.mark.parametrize(("id_", "group"), [("c-7", "c-7"), (7, "7"), (7.0, "7"), (None, None), ("null", None)])
def test_company__of_whom_no_group_call_tells__is_the_group_where_the_site_wants_it(
    world: World, id_: object, group: str | None
) -> None:
    company = {"name": "Initech", "id": id_}
    world.identify(traits={"company": company})

    assert world.read("IDENTIFY_user-1") == {"traits": {"company": company}}
    world.change_site(company_is_group=True)
    assert world.read("IDENTIFY_user-1").get("groupId") == group
    assert world.read("IDENTIFY_user-1", token=False) == ({"traits": {}, "groupId": group} if group else {})
    assert not Group.objects.exists()


@pytest.mark.promise("I-12")
@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_company__beside_a_group_call__never_wins(world: World, order: tuple[int, ...]) -> None:
    world.change_site(company_is_group=True)
    events = [
        world.event("group", at=1, groupId="g1"),
        world.event("identify", at=0, traits={"company": {"id": "old"}}),
        world.event("identify", at=2, traits={"company": {"id": "new"}}),
    ]

    world.send(*(events[index] for index in order))

    assert world.read("IDENTIFY_user-1") == {"traits": {"company": {"id": "new"}}, "groupId": "g1"}


@pytest.mark.promise("W6")
def test_types__left_out_by_old_versions__are_inferred(world: World) -> None:
    for event in (
        world.event("identify", properties={"plan": "scale"}),
        world.event("group", groupId="g1", properties={"name": "Initech"}),
    ):
        del event["type"]
        world.send(event)

    assert world.read("IDENTIFY_user-1") == {"traits": {"plan": "scale"}, "groupId": "g1"}


def test_trait_computed__track__is_a_trait_and_no_goal(world: World) -> None:
    world.track("Trait Computed", properties={"trait_key": "total", "total": 450.0})

    assert world.traits("user-1") == {"total": 450.0}
    assert Goal.objects.count() == 0


@pytest.mark.promise("K-54")
def test_owner__shared_device__points_at_its_latest_user_and_says_so(world: World) -> None:
    world.identify(at=1, kameleoonVisitorCode="vc1", traits={"plan": "one"})
    world.identify(at=2, kameleoonVisitorCode="vc1", userId="user-2", traits={"plan": "two"})

    assert world.traits("vc1") == {"plan": "two"}
    assert world.traits("user-1") == {"plan": "one"}
    assert world.last_message().warnings == ["visitor_moved"]


@pytest.mark.promise("K-54", "K-53")
def test_owner__facts_of_a_device__join_its_users(world: World) -> None:
    world.identify(at=1, userId=None, anonymousId="anon-1", traits={"colour": "red", "plan": "free"})
    world.identify(at=2, userId=None, kameleoonVisitorCode="vc1", anonymousId="anon-1")
    world.identify(at=3, anonymousId="anon-1", traits={"plan": "scale"})

    expected = {"colour": "red", "plan": "scale"}
    assert [world.traits(id_) for id_ in ("user-1", "anon-1", "vc1")] == [expected] * 3


def test_alias__previous_id__becomes_the_users_person(world: World) -> None:
    world.identify(at=1, userId="old", traits={"a": 1})
    world.identify(at=1, userId=None, anonymousId="anon-9", traits={"b": 2})
    world.send(
        world.event("alias", at=2, previousId="old", userId="new"),
        world.event("alias", at=2, previousId="anon-9", userId="new"),
    )

    assert world.traits("new") == world.traits("old") == world.traits("anon-9") == {"a": 1, "b": 2}


def test_alias__in_a_ring__ends(world: World) -> None:
    for previous, user in itertools.pairwise(["a", "b", "c", "a"]):
        world.send(world.event("alias", previousId=previous, userId=user))
    world.identify(userId="b", traits={"plan": "scale"})

    assert world.traits("a") == world.traits("b") == world.traits("c") == {"plan": "scale"}


@pytest.mark.promise("I-02")
def test_identify__repeated__changes_no_document(world: World) -> None:
    world.identify(at=1, traits={"plan": "scale"})
    before = world.get("IDENTIFY_user-1").headers["etag"]

    world.identify(at=2, traits={"plan": "scale"})

    assert world.get("IDENTIFY_user-1").headers["etag"] == before
    assert world.last_message().effects == ["nothing"]
    assert world.last_message().reason == "already_known"
