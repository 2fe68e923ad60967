"""Alerts in the management API."""

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone
from django.utils.dateparse import parse_datetime

from api.alerts import editing
from api.alerts.editing import MOST_ALERTS
from api.ingest.provisioning import create_site
from api.models import Alert, AlertDelivery, AuditEntry
from tests.support.management_api import Caller, body, message, refusal
from tests.world import SITECODE, World

PATH = f"/api/sites/{SITECODE}/alerts"
LAG: dict[str, Any] = {"name": "Lag", "condition": "lag", "threshold": 30, "emails": [" a@example.com "]}


def test_alert__created__is_shown_with_its_secret_and_audited(world: World, owner: Caller) -> None:
    answer = owner.post(PATH, {**LAG, "webhookUrl": "https://example.com/hook"})

    made = body(answer)
    assert answer.status_code == 201
    assert (made["emails"], made["threshold"], made["isEnabled"]) == (["a@example.com"], 30, True)
    assert made["secret"] == Alert.objects.get().secret
    assert "secret" not in owner.get(PATH)[0]
    entry = AuditEntry.objects.get()
    assert entry.what.startswith(f"Created the alert {made['id']}")
    assert "/hook" not in str(entry.after)


def test_alert__changed__keeps_other_fields_and_forgets_its_state(world: World, owner: Caller) -> None:
    id_ = body(owner.post(PATH, LAG))["id"]
    Alert.objects.update(firing_since=timezone.now())

    renamed = owner.patch(f"{PATH}/{id_}", {"name": "Slow"})
    assert (body(renamed)["name"], body(renamed)["threshold"]) == ("Slow", 30)
    assert body(renamed)["firingSince"] is not None
    source = world.site.sources.get().pk
    silent = owner.patch(f"{PATH}/{id_}", {"condition": "silence", "source": source})

    assert (body(silent)["condition"], body(silent)["source"], body(silent)["firingSince"]) == ("silence", source, None)
    assert AuditEntry.objects.latest("pk").after == {"condition": "source silent for 30 min: Segment destination"}
    assert owner.get(f"{PATH}/{id_}") == body(silent)


def test_alert__acknowledged_and_snoozed__says_so(world: World, owner: Caller) -> None:
    id_, now = body(owner.post(PATH, LAG))["id"], timezone.now()
    Alert.objects.update(firing_since=now)
    alert = Alert.objects.get()

    editing.acknowledge_or_snooze(alert, for_=None, by="ada", now=now)
    known: Any = owner.get(f"{PATH}/{id_}")
    editing.acknowledge_or_snooze(alert, for_=editing.SNOOZES["4"], by="ada", now=now)
    snoozed: Any = owner.get(f"{PATH}/{id_}")

    assert (parse_datetime(known["acknowledgedAt"]), known["snoozedUntil"]) == (now, None)
    assert snoozed["acknowledgedAt"] is None
    assert parse_datetime(snoozed["snoozedUntil"]) == now + timedelta(hours=4)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("threshold", 0),
        ("threshold", None),
        ("condition", "rain"),
        ("emails", ["nobody"]),
        ("emails", [f"a{number}@example.com" for number in range(11)]),
        ("webhookUrl", "ftp://example.com"),
        ("name", ""),
        ("name", "a" * 101),
    ],
)
def test_alert__that_cannot_be__is_400_and_names_the_field(
    world: World, owner: Caller, field: str, value: object
) -> None:
    answer = owner.post(PATH, {**LAG, field: value})

    assert refusal(answer) == (400, "invalid_request")
    assert message(answer).startswith(field)
    assert not Alert.objects.exists()


def test_alert__of_a_source_of_another_site__is_400(world: World, owner: Caller) -> None:
    other = create_site(name="Elsewhere").sources.get().pk

    answer = owner.post(PATH, {**LAG, "condition": "silence", "source": other})

    assert refusal(answer) == (400, "invalid_request")
    assert "no such source" in message(answer)


def test_alerts__more_than_a_site_may_have__are_400(world: World, owner: Caller) -> None:
    Alert.objects.bulk_create(Alert(site=world.site, name=str(n), condition="quota") for n in range(MOST_ALERTS))

    assert refusal(owner.post(PATH, LAG)) == (400, "invalid_request")
    assert Alert.objects.count() == MOST_ALERTS


def test_alert__tested__queues_a_notification_until_the_limit(world: World, owner: Caller) -> None:
    emails = [f"a{number}@example.com" for number in range(10)]
    id_ = body(owner.post(PATH, {**LAG, "emails": emails}))["id"]

    answers = [owner.post(f"{PATH}/{id_}/test") for _ in range(4)]

    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    assert body(answers[0]) == {"notifications": 10}
    assert "Nothing was sent" in message(answers[3])
    assert AlertDelivery.objects.count() == 30
    assert AuditEntry.objects.latest("pk").after == {"notifies": "10 addresses"}


def test_alert__deleted__is_gone(world: World, owner: Caller) -> None:
    id_ = body(owner.post(PATH, LAG))["id"]

    assert owner.ask("DELETE", f"{PATH}/{id_}").status_code == 204
    assert refusal(owner.ask("GET", f"{PATH}/{id_}")) == (404, "not_found")
    assert AuditEntry.objects.latest("pk").what.startswith("Deleted the alert")
