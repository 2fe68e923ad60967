"""Credentials and members in the management API."""

import json
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.http import HttpResponse

from api.events.refusal import Refusal
from api.http.credentials import check_secret, clear_lookups, encode_api_key
from api.http.tokens import make_token
from api.ingest.provisioning import create_site
from api.models import AuditEntry, Credential, ManagementToken, Membership, TokenScope
from tests.support.management_api import Caller, body, message, refusal
from tests.support.rest_access import holder_of
from tests.world import SITECODE, World, owner_of

PATH = f"/api/sites/{SITECODE}/credentials"
MEMBERS = f"/api/sites/{SITECODE}/members"


def create(caller: Caller, key: str = "key-1", **fields: Any) -> HttpResponse:
    new = {"name": "App", "scopes": ["send"], **fields}
    return caller.ask("POST", PATH, new, **{"idempotency-key": key})


def opens(client_id: str, secret: str) -> bool:
    clear_lookups()
    try:
        return check_secret(client_id, secret) is not None
    except Refusal:
        return False


def test_credential__created_twice_with_a_key__shows_the_same_secret_and_stores_none(
    world: World, owner: Caller
) -> None:
    first, again = create(owner), create(owner)

    made = body(first)
    assert (first.status_code, again.status_code) == (201, 201)
    assert again.content == first.content
    assert made["apiKey"] == encode_api_key(made["clientId"], made["secret"])
    assert opens(made["clientId"], made["secret"])
    assert Credential.objects.filter(name="App").count() == 1
    with connection.cursor() as cursor:
        for table in ("api_storedanswer", "api_credential", "api_auditentry"):
            cursor.execute(f"SELECT string_agg(t::text, '') FROM {table} t")
            (stored,) = cursor.fetchone()
            assert made["secret"] not in stored
            assert made["apiKey"] not in stored


def test_credentials__of_a_site__are_listed_without_secrets(world: World, owner: Caller) -> None:
    made = body(create(owner))

    shown = owner.get(PATH)

    assert [row["name"] for row in shown] == ["Segment", "App"]
    assert shown[1]["scopes"] == ["send"]
    assert shown[1]["sites"] == [SITECODE]
    assert made["secret"] not in json.dumps(shown)


def test_secret__rotated_twice_with_a_key__is_rotated_once(world: World, owner: Caller) -> None:
    made = body(create(owner))
    path = f"{PATH}/{made['id']}/secret"

    first, again = (owner.ask("POST", path, {"overlapHours": 1}, **{"idempotency-key": "r"}) for _ in range(2))

    assert again.content == first.content
    assert opens(made["clientId"], made["secret"])
    assert opens(made["clientId"], body(first)["secret"])
    assert body(first)["oldSecretEndsAt"] is not None
    owner.ask("POST", path, {"overlapHours": 0})
    assert not opens(made["clientId"], made["secret"])


def test_credential__narrowed_and_revoked__ends(world: World, owner: Caller) -> None:
    made = body(create(owner, scopes=["send", "read"]))

    assert body(owner.patch(f"{PATH}/{made['id']}", {"scopes": ["read"]}))["scopes"] == ["read"]
    assert owner.ask("DELETE", f"{PATH}/{made['id']}").status_code == 204

    assert not opens(made["clientId"], made["secret"])
    assert refusal(owner.ask("DELETE", f"{PATH}/{made['id']}")) == (404, "not_found")
    assert [entry.what.split()[0] for entry in AuditEntry.objects.order_by("pk")] == ["Created", "Changed", "Revoked"]
    assert AuditEntry.objects.order_by("pk")[1].after == {"scopes": ["read"]}


@pytest.mark.parametrize("fields", [{"scopes": []}, {"scopes": ["king"]}, {"name": ""}, {"name": "a" * 101}])
def test_credential__that_cannot_be__is_400(world: World, owner: Caller, fields: dict[str, Any]) -> None:
    assert refusal(create(owner, **fields)) == (400, "invalid_request")
    assert Credential.objects.count() == 1


def test_credential__that_opens_a_site_of_others__cannot_be_changed_here(world: World, owner: Caller) -> None:
    shared = Caller.build(world.site, create_site(name="Elsewhere")).credential

    for method, path, content in (
        ("PATCH", "", {"scopes": ["send"]}),
        ("POST", "/secret", {}),
        ("DELETE", "", None),
    ):
        assert refusal(owner.ask(method, f"{PATH}/{shared.pk}{path}", content)) == (404, "not_found")


@pytest.mark.parametrize("scope", ["read", "manage"])
def test_credential__that_could_do_more_than_the_token__is_refused(world: World, owner: Caller, scope: str) -> None:
    made = body(create(owner, scopes=[scope]))
    only_admin = holder_of(world, TokenScope.ADMIN)

    for method, path, content in (
        ("POST", PATH, {"name": "More", "scopes": ["send", scope]}),
        ("PATCH", f"{PATH}/{made['id']}", {"scopes": [scope]}),
        ("POST", f"{PATH}/{made['id']}/secret", {}),
    ):
        assert refusal(only_admin.ask(method, path, content)) == (403, "insufficient_scope")

    assert opens(made["clientId"], made["secret"])
    assert Credential.objects.count() == 2
    assert create(only_admin, scopes=["send"]).status_code == 201
    assert only_admin.patch(f"{PATH}/{made['id']}", {"scopes": ["send"]}).status_code == 200


# Members


def test_member__with_a_lower_role__loses_tokens_that_need_more(world: World, owner: Caller) -> None:
    grace = owner_of(world.site, name="grace")
    owner_of(world.site)
    make_token([world.site], description="Nightly", scopes=["write"], made_by=grace, expires_at=None)
    listed = {row["username"]: row for row in owner.get(MEMBERS)}
    path = f"{MEMBERS}/{listed['grace']['id']}"

    assert listed["grace"]["role"] == "owner"
    assert body(owner.patch(path, {"role": "viewer"}))["role"] == "viewer"

    token = ManagementToken.objects.get()
    assert [entry.what for entry in AuditEntry.objects.order_by("pk")] == [
        "Changed the role of grace",
        f"Ended the management token {token.pk} of grace here",
    ]
    assert owner.ask("DELETE", path).status_code == 204
    assert list(Membership.objects.values_list("user__username", flat=True)) == ["ada"]
    assert AuditEntry.objects.filter(what="Removed the member grace").count() == 1


def test_member__who_is_the_last_owner__stays(world: World) -> None:
    caller = holder_of(world)
    path = f"{MEMBERS}/{Membership.objects.get().pk}"

    for answer in (caller.patch(path, {"role": "viewer"}), caller.ask("DELETE", path)):
        assert refusal(answer) == (409, "last_owner")
        assert "another member" in message(answer)
    assert Membership.objects.get().role == "owner"


def test_member__unknown_or_of_another_site__is_404(world: World, owner: Caller) -> None:
    elsewhere = create_site(name="Elsewhere")
    other = Membership.objects.create(user=User.objects.create_user("bob"), site=elsewhere, role="viewer")

    assert refusal(owner.patch(f"{MEMBERS}/{other.pk}", {"role": "owner"})) == (404, "not_found")
    assert refusal(owner.ask("DELETE", f"{MEMBERS}/{other.pk}")) == (404, "not_found")
