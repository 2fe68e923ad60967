"""Invitations of people without an account: by e-mail or a link, on which they choose a password."""

from typing import Any
from urllib.parse import quote

import pytest
from django.contrib.auth.models import User
from django.core import mail
from django.core.mail.backends.base import BaseEmailBackend
from django.db import connection
from django.test import Client
from pytest_django import Settings

from api.http import invitations
from api.models import AuditEntry, Membership, Site
from tests.support.pages import text_of
from tests.support.settings_pages import BASE, change, link_for

ADA = "ada@example.com"
PASSWORDS = {"new_password1": "on-engines-17", "new_password2": "on-engines-17"}


@pytest.fixture
def mail_server(settings: Settings) -> None:
    settings.EMAIL_HOST = "mail.example.com"


def invite(owner: Client, username: str) -> Any:
    return owner.post(BASE + "members/change/", {"do": "invite", "username": username, "role": "editor"})


def test_invitation__of_somebody_new__creates_the_account_once_and_signs_in(owner: Client, site: Site) -> None:
    link, ada = link_for(owner, ADA), Client()

    assert "Choose a password" in text_of(ada.get(link))
    joined = ada.post(link, PASSWORDS)

    assert (joined.status_code, joined["Location"]) == (302, f"/admin/s/{site.sitecode}/")
    user = User.objects.get(username=ADA)
    assert (user.email, user.is_staff, user.is_superuser) == (ADA, False, False)
    assert user.check_password("on-engines-17")
    assert site.memberships.get(user=user).role == "editor"
    assert ada.get(f"/admin/s/{site.sitecode}/").status_code == 200
    assert [(entry.who, entry.site, entry.what) for entry in AuditEntry.objects.order_by("pk")] == [
        ("owner", site, f"Invited {ADA}"),
        (ADA, None, f"Created the user {user.pk} by an invitation"),
        (ADA, site, "Accepted an invitation"),
    ]
    again = Client().post(link, {"new_password1": "another-17", "new_password2": "another-17"})
    assert again.status_code == 400
    assert "has an account already" in again.content.decode()
    user.refresh_from_db()
    assert user.check_password("on-engines-17")


@pytest.mark.parametrize(
    ("passwords", "said"),
    [
        ({"new_password1": "on-engines-17", "new_password2": "of-engines-17"}, "match"),
        ({"new_password1": "short", "new_password2": "short"}, "too short"),
        ({}, "required"),
    ],
)
def test_invitation__with_an_unfit_password__creates_nobody(
    owner: Client, site: Site, passwords: dict[str, str], said: str
) -> None:
    response = Client().post(link_for(owner, ADA), passwords)

    assert response.status_code == 400
    assert said in response.content.decode()
    assert not User.objects.filter(username=ADA).exists()


@pytest.mark.parametrize("username", ["ada lovelace", "o'brien@example.com", "", "a\0b", "a" * 151])
def test_invitation__of_a_username_that_cannot_be__is_refused(owner: Client, site: Site, username: str) -> None:
    assert invite(owner, username).status_code == 302
    assert not AuditEntry.objects.filter(what__startswith="Invited").exists()


def test_invitation__of_a_name_in_another_spelling__is_of_the_account_that_signs_in(owner: Client, site: Site) -> None:
    ada = Client()

    assert ada.post(link_for(owner, "Jose\u0301"), PASSWORDS).status_code == 302

    assert User.objects.filter(username="Jos\u00e9").exists()
    signed_in = Client().post("/admin/login/", {"username": "Jose\u0301", "password": "on-engines-17"})
    assert signed_in.status_code == 302


def test_invitation__of_an_account_in_other_case__is_for_that_account(owner: Client, site: Site) -> None:
    ada = User.objects.create_user(ADA, password="on-engines-17")
    link, client = link_for(owner, "Ada@Example.com"), Client()

    assert client.post(link, PASSWORDS).status_code == 400
    client.force_login(ada)
    assert client.post(link).status_code == 302
    assert User.objects.filter(username__iexact=ADA).count() == 1
    assert site.memberships.filter(user=ada).exists()


def test_invitation__of_an_account_that_was_deleted__is_over(owner: Client, site: Site) -> None:
    ada, admin = User.objects.create_user(ADA), Client()
    admin.force_login(User.objects.create_superuser("admin"))
    link = link_for(owner, ADA)

    admin.post(f"/admin/auth/user/{ada.pk}/delete/", {"post": "yes"})

    assert not User.objects.filter(username=ADA).exists()
    assert Client().post(link, PASSWORDS).status_code == 404
    assert Client().post(link_for(owner, ADA), PASSWORDS).status_code == 302


def test_invitation__of_an_account_that_an_invitation_made__is_a_link_for_administrators_too(
    owner: Client, site: Site
) -> None:
    """An owner may have opened a link to the address of another person."""
    other = Site.objects.create(name="Other", sitecode="other12345")
    admin = Client()
    admin.force_login(User.objects.create_superuser("admin"))
    Client().post(link_for(owner, ADA), PASSWORDS)

    answer = admin.post(
        "/admin/s/other12345/settings/members/change/", {"do": "invite", "username": ADA, "role": "owner"}
    )

    assert "/admin/join/" in text_of(answer)
    assert not other.memberships.exists()


@pytest.mark.parametrize("why", ["altered", "inviter demoted", "account removed"])
def test_invitation__that_is_over__creates_nobody(owner: Client, site: Site, why: str) -> None:
    Membership.objects.create(site=site, user=User.objects.create_user("second"), role="owner")
    link = link_for(owner, ADA)
    if why == "altered":
        link = link[:-3] + "x/"
    elif why == "inviter demoted":
        site.memberships.filter(user__username="owner").update(role="editor")
    else:
        assert Client().post(link, PASSWORDS).status_code == 302
        User.objects.get(username=ADA).delete()

    assert [Client().get(link).status_code, Client().post(link, PASSWORDS).status_code] == [404, 404]
    assert not User.objects.filter(username=ADA).exists()


def test_invitation__of_somebody_with_an_account__leads_through_the_sign_in(owner: Client, site: Site) -> None:
    User.objects.create_user("ada", password="on-engines-17")
    link, ada = link_for(owner, "ada"), Client()

    assert f"/admin/login/?next={quote(link)}" in text_of(ada.get(link))
    signed_in = ada.post(f"/admin/login/?next={quote(link)}", {"username": "ada", "password": "on-engines-17"})

    assert signed_in["Location"] == link
    assert ada.post(link).status_code == 302
    assert site.memberships.filter(user__username="ada").exists()


class SavepointBackend(BaseEmailBackend):
    """A mail server that notes in how many transactions within the test's it was reached."""

    depths: list[int] = []

    def send_messages(self, letters: Any) -> int:
        self.depths.append(len(connection.savepoint_ids))
        return len(letters)


@pytest.mark.usefixtures("mail_server")
def test_invitation__while_the_mail_server_answers__locks_nothing(
    owner: Client, site: Site, settings: Settings
) -> None:
    settings.EMAIL_BACKEND = f"{__name__}.SavepointBackend"
    SavepointBackend.depths.clear()

    invite(owner, ADA)

    assert SavepointBackend.depths == [0]


@pytest.mark.usefixtures("mail_server")
def test_invitation__of_an_address__is_sent_there(owner: Client, site: Site) -> None:
    shown = invite(owner, ADA)

    (letter,) = mail.outbox
    assert (letter.to, site.name in letter.subject) == ([ADA], True)
    assert shown.context["link"] in letter.body
    assert f"The mail server took the e-mail to {ADA}" in text_of(shown)


@pytest.mark.parametrize("username", ["ada", ADA])
def test_invitation__without_address_or_mail_server__is_a_link_alone(
    owner: Client, site: Site, settings: Settings, username: str
) -> None:
    settings.EMAIL_HOST = "" if username == ADA else "mail.example.com"

    assert "/admin/join/" in text_of(invite(owner, username))
    assert mail.outbox == []


@pytest.mark.usefixtures("mail_server")
def test_invitation__beyond_the_hours_limit__is_a_link_and_no_letter(
    owner: Client, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(invitations, "MOST_AN_HOUR", 1)

    invite(owner, ADA)
    second = text_of(invite(owner, "eve@example.com"))

    assert [letter.to for letter in mail.outbox] == [[ADA]]
    assert "No e-mail was sent." in second
    assert "/admin/join/" in second


@pytest.mark.usefixtures("mail_server")
def test_invitation__that_the_mail_server_cannot_take__is_a_link(owner: Client, site: Site, settings: Settings) -> None:
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", 9  # nothing listens there

    shown = text_of(invite(owner, ADA))

    assert "The mail server could not be reached" in shown
    assert "/admin/join/" in shown


def test_invitation__by_an_administrator__is_a_link_for_somebody_new(site: Site) -> None:
    admin = Client()
    admin.force_login(User.objects.create_superuser("admin"))
    User.objects.create_user("eve", is_active=False)

    assert Client().post(link_for(admin, ADA), PASSWORDS).status_code == 302
    assert Client().post(link_for(admin, "eve"), PASSWORDS).status_code == 400
    User.objects.create_user("bob")
    change(admin, "members/change/", do="invite", username="bob", role="viewer")
    assert set(site.memberships.values_list("user__username", flat=True)) == {ADA, "bob"}
