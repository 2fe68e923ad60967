"""Deliveries of alerts by webhook and e-mail: signatures, retries, and claims of one worker among many."""

import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from email import message_from_string, policy
from typing import Any

import pytest
from django.db import connections
from django.forms import EmailField
from django.test import override_settings

from api.alerts import outbox, webhook
from api.ingest.provisioning import create_site
from api.models import Alert, AlertDelivery
from api.pages.guide import read_code
from tests.alerts.receivers import LOOPBACK, mail_server, receiving
from tests.world import SITECODE, START, World

Tell = Callable[..., AlertDelivery]


@pytest.fixture(autouse=True)
def _have_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhook, "SECONDS", 60.0)  # the machine may be slow


@pytest.fixture
def tell(world: World) -> Tell:
    """Return a function that makes a firing alert and returns its delivery."""

    def tell(**ways: Any) -> AlertDelivery:
        alert = Alert.objects.create(site=world.site, name="Lag\nof the shop", condition="lag", threshold=5, **ways)
        return outbox.enqueue(alert, "fired", "It waits for 7 s.", since=START, now=START)[0]

    return tell


def send(minutes: float = 0) -> int:
    return outbox.send_due(now=START + timedelta(minutes=minutes), seconds=30)


def outcome(delivery: AlertDelivery) -> tuple[str, int, str]:
    delivery.refresh_from_db()
    return delivery.outcome, delivery.attempts, delivery.detail


# Webhooks


def test_webhook__of_an_alert__is_signed_as_the_guide_checks(tell: Tell) -> None:
    with receiving(200) as receiver:
        delivery = tell(webhook_url=receiver.url + "?a=b")
        send()
    ((headers, body),) = receiver.requests
    secret, code = delivery.alert.secret, dict[str, Any]()
    exec(read_code("signature"), code)
    is_genuine = code["is_genuine"]

    assert is_genuine(headers["x-goalpost-signature"], body, secret)
    assert not is_genuine(headers["x-goalpost-signature"], body + b" ", secret)
    assert not is_genuine(headers["x-goalpost-signature"], body, secret + "x")
    assert not is_genuine(webhook.sign(body, secret=secret, at=1), body, secret)  # a replayed old request
    assert json.loads(body) == {
        "id": delivery.pk,
        "event": "fired",
        "at": START.isoformat(),
        "firingSince": START.isoformat(),
        "site": {"sitecode": SITECODE, "name": "Shop"},
        "alert": {"id": delivery.alert_id, "name": "Lag\nof the shop", "condition": "lag over 5 s"},
        "message": "It waits for 7 s.",
        "path": f"/admin/s/{SITECODE}/delivery/",
        "url": None,
    }
    result, attempts, detail = outcome(delivery)
    assert (result, attempts) == ("sent", 1)
    assert detail.startswith("HTTP 200: told told")
    assert len(detail) <= webhook.EXCERPT + 10


@pytest.mark.parametrize("public_url", ["https://goalpost.example:18942", ""])
def test_alert__with_a_public_address__holds_a_link(tell: Tell, settings: Any, public_url: str) -> None:
    settings.PUBLIC_URL = public_url
    path = f"/admin/s/{SITECODE}/delivery/"
    with receiving(200) as receiver, mail_server() as mailbox:
        tell(webhook_url=receiver.url, emails=["ada@example.com"])
        assert send() == 2

    ((_, body),) = receiver.requests
    ((_, mail),) = mailbox.mails
    assert json.loads(body)["url"] == (f"{public_url}{path}" if public_url else None)
    assert json.loads(body)["path"] == path
    lines = message_from_string(mail, policy=policy.default).get_content().splitlines()
    assert (f"{public_url}{path}" in lines) == bool(public_url)  # alone in its line, without a full stop
    assert any("GOALPOST_PUBLIC_URL" in line for line in lines) != bool(public_url)


def test_webhook__answers_500_then_200__is_sent_with_a_pause(tell: Tell) -> None:
    with receiving(500, 200) as receiver:
        delivery = tell(webhook_url=receiver.url)
        tries = [send(), send(0.4)]
        first = outcome(delivery)
        tries.append(send(0.5))

    assert tries == [1, 0, 1]
    assert first[:2] == ("waiting", 1)
    assert first[2].startswith("HTTP 500")
    assert outcome(delivery)[:2] == ("sent", 2)
    ids = [json.loads(body)["id"] for _, body in receiver.requests]
    assert ids == [delivery.pk] * 2


@pytest.mark.parametrize("late", ["sent", "failed", "waiting"])
@pytest.mark.parametrize("meanwhile", ["sent", "waiting"])
def test_delivery__worker_that_took_longer_than_a_pause__leaves_the_next_try_alone(
    tell: Tell, meanwhile: str, late: str
) -> None:
    """Another worker has claimed it meanwhile, and may have finished it."""
    delivery = tell(webhook_url="https://example.com/hook")
    slow = outbox.claim(now=START)
    quick = outbox.claim(now=START + timedelta(hours=1))
    assert slow is not None
    assert quick is not None
    outbox.conclude(quick, meanwhile, "of the second try")

    outbox.conclude(slow, late, "of the first try")

    assert outcome(delivery) == (meanwhile, 2, "of the second try")


def test_webhook__that_never_says_yes__is_given_up(tell: Tell) -> None:
    with receiving(503) as receiver:
        delivery = tell(webhook_url=receiver.url)
        tries = sum(send(minutes) for minutes in range(0, 600, 5))

    assert tries == len(receiver.requests) == outbox.TRIES
    assert outcome(delivery)[:2] == ("failed", outbox.TRIES)


def test_webhook__that_does_not_answer__is_left(tell: Tell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhook, "SECONDS", 1.0)
    with receiving(200, hang=threading.Event()) as receiver:
        delivery = tell(webhook_url=receiver.url)
        send()

    assert outcome(delivery)[::2] == ("waiting", "127.0.0.1 did not answer in 1 seconds.")


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/", "https://127.0.0.1:1/", "http://nobody.invalid/"])
def test_webhook__that_cannot_be_reached__says_so(tell: Tell, url: str) -> None:
    with override_settings(WEBHOOK_NETWORKS=LOOPBACK):
        delivery = tell(webhook_url=url)
        send()

    result, _, detail = outcome(delivery)
    assert result == "waiting"
    assert "could not be reached" in detail or "is not known" in detail


# E-mails


def test_email__of_an_alert__arrives(tell: Tell) -> None:
    with mail_server() as mailbox:
        delivery = tell(emails=["ada@example.com"])
        send()

    ((recipient, mail),) = mailbox.mails
    read = message_from_string(mail, policy=policy.default)
    assert outcome(delivery) == ("sent", 1, "The mail server took it.")
    assert recipient == "ada@example.com"
    assert (read["From"], read["To"]) == ("goalpost@example.com", "ada@example.com")
    assert read["Subject"].strip() == "[Goalpost] Shop: Lag of the shop – firing"
    assert "It waits for 7 s." in mail


def test_email__refused_by_the_server__is_tried_again_and_quotes_nobody(tell: Tell) -> None:
    with mail_server("ada@example.com") as mailbox:
        delivery = tell(emails=["ada@example.com"])
        send()

    assert mailbox.mails == []
    assert outcome(delivery) == ("waiting", 1, "The mail server refused the address: 550.")


def test_email__to_a_host_that_has_no_spelling__holds_up_no_other(tell: Tell) -> None:
    """A label of 63 letters becomes longer in its ASCII form for the DNS."""
    with mail_server() as server:
        delivery = tell(emails=[f"ops@{'ü' * 60}.de"])
        EmailField().clean(delivery.address)
        other = tell(emails=["ops@example.com"])
        send()

    assert outcome(delivery) == ("waiting", 1, "The address cannot be written to.")
    assert outcome(other)[0] == "sent"
    assert [recipient for recipient, _ in server.mails] == ["ops@example.com"]


def test_email__without_a_mail_server__has_failed(tell: Tell) -> None:
    with override_settings(EMAIL_HOST=""):
        delivery = tell(emails=["ada@example.com"])
        send()

    assert outcome(delivery) == ("failed", 1, "No mail server is set: GOALPOST_EMAIL_URL.")


# Workers, and the end of a delivery


def test_delivery__claimed_by_many_workers__is_sent_by_one(tell: Tell) -> None:
    together = threading.Barrier(8)

    def work(_: int) -> int:
        try:
            together.wait(60)
            return send()
        finally:
            connections.close_all()

    with receiving(200) as receiver:
        tell(webhook_url=receiver.url)
        with ThreadPoolExecutor(8) as pool:
            tries = list(pool.map(work, range(8)))

    assert sum(tries) == len(receiver.requests) == 1


def test_deliveries__of_a_site_whose_receiver_hangs__hold_up_no_other_sites(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = create_site(name="Other")
    monkeypatch.setattr(webhook, "SECONDS", 1.0)
    monkeypatch.setattr(outbox, "SLOW", 0.5)
    with receiving(200, hang=threading.Event()) as hanging, receiving(200) as quick:
        slow = Alert.objects.create(site=world.site, name="a", condition="lag", threshold=5, webhook_url=hanging.url)
        alert = Alert.objects.create(site=other, name="b", condition="lag", threshold=5, webhook_url=quick.url)
        for _ in range(5):
            outbox.enqueue(slow, "fired", "It waits.", since=START, now=START)
        outbox.enqueue(slow, "test", "It is a test.", since=None, now=START - timedelta(minutes=1))
        outbox.enqueue(alert, "fired", "It waits.", since=START, now=START + timedelta(seconds=1))

        assert outbox.send_due(now=START + timedelta(seconds=2), seconds=600) == 2

    assert (len(hanging.requests), len(quick.requests)) == (1, 1)
    assert b'"event": "fired"' in hanging.requests[0][1]  # test notifications come last


def test_delivery__whose_worker_was_killed__is_tried_again(tell: Tell) -> None:
    with receiving(200) as receiver:
        delivery = tell(webhook_url=receiver.url)
        assert outbox.claim(now=START) is not None  # then the worker is killed
        tries = send(0.4), send(0.5)

    assert tries == (0, 1)
    assert outcome(delivery)[:2] == ("sent", 2)


def test_delivery__killed_at_every_try__is_given_up(tell: Tell) -> None:
    delivery = tell(webhook_url="http://127.0.0.1:1/")
    for number in range(outbox.TRIES):
        assert outbox.claim(now=START + timedelta(hours=2 * number)) is not None
    send(60 * 24)

    assert outcome(delivery)[::2] == ("failed", "The last attempt was interrupted.")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"is_enabled": False}, "switched off"),
        ({"emails": ["grace@example.com"]}, "address was removed"),
    ],
)
def test_delivery__of_an_alert_changed_since__is_not_sent(tell: Tell, change: dict[str, Any], told: str) -> None:
    with mail_server() as mailbox:
        delivery = tell(emails=["ada@example.com"])
        Alert.objects.update(**change)
        send()

    assert mailbox.mails == []
    assert outcome(delivery)[0] == "failed"
    assert told in outcome(delivery)[2]


def test_prune__of_what_was_told__keeps_the_younger(tell: Tell) -> None:
    old, young = tell(webhook_url="http://a.example/"), tell(webhook_url="http://b.example/")
    AlertDelivery.objects.filter(pk=young.pk).update(at=START + timedelta(seconds=1))

    pruned = outbox.prune(before=START + timedelta(seconds=1), seconds=30)

    assert pruned == 1
    assert list(AlertDelivery.objects.values_list("pk", flat=True)) == [young.pk]
    assert old.pk != young.pk
