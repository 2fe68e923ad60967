"""The form of a new site."""

import re
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from api.ingest.provisioning import create_site
from api.models import AuditEntry, Site, Source
from tests.support.pages import Enter, text_of
from tests.world import World

NEW = "/admin/sites/new/"
FORM = {"name": "By form", "default_currency": "CHF", "time_zone": "Europe/Zurich", "first_weekday": "6"}


@pytest.fixture
def admin(db: None) -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("admin"))
    return client


def test_site__made_by_the_form__equals_one_made_by_a_command(admin: Client) -> None:
    response: Any = admin.post(NEW, FORM)
    by_form, by_command = Site.objects.get(name="By form"), create_site(name="By command")

    assert response["Location"] == f"/admin/s/{by_form.sitecode}/guide/"
    assert re.fullmatch("[a-z0-9]{10}", by_form.sitecode)
    assert (by_form.default_currency, by_form.time_zone, by_form.first_weekday) == ("CHF", "Europe/Zurich", 6)
    chosen = {"id", "sitecode", "created_at", *FORM}
    columns = [column.attname for column in Site._meta.concrete_fields if column.name not in chosen]
    assert [getattr(by_form, name) for name in columns] == [getattr(by_command, name) for name in columns]
    assert [source.kind for source in by_form.sources.all()] == [Source.Kind.DESTINATION]
    entry = AuditEntry.objects.latest("pk")
    assert (entry.site, entry.who, entry.before) == (by_form, "admin", None)
    assert (entry.after or {})["default_currency"] == "CHF"


@pytest.mark.parametrize(
    "wrong",
    [
        {"sitecode": "Too-Short"},
        {"name": ""},
        {"default_currency": "DOGE"},
        {"time_zone": "Mars/Olympus"},
        {"first_weekday": "9"},
    ],
)
def test_site__of_a_wrong_form__is_not_made(admin: Client, wrong: dict[str, str]) -> None:
    assert admin.post(NEW, FORM | wrong).status_code == 400
    assert not Site.objects.exists()


def test_site__with_a_chosen_sitecode__has_it_once(admin: Client) -> None:
    assert [admin.post(NEW, {**FORM, "sitecode": "abcdefghij"}).status_code for _ in range(2)] == [302, 400]
    assert Site.objects.get().sitecode == "abcdefghij"


@pytest.mark.parametrize("who", ["anonymous", "outsider", "owner"])
def test_form_of_a_site__for_anybody_but_administrators__is_closed(world: World, enter: Enter, who: str) -> None:
    browser = enter(who)
    before = Site.objects.count()

    assert browser.get(NEW).status_code == (302 if who == "anonymous" else 404)
    assert browser.post(NEW, FORM).status_code == (302 if who == "anonymous" else 404)
    assert Site.objects.count() == before
    assert "New site" not in text_of(enter("owner").get(f"/admin/s/{world.site.sitecode}/"))
    assert "New site" in text_of(enter("superuser").get(f"/admin/s/{world.site.sitecode}/"))
