"""Management tokens: permissions of each role, and the end of a token."""

import base64
import json
from datetime import timedelta
from importlib import import_module
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.utils import timezone

from api.events.refusal import Refusal
from api.http import credentials, key_usage
from api.http.tokens import make_token, take_over
from api.ingest.provisioning import create_site
from api.models import AuditEntry, Credential, ManagementToken, Membership, Source, WriteKey
from api.rest.access import find_token
from goals.models import Goal
from tests.support.concurrency import wait_until
from tests.support.management_api import Caller, message, refusal
from tests.world import CLIENT_ID, World, owner_of

ROLES = ["viewer", "editor", "owner"]
SCOPES = {"editor": "write", "owner": "admin"}  # that a token from before scopes lacks below this role
NEW_RULES: dict[str, Any] = {"rules": []}


def holder(world: World, role: str, **fields: Any) -> Caller:
    """Return a caller with a token of this role."""
    _, value = make_token(
        [world.site], description="CI", role=role, made_by=owner_of(world.site), expires_at=None, **fields
    )
    return Caller(f"Bearer {value}", world.credential)


@pytest.fixture
def goal(world: World) -> Goal:
    return Goal.objects.create(site=world.site, name="Bought")


@pytest.fixture
def source(world: World) -> Source:
    return world.site.sources.get()


def calls(goal: Goal, source: Source) -> list[tuple[str, str, str, Any]]:
    """Return calls that work, each with the lowest role that may make it."""
    key = WriteKey.objects.create(source=source, key="to-be-revoked")
    return [
        ("viewer", "GET", "/api/goals", None),
        ("viewer", "GET", f"/api/goals/{goal.pk}", None),
        ("viewer", "GET", f"/api/goals/{goal.pk}/conversions", None),
        ("viewer", "GET", "/api/visitors/a/conversions", None),
        ("viewer", "GET", "/api/sources", None),
        ("viewer", "GET", f"/api/sites/{goal.site.sitecode}/rules", None),
        ("viewer", "POST", f"/api/sites/{goal.site.sitecode}/rules/what-if", {"rules": []}),
        ("editor", "POST", "/api/goals", {"name": "New"}),
        ("editor", "PATCH", f"/api/goals/{goal.pk}", {"name": "Sold"}),
        ("editor", "POST", f"/api/goals/{goal.pk}/archive", None),
        ("editor", "POST", f"/api/goals/{goal.pk}/restore", None),
        ("editor", "DELETE", f"/api/goals/{goal.pk}", None),
        ("owner", "POST", "/api/sources", {"name": "App", "kind": "server"}),
        ("owner", "PATCH", f"/api/sources/{source.pk}", {"name": "Renamed"}),
        ("owner", "POST", f"/api/sources/{source.pk}/write-keys", {"overlapHours": 1}),
        ("owner", "DELETE", f"/api/sources/{source.pk}/write-keys/{key.key}", None),
        ("owner", "PUT", f"/api/sites/{goal.site.sitecode}/rules", NEW_RULES),
    ]


@pytest.mark.promise("I-29")
@pytest.mark.parametrize("role", ROLES)
def test_token__of_a_role__does_what_the_role_may(world: World, goal: Goal, source: Source, role: str) -> None:
    who = holder(world, role)
    for least, method, path, body in calls(goal, source):
        response = who.ask(method, path, body)
        if ROLES.index(role) >= ROLES.index(least):
            assert response.status_code in {200, 201, 204}, (method, path, response.content)
        else:
            assert refusal(response) == (403, "insufficient_scope"), (method, path)
            assert f"needs the scope `{SCOPES[least]}`" in message(response)


@pytest.mark.promise("I-29")
def test_change__by_a_program__is_noted_under_its_name(world: World, owner: Caller, goal: Goal, source: Source) -> None:
    token = holder(world, "owner")
    made = ManagementToken.objects.get()
    for who, name in ((token, f"token {made.pk} “CI”"), (owner, f"credential {world.credential.client_id}")):
        WriteKey.objects.filter(key="to-be-revoked").delete()
        Goal.objects.filter(pk=goal.pk).update(deleted_at=None, name="Bought")
        Goal.objects.filter(name="New").delete()
        Source.objects.filter(pk=source.pk).update(name="Before")
        for least, method, path, body in calls(goal, source):
            before = AuditEntry.objects.count()
            assert who.ask(method, path, body).status_code < 300, path
            entries = list(AuditEntry.objects.order_by("pk")[before:])
            assert len(entries) == (0 if least == "viewer" else 1), (method, path)
            for entry in entries:
                assert (entry.who, entry.user_id, entry.site) == (name, None, world.site)
                assert entry.before is not None or entry.after is not None
                assert entry.before != entry.after or path.endswith("rules")
    renamed = AuditEntry.objects.filter(what=f"Changed the goal {goal.pk}").latest("pk")
    assert (renamed.before, renamed.after) == ({"name": "Bought"}, {"name": "Sold"})


def test_change__that_changes_nothing__is_not_noted(world: World, goal: Goal) -> None:
    who = holder(world, "editor")

    assert who.patch(f"/api/goals/{goal.pk}", {"name": "Bought"}).status_code == 200
    assert not AuditEntry.objects.exists()


@pytest.mark.promise("I-29")
@pytest.mark.parametrize("how", ["revoked", "over", "unknown", "of no site"])
def test_token__that_opens_nothing__is_refused(world: World, goal: Goal, how: str) -> None:
    who = holder(world, "owner")
    assert who.names() == ["Bought"]

    match how:
        case "revoked":
            ManagementToken.objects.update(revoked_at=timezone.now())
        case "over":
            ManagementToken.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
        case "unknown":
            who.authorization += "x"
        case _:
            ManagementToken.objects.get().sites.clear()
    response = who.ask("GET", f"/api/goals/{goal.pk}")

    assert refusal(response) == (401, "unauthorized")
    assert response["WWW-Authenticate"] == "Bearer"


@pytest.mark.parametrize("gone", ["removed", "deactivated", "deleted", "viewer now"])
@pytest.mark.parametrize("role", ROLES)
def test_token__of_somebody_who_left__is_refused_until_taken_over(
    world: World, goal: Goal, gone: str, role: str
) -> None:
    who = holder(world, role)
    ada = User.objects.get(username="ada")
    match gone:
        case "removed":
            ada.memberships.all().delete()
        case "deactivated":
            User.objects.filter(pk=ada.pk).update(is_active=False)
        case "deleted":
            ada.delete()
        case _:
            Membership.objects.filter(user=ada).update(role="viewer")

    response = who.ask("GET", f"/api/goals/{goal.pk}")

    if gone == "viewer now" and role == "viewer":  # the token needs no more than ada's remaining role
        assert response.status_code == 200
        return
    assert refusal(response) == (401, "unauthorized")
    assert "An owner can take it over" in message(response)
    token = ManagementToken.objects.get()
    assert token.made_by == "ada"

    olga = owner_of(world.site, name="olga")
    take_over(token, olga, by=olga)

    assert who.names() == ["Bought"]


def test_token__of_several_sites__opens_those_that_its_user_still_owns(world: World, goal: Goal) -> None:
    other = create_site(name="Other")
    Goal.objects.create(site=other, name="Elsewhere")
    user = owner_of(world.site, other)
    _, value = make_token([world.site, other], description="Both", role="editor", made_by=user, expires_at=None)
    who = Caller(f"Bearer {value}", world.credential)

    Membership.objects.filter(user=user, site=world.site).delete()

    assert who.names() == ["Elsewhere"]
    assert refusal(who.ask("PATCH", f"/api/goals/{goal.pk}", {"name": "Sold"})) == (404, "not_found")


def test_token__of_a_superuser__needs_no_membership(world: World, goal: Goal) -> None:
    root = User.objects.create_superuser("root")
    _, value = make_token([world.site], description="CI", role="owner", made_by=root, expires_at=None)
    who = Caller(f"Bearer {value}", world.credential)
    assert who.names() == ["Bought"]

    User.objects.update(is_superuser=False)

    assert refusal(who.ask("GET", "/api/goals")) == (401, "unauthorized")


def test_token__from_before_tokens_had_users__is_that_of_its_makers_name(world: World, goal: Goal) -> None:
    who = holder(world, "owner")
    ada = owner_of(world.site)
    stranger, value = make_token([world.site], description="Old", role="owner", made_by=ada, expires_at=None)
    ManagementToken.objects.update(user=None)
    ManagementToken.objects.filter(pk=stranger.pk).update(made_by="somebody who was deleted")

    with connection.cursor() as cursor:
        cursor.execute(import_module("api.migrations.0023_whose_tokens").FIND)

    assert who.names() == ["Bought"]
    assert refusal(Caller(f"Bearer {value}", world.credential).ask("GET", "/api/goals")) == (401, "unauthorized")


def test_token__used__takes_one_query_to_find(world: World, django_assert_num_queries: Any) -> None:
    _, value = make_token([world.site], description="CI", role="owner", made_by=owner_of(world.site), expires_at=None)
    with django_assert_num_queries(1):
        find_token(value)


def test_token__of_another_site__sees_nothing_here(world: World, goal: Goal) -> None:
    other = create_site(name="Else")
    _, value = make_token([other], description="Else", role="owner", made_by=owner_of(other), expires_at=None)
    outsider = Caller(f"Bearer {value}", world.credential)

    assert outsider.names() == []
    assert refusal(outsider.ask("DELETE", f"/api/goals/{goal.pk}")) == (404, "not_found")
    assert refusal(outsider.ask("GET", f"/api/sites/{world.site.sitecode}/rules")) == (404, "unknown_site")


@pytest.mark.promise("I-29", "B-02")
def test_token__at_the_other_doors__opens_none(world: World) -> None:
    who = holder(world, "owner")

    refused = world.post(world.event(), headers={"authorization": who.authorization})
    assert refused.status_code == 401
    assert "lacks the scope `ingest`" in refused.text
    assert world.get("IDENTIFY_a", token=False, headers={"authorization": who.authorization}).status_code == 401


@pytest.mark.promise("I-29")
def test_key__used__is_written_with_its_time(world: World, goal: Goal, monkeypatch: pytest.MonkeyPatch) -> None:
    """A background thread writes the times of all three kinds of keys."""
    monkeypatch.setattr(key_usage.KeyUsageWriter, "interval", 0.05)
    writer = key_usage.KeyUsageWriter()
    monkeypatch.setattr(key_usage, "key_usage_writer", lambda: writer)
    who = holder(world, "viewer")
    key = WriteKey.objects.filter(source__site=world.site)[0]
    began = timezone.now() - timedelta(seconds=1)

    assert who.names() == ["Bought"]
    world.send(world.event())
    basic = base64.b64encode(f"{key.key}:".encode()).decode()
    tracked = world.client.post(
        "/v1/track", json={"event": "A", "userId": "u"}, headers={"authorization": f"Basic {basic}"}
    )
    assert tracked.status_code == 200

    for model in (ManagementToken, Credential, WriteKey):
        wait_until(lambda model=model: model.objects.get().last_used_at is not None)  # type: ignore[misc]
        at = model.objects.get().last_used_at
        assert at is not None
        assert began <= at <= timezone.now() + timedelta(seconds=1)


@pytest.mark.parametrize("kind", key_usage.UsedKey)
@pytest.mark.parametrize(("minutes", "is_kept"), [(5, True), (-5, False)])
def test_key__used_through_two_processes__keeps_the_later_time(
    world: World, kind: key_usage.UsedKey, *, minutes: float, is_kept: bool
) -> None:
    """The other process has already written a use `minutes` from now."""
    holder(world, "viewer")
    models: dict[key_usage.UsedKey, tuple[Any, str]] = {
        key_usage.UsedKey.CREDENTIAL: (Credential, "pk"),
        key_usage.UsedKey.WRITE_KEY: (WriteKey, "key"),
        key_usage.UsedKey.TOKEN: (ManagementToken, "pk"),
    }
    model, field = models[kind]
    now = timezone.now()
    written = now + timedelta(minutes=minutes)
    model.objects.update(last_used_at=written)
    writer = key_usage.KeyUsageWriter()
    writer._at[kind, getattr(model.objects.get(), field)] = now.timestamp()

    writer.write()

    at = model.objects.get().last_used_at
    assert at is not None
    assert abs(at - (written if is_kept else now)) < timedelta(milliseconds=1)


def test_key__shown_with_a_wrong_secret__is_not_used(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    used: list[object] = []
    monkeypatch.setattr(credentials, "record_use", lambda *use: used.append(use))
    assert world.post(world.event()).status_code == 200
    assert used == [(key_usage.UsedKey.CREDENTIAL, world.credential.pk)]

    with pytest.raises(Refusal):
        credentials.check_secret(CLIENT_ID, "wrong")

    assert len(used) == 1


def test_error__of_a_scope__says_what_is_needed(world: World, goal: Goal) -> None:
    response = holder(world, "viewer").ask("DELETE", f"/api/goals/{goal.pk}")

    assert json.loads(response.content)["message"] == (
        "This needs the scope `write`; your token has `read`, `read:personal`. "
        "An owner of the site creates one that may, under Settings, Tokens."
    )
    assert Goal.objects.filter(pk=goal.pk, deleted_at=None).exists()
