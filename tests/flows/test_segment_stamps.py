"""Memberships after facts that an event repeats: a later stamp alone may change which value counts."""

from typing import Any

import pytest

from tests.support.segments import assert_exact, make_segment, members
from tests.world import World


def trait(name: str, text: str) -> dict[str, Any]:
    return {"on": "trait", "path": [name], "test": {"type": "text", "texts": [text]}}


PRO = trait("plan", "pro")


@pytest.mark.parametrize("is_in_one_batch", [False, True])
def test_membership__of_a_trait_that_a_user_repeats_after_its_device__is_the_users(
    world: World, *, is_in_one_batch: bool
) -> None:
    segment = make_segment(world.site, [PRO])
    world.identify(userId="u1", anonymousId="a1", traits={"plan": "pro"})
    world.send(world.event("identify", at=1, userId=None, anonymousId="a1", traits={"plan": "free"}))
    assert members(segment) == set()
    other = [world.event("identify", at=2, userId="u2", traits={"plan": "pro"})] if is_in_one_batch else []

    world.send(world.event("identify", at=2, userId="u1", anonymousId="a1", traits={"plan": "pro"}), *other)

    assert members(segment) == {"u1", "u2"} if is_in_one_batch else {"u1"}
    assert_exact(world)


def test_membership__of_a_group_that_a_user_repeats_after_its_device__is_the_users(world: World) -> None:
    segment = make_segment(world.site, [{"on": "group", "ids": ["g1"]}])
    world.send(world.event("group", userId="u1", anonymousId="a1", groupId="g1"))
    world.send(world.event("group", at=1, userId=None, anonymousId="a1", groupId="g2"))
    assert members(segment) == set()

    world.send(world.event("group", at=2, userId="u1", groupId="g1"))

    assert members(segment) == {"u1"}
    assert_exact(world)


def test_membership__of_first_and_last_name__follows_each(world: World) -> None:
    segment = make_segment(world.site, [trait("name", "Ada Lovelace")])
    world.identify(userId="u1", traits={"firstName": "Ada"})
    world.identify(at=1, userId="u1", traits={"lastName": "Lovelace"})
    assert members(segment) == {"u1"}

    world.identify(at=2, userId="u1", traits={"firstName": "Bea"})

    assert members(segment) == set()
    assert_exact(world)
