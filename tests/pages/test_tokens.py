"""Management tokens: shown once, with scopes, in sites of the user who creates them."""

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.http import HttpResponse
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from api.http.credentials import hash_secret
from api.http.tokens import make_token, with_open_sites
from api.ingest.provisioning import create_site
from api.models import AuditEntry, ManagementToken, Membership, Site
from tests.support.pages import form_of, text_of
from tests.world import World, owner_of

PAGE = "/admin/s/1q2w3e4r5t/settings/tokens/"


def make(person: Client, **fields: Any) -> HttpResponse:
    given = {"do": "create", "description": "CI", "scope": ["read"], "lifetime": "90", **fields}
    response: Any = person.post(PAGE + "change/", given)
    return response  # type: ignore[no-any-return]


@pytest.mark.promise("I-29")
def test_token__made__is_told_once_and_kept_as_a_hash(owner: Client, world: World) -> None:
    response = make(owner, scope=["write", "read"])
    value = dict(response.context["secrets"])["Token"]  # type: ignore[attr-defined]

    assert value in text_of(response)
    assert "no-store" in response["Cache-Control"]
    token = ManagementToken.objects.get()
    assert (token.description, token.role, token.made_by) == ("CI", "editor", "owner")
    assert token.scopes == ["read", "write"]
    assert token.token_hash == hash_secret(value)
    assert token.expires_at is not None
    assert timedelta(days=89) < token.expires_at - timezone.now() <= timedelta(days=90)
    assert list(token.sites.all()) == [world.site]
    shown = text_of(owner.get(PAGE))
    assert "CI" in shown
    assert "never" in shown
    assert value not in shown
    entry = AuditEntry.objects.get()
    assert entry.what == f"Created the management token {token.pk}"
    assert entry.after is not None
    assert entry.after["scopes"] == ["read", "write"]
    with connection.cursor() as cursor:
        cursor.execute("SELECT string_agg(t::text, '') FROM (SELECT * FROM api_auditentry) AS t")
        assert value not in cursor.fetchone()[0]


@pytest.mark.promise("I-29")
def test_token__revoked__says_so_and_is_noted(owner: Client, world: World) -> None:
    make(owner)
    token = ManagementToken.objects.get()

    assert owner.post(PAGE + "change/", {"do": "revoke", "token": token.pk, "confirmed": "yes"}).status_code == 302

    token.refresh_from_db()
    assert token.revoked_at is not None
    assert "revoked" in text_of(owner.get(PAGE))
    entry = AuditEntry.objects.latest("pk")
    assert (entry.what, entry.after) == (f"Revoked the management token {token.pk}", None)


@pytest.mark.parametrize(
    "fields",
    [{"scope": ["king"]}, {"scope": []}, {"description": " "}, {"description": "a" * 101}, {"lifetime": "7"}],
)
def test_token__that_cannot_be__is_not_made(owner: Client, world: World, fields: dict[str, Any]) -> None:
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
    token, _ = make_token(sites, description="Both", role="viewer", made_by=owner_of(*sites), expires_at=None)

    assert owner.post(PAGE + "change/", {"do": "revoke", "token": token.pk}).status_code == 404

    token.refresh_from_db()
    assert token.revoked_at is None


@pytest.mark.parametrize("number", ["", "x", "999", "9" * 30])
def test_token__that_is_none__is_not_found(owner: Client, world: World, number: str) -> None:
    assert owner.post(PAGE + "change/", {"do": "revoke", "token": number}).status_code == 404


def test_tokens__many__take_twelve_queries(owner: Client, world: World, django_assert_max_num_queries: Any) -> None:
    for number in range(30):
        make_token(
            [world.site], description=f"Token {number}", role="viewer", made_by=owner_of(world.site), expires_at=None
        )
    with django_assert_max_num_queries(12):
        assert "Token 29" in text_of(owner.get(PAGE))


# Of people who leave

MEMBERS = "/admin/s/1q2w3e4r5t/settings/members/"


def token_of_ada(world: World, *, role: str = "editor") -> ManagementToken:
    """Make a token that works, and one that has expired."""
    ada = owner_of(world.site)
    token, _ = make_token([world.site], description="Nightly", role=role, made_by=ada, expires_at=None)
    make_token([world.site], description="Gone already", role=role, made_by=ada, expires_at=timezone.now())
    return token


def test_member__with_tokens__is_shown_with_them_before_anybody_removes_them(owner: Client, world: World) -> None:
    token_of_ada(world)

    shown = text_of(owner.get(MEMBERS))

    assert "Nightly" in shown
    assert "They end with the membership" in shown
    assert "Gone already" not in shown


@pytest.mark.parametrize(
    ("fields", "role", "ends"),
    [
        ({"do": "remove"}, "viewer", True),
        ({"do": "role", "role": "viewer"}, "editor", True),
        ({"do": "role", "role": "editor"}, "editor", False),
    ],
)
def test_member__who_goes_or_may_do_less__ends_their_tokens_and_says_so(
    *, owner: Client, world: World, fields: dict[str, Any], role: str, ends: bool
) -> None:
    token = token_of_ada(world, role=role)
    member = Membership.objects.get(user__username="ada")

    shown = text_of(owner.post(f"{MEMBERS}change/", {**fields, "confirmed": "yes", "member": member.pk}, follow=True))

    assert ("The management token “Nightly” of ada ended here." in shown) is ends
    ending = AuditEntry.objects.filter(what=f"Ended the management token {token.pk} of ada here", site=world.site)
    assert ending.exists() is ends
    listed = text_of(owner.get(PAGE))
    assert ("It is rejected here until an owner takes it over." in listed) is ends


def test_token__of_somebody_who_left__is_taken_over_and_logged(owner: Client, world: World) -> None:
    token = token_of_ada(world)
    User.objects.get(username="ada").delete()
    assert "Its user was deleted." in text_of(owner.get(PAGE))

    shown = text_of(owner.post(f"{PAGE}change/", {"do": "take", "token": token.pk}, follow=True))

    assert "“Nightly” belongs to you now" in shown
    assert "rejected here until" not in shown
    assert "belongs to owner" in shown
    token.refresh_from_db()
    assert (token.made_by, token.user) == ("ada", User.objects.get(username="owner"))
    entry = AuditEntry.objects.latest("pk")
    assert entry.what == f"Took over the management token {token.pk}"
    assert (entry.before, entry.after) == ({"belongs to": None}, {"belongs to": "owner"})


def test_token__revoked_or_ones_own__is_not_taken_over(owner: Client, world: World) -> None:
    token = token_of_ada(world)
    ManagementToken.objects.filter(pk=token.pk).update(revoked_at=timezone.now())
    make(owner)
    mine = ManagementToken.objects.latest("pk")
    entries = AuditEntry.objects.count()

    for each in (token, mine):
        owner.post(f"{PAGE}change/", {"do": "take", "token": each.pk})

    token.refresh_from_db()
    assert token.user == User.objects.get(username="ada")
    assert AuditEntry.objects.count() == entries


@pytest.mark.parametrize("how", ["deactivated", "deleted", "membership deleted"])
def test_table__of_users__names_the_tokens_that_end_and_logs_their_end(world: World, how: str) -> None:
    token = token_of_ada(world)
    ada = User.objects.get(username="ada")
    admin = Client()
    admin.force_login(User.objects.create_superuser("admin"))
    change = reverse("admin:auth_user_change", args=[ada.pk])
    assert "“Nightly” of Shop" in text_of(admin.get(change))

    if how == "deactivated":
        form = form_of(admin, change)
        form.pop("is_active")
        told = text_of(admin.post(change, form, follow=True))
        assert "The management token “Nightly” of ada ended." in told
    else:
        row, kind = (ada, "auth_user") if how == "deleted" else (ada.memberships.get(), "api_membership")
        delete = reverse(f"admin:{kind}_delete", args=[row.pk])
        assert "Management token “Nightly” of Shop: it ends" in text_of(admin.get(delete))
        assert admin.post(delete, {"post": "yes"}).status_code == 302

    token = with_open_sites(ManagementToken.objects.filter(pk=token.pk)).get()
    assert token.open_sites == []  # type: ignore[attr-defined]  # annotated
    entries = AuditEntry.objects.filter(what__startswith=f"Ended the management token {token.pk} of ada")
    assert [(each.site, each.who) for each in entries] == [(world.site, "admin")]
