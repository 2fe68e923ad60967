"""The sign-in page: where the first password is, and a new one by e-mail."""

import re
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core import mail
from django.core.cache import cache
from django.test import Client
from pytest_django import Settings

from api.models import AuditEntry
from tests.support.concurrency import wait_until
from tests.support.pages import text_of

ADA = "ada@example.com"
NEW = {"new_password1": "on-engines-17", "new_password2": "on-engines-17"}


@pytest.fixture
def ada(db: None, settings: Settings) -> User:
    settings.EMAIL_HOST, settings.PUBLIC_URL = "mail.example.com", "https://api.example.com"
    user = User.objects.create_user("ada", email=ADA, password="long-forgotten-1")
    cache.delete(f"password-reset:{user.pk}")
    return user


def ask(address: str) -> Any:
    return Client().post("/admin/password_reset/", {"email": address}, headers={"host": "localhost"})


def wait_for_letters(number: int) -> list[Any]:
    """Wait until the thread has sent this number of letters."""
    wait_until(lambda: len(mail.outbox) >= number)
    return list(mail.outbox)


def test_reset__asked_for__mails_a_link_that_works_once(ada: User) -> None:
    asked = text_of(ask(ADA.upper()))
    (letter,) = wait_for_letters(1)

    assert letter.to == [ADA]
    (link,) = re.findall(r"https://api\.example\.com(\S+)", letter.body)
    browser = Client()
    form = browser.get(link)
    assert form.status_code == 302  # the address with the token leaves the history
    assert browser.post(form["Location"], NEW)["Location"] == "/admin/login/"
    ada.refresh_from_db()
    assert ada.check_password("on-engines-17")
    assert "This link has expired" in text_of(Client().get(link))
    assert (AuditEntry.objects.get().who, AuditEntry.objects.get().site) == ("ada", None)
    assert text_of(ask("nobody@example.com")) == asked
    assert len(mail.outbox) == 1


def test_reset__asked_for_again_and_again__mails_once(ada: User) -> None:
    eve = User.objects.create_user("eve", email="eve@example.com", password="long-forgotten-2")
    cache.delete(f"password-reset:{eve.pk}")
    for address in (ADA, ADA, ADA, "eve@example.com"):
        ask(address)

    letters = wait_for_letters(2)  # one thread sends them in their order
    assert [letter.to for letter in letters] == [[ADA], ["eve@example.com"]]


def test_reset__of_somebody_who_may_not_sign_in__mails_nothing(ada: User) -> None:
    User.objects.update(is_active=False)

    eve = User.objects.create_user("eve", email="eve@example.com", password="long-forgotten-2")
    cache.delete(f"password-reset:{eve.pk}")

    ask(ADA)
    ask(eve.email)

    (letter,) = wait_for_letters(1)  # one thread sends them in their order
    assert letter.to == [eve.email]


@pytest.mark.parametrize("lacks", ["EMAIL_HOST", "PUBLIC_URL"])
def test_reset__without_mail_server_or_public_address__is_not_offered(
    ada: User, settings: Settings, lacks: str
) -> None:
    assert "/admin/password_reset/" in text_of(Client().get("/admin/login/"))

    setattr(settings, lacks, "")

    assert "/admin/password_reset/" not in text_of(Client().get("/admin/login/"))
    assert ask(ADA).status_code == 404


def test_sign_in__on_a_fresh_start__names_the_first_password_until_somebody_signs_in(
    db: None, settings: Settings, tmp_path: Path
) -> None:
    settings.DATA_DIR = tmp_path
    user = User.objects.create_superuser("admin", password="a-first-password")
    place = tmp_path / "first-site.env"
    assert "first-site.env" not in text_of(Client().get("/admin/login/"))
    place.write_text("GOALPOST_ADMIN_USER=admin\nGOALPOST_ADMIN_PASSWORD=a-first-password\n")

    shown = text_of(Client().get("/admin/login/"))

    assert str(place) in shown
    assert "a-first-password" not in shown
    Client().force_login(user)
    assert "first-site.env" not in text_of(Client().get("/admin/login/"))
