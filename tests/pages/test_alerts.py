"""The alerts of a site: who sees and changes them, the test button, the log, and what Home says."""

import html
from datetime import timedelta
from typing import Any, Final

import pytest
from django.test import Client, override_settings
from django.utils import timezone

from api.alerts import outbox, webhook
from api.ingest.provisioning import create_site, create_source
from api.models import Alert, AlertDelivery, AuditEntry, Site
from tests.alerts.receivers import mail_server, receiving
from tests.support.pages import Enter, text_of
from tests.world import START, World

HOME: Final = "/admin/s/1q2w3e4r5t/"
BASE: Final = f"{HOME}settings/alerts/"
FORM: Final = {"name": "Slow", "condition": "lag", "threshold": "30", "is_enabled": "on"}
WAYS: Final = {"emails": ["ada@example.com"], "webhook_url": "https://hooks.example.com/T0/secret-path"}


@pytest.fixture
def alert(world: World) -> Alert:
    return Alert.objects.create(site=world.site, name="Lag of the shop", condition="lag", threshold=30, **WAYS)


def look(person: Client, path: str = BASE) -> str:
    return html.unescape(text_of(person.get(path)))


def press(person: Client, do: str, alert: Alert) -> str:
    """Press a button and return the page that follows."""
    return html.unescape(
        text_of(person.post(f"{BASE}change/", {"do": do, "alert": alert.pk, "confirmed": "yes"}, follow=True))
    )


@pytest.mark.parametrize("path", ["", "new/", "{alert}/"])
@pytest.mark.parametrize("who", ["viewer", "editor", "owner", "outsider", "anonymous"])
def test_page__whoever_asks__gets_what_is_theirs(enter: Enter, alert: Alert, who: str, path: str) -> None:
    status = {"owner": 200, "outsider": 404, "anonymous": 302}.get(who, 403)

    assert enter(who).get(BASE + path.format(alert=alert.pk)).status_code == status


@pytest.mark.parametrize("path", ["new/", "{alert}/", "change/"])
@pytest.mark.parametrize(("who", "status"), [("viewer", 403), ("editor", 403), ("outsider", 404), ("anonymous", 302)])
def test_change__by_whoever_is_no_owner__changes_nothing(
    enter: Enter, alert: Alert, who: str, status: int, path: str
) -> None:
    before = list(Alert.objects.values())

    for do in ("test", "switch", "rotate", "delete"):
        sent = {**FORM, "do": do, "alert": alert.pk}
        assert enter(who).post(BASE + path.format(alert=alert.pk), sent).status_code == status

    assert list(Alert.objects.values()) == before
    assert not AuditEntry.objects.exists()
    assert not AlertDelivery.objects.exists()


def test_alert__of_another_site__is_not_found(owner: Client) -> None:
    other = Alert.objects.create(site=create_site(name="Other"), name="Other", condition="quota")

    assert owner.get(f"{BASE}{other.pk}/").status_code == 404
    for number in (other.pk, "", "x", "9" * 30, "-1"):
        assert owner.post(f"{BASE}change/", {"do": "delete", "alert": number}).status_code == 404
    assert "Other" not in look(owner).partition("gp-setting")[2]


@pytest.mark.parametrize("path", ["", "{alert}/", "new/"])
def test_page__of_much__takes_twelve_queries(
    owner: Client, alert: Alert, django_assert_max_num_queries: Any, path: str
) -> None:
    for number in range(20):
        source = create_source(alert.site, name=f"Source {number}", kind="server")
        each = Alert.objects.create(site=alert.site, name="Silent", condition="silence", threshold=5, source=source)
        outbox.enqueue(alert, "fired", f"No. {number}", since=START, now=START)
        outbox.enqueue(each, "fired", f"No. {number}", since=START, now=START)
    look(owner, BASE + path.format(alert=alert.pk))

    with django_assert_max_num_queries(12):
        look(owner, BASE + path.format(alert=alert.pk))


@pytest.mark.parametrize("who", ["viewer", "editor"])
def test_alerts__to_whoever_is_no_owner__are_offered_nowhere(enter: Enter, alert: Alert, who: str) -> None:
    Alert.objects.update(firing_since=START, held_at=START, checked_at=START, finding="It lags.")

    home, settings = (look(enter(who), path) for path in (HOME, f"{HOME}settings/"))

    assert "Alert “Lag of the shop” has been firing" in home  # all members see the problems of the site
    assert f'href="{BASE}"' not in home + settings
    assert not [word for word in ("ada@", "hooks.example", alert.secret) if word in home + settings]
    assert f'href="{BASE}"' in look(enter("owner"), HOME)


def test_list__without_alerts__says_what_to_do(owner: Client) -> None:
    assert "No alerts yet." in look(owner)


@pytest.mark.parametrize(("host", "says"), [("", True), ("mail.example.com", False)])
def test_list__without_a_mail_server__says_so(*, owner: Client, host: str, says: bool) -> None:
    with override_settings(EMAIL_HOST=host):
        assert ("GOALPOST_EMAIL_URL" in look(owner)) is says
        assert ("GOALPOST_EMAIL_URL" in look(owner, f"{BASE}new/")) is says


# Made and changed


def test_alert__made_and_changed__is_noted_without_the_webhooks_secret(owner: Client, world: World) -> None:
    sent = {**FORM, "emails": "ada@example.com\r\n\r\ngrace@example.com", "webhook_url": WAYS["webhook_url"]}
    assert owner.post(f"{BASE}new/", sent).status_code == 302
    alert = Alert.objects.get()
    assert (alert.emails, alert.threshold, alert.site) == (["ada@example.com", "grace@example.com"], 30, world.site)
    now = timezone.now()
    Alert.objects.update(firing_since=now, held_at=now, notified_at=now)
    assert owner.post(f"{BASE}{alert.pk}/", {**sent, "threshold": "31.5"}).status_code == 302

    alert.refresh_from_db()
    assert (alert.threshold, alert.firing_since) == (31.5, now)
    made, changed = AuditEntry.objects.order_by("pk")
    assert (made.what, changed.what) == (f"Created the alert {alert.pk} “Slow”", f"Changed the alert {alert.pk} “Slow”")
    assert changed.before == {"condition": "lag over 30 s"}
    assert changed.after == {"condition": "lag over 31.5 s"}
    assert made.after is not None
    assert made.after["webhook"].startswith("hooks.example.com (")
    logged = str(list(AuditEntry.objects.values()))
    assert "secret-path" not in logged
    assert alert.secret not in logged


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"name": ""}, "required"),
        ({"threshold": ""}, "Enter a number above 0"),
        ({"threshold": "0"}, "Enter a number above 0"),
        ({"threshold": "nan"}, "Enter a number"),
        ({"condition": "success", "threshold": "100.1"}, "100 at most"),
        ({"condition": "other"}, "valid choice"),
        ({"emails": "nobody"}, "valid email"),
        ({"emails": "\r\n".join(f"a{number}@example.com" for number in range(11))}, "At most 10"),
        ({"webhook_url": "ftp://example.com/"}, "must begin with https://"),
        ({"webhook_url": "http://me:secret@example.com/"}, "a user or a password"),
        ({"source": "0"}, "valid choice"),
    ],
)
def test_alert__that_cannot_be__is_told_and_not_made(owner: Client, fields: dict[str, str], told: str) -> None:
    response = owner.post(f"{BASE}new/", {**FORM, **fields})

    assert response.status_code == 400
    assert told in html.unescape(response.content.decode())
    assert not Alert.objects.exists()


def test_alert__of_a_foreign_source__is_not_made(owner: Client) -> None:
    foreign = create_site(name="Other").sources.get()

    response = owner.post(f"{BASE}new/", {**FORM, "condition": "silence", "source": foreign.pk})

    assert response.status_code == 400
    assert not Alert.objects.exists()


def test_alerts__too_many__are_refused(owner: Client, world: World) -> None:
    Alert.objects.bulk_create(Alert(site=world.site, name=f"{number}", condition="quota") for number in range(50))

    assert owner.post(f"{BASE}new/", FORM).status_code == 400
    assert Alert.objects.count() == 50


def test_secret__shown_and_renewed__signs_what_comes_then(owner: Client, alert: Alert) -> None:
    assert f'data-copy="{alert.secret}"' in look(owner, f"{BASE}{alert.pk}/")

    shown = press(owner, "rotate", alert)

    renewed = Alert.objects.get().secret
    assert renewed != alert.secret
    assert f'data-copy="{renewed}"' in shown
    assert AuditEntry.objects.get().what == f"Rotated the secret of the alert {alert.pk} “Lag of the shop”"


def test_alert__switched_off_and_on__forgets_that_it_held(owner: Client, alert: Alert) -> None:
    Alert.objects.update(firing_since=START, held_at=START, notified_at=START)

    assert "off" in press(owner, "switch", alert)
    off = Alert.objects.get()
    press(owner, "switch", alert)

    assert (off.is_enabled, off.firing_since, off.notified_at) == (False, None, None)
    assert Alert.objects.get().is_enabled
    assert not AlertDelivery.objects.exists()
    assert AuditEntry.objects.count() == 2


def test_alert__told_to_watch_something_else__forgets_that_it_held(owner: Client, alert: Alert) -> None:
    Alert.objects.update(firing_since=START, held_at=START, notified_at=START)

    owner.post(f"{BASE}{alert.pk}/", {**FORM, "condition": Alert.Condition.QUOTA, "threshold": ""})

    changed = Alert.objects.get()
    assert (changed.condition, changed.firing_since, changed.notified_at) == (Alert.Condition.QUOTA, None, None)


def test_alert__deleted__is_noted(owner: Client, alert: Alert) -> None:
    outbox.enqueue(alert, "fired", "It waits.", since=START, now=START)

    press(owner, "delete", alert)

    assert not Alert.objects.exists()
    entry = AuditEntry.objects.get()
    assert entry.before is not None
    assert (entry.before["name"], entry.after) == ("Lag of the shop", None)


# The test button, and the log


def test_test__of_all_ways__is_sent_by_a_worker_and_its_outcome_shown(
    owner: Client, alert: Alert, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhook, "SECONDS", 60.0)  # the machine may be slow
    alert.emails = ["ada@example.com", "nobody@example.com"]
    with mail_server("nobody@example.com") as mailbox, receiving(200) as receiver:
        alert.webhook_url = receiver.url
        alert.save()
        shown = press(owner, "test", alert)
        assert "Test queued for 3 addresses." in shown
        assert (mailbox.mails, receiver.requests) == ([], [])  # the request sends nothing itself

        assert outbox.send_due(now=timezone.now(), seconds=600) == 3

    assert [recipient for recipient, _ in mailbox.mails] == ["ada@example.com"]
    ((_, body),) = receiver.requests
    assert b'"event": "test"' in body
    shown = text_of(owner.get(BASE))
    assert "The mail server refused the address: 550" in shown
    assert "HTTP 200" in shown
    assert sorted(AlertDelivery.objects.values_list("event", "outcome", "attempts")) == [
        ("test", "failed", 1),
        ("test", "sent", 1),
        ("test", "sent", 1),
    ]
    assert outbox.send_due(now=timezone.now() + timedelta(days=1), seconds=30) == 0  # a test is tried once
    entry = AuditEntry.objects.get()
    assert (entry.what, entry.after) == (f"Tested the alert {alert.pk} “{alert}”", {"notifies": "3 addresses"})


def test_tests__too_many_in_an_hour__are_refused_and_sent_to_nobody(owner: Client, alert: Alert) -> None:
    Alert.objects.update(emails=[f"{number}@example.com" for number in range(10)], webhook_url="")
    for _ in range(3):
        assert "Test queued" in press(owner, "test", alert)

    assert "Nothing was sent: try later." in press(owner, "test", alert)
    assert AlertDelivery.objects.count() == outbox.TESTS_AN_HOUR == 30

    AlertDelivery.objects.update(at=timezone.now() - timedelta(hours=1, seconds=1))
    assert "Test queued" in press(owner, "test", alert)


def test_alert__switched_off_and_on_all_the_time__tells_no_more_than_the_most_of_an_hour(
    alert: Alert, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever switches an alert on again lets it begin to hold again, and mails to any address so."""
    monkeypatch.setattr(outbox, "SENT_AN_HOUR", 5)
    Alert.objects.update(emails=["a@example.com", "b@example.com"], webhook_url="")
    alert.refresh_from_db()

    for _ in range(4):
        outbox.enqueue(alert, "fired", "It waits.", since=None, now=timezone.now())

    told = list(AlertDelivery.objects.order_by("pk").values_list("outcome", flat=True))
    assert told == ["waiting"] * 4 + ["failed"] * 4
    assert "the limit" in AlertDelivery.objects.order_by("pk").last().detail  # type: ignore[union-attr]


def test_test__of_an_alert_that_tells_nobody__says_so(owner: Client, alert: Alert) -> None:
    Alert.objects.update(emails=[], webhook_url="")

    assert "This alert has no address." in press(owner, "test", alert)


def test_log__of_more_than_a_page__goes_on_below(owner: Client, alert: Alert) -> None:
    Alert.objects.update(emails=[])
    alert.refresh_from_db()
    for number in range(60):
        outbox.enqueue(alert, "fired", f"No. <{number}>.", since=START, now=START)
    other = Alert.objects.create(site=create_site(name="Other"), name="Other", condition="quota", **WAYS)
    outbox.enqueue(other, "fired", "Elsewhere", since=START, now=START)

    first = owner.get(BASE)
    shown = html.unescape(text_of(first))
    second = look(owner, f"{BASE}?before={first.context['next_before']}")

    assert ("No. <59>." in shown, "No. <10>." in shown, "No. <9>." in shown) == (True, True, False)
    assert ("No. <9>." in second, "No. <0>." in second, "Older" in second) == (True, True, False)
    assert "Elsewhere" not in shown + second


@pytest.mark.parametrize("before", ["x", "9" * 30, "-1", "%00"])
def test_log__odd_page__is_the_first(owner: Client, before: str) -> None:
    assert "No notifications yet" in look(owner, f"{BASE}?before={before}")


# Home


@pytest.mark.parametrize(
    ("fields", "says"),
    [({"firing_since": START}, True), ({}, False), ({"firing_since": START, "is_enabled": False}, False)],
)
def test_home__of_an_alert_that_holds__leads_to_it(
    *, owner: Client, alert: Alert, fields: dict[str, Any], says: bool
) -> None:
    Alert.objects.update(finding="It waits for 7 s.", **fields)

    shown = look(owner, HOME)

    assert ("Alert “Lag of the shop” has been firing for" in shown, "It waits for 7 s." in shown) == (says, says)
    assert (f'<a href="{BASE}">Alerts</a>' in shown) is says


def test_page__of_settings__has_the_tab(enter: Enter, world: World) -> None:
    assert f'<a href="{BASE}"' in look(enter("owner"), f"{HOME}settings/")
    assert Site.objects.count() == 1
