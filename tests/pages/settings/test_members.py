"""The members of a site: invited, changed, and removed."""

import re

import pytest
from django.contrib.auth.models import User
from django.test import Client

from api.models import AuditEntry, Membership, Site
from tests.support.pages import text_of
from tests.support.settings_pages import BASE, change, link_for, look, told


def sign_in(username: str) -> Client:
    user, _ = User.objects.get_or_create(username=username)
    client = Client()
    client.force_login(user)
    return client


def test_member__invited_changed_and_removed__is_noted_each_time(owner: Client, site: Site) -> None:
    ada = sign_in("ada")

    link = link_for(owner, "ada")
    assert "has invited you as editor" in text_of(ada.get(link))
    assert not site.memberships.filter(user__username="ada").exists()
    assert ada.post(link).status_code == 302
    member = site.memberships.get(user__username="ada")
    assert member.role == "editor"
    change(owner, "members/change/", do="role", member=member.pk, role="owner")
    change(owner, "members/change/", do="remove", member=member.pk)

    assert not site.memberships.filter(user__username="ada").exists()
    assert [(entry.who, *told(entry)) for entry in AuditEntry.objects.order_by("pk")] == [
        ("owner", "Invited ada", None, {"role": "editor"}),
        ("ada", "Accepted an invitation", None, {"role": "editor"}),
        ("owner", "Changed the role of ada", {"role": "editor"}, {"role": "owner"}),
        ("owner", "Removed the member ada", {"role": "owner"}, None),
    ]


def test_member__invited__is_answered_the_same_whether_there_is_such_a_user(owner: Client, site: Site) -> None:
    User.objects.create_user("qq-ada")
    User.objects.create_user("qq-eve", is_active=False)
    shown = []
    for username in ("qq-ada", "qq-eve", "qq-nobody"):
        response = owner.post(BASE + "members/change/", {"do": "invite", "username": username, "role": "viewer"})
        page = text_of(response).replace(str(response.context["link"]), "").replace(username, "")
        shown.append((response.status_code, re.sub(r'csrf[^>]*|nonce="[^"]*"', "", page)))

    assert shown[0] == shown[1] == shown[2]
    assert site.memberships.count() == 1


@pytest.mark.parametrize(
    "why", ["somebody else", "altered", "too old", "removed", "removed in tables", "inviter gone", "inviter demoted"]
)
def test_invitation__that_is_over_or_of_somebody_else__opens_nothing(
    owner: Client, site: Site, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    Membership.objects.create(site=site, user=User.objects.create_user("second"), role="owner")
    link, ada = link_for(owner, "ada"), sign_in("eve" if why == "somebody else" else "ada")
    if why == "altered":
        link = link[:-3] + "x/"
    elif why == "too old":
        monkeypatch.setattr("api.http.invitations.DAYS", -1)
    elif why == "removed":
        assert ada.post(link).status_code == 302
        change(owner, "members/change/", do="remove", member=site.memberships.get(user__username="ada").pk)
    elif why == "removed in tables":
        assert ada.post(link).status_code == 302
        site.memberships.get(user__username="ada").delete()  # the audit log has another sentence then
    elif why == "inviter gone":
        User.objects.filter(username="owner").update(is_active=False)
    elif why == "inviter demoted":
        site.memberships.filter(user__username="owner").update(role="editor")
    known = set(site.memberships.values_list("user__username", flat=True))

    assert (ada.get(link).status_code, ada.post(link).status_code) == (404, 404)

    assert set(site.memberships.values_list("user__username", flat=True)) == known


def test_member__made_by_an_administrator__is_one_at_once(site: Site) -> None:
    admin = Client()
    admin.force_login(User.objects.create_superuser("admin"))
    User.objects.create_user("ada")

    change(admin, "members/change/", do="invite", username="ada", role="editor")

    assert site.memberships.get(user__username="ada").role == "editor"


def test_member__invited_as_users_are_made__signs_in_enters_no_table_and_signs_out(owner: Client, site: Site) -> None:
    User.objects.create_user("ada", password="on analytical engines")  # without “staff status”
    assert sign_in("ada").post(link_for(owner, "ada")).status_code == 302
    ada, home = Client(), f"/admin/s/{site.sitecode}/"

    signed_in = ada.post(f"/admin/login/?next={home}", {"username": "ada", "password": "on analytical engines"})

    assert (signed_in.status_code, signed_in.headers.get("Location")) == (302, home)
    assert "/admin/logout/" in text_of(ada.get(home))
    tables = ("tables", "api/message", "api/site", "api/credential")
    assert [ada.get(f"/admin/{table}/").status_code for table in tables] == [302] * 4
    assert ada.get("/admin/password_change/").status_code == 200
    assert ada.post("/admin/logout/").status_code == 200
    assert ada.get(home).status_code == 302


@pytest.mark.parametrize("do", ["remove", "role"])
def test_member__last_owner__stays_one(owner: Client, site: Site, do: str) -> None:
    member = site.memberships.get()

    change(owner, "members/change/", do=do, member=member.pk, role="viewer")

    member.refresh_from_db()
    assert member.role == "owner"
    assert not AuditEntry.objects.exists()
    assert "last owner" in look(owner, "members/")


def test_member__last_owner_who_may_sign_in__stays_one(owner: Client, site: Site) -> None:
    gone = User.objects.create_user("gone", is_active=False)
    Membership.objects.create(site=site, user=gone, role="owner")
    member = site.memberships.get(user__username="owner")

    change(owner, "members/change/", do="remove", member=member.pk)

    assert site.memberships.filter(pk=member.pk).exists()


@pytest.mark.parametrize(
    "fields",
    [
        {"do": "invite", "username": "x" * 151, "role": "viewer"},
        {"do": "invite", "username": " ", "role": "viewer"},
        {"do": "invite", "username": "nobody", "role": "king"},
        {"do": "invite", "username": "owner", "role": "viewer"},
        {"do": "role", "member": "0", "role": "viewer"},
        {"do": "role", "member": "x", "role": "king"},
        {},
    ],
)
def test_member__odd_change__changes_nothing(owner: Client, site: Site, fields: dict[str, str]) -> None:
    change(owner, "members/change/", **fields)

    assert [member.role for member in site.memberships.all()] == ["owner"]
