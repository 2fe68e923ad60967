"""What is told arrives: signed, once more when it failed, never where it must not lead."""

import json
import re
import socket
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from email import message_from_string, policy
from ipaddress import ip_address, ip_network
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
    """An alert that begins to hold, and what is to be told of it."""

    def tell(**ways: Any) -> AlertDelivery:
        alert = Alert.objects.create(site=world.site, name="Lag\nof the shop", condition="lag", threshold=5, **ways)
        return outbox.tell(alert, "fired", "It waits for 7 s.", since=START, now=START)[0]

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
    assert not is_genuine(webhook.sign(body, secret=secret, at=1), body, secret)  # an old one, sent again
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
    assert (f"{public_url}{path}" in lines) == bool(public_url)  # on a line of its own: no full stop gets into it
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
    """Another worker has claimed it since, and may have concluded."""
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


def test_webhook__that_redirects__is_not_followed(tell: Tell) -> None:
    with receiving(302) as receiver:
        delivery = tell(webhook_url=receiver.url)
        send()

    assert len(receiver.requests) == 1
    result, _, detail = outcome(delivery)
    assert (result, "Redirects are not followed" in detail) == ("waiting", True)


def test_webhook__that_does_not_answer__is_left(tell: Tell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhook, "SECONDS", 1.0)
    with receiving(200, hang=threading.Event()) as receiver:
        delivery = tell(webhook_url=receiver.url)
        send()

    assert outcome(delivery)[::2] == ("waiting", "127.0.0.1 did not answer in 1 seconds.")


def test_webhook__that_answers_byte_by_byte__is_left(tell: Tell, monkeypatch: pytest.MonkeyPatch) -> None:
    """A timeout of each read alone would wait for ever."""
    monkeypatch.setattr(webhook, "SECONDS", 1.0)
    is_over = threading.Event()
    listener = socket.create_server(("127.0.0.1", 0))

    def drip() -> None:
        link, _ = listener.accept()
        with link:
            try:
                while not is_over.wait(0.05):
                    link.sendall(b"HTTP/1.1 200 OK\r\nX: x\r\n"[:1])
            except OSError:
                pass

    thread = threading.Thread(target=drip)
    thread.start()
    try:
        with override_settings(WEBHOOK_NETWORKS=LOOPBACK):
            delivery = tell(webhook_url=f"http://127.0.0.1:{listener.getsockname()[1]}/")
            send()
    finally:
        is_over.set()
        thread.join()
        listener.close()

    assert outcome(delivery)[0] == "waiting"
    assert "did not answer" in outcome(delivery)[2]


def test_webhook__that_says_yes_and_never_ends__is_sent(tell: Tell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhook, "SECONDS", 1.0)
    listener = socket.create_server(("127.0.0.1", 0))
    is_over = threading.Event()

    def answer() -> None:
        link, _ = listener.accept()
        with link:
            link.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\ntaken")
            is_over.wait(60)

    thread = threading.Thread(target=answer)
    thread.start()
    with listener, override_settings(WEBHOOK_NETWORKS=LOOPBACK):
        delivery = tell(webhook_url=f"http://127.0.0.1:{listener.getsockname()[1]}/")
        send()
        is_over.set()
        thread.join()

    assert outcome(delivery) == ("sent", 1, "HTTP 200: taken")


def test_webhook__with_a_proxy_in_the_environment__is_sent_directly(
    tell: Tell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    with receiving(200) as receiver:
        tell(webhook_url=receiver.url)
        send()

    assert len(receiver.requests) == 1


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/", "https://127.0.0.1:1/", "http://nobody.invalid/"])
def test_webhook__that_cannot_be_reached__says_so(tell: Tell, url: str) -> None:
    with override_settings(WEBHOOK_NETWORKS=LOOPBACK):
        delivery = tell(webhook_url=url)
        send()

    result, _, detail = outcome(delivery)
    assert result == "waiting"
    assert "could not be reached" in detail or "is not known" in detail


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]", "2130706433", "0x7f.1", "nobody.invalid"])
def test_webhook__that_is_refused__says_the_same_of_every_name_and_no_address(tell: Tell, host: str) -> None:
    with override_settings(WEBHOOK_NETWORKS=[]):
        delivery = tell(webhook_url=f"http://{host}:1/")
        send()

    result, _, detail = outcome(delivery)
    assert result == "waiting"
    assert detail.startswith(f"The host {host.strip('[]')} is not known, or leads to an address that is not public.")
    assert not set(re.findall(r"[0-9a-f:.]*[:.][0-9a-f:.]+", detail)) & {"127.0.0.1", "::1"} - {host.strip("[]")}


def test_webhook__to_an_address_of_this_machine__is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A public address may be this machine's own; from within, its firewall does not stand before its ports."""
    monkeypatch.setattr(webhook, "NOT_PUBLIC", ())  # so that loopback stands for a public address of the machine
    address = ip_address("127.0.0.1")

    with override_settings(WEBHOOK_NETWORKS=[]):
        assert not webhook.is_allowed(address)
    with override_settings(WEBHOOK_NETWORKS=LOOPBACK):
        assert webhook.is_allowed(address)


def test_webhook__of_tls_to_a_server_without__says_so(tell: Tell) -> None:
    with receiving(200) as receiver:
        delivery = tell(webhook_url=receiver.url.replace("http:", "https:"))
        send()

    assert receiver.requests == []
    assert outcome(delivery)[0] == "waiting"


def test_webhook__into_the_private_network__is_refused_and_says_how_to_allow_it(tell: Tell) -> None:
    with receiving(200) as receiver, override_settings(WEBHOOK_NETWORKS=[]):
        delivery = tell(webhook_url=receiver.url.replace("127.0.0.1", "localhost"))
        send()

    assert receiver.requests == []
    assert "GOALPOST_WEBHOOK_NETWORKS" in outcome(delivery)[2]


@pytest.mark.parametrize("allowed", [[], ["0.0.0.0/0", "::/0"]])
@pytest.mark.parametrize(
    ("address", "is_public", "is_never"),
    [
        ("93.184.216.34", True, False),
        ("2606:2800:220:1:248:1893:25c8:1946", True, False),
        ("127.0.0.1", False, False),
        ("10.1.2.3", False, False),
        ("192.168.1.1", False, False),
        ("100.64.0.1", False, False),
        ("100.127.255.255", False, False),
        ("0.0.0.0", False, False),
        ("192.0.0.8", False, False),
        ("192.0.0.255", False, False),
        ("192.0.2.1", False, False),
        ("192.88.99.1", False, False),
        ("198.18.0.1", False, False),
        ("203.0.113.7", False, False),
        ("240.0.0.1", False, False),
        ("255.255.255.255", False, False),
        ("::", False, False),
        ("::7f00:1", False, False),
        ("64:ff9b:1::7f00:1", False, False),
        ("64:ff9b::5db8:d822", True, False),
        ("100::1", False, False),
        ("2001:db8::1", False, False),
        ("2001:20::1", False, False),
        ("3fff::1", False, False),
        ("5f00::1", False, False),
        ("ff02::1", False, False),
        ("224.0.0.1", False, False),
        ("::1", False, False),
        ("fd12::1", False, False),
        ("::ffff:127.0.0.1", False, False),
        ("64:ff9b::7f00:1", False, False),
        ("2002:7f00:1::", False, False),
        ("169.254.169.254", False, True),
        ("::ffff:169.254.169.254", False, True),
        ("64:ff9b::a9fe:a9fe", False, True),
        ("fe80::1", False, True),
        ("fec0::1", False, True),
        ("fd00:ec2::254", False, True),
        ("fd20:ce::254", False, True),
        ("192.0.0.192", False, True),
        ("100.100.100.200", False, True),
        ("168.63.129.16", False, True),
    ],
)
def test_webhook__to_this_address__is_allowed_as_the_operator_says(
    *, address: str, is_public: bool, is_never: bool, allowed: list[str]
) -> None:
    with override_settings(WEBHOOK_NETWORKS=[ip_network(each) for each in allowed]):
        assert webhook.is_allowed(ip_address(address)) is (is_public or bool(allowed and not is_never))


@pytest.mark.parametrize(
    "url",
    [
        "ftp://example.com/",
        "file:///etc/passwd",
        "//example.com",
        "http://",
        "http://user:password@example.com/",
        "http://example.com:0/",
        "http://example.com:99999/",
        "http://[::1/",
        "http://example.com/a b",
        "http://example.com/\r\nX: y",
        "http://exämple.com/",
    ],
)
def test_webhook__address_that_is_none__is_refused(url: str) -> None:
    with pytest.raises(webhook.WebhookError):
        webhook.post(url, {}, secret="secret")


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
    assert read["Subject"].strip() == "[Goalpost] Shop: Lag of the shop – begins to hold"
    assert "It waits for 7 s." in mail


def test_email__refused_by_the_server__is_tried_again_and_quotes_nobody(tell: Tell) -> None:
    with mail_server("ada@example.com") as mailbox:
        delivery = tell(emails=["ada@example.com"])
        send()

    assert mailbox.mails == []
    assert outcome(delivery) == ("waiting", 1, "The mail server refused the address: 550.")


def test_email__to_a_host_that_has_no_spelling__holds_up_no_other(tell: Tell) -> None:
    """A label of 63 letters is longer as the network spells it."""
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


# Who sends, and when it stops


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
            outbox.tell(slow, "fired", "It waits.", since=START, now=START)
        outbox.tell(slow, "test", "It is a test.", since=None, now=START - timedelta(minutes=1))
        outbox.tell(alert, "fired", "It waits.", since=START, now=START + timedelta(seconds=1))

        assert outbox.send_due(now=START + timedelta(seconds=2), seconds=600) == 2

    assert (len(hanging.requests), len(quick.requests)) == (1, 1)
    assert b'"event": "fired"' in hanging.requests[0][1]  # tests come last


def test_delivery__whose_worker_was_killed__is_tried_again(tell: Tell) -> None:
    with receiving(200) as receiver:
        delivery = tell(webhook_url=receiver.url)
        assert outbox.claim(now=START) is not None  # and then it is killed
        tries = send(0.4), send(0.5)

    assert tries == (0, 1)
    assert outcome(delivery)[:2] == ("sent", 2)


def test_delivery__killed_at_every_try__is_given_up(tell: Tell) -> None:
    delivery = tell(webhook_url="http://127.0.0.1:1/")
    for number in range(outbox.TRIES):
        assert outbox.claim(now=START + timedelta(hours=2 * number)) is not None
    send(60 * 24)

    assert outcome(delivery)[::2] == ("failed", "The last try was cut short.")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"is_enabled": False}, "switched off"),
        ({"emails": ["grace@example.com"]}, "address was taken out"),
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
