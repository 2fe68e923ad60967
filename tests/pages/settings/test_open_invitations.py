"""The list of open invitations, and how they are sent again and taken back."""

from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.test import Client

from api.http.invitations import list_open
from api.models import AuditEntry, Membership, Site
from tests.support.pages import text_of
from tests.support.settings_pages import BASE, change, last_entry, link_for, look

PASSWORDS = {"new_password1": "long enough 2026", "new_password2": "long enough 2026"}


def open_names(owner: Client) -> list[str]:
    return [each.username for each in owner.get(BASE + "members/").context["invitations"]]


def test_invitations__open__say_who_with_which_role_by_whom_and_until_when(owner: Client, site: Site) -> None:
    assert "Open invitations" not in look(owner, "members/")
    link_for(owner, "zoe")
    link_for(owner, "ada@example.com", role="viewer")
    link_for(owner, "Zoe", role="owner")  # the same account as zoe

    ada, zoe = list_open(site, now=AuditEntry.objects.latest("pk").at)
    assert (ada.username, ada.role, ada.by) == ("ada@example.com", "viewer", "owner")
    assert (zoe.username, zoe.role, zoe.ends_at - zoe.at) == ("Zoe", "owner", timedelta(days=7))
    shown = look(owner, "members/")
    assert "Open invitations" in shown
    assert "ada@example.com" in shown
    assert list_open(site, now=zoe.ends_at) == []


def test_invitation__of_members_who_differ_in_case_only__is_not_listed(owner: Client, site: Site) -> None:
    link_for(owner, "ada")
    for username in ("ada", "ADA"):
        Membership.objects.create(user=User.objects.create_user(username), site=site, role="viewer")

    assert open_names(owner) == []


@pytest.mark.parametrize("username", ["ada", "ADA"])
def test_invitation__taken_back__opens_nothing_until_the_person_is_invited_again(
    owner: Client, site: Site, username: str
) -> None:
    first, second = link_for(owner, "ada"), link_for(owner, username)

    change(owner, "members/change/", do="withdraw", username=username, role="editor")

    ended = {"invitation": "open"}, {"invitation": "withdrawn"}
    assert last_entry() == (f"Took back the invitation of {username}", *ended)
    assert open_names(owner) == []
    for link in (first, second):
        assert Client().post(link, PASSWORDS).status_code == 404
    link = link_for(owner, "ada")
    assert open_names(owner) == ["ada"]
    assert Client().post(link, PASSWORDS).status_code == 302
    assert open_names(owner) == []


def test_invitation__that_is_not_open__cannot_be_taken_back(owner: Client, site: Site) -> None:
    answer = owner.post(BASE + "members/change/", {"do": "withdraw", "username": "ada"}, follow=True)

    assert "it has ended" in text_of(answer)
    assert not AuditEntry.objects.exists()


@pytest.mark.parametrize("why", ["accepted", "removed", "deleted", "added", "inviter demoted"])
def test_invitation__that_is_over__is_not_listed(owner: Client, site: Site, why: str) -> None:
    admin = Client()
    admin.force_login(User.objects.create_superuser("admin"))
    Membership.objects.create(site=site, user=User.objects.create_user("second"), role="owner")
    link = link_for(owner, "ada")
    assert open_names(admin) == ["ada"]
    if why in {"accepted", "removed", "deleted"}:
        assert Client().post(link, PASSWORDS).status_code == 302
    if why == "removed":
        change(owner, "members/change/", do="remove", member=site.memberships.get(user__username="ada").pk)
    elif why == "deleted":
        ada = User.objects.get(username="ada")
        admin.post(f"/admin/auth/user/{ada.pk}/delete/", {"post": "yes"})
    elif why == "added":
        Membership.objects.create(site=site, user=User.objects.create_user("Ada"))
    elif why == "inviter demoted":
        site.memberships.filter(user__username="owner").update(role="editor")

    assert open_names(admin) == []


def test_invitations__of_another_site__are_not_listed(owner: Client, site: Site) -> None:
    other = Site.objects.create(name="Other", sitecode="other12345")
    link_for(owner, "ada")

    assert list_open(other, now=AuditEntry.objects.latest("pk").at) == []
