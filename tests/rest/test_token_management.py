"""Management tokens and invitations, made and ended through the management API."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.http import HttpResponse
from django.test import Client
from django.utils.dateparse import parse_datetime

from api.http.tokens import make_token
from api.ingest.provisioning import create_site
from api.models import AuditEntry, ManagementToken, Membership, StoredAnswer, TokenScope
from tests.support.management_api import Caller, body, message, refusal
from tests.support.rest_access import holder_of
from tests.world import SITECODE, World, owner_of

PATH = f"/api/sites/{SITECODE}/tokens"
INVITATIONS = f"/api/sites/{SITECODE}/invitations"


def create(caller: Caller, *scopes: str, key: str = "key-1", **fields: Any) -> HttpResponse:
    new = {"description": "Nightly", "scopes": scopes or ["read"], **fields}
    return caller.ask("POST", PATH, new, **{"idempotency-key": key})


def bearer(world: World, token: str) -> Caller:
    return Caller(f"Bearer {token}", world.credential)


@pytest.fixture
def all_scopes(world: World) -> Caller:
    return holder_of(world)


def test_token__created_by_one_that_ends__ends_with_it(world: World) -> None:
    end = datetime.now(UTC) + timedelta(days=1)
    _, value = make_token(
        [world.site], description="CI", scopes=TokenScope.values, made_by=owner_of(world.site), expires_at=end
    )
    caller = bearer(world, value)

    refused = [create(caller, key=key, expiresAt=at) for key, at in (("a", None), ("b", "2999-01-01T00:00:00Z"))]
    made = body(create(caller, key="c"))

    assert [answer.status_code for answer in refused] == [403, 403]
    assert "none that it creates may end later" in refused[0].content.decode()
    assert parse_datetime(made["expiresAt"]) == end


@pytest.mark.promise("I-29")
def test_token__created_twice_with_a_key__is_shown_again_and_stored_nowhere(world: World, all_scopes: Caller) -> None:
    first, again = create(all_scopes), create(all_scopes)

    made = body(first)
    assert (first.status_code, again.status_code) == (201, 201)
    assert again.content == first.content
    assert bearer(world, made["token"]).get("/api/goals") == []
    assert ManagementToken.objects.filter(description="Nightly").count() == 1
    with connection.cursor() as cursor:
        for table in ("api_storedanswer", "api_managementtoken", "api_auditentry"):
            cursor.execute(f"SELECT string_agg(t::text, '') FROM {table} t")
            (stored,) = cursor.fetchone()
            assert made["token"] not in stored
            assert made["token"].partition("_")[2] not in stored


def test_token__created__belongs_to_the_callers_user_and_ends_in_90_days(world: World, all_scopes: Caller) -> None:
    made = body(create(all_scopes, "read", "write"))

    expires_at = parse_datetime(made["expiresAt"])
    assert expires_at is not None
    assert timedelta(days=89) < expires_at - datetime.now(UTC) < timedelta(days=91)
    assert (made["belongsTo"], made["scopes"], made["sites"]) == ("ada", ["read", "write"], [SITECODE])
    assert made["isWorking"]
    entry = AuditEntry.objects.get(what=f"Created the management token {made['id']}")
    assert entry.who.startswith("token ")
    assert entry.after is not None
    assert entry.after["scopes"] == ["read", "write"]


def test_token__without_an_end__is_made_only_if_that_is_said(world: World, all_scopes: Caller) -> None:
    assert body(create(all_scopes, expiresAt=None))["expiresAt"] is None
    over = create(all_scopes, key="key-2", expiresAt="2020-01-01T00:00:00Z")
    assert refusal(over) == (400, "invalid_request")
    assert "This time is over" in message(over)


@pytest.mark.parametrize("scope", [scope for scope in TokenScope if scope != TokenScope.ADMIN])
def test_token__that_could_do_more_than_its_maker__is_refused(world: World, scope: str) -> None:
    only_admin = holder_of(world, TokenScope.ADMIN)
    grace = owner_of(world.site, name="grace")
    more, _ = make_token([world.site], description="More", scopes=[scope], made_by=grace, expires_at=None)

    assert refusal(create(only_admin, "admin", scope)) == (403, "insufficient_scope")
    taken_over = only_admin.post(f"{PATH}/{more.pk}/take-over")
    assert refusal(taken_over) == (403, "insufficient_scope")
    assert "so it cannot create or take over a token with" in taken_over.text

    assert ManagementToken.objects.count() == 2
    assert create(only_admin, "admin").status_code == 201


def test_token__asked_for_by_a_credential__is_refused_because_it_has_no_user(world: World, owner: Caller) -> None:
    for answer in (create(owner), owner.post(INVITATIONS, {"username": "eve", "role": "viewer"})):
        assert refusal(answer) == (403, "forbidden")
        assert "Send a management token" in message(answer)
    assert not ManagementToken.objects.exists()
    assert owner.get(PATH) == []


def test_tokens__of_a_site__are_listed_without_values_revoked_ones_last(world: World, all_scopes: Caller) -> None:
    revoked = body(create(all_scopes, key="a"))
    kept = body(create(all_scopes, key="b"))
    Membership.objects.filter(user=owner_of(world.site, name="left")).delete()
    gone, _ = make_token(
        [world.site], description="Gone", scopes=["read"], made_by=User.objects.get(username="left"), expires_at=None
    )
    assert all_scopes.ask("DELETE", f"{PATH}/{revoked['id']}").status_code == 204

    listed = all_scopes.get(PATH)

    assert [row["id"] for row in listed][:2] == [gone.pk, kept["id"]]
    assert listed[-1]["id"] == revoked["id"]
    assert {row["id"]: row["isWorking"] for row in listed}[gone.pk] is False
    assert listed[-1]["isWorking"] is False
    assert kept["token"] not in json.dumps(listed)
    assert refusal(bearer(world, revoked["token"]).ask("GET", "/api/goals")) == (401, "unauthorized")
    assert refusal(all_scopes.ask("DELETE", f"{PATH}/{revoked['id']}")) == (404, "not_found")
    assert AuditEntry.objects.filter(what=f"Revoked the management token {revoked['id']}").count() == 1


def test_token__of_somebody_who_left__works_again_after_it_is_taken_over(world: World, all_scopes: Caller) -> None:
    bob = owner_of(world.site, name="bob")
    token, value = make_token([world.site], description="Bob's", scopes=["read"], made_by=bob, expires_at=None)
    bob.memberships.all().delete()
    assert refusal(bearer(world, value).ask("GET", "/api/goals")) == (401, "unauthorized")

    taken = body(all_scopes.post(f"{PATH}/{token.pk}/take-over"))

    assert (taken["belongsTo"], taken["isWorking"]) == ("ada", True)
    assert bearer(world, value).get("/api/goals") == []
    entry = AuditEntry.objects.get(what=f"Took over the management token {token.pk}")
    assert (entry.before, entry.after) == ({"belongs to": "bob"}, {"belongs to": "ada"})


def test_token__that_opens_a_site_of_others_too__is_out_of_reach(world: World, all_scopes: Caller) -> None:
    elsewhere = create_site(name="Elsewhere")
    shared, _ = make_token(
        [world.site, elsewhere],
        description="Both",
        scopes=["read"],
        made_by=owner_of(world.site, elsewhere, name="grace"),
        expires_at=None,
    )

    assert refusal(all_scopes.ask("DELETE", f"{PATH}/{shared.pk}")) == (404, "not_found")
    assert refusal(all_scopes.post(f"{PATH}/{shared.pk}/take-over")) == (404, "not_found")


# Invitations


def test_invitation__opened_by_its_person__makes_a_member(world: World, all_scopes: Caller) -> None:
    invited = body(all_scopes.post(INVITATIONS, {"username": "eve", "role": "editor"}))
    eve, browser = User.objects.create_user("eve"), Client()
    browser.force_login(eve)
    path = "/admin/join/" + invited["link"].partition("/admin/join/")[2]

    assert invited["link"].startswith("http")
    assert browser.post(path).status_code == 302

    assert Membership.objects.get(user=eve, site=world.site).role == "editor"
    assert AuditEntry.objects.filter(what="Invited eve", after={"role": "editor"}).count() == 1
    again = all_scopes.post(INVITATIONS, {"username": "eve", "role": "viewer"})
    assert refusal(again) == (400, "invalid_request")
    assert "already a member" in message(again)


def test_invitation__repeated_with_a_key__is_the_same_link(world: World, all_scopes: Caller) -> None:
    new, key = {"username": "eve", "role": "viewer"}, {"idempotency-key": "once"}

    links = {body(all_scopes.ask("POST", INVITATIONS, new, **key))["link"] for _ in range(2)}

    assert len(links) == 1
    assert AuditEntry.objects.filter(what="Invited eve").count() == 1


def test_invitation__with_a_key__is_not_stored_as_it_opens_the_site(world: World, all_scopes: Caller) -> None:
    key = {"idempotency-key": "once"}
    link: str = body(all_scopes.ask("POST", INVITATIONS, {"username": "eve", "role": "owner"}, **key))["link"]

    (stored,) = StoredAnswer.objects.values_list("answer", flat=True)

    assert link.rstrip("/").rpartition(":")[2] not in stored  # its signature
    assert "eve" in stored
