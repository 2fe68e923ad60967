"""The check of alerts every 30 seconds, which notifies once when one starts firing and once when it resolves.

The state is in the row. An UPDATE with a condition on the earlier state decides which worker notifies. So any number of
workers may check at the same time, or die. `/health/ready` and the doctor watch the workers themselves.
"""

from datetime import datetime, timedelta
from typing import Any, Final

import structlog
from django.db import transaction
from django.db.models import Case, F, Q, TextField, Value, When

from api.alerts import outbox
from api.alerts.conditions import CALM, ConditionResult, Readings, check_condition
from api.alerts.editing import STATE
from api.models import Alert, AlertDelivery, Site

REMIND: Final = timedelta(hours=24)
REMIND_ACKNOWLEDGED: Final = timedelta(days=3)  # it may fire for another source by then

log = structlog.get_logger(__name__)
Event = AlertDelivery.Event


def evaluate(*, now: datetime) -> None:
    """Check every alert. One query, at most six for each site, one or two for each alert to store the result.

    With a million messages a site takes some 0.6 s, nearly all of it for outcomes.
    """
    for site in list_watched_sites():
        readings = Readings(site, now)
        for alert in Alert.objects.filter(site=site, is_enabled=True).order_by("pk"):
            try:
                update_state(alert, check_condition(alert, readings), now=now)
            except Exception:  # the error of one alert must not silence the others
                log.exception("alert.failed", alert=alert.pk)


def _is_reminder_due(now: datetime) -> Q:
    """Return the condition on an alert whose snooze is over, or whose last notification is a day old.

    An acknowledged alert is due three days after that and after its last notification.
    """
    is_due = Q(snoozed_until__lte=now) | Q(snoozed_until=None, notified_at__lte=now - REMIND)
    before = now - REMIND_ACKNOWLEDGED
    return (is_due & Q(acknowledged_at=None)) | Q(acknowledged_at__lte=before, notified_at__lte=before)


def list_watched_sites() -> list[Site]:
    """Return the sites with alerts that are on."""
    return list(Site.objects.filter(pk__in=Alert.objects.filter(is_enabled=True).values("site")).order_by("pk"))


def update_state(alert: Alert, result: ConditionResult, *, now: datetime) -> None:
    """Store the result of a check. Notify if the state changed or a day went by. At most three queries.

    The change and its notifications are one transaction.
    """
    rows = Alert.objects.filter(site_id=alert.site_id, pk=alert.pk, is_enabled=True)
    fields: dict[str, Any] = {"checked_at": now, "finding": result.sentence}
    with transaction.atomic():
        if result.holds:
            fields |= {"held_at": now}
            if rows.filter(firing_since=None).update(**fields, firing_since=now, notified_at=now):
                outbox.enqueue(alert, Event.FIRED, result.sentence, since=now, now=now)
            elif rows.filter(_is_reminder_due(now)).update(**fields, notified_at=now, snoozed_until=None):
                outbox.enqueue(alert, Event.REMINDER, result.sentence, since=alert.firing_since, now=now)
            else:
                rows.update(**fields)
        elif rows.filter(firing_since__isnull=False, held_at__lte=now - CALM).update(**fields, **dict.fromkeys(STATE)):
            outbox.enqueue(alert, Event.RESOLVED, result.sentence, since=alert.firing_since, now=now)
        else:
            is_firing = When(firing_since__isnull=False, then=F("finding"))  # keeps what it fires for
            rows.update(checked_at=now, finding=Case(is_firing, default=Value(result.sentence, TextField())))
