"""The frame of every page, for every kind of user, and the way to it."""

import json
import re
from datetime import timedelta
from typing import Any

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from api.ingest.provisioning import create_site
from api.models import Alert, Membership, Role
from api.pages import access, frame
from api.pages.frame import MENU
from tests.support.messages import store_received
from tests.support.pages import Enter, text_of
from tests.world import SITECODE, START, World

HOME = f"/admin/s/{SITECODE}/"
BROWSER = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}
PASSWORD = "a long password"
OWN_CODE = re.compile(r"<[^>]*\s(style|on[a-z]+)=|<style|<script(?![^>]*\ssrc=)")


@pytest.mark.parametrize("role", [*Role.values, "superuser"])
@pytest.mark.parametrize("page", ["", "goals/", "settings/", "people/", "guide/curl/"])
def test_page__for_a_member_who_is_not_staff__has_menu_and_title(enter: Enter, role: str, page: str) -> None:
    response: Any = enter(role).get(HOME + page)

    shown = text_of(response)
    items = [[item.title for item in group] for group in response.context["frame"].menu]
    assert items == [[title for title, _ in group] for group in MENU]
    assert all(f'href="{item.link}"' in shown for group in response.context["frame"].menu for item in group)
    assert f"<h1>{response.context['title']}</h1>" in shown


def test_page__of_a_site_that_is_not_among_the_first__is_found_all_the_same(
    world: World, enter: Enter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(access, "MOST_SITES", 2)
    owner = enter("owner")
    for name in ("A", "B"):
        site = create_site(name=name)
        Membership.objects.create(user=User.objects.get(pk=owner.session["_auth_user_id"]), site=site, role=Role.VIEWER)
    create_site(name="C", sitecode="cccccccccc")

    response: Any = owner.get(HOME)

    assert response.status_code == 200
    assert response.context["may_own"]
    assert [site.name for site in response.context["frame"].sites] == ["A", "B"]
    assert owner.get("/admin/s/cccccccccc/").status_code == 404


@pytest.mark.parametrize("method", ["get", "head"])
def test_root__in_a_browser__leads_to_the_pages(world: World, method: str) -> None:
    response: Any = getattr(Client(), method)("/", headers=BROWSER)

    assert (response.status_code, response["Location"]) == (302, "/admin/")
    assert "Accept" in response["Vary"]


@pytest.mark.parametrize(
    ("method", "path", "headers"),
    [
        ("get", "/", {}),
        ("get", "/", {"Accept": "*/*"}),
        ("get", "/", {"Accept": "application/json"}),
        ("post", "/", BROWSER),
        ("get", "/api/nothing", BROWSER),
        ("get", "/nothing", BROWSER),
    ],
)
def test_root__for_a_program__is_the_error_of_the_api(
    world: World, method: str, path: str, headers: dict[str, str]
) -> None:
    client = Client(enforce_csrf_checks=True, raise_request_exception=False)
    response: Any = getattr(client, method)(path, headers=headers)

    assert response.status_code in {401, 404}
    assert json.loads(response.content)["success"] is False


@pytest.mark.parametrize("role", Role.values)
def test_admin__of_a_member_who_signs_in_there__leads_to_their_site(world: World, role: str) -> None:
    user = User.objects.create_user("marco", password=PASSWORD)
    Membership.objects.create(user=user, site=world.site, role=role)
    browser = Client()

    asked: Any = browser.get("/admin/")
    response = browser.post(asked["Location"], {"username": "marco", "password": PASSWORD}, follow=True)

    assert asked["Location"].startswith("/admin/login/")
    assert response.redirect_chain[-1] == (HOME, 302)


def test_admin__of_somebody_without_a_site__says_so(world: World) -> None:
    browser = Client()
    browser.force_login(User.objects.create_user("marco"))

    for address in ("/admin/", "/admin/password_change/"):
        assert text_of(browser.get(address))
    assert "not a member of any site yet" in text_of(browser.get("/admin/"))


def test_admin__of_a_superuser_without_a_site__leads_to_the_form_of_one(db: None) -> None:
    browser = Client()
    browser.force_login(User.objects.create_superuser("clerk"))

    response: Any = browser.get("/admin/")

    assert (response.status_code, response["Location"]) == (302, "/admin/sites/new/")


def test_sign_in__forgotten_password__names_the_way_back(world: World) -> None:
    assert "manage.py changepassword" in text_of(Client().get("/admin/login/"))
    assert "manage.py changepassword admin" in (settings.BASE_DIR / "docker/README.md").read_text()


def test_policy__of_a_page__lets_no_script_evaluate_text_and_no_markup_hold_style(world: World, enter: Enter) -> None:
    browser = enter("superuser")
    for address in (HOME, "/admin/login/", "/admin/tables/", "/admin/s/nothing000/", f"{HOME}goals/"):
        response = browser.get(address)

        directives = dict(part.split(" ", 1) for part in response["Content-Security-Policy"].split("; "))
        assert directives["script-src"] == directives["style-src"] == "'self'", address
        assert "unsafe" not in response["Content-Security-Policy"]
        assert not re.search(r"<[^>]*\s(style|on[a-z]+)=|<style|<script(?![^>]*\ssrc=)", response.content.decode()), (
            address
        )


def test_bell__with_alerts_that_fire__counts_them_in_one_query(world: World, enter: Enter) -> None:
    owner = enter("owner")
    quiet = text_of(owner.get(f"{HOME}goals/"))
    for name in ("Lag", "Silence"):
        Alert.objects.create(site=world.site, name=name, condition="lag", threshold=5, firing_since=START)
    Alert.objects.create(
        site=world.site, name="Off", condition="lag", threshold=5, firing_since=START, is_enabled=False
    )

    with CaptureQueriesContext(connection) as queries:
        shown = text_of(owner.get(f"{HOME}goals/"))

    assert "No alert is firing." in quiet
    assert 'aria-label="Alerts, 2 firing"' in shown
    assert "Off<small>" not in shown
    assert len([query for query in queries if "api_alert " in query["sql"]]) == 1


def test_badges__of_alerts_and_failed_events__are_apart_without_acknowledged_and_snoozed_ones(
    world: World, enter: Enter
) -> None:
    now = timezone.now()
    silent: list[dict[str, Any]] = [{"acknowledged_at": now}, {"snoozed_until": now + timedelta(hours=1)}]
    for fields in ({}, {"snoozed_until": now - timedelta(seconds=1)}, *silent):
        Alert.objects.create(site=world.site, name="Lag", condition="lag", threshold=5, firing_since=START, **fields)
    for _ in range(3):
        store_received(world.site, status="failed", reason="worker_died", took=1)
    store_received(world.site, status="rejected", reason="no_identity", took=1)

    response: Any = enter("viewer").get(f"{HOME}goals/")
    page = text_of(response)

    assert {item.title: item.count for group in response.context["frame"].menu for item in group if item.count} == {
        "Delivery": "3"
    }
    assert "3 failed events" in page
    assert '<span class="gf-count">2</span>' in page
    assert "Acknowledge" not in page


def test_badge__of_more_failed_events_than_are_counted__says_so(
    world: World, enter: Enter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frame, "MOST_COUNTED", 3)
    viewer, pages = enter("viewer"), []
    for _ in range(3):
        store_received(world.site, status="failed", reason="worker_died", took=1)
        pages.append(text_of(viewer.get(f"{HOME}goals/")))

    assert ("1 failed event" in pages[0], ">2<" in pages[1], ">2+<" in pages[2]) == (True, True, True)
    assert "2+ failed events" in pages[2]


def test_template__with_a_chart__loads_what_draws_it() -> None:
    templates = {path: path.read_text() for path in (settings.BASE_DIR / "api/templates").rglob("*.html")}
    with_charts = {path for path, text in templates.items() if '{% include "pages/chart.html"' in text}
    with_scripts = {path for path, text in templates.items() if '{% include "pages/chart_scripts.html" %}' in text}
    comment = settings.BASE_DIR / "api/templates/pages/chart.html"

    assert with_charts - {comment} == with_scripts - {settings.BASE_DIR / "api/templates/pages/chart_scripts.html"}


def test_components__are_shown_to_superusers_alone(world: World, enter: Enter) -> None:
    refused: Any = enter("owner").get("/admin/components/")

    assert (refused.status_code, refused["Location"].partition("?")[0]) == (302, "/admin/login/")
    assert "Order Completed" in text_of(enter("superuser").get("/admin/components/"))
