"""Links of devices to users: the register has the last one, and `cohorts_link` the others."""

import json
from collections.abc import Sequence
from importlib import import_module
from itertools import permutations
from typing import Any

import pytest
from django.apps import apps

from cohorts.links import users_linked
from cohorts.models import Identity, Link
from tests.support.pages import address, browser_of, text_of
from tests.support.verifying import execute, found_by_verify
from tests.world import World

DEVICE = (int(Identity.Kind.ANONYMOUS), "kiosk")
migration = import_module("cohorts.migrations.0018_links_of_former_owners")


def link(world: World, users: Sequence[tuple[int, str]]) -> None:
    for at, user in users:
        world.identify(userId=user, anonymousId="kiosk", at=at, messageId=f"{user}-{at}")


def former() -> set[tuple[str, str]]:
    return set(Link.objects.values_list("value", "user_value"))


def test_device__of_one_user__has_no_row(world: World) -> None:
    link(world, [(1, "ada"), (2, "ada")])
    assert former() == set()
    assert users_linked(world.site.pk, DEVICE, after="", limit=2) == ["ada"]


@pytest.mark.parametrize("users", list(permutations([(1, "ada"), (2, "bob"), (3, "ada"), (4, "cleo")])))
def test_device__of_several_users__has_a_row_of_each_former_one(world: World, users: list[tuple[int, str]]) -> None:
    link(world, users)
    assert former() == {("kiosk", "ada"), ("kiosk", "bob")}
    assert users_linked(world.site.pk, DEVICE, after="", limit=2) == ["ada", "bob"]
    assert users_linked(world.site.pk, DEVICE, after="bob", limit=2) == ["cleo"]
    assert found_by_verify() == []


def test_device__that_returns_to_a_former_user__keeps_the_other(world: World) -> None:
    link(world, [(1, "ada"), (2, "bob"), (3, "ada")])
    assert former() == {("kiosk", "bob")}


def test_device__that_returns_within_a_batch__keeps_the_other(world: World) -> None:
    world.send(*(world.event("identify", userId=user, anonymousId="kiosk", at=at) for at, user in enumerate("aba")))
    assert former() == {("kiosk", "b")}


def test_verify__without_a_former_link__names_its_message(world: World) -> None:
    link(world, [(1, "ada"), (2, "bob")])
    execute("DELETE FROM cohorts_link")
    (row,) = found_by_verify()
    assert row.endswith("(identify:ada-1): a link to its user is missing")


def test_export__of_a_user__has_devices_of_today_and_former_ones(world: World) -> None:
    link(world, [(1, "ada"), (2, "bob")])
    world.identify(userId="ada", anonymousId="phone")

    held = json.loads(text_of(browser_of(world.site, "editor").get(address("people/person/export/?id=ada"))))

    devices: list[dict[str, Any]] = held["devices"]
    assert [(each["kind"], each["id"], each["user"]) for each in devices] == [
        ("anonymous", "kiosk", "ada"),
        ("anonymous", "phone", "ada"),
    ]


def test_migration__of_rows_of_the_version_before__deletes_those_of_owners(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migration, "CHUNK", 2)
    link(world, [(1, "ada"), (2, "bob"), (3, "cleo")])
    for number in range(3):
        world.identify(userId="ada", anonymousId=f"phone-{number}")
    kept = former()

    migration.insert_links_of_owners(apps, None)
    assert former() == kept | {("kiosk", "cleo"), *((f"phone-{number}", "ada") for number in range(3))}
    migration.delete_links_of_owners(apps, None)
    assert former() == kept
