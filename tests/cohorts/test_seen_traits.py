"""Traits of a site with their types."""

from cohorts.seen_traits import SeenTrait, find_traits_of_groups, find_traits_of_people
from tests.world import World


def test_traits__of_people__have_paths_and_types(world: World) -> None:
    traits = {"plan": "pro", "age": 36, "is_vip": True, "tags": ["a"], "signed_up": "2026-11-01", "gone": None}
    world.send(
        world.event("identify", userId="ada", traits={**traits, "address": {"city": "Bern", "geo": {"lat": 1}}}),
        world.event("identify", userId="bob", traits={"plan": "free", "age": "unknown"}),
        world.event("identify", userId="eve", traits={"age": 20}),
    )

    assert find_traits_of_people(world.site.pk) == [
        SeenTrait(("address", "city"), "text"),
        SeenTrait(("age",), "number"),
        SeenTrait(("is_vip",), "boolean"),
        SeenTrait(("plan",), "text"),
        SeenTrait(("signed_up",), "date"),
        SeenTrait(("tags",), "list"),
    ]


def test_traits__of_groups__are_found(world: World) -> None:
    world.send(world.event("group", userId="ada", groupId="acme", traits={"size": 5}))

    assert find_traits_of_groups(world.site.pk) == [SeenTrait(("size",), "number")]
    assert find_traits_of_people(world.site.pk) == []
