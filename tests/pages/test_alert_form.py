"""An alert as a sentence with its last 14 days, and the buttons that keep a firing one quiet."""

import html
from datetime import timedelta
from typing import Any, Final

import pytest
from django.test import Client
from django.utils import timezone

from api.models import Alert, AuditEntry
from tests.support.messages import store_received as store
from tests.support.pages import Enter, text_of
from tests.world import START, World

SITE: Final = "/admin/s/1q2w3e4r5t/"
NEW: Final = f"{SITE}settings/alerts/new/"


@pytest.fixture
def alert(world: World) -> Alert:
    return Alert.objects.create(site=world.site, name="Lag", condition="lag", threshold=30, firing_since=START)


def preview(person: Client, **form: str) -> Any:
    response = person.post(NEW, {"do": "preview", "is_enabled": "on", **form})
    assert response.status_code == 200
    return response


@pytest.mark.parametrize(
    ("condition", "fields", "words"),
    [
        ("success", {"source", "threshold"}, "% in 24 hours,"),
        ("lag", {"threshold"}, "exceeds"),
        ("silence", {"source", "threshold"}, "lasts longer than"),
        ("quota", set(), "is reached,"),
    ],
)
def test_form__of_a_condition__has_its_fields_alone(
    owner: Client, world: World, condition: str, fields: set[str], words: str
) -> None:
    page = text_of(preview(owner, condition=condition, name="Mine", threshold="7", emails="a@example.com"))

    assert {name for name in ("source", "threshold") if f'name="{name}"' in page} == fields
    assert words in page
    assert 'value="Mine"' in page
    assert "a@example.com" in page
    assert "This field is required" not in page
    assert not Alert.objects.exists()


def test_form__new__begins_with_the_success_rate_and_says_how_often_it_would_have_fired(
    owner: Client, world: World
) -> None:
    now = timezone.now()
    for back in (100, 2):
        store(world.site, status="failed", reason="worker_died", took=1, at=now - timedelta(hours=back))

    page = text_of(owner.get(NEW))

    assert 'value="95' in page
    assert "Judged by the hour, it would have fired at least twice in the last 14 days." in page
    assert "&quot;limit&quot;:{&quot;label&quot;:&quot;95 %&quot;,&quot;value&quot;:95.0}" in page


def test_preview__of_a_source_without_events__says_that_it_fires_now(owner: Client, world: World) -> None:
    source = str(world.site.sources.get(kind="destination").pk)

    shown = preview(owner, condition="silence", threshold="30", source=source).context["history"].sentence
    lag = preview(owner, condition="lag", threshold="30").context["history"].sentence

    assert shown == "It would fire now: the source sent no event in the last 14 days."
    assert lag == "Judged every five minutes, it would not have fired in the last 14 days."


@pytest.mark.parametrize("threshold", ["", "x", "-1", "inf", "nan", "1e400"])
def test_preview__of_an_odd_threshold__draws_no_line(owner: Client, world: World, threshold: str) -> None:
    response = preview(owner, condition="lag", threshold=threshold)

    assert response.context["history"].chart.limit is None
    assert "would" not in response.context["history"].sentence


def test_preview__of_an_odd_condition__is_of_the_first(owner: Client, world: World) -> None:
    assert preview(owner, condition="nonsense", source="x").context["kind"].subject == "success rate"


@pytest.mark.parametrize(("who", "status"), [("viewer", 403), ("editor", 302), ("outsider", 404), ("anonymous", 302)])
def test_quiet__by_somebody__needs_an_editor(enter: Enter, alert: Alert, who: str, status: int) -> None:
    response = enter(who).post(f"{SITE}alerts/{alert.pk}/quiet/", {"do": "acknowledge"})

    assert response.status_code == status
    assert (Alert.objects.get().acknowledged_at is not None) is (who == "editor")


def test_quiet__of_a_firing_alert__is_noted_and_comes_back(enter: Enter, alert: Alert) -> None:
    editor = enter("editor")
    page = html.unescape(text_of(editor.get(f"{SITE}goals/?q=a")))
    assert f'action="{SITE}alerts/{alert.pk}/quiet/"' in page
    assert f'value="{SITE}goals/?q=a"' in page

    snoozed: Any = editor.post(f"{SITE}alerts/{alert.pk}/quiet/", {"do": "24", "next": f"{SITE}goals/?q=a"})

    assert snoozed["Location"] == f"{SITE}goals/?q=a"
    until = Alert.objects.get().snoozed_until
    assert until is not None
    assert timedelta(hours=23) < until - timezone.now() <= timedelta(hours=24)
    assert AuditEntry.objects.get().what == f"Snoozed the alert {alert.pk} “Lag”"
    assert "snoozed until" in text_of(enter("owner").get(f"{SITE}settings/alerts/"))


@pytest.mark.parametrize("back", ["", "//example.com/admin/", "https://example.com/admin/", "/other/", "/admin/\\n"])
def test_quiet__with_an_odd_way_back__leads_to_home(enter: Enter, alert: Alert, back: str) -> None:
    response: Any = enter("editor").post(f"{SITE}alerts/{alert.pk}/quiet/", {"next": back})

    assert response["Location"].startswith("/admin/")


def test_quiet__of_an_unknown_kind__changes_nothing(enter: Enter, alert: Alert) -> None:
    response = enter("editor").post(f"{SITE}alerts/{alert.pk}/quiet/", {"do": "72"})

    assert response.status_code == 400
    assert Alert.objects.get().acknowledged_at is None


def test_quiet__on_a_page_that_a_post_showed__has_no_way_back(owner: Client, alert: Alert) -> None:
    posted, read = text_of(preview(owner)), text_of(owner.get(NEW))

    assert f'action="{SITE}alerts/{alert.pk}/quiet/"' in posted
    assert 'name="next"' not in posted
    assert f'name="next" value="{NEW}"' in read


def test_bell__of_a_snoozed_alert__names_the_day(owner: Client, alert: Alert) -> None:
    Alert.objects.update(snoozed_until=START)

    assert f"snoozed until {timezone.localtime(START):%a %H:%M}" in text_of(owner.get(NEW))


def test_quiet__of_an_alert_that_is_over__changes_nothing(enter: Enter, alert: Alert) -> None:
    Alert.objects.update(firing_since=None)

    response = enter("editor").post(f"{SITE}alerts/{alert.pk}/quiet/", {"do": "1"}, follow=True)

    assert "is not firing any more" in text_of(response)
    assert (Alert.objects.get().snoozed_until, AuditEntry.objects.exists()) == (None, False)
