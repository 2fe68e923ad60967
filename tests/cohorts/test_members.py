"""Members of personas and groups are persons, joined like their remote data, each once."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api.ingest.provisioning import create_site
from api.models import Site
from cohorts import members
from cohorts.members import Member
from cohorts.models import SIZE, Group, Identity, Persona
from tests.support.ada import ENTERED, EXITED
from tests.support.order_plans import ONE_BY_ONE, Event, deliver, several_events
from tests.world import CLIENT_ID, SECRET, World


def all_members(site: Site, of: Any, name: str, *, limit: int = 50) -> list[Member]:
    """Every page after the other."""
    found: list[Member] = []
    place: members.Key | None = None
    for _ in range(10_000):
        page = members.find_members(site.pk, of, name, after=place, limit=limit, company_is_group=site.company_is_group)
        found += page.members
        place = page.next
        if place is None:
            return found
    raise AssertionError("pages without end")


def names(found: list[Member]) -> list[tuple[str, str]]:
    return [(each.kind.label, each.value) for each in found]


def test_members__entered_as_a_device_and_left_as_the_user__is_nobody(world: World) -> None:
    world.send(
        world.event("track", userId=None, anonymousId="a1", **ENTERED),
        world.event("identify", at=1, userId="u1", anonymousId="a1"),
        world.event("track", at=2, userId="u1", **EXITED),
    )

    assert world.read("COHORTS_a1") == {"vip": False}
    assert members.sizes(world.site.pk) == ({}, True)
    assert all_members(world.site, "personas", "vip") == []


def test_sizes__of_persons_beyond_the_bytes_that_are_read__count_none_of_them(world: World) -> None:
    for number in range(3):
        world.send(world.event("track", userId=f"u{number}", **ENTERED))
    assert members.sizes(world.site.pk) == ({"vip": 3}, True)
    Identity.objects.filter(value="u1").update(bytes=members.MOST_BYTES)

    assert members.sizes(world.site.pk) == ({"vip": 1}, False)
    assert len(all_members(world.site, "personas", "vip")) == 3


def test_members__entered_under_both_ids__is_one_person(world: World) -> None:
    world.send(
        world.event("track", userId=None, anonymousId="a1", **ENTERED),
        world.event("identify", at=1, userId="u1", anonymousId="a1"),
        world.event("track", at=2, userId="u1", **ENTERED),
    )

    assert members.sizes(world.site.pk) == ({"vip": 1}, True)
    (member,) = all_members(world.site, "personas", "vip")
    assert (member.kind.label, member.value, len(member.ids)) == ("user", "u1", 2)


def test_members__entered_as_a_device__is_told_under_the_user(world: World) -> None:
    world.send(
        world.event("track", userId=None, anonymousId="a1", **ENTERED),
        world.event("identify", at=1, userId="u1", anonymousId="a1"),
    )

    assert names(all_members(world.site, "personas", "vip")) == [("user", "u1")]


def test_members__of_a_group_that_the_user_left__are_without_the_device(world: World) -> None:
    world.send(
        world.event("group", userId=None, anonymousId="a1", groupId="acme"),
        world.event("group", userId="u1", groupId="umbrella", at=2),
        world.event("identify", at=1, userId="u1", anonymousId="a1"),
    )

    assert all_members(world.site, "group", "acme") == []
    assert names(all_members(world.site, "group", "umbrella")) == [("user", "u1")]


@pytest.mark.parametrize("company", [{"id": "acme"}, [{"id": ["acme"]}], {"id": " acme "}])
def test_members__of_a_group_by_their_company__are_in_where_the_site_wants_it(world: World, company: Any) -> None:
    world.identify(userId="u1", traits={"company": company})
    world.identify(userId="u2", traits={"company": {"id": "acme"}})
    world.send(world.event("group", userId="u2", groupId="umbrella"))
    assert all_members(world.site, "group", "acme") == []

    world.change_site(company_is_group=True)

    assert world.read("IDENTIFY_u1")["groupId"] == "acme"
    assert names(all_members(world.site, "group", "acme")) == [("user", "u1")]


@pytest.mark.promise("K-53", "K-56")
@settings(derandomize=True, max_examples=15)
@given(said=several_events(), limit=st.integers(1, 3))
def test_members__of_random_histories__are_whom_the_documents_name(
    world: World, said: list[Event], *, limit: int
) -> None:
    shop = replace(world, site=create_site(name="Random"))
    world.credential.sites.add(shop.site)
    shop.change_site(company_is_group=True)
    try:
        deliver(shop, [[event] for event in said], ONE_BY_ONE)
        assert_agreement(shop, limit=limit)
    finally:
        shop.site.delete()


def assert_agreement(shop: World, *, limit: int) -> None:
    """Require that lists of members and documents agree: each person once, each persona with its size."""
    site = shop.site
    by_id: dict[str, Identity] = {}
    for identity in Identity.objects.filter(site=site).order_by("kind"):
        by_id.setdefault(identity.value, identity)  # the one that remote data finds under the id
    sizes, is_complete = members.sizes(site.pk)
    wanted = [
        *(("personas", persona.name) for persona in Persona.objects.filter(site=site)),
        *(("group", group.group_id) for group in Group.objects.filter(site=site)),
    ]
    for of, name in wanted:
        found = all_members(site, of, name, limit=limit)
        rows = [id_ for member in found for id_ in member.ids]
        assert len(rows) == len(set(rows))
        if of == "personas":
            size = sizes.get(name, 0)
            assert size == len(found) if is_complete else size <= len(found)
        for value, identity in by_id.items():
            params = {"siteCode": site.sitecode, "key": f"{'COHORTS' if of == 'personas' else 'IDENTIFY'}_{value}"}
            document = shop.client.get("/map/map", params=params, auth=(CLIENT_ID, SECRET)).json()
            is_in = document.get(name) is True if of == "personas" else document.get("groupId") == name
            assert is_in == (identity.pk in rows), (of, name, value)


def test_members__more_than_are_joined_at_once__are_all_found(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(members, "MOST_JOINED", 3)
    monkeypatch.setattr(members, "MOST_SCANNED", 7)
    for number in range(12):
        world.post(world.event("track", userId=f"u{number:02}", **(ENTERED if number % 3 else EXITED)))
        world.post(world.event("track", at=1, userId=f"u{number:02}", anonymousId=f"a{number:02}", **ENTERED))
        world.post(world.event("track", at=number % 2, userId=None, anonymousId=f"a{number:02}", **EXITED))
    world.digest()

    assert_agreement(world, limit=2)


def test_members__of_persons_with_more_identities_than_are_walked__are_found_fewer_at_a_time(world: World) -> None:
    for user in range(12):
        world.post(
            [world.event("track", userId=f"u{user:02}", anonymousId=f"a{user}-{n}", **ENTERED) for n in range(5)]
        )
    world.digest()
    seed = f"""
        SELECT i.id, site_id, kind, value, parent_kind, parent_value, {SIZE} AS size FROM cohorts_identity i
         WHERE site_id = %(site)s AND kind = 1 ORDER BY value LIMIT %(joined)s
    """

    found = {
        most: members._persons(seed, {"site": world.site.pk, "joined": 100}, [("personas",)], most_walked=most)
        for most in (1_000, 60, 6, 3)
    }

    assert {most: (len(persons), joined) for most, (persons, joined) in found.items()} == {
        1_000: (12, 100),
        60: (10, 10),
        6: (1, 1),
        3: (1, 1),
    }
    assert {len(person) for persons, _ in (found[1_000], found[60], found[6]) for _, person in persons} == {6}
