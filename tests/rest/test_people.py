"""People, personas and groups in the management API: found, exported, erased, listed."""

import json
from urllib.parse import quote

import pytest
from django.utils import timezone

from api.erasure import erase
from api.http.tokens import make_token
from api.models import AuditEntry, Erasure
from tests.support.management_api import Caller, body, refusal
from tests.support.rest_access import enter_persona
from tests.world import SITECODE, World, owner_of

PATH = f"/api/sites/{SITECODE}"


def test_person__with_devices_and_traits__is_found_by_any_identifier(world: World, owner: Caller) -> None:
    world.identify(anonymousId="device-1", traits={"plan": "gold", "email": "Ada@Example.com"})
    world.send(world.event("group", event=None, groupId="acme", properties={}), enter_persona(world, "vip"))

    by_user, by_device = (owner.get(f"{PATH}/person?id={id_}") for id_ in ("user-1", "device-1"))

    assert {(row["kind"], row["value"]) for row in by_user["identifiers"]} == {
        ("user", "user-1"),
        ("anonymous", "device-1"),
    }
    assert {trait["name"]: trait["value"] for trait in by_user["traits"]} == {
        "plan": "gold",
        "email": "Ada@Example.com",
    }
    assert by_user["group"]["value"] == "acme"
    assert [(persona["name"], persona["value"]) for persona in by_user["personas"]] == [("vip", True)]
    assert by_device == by_user
    (found,) = owner.get(f"{PATH}/people?search=ada")
    assert found.pop("lastSeen").startswith("2026-11-22T03:00:00")
    assert found == {
        "kind": "user",
        "value": "user-1",
        "name": "",
        "email": "Ada@Example.com",
        "username": "",
        "group": "acme",
        "personas": ["vip"],
        "conversions": 0,
        "isLarge": False,
    }
    reading = AuditEntry.objects.get()
    assert reading.what == "Read data of people through the management API"
    assert "user-1" not in json.dumps(reading.after)


def test_person__unknown__is_404(world: World, owner: Caller) -> None:
    assert refusal(owner.ask("GET", f"{PATH}/person?id=nobody")) == (404, "not_found")
    assert refusal(owner.ask("GET", f"{PATH}/person/export?id=nobody")) == (404, "not_found")
    assert refusal(owner.post(f"{PATH}/erasures", {"id": "nobody"})) == (404, "not_found")
    assert refusal(owner.ask("GET", f"{PATH}/person")) == (400, "invalid_request")
    assert owner.get(f"{PATH}/people?search=nobody") == []


def test_export__of_a_person__is_that_of_the_page_and_audited(world: World, owner: Caller) -> None:
    world.track("Buy")

    exported = owner.get(f"{PATH}/person/export?id=user-1")

    assert exported["askedFor"] == "user-1"
    assert [row["goal"] for row in exported["conversions"]] == ["SegmentIO track – Buy"]
    assert AuditEntry.objects.get().what == "Exported a person"


@pytest.mark.parametrize(("role", "status"), [("viewer", 403), ("editor", 200)])
def test_export__by_a_token_from_before_scopes__needs_the_role_of_the_page(
    world: World, role: str, status: int
) -> None:
    world.track("Buy")
    _, value = make_token([world.site], description="Old", role=role, made_by=owner_of(world.site), expires_at=None)
    caller = Caller(f"Bearer {value}", world.credential)

    assert caller.ask("GET", f"{PATH}/person?id=user-1").status_code == 200
    answer = caller.ask("GET", f"{PATH}/person/export?id=user-1")

    assert answer.status_code == status
    assert status == 200 or refusal(answer) == (403, "forbidden_role")


def test_erasure__by_the_api__drops_events_at_once_and_ends(world: World, owner: Caller) -> None:
    world.track("Buy")
    key = {"idempotency-key": "erase-1"}

    first = owner.ask("POST", f"{PATH}/erasures", {"id": "user-1"}, **key)
    receipt = body(first)

    assert first.status_code == 201
    assert (receipt["percent"], receipt["finishedAt"]) == (0, None)
    world.track("Sell")
    assert world.last_message().reason == "suppressed"
    while erase.sweep(now=timezone.now()):
        pass
    done = owner.get(f"{PATH}/erasures/{receipt['id']}")
    assert (done["percent"], done["conversions"], done["identifiers"]) == (100, 1, 1)
    assert done["finishedAt"] is not None
    assert owner.get(f"{PATH}/erasures") == [done]
    assert owner.ask("POST", f"{PATH}/erasures", {"id": "user-1"}, **key).content == first.content
    assert Erasure.objects.count() == 1
    assert AuditEntry.objects.get().what == f"Erased a person: receipt {receipt['id']}"


def test_erased_person__allowed_again__is_accepted(world: World, owner: Caller) -> None:
    world.track("Buy")
    receipt = body(owner.post(f"{PATH}/erasures", {"id": "user-1"}))
    assert refusal(owner.post(f"{PATH}/erasures/{receipt['id']}/allow")) == (404, "not_found")
    while erase.sweep(now=timezone.now()):
        pass

    allowed = [owner.post(f"{PATH}/erasures/{receipt['id']}/allow") for _ in range(2)]

    assert [body(answer)["isAllowedAgain"] for answer in allowed] == [True, True]
    world.track("Sell")
    assert world.last_message().reason == ""
    assert AuditEntry.objects.filter(what__startswith="Allowed").count() == 1


def test_personas__with_members__are_paged(world: World, owner: Caller) -> None:
    world.send(*(enter_persona(world, name) | {"userId": name} for name in ("a/b", "b", "c")))

    pages = [owner.ask("GET", f"{PATH}/personas?perPage=2&page={page}") for page in (1, 2)]

    assert [[row["name"] for row in body(page)] for page in pages] == [["a/b", "b"], ["c"]]
    assert pages[0]["X-Pagination-Page-Count"] == "2"
    assert (body(pages[0])[0]["members"], body(pages[0])[0]["isComplete"]) == (1, True)
    members = owner.get(f"{PATH}/personas/{quote('a/b', safe='')}/members")
    assert [(row["kind"], row["value"]) for row in members["results"]] == [("user", "a/b")]
    assert refusal(owner.ask("GET", f"{PATH}/personas/d/members")) == (404, "not_found")


def test_members__of_many__follow_by_cursor(world: World, owner: Caller) -> None:
    world.send(*(enter_persona(world, "vip") | {"userId": f"user-{number}"} for number in range(5)))

    seen, cursor = [], ""
    while True:
        page = owner.get(f"{PATH}/personas/vip/members?limit=2{cursor}")
        seen += [row["value"] for row in page["results"]]
        if page["next"] is None:
            break
        cursor = f"&cursor={quote(page['next'])}"

    assert seen == [f"user-{number}" for number in range(5)]
    assert refusal(owner.ask("GET", f"{PATH}/personas/vip/members?cursor=x")) == (400, "invalid_request")


def test_groups__with_traits_and_members__are_listed(world: World, owner: Caller) -> None:
    world.send(world.event("group", event=None, groupId="acme/1", properties={"plan": "gold", "seats": 3}))

    assert owner.get(f"{PATH}/groups") == [{"id": "acme/1", "traits": 2, "members": 1, "isComplete": True}]
    traits = owner.get(f"{PATH}/groups/acme%2F1/traits")
    assert {row["name"]: row["value"] for row in traits["traits"]} == {"plan": "gold", "seats": 3}
    members = owner.get(f"{PATH}/groups/acme%2F1/members")
    assert [row["value"] for row in members["results"]] == ["user-1"]


def test_names__with_nul__are_found_as_they_were_stored(world: World, owner: Caller) -> None:
    group = world.event("group", event=None, groupId="a\0c", userId="a\0b", properties={"plan": "gold"})
    world.send(group, enter_persona(world, "v\0p"))

    assert owner.get(f"{PATH}/person?id=a%00b")["identifiers"][0]["value"] == "a\ufffdb"
    (found,) = owner.get(f"{PATH}/people?search=a%00b")
    assert (found["kind"], found["value"], found["group"]) == ("user", "a\ufffdb", "a\ufffdc")
    assert owner.get(f"{PATH}/groups/a%00c/traits")["traits"][0]["value"] == "gold"
    assert len(owner.get(f"{PATH}/personas/v%00p/members")["results"]) == 1
