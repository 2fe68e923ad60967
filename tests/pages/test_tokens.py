"""Management tokens: made and told once, with a role, in the sites of whoever makes them."""

from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.http import HttpResponse
from django.test import Client
from django.utils import timezone

from api.access import hash_secret
from api.models import AuditEntry, ManagementToken, Membership, Site
from api.sites import create_site, make_token
from tests.pages.conftest import Enter, text_of
from tests.world import World

PAGE = "/admin/s/1q2w3e4r5t/settings/tokens/"


@pytest.fixture
def owner(enter: Enter, world: World) -> Client:
    return enter("owner")


def make(person: Client, **fields: Any) -> HttpResponse:
    given = {"do": "create", "description": "CI", "role": "viewer", "lifetime": "90", **fields}
    response: Any = person.post(PAGE + "change/", given)
    return response  # type: ignore[no-any-return]


@pytest.mark.promise("I-29")
def test_token__made__is_told_once_and_kept_as_a_hash(owner: Client, world: World) -> None:
    response = make(owner, role="editor")
    value = dict(response.context["secrets"])["Token"]  # type: ignore[attr-defined]

    assert value in text_of(response)
    assert "no-store" in response["Cache-Control"]
    token = ManagementToken.objects.get()
    assert (token.description, token.role, token.made_by) == ("CI", "editor", "owner")
    assert token.token_hash == hash_secret(value)
    assert token.expires_at is not None
    assert timedelta(days=89) < token.expires_at - timezone.now() <= timedelta(days=90)
    assert list(token.sites.all()) == [world.site]
    shown = text_of(owner.get(PAGE))
    assert "CI" in shown
    assert "never" in shown
    assert value not in shown
    entry = AuditEntry.objects.get()
    assert entry.what == f"Made the management token {token.pk}"
    assert entry.after is not None
    assert entry.after["role"] == "editor"
    with connection.cursor() as cursor:
        cursor.execute("SELECT string_agg(t::text, '') FROM (SELECT * FROM api_auditentry) AS t")
        assert value not in cursor.fetchone()[0]


@pytest.mark.promise("I-29")
def test_token__revoked__says_so_and_is_noted(owner: Client, world: World) -> None:
    make(owner)
    token = ManagementToken.objects.get()

    assert owner.post(PAGE + "change/", {"do": "revoke", "token": token.pk}).status_code == 302

    token.refresh_from_db()
    assert token.revoked_at is not None
    assert "revoked" in text_of(owner.get(PAGE))
    entry = AuditEntry.objects.latest("pk")
    assert (entry.what, entry.after) == (f"Revoked the management token {token.pk}", None)


@pytest.mark.parametrize(
    "fields",
    [{"role": "king"}, {"role": ""}, {"description": " "}, {"description": "a" * 101}, {"lifetime": "7"}],
)
def test_token__that_cannot_be__is_not_made(owner: Client, world: World, fields: dict[str, str]) -> None:
    assert make(owner, **fields).status_code == 302
    assert not ManagementToken.objects.exists()
    assert not AuditEntry.objects.exists()


def test_token__for_sites_of_others__opens_only_ones_own(owner: Client, world: World) -> None:
    user = Membership.objects.get(site=world.site).user
    mine, looked_at, strange = (create_site(name=name) for name in ("Mine", "Looked at", "Strange"))
    Membership.objects.create(user=user, site=mine, role="owner")
    Membership.objects.create(user=user, site=looked_at, role="editor")

    shown = text_of(owner.get(PAGE))
    make(owner, site=[mine.sitecode, looked_at.sitecode, strange.sitecode], lifetime="")

    assert mine.sitecode in shown
    assert strange.sitecode not in shown
    token = ManagementToken.objects.get()
    assert set(token.sites.all()) == {world.site, mine}
    assert token.expires_at is None
    assert {entry.site for entry in AuditEntry.objects.all()} == {world.site, mine}


def test_token__that_opens_a_site_of_others__cannot_be_revoked_here(owner: Client, world: World) -> None:
    sites: list[Site] = [world.site, create_site(name="Other")]
    token, _ = make_token(sites, description="Both", role="viewer", made_by="ada", expires_at=None)

    assert owner.post(PAGE + "change/", {"do": "revoke", "token": token.pk}).status_code == 404

    token.refresh_from_db()
    assert token.revoked_at is None


@pytest.mark.parametrize("number", ["", "x", "999", "9" * 30])
def test_token__that_is_none__is_not_found(owner: Client, world: World, number: str) -> None:
    assert owner.post(PAGE + "change/", {"do": "revoke", "token": number}).status_code == 404


def test_tokens__many__take_twelve_queries(owner: Client, world: World, django_assert_max_num_queries: Any) -> None:
    for number in range(30):
        make_token([world.site], description=f"Token {number}", role="viewer", made_by="ada", expires_at=None)
    with django_assert_max_num_queries(12):
        assert "Token 29" in text_of(owner.get(PAGE))
