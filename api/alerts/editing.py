"""Changes of alerts by people and programs, each with its audit entry."""

from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from django.core.exceptions import ValidationError
from django.db import transaction

from api.alerts import outbox
from api.alerts.channels import CHANNELS
from api.alerts.conditions import CONDITIONS, describe
from api.http.wording import count_of
from api.models import Alert
from api.models.audit import audit_values, write_audit

if TYPE_CHECKING:
    from django.contrib.auth.models import AnonymousUser, User

MOST_ALERTS: Final = 50  # of a site
TOO_MANY: Final = f"A site has {MOST_ALERTS} alerts at most."
FIELDS: Final = (
    "name",
    "condition",
    "threshold",
    "source",
    *(channel.column for channel in CHANNELS.values()),
    "is_enabled",
)
QUIET: Final = ("acknowledged_at", "snoozed_until")  # people write these
STATE: Final = ("firing_since", "held_at", "notified_at", *QUIET)  # and the worker the others
SNOOZES: Final = {"1": timedelta(hours=1), "4": timedelta(hours=4), "24": timedelta(hours=24)}  # by hours


class TooManyAlertsError(Exception):
    """Raised for more alerts than a site may have."""


def clean_threshold(condition: str, threshold: float | None) -> float | None:
    """Return the threshold of a condition, None if it has none. Raises ValidationError."""
    most = CONDITIONS[condition].most
    if most is None:
        return None
    if threshold is None or not 0 < threshold <= most:
        raise ValidationError(f"Enter a number above 0, {most:,} at most.")
    return threshold


def create_alert(alert: Alert, *, by: "User | AnonymousUser | str") -> None:
    """Insert an alert. Raises TooManyAlertsError."""
    if alert.site.alerts.count() >= MOST_ALERTS:
        raise TooManyAlertsError
    with transaction.atomic():
        alert.save(force_insert=True)  # a deleted one, which Undo gives back, has its number
        write_audit(by, alert.site, f"Created the alert {alert.pk} “{alert}”", None, read_values(alert))


def change_alert(
    alert: Alert, changed: Collection[str], *, before: Mapping[str, Any], by: "User | AnonymousUser | str"
) -> None:
    """Save the fields of an alert. Its state is forgotten if it is off or judges something else than before.

    An acknowledgement or a snooze is of the threshold at that time: it ends with a change of it. `before` is what
    `read_values` returned then.
    """
    forgets = not alert.is_enabled or bool({"condition", "source", "is_enabled"} & set(changed))
    forgotten = STATE if forgets else QUIET if "threshold" in changed else ()
    with transaction.atomic():
        forget_state(alert, forgotten)
        alert.save(update_fields=[*FIELDS, *forgotten])  # the worker writes the state meanwhile
        was, is_now = audit_values(before, read_values(alert))
        if was:
            write_audit(by, alert.site, f"Changed the alert {alert.pk} “{alert}”", was, is_now)


def forget_state(alert: Alert, names: Collection[str] = STATE) -> None:
    """Let an alert be as if it had never fired, or been acknowledged or snoozed. It is not saved."""
    for name in names:
        setattr(alert, name, None)


def acknowledge_or_snooze(
    alert: Alert, *, for_: timedelta | None, by: "User | AnonymousUser | str", now: datetime
) -> bool:
    """Acknowledge a firing alert, or snooze it for some time. Return False if it does not fire any more.

    A snooze takes the place of an acknowledgement, otherwise no reminder would end it.
    """
    values = {"snoozed_until": now + for_, "acknowledged_at": None} if for_ else {"acknowledged_at": now}
    with transaction.atomic():
        rows = Alert.objects.filter(site_id=alert.site_id, pk=alert.pk, firing_since__isnull=False)
        if not rows.update(**values):
            return False
        what = f"Snoozed the alert {alert.pk} “{alert}”" if for_ else f"Acknowledged the alert {alert.pk} “{alert}”"
        write_audit(by, alert.site, what, None, {name: str(value) for name, value in values.items() if value})
    return True


def delete_alert(alert: Alert, *, by: "User | AnonymousUser | str") -> None:
    """Delete an alert with the history of its notifications."""
    with transaction.atomic():
        write_audit(by, alert.site, f"Deleted the alert {alert.pk} “{alert}”", read_values(alert), None)
        alert.delete()


def send_test(alert: Alert, *, by: "User | AnonymousUser | str", now: datetime) -> int:
    """Queue a test for each address of an alert and return their number. Raises TooManyTestsError."""
    with transaction.atomic():
        count = len(outbox.enqueue_test(alert, now=now))
        if count:
            notifies = count_of(count, "address", "addresses")
            write_audit(by, alert.site, f"Tested the alert {alert.pk} “{alert}”", None, {"notifies": notifies})
    return count


def describe_condition(alert: Alert) -> str:
    words = describe(alert.condition, alert.threshold)
    return f"{words}: {alert.source.name}" if alert.source else words


def read_values(alert: Alert) -> dict[str, Any]:
    """Return what the audit log keeps of an alert."""
    return {
        "name": alert.name,
        "condition": describe_condition(alert),
        **{str(code): channel.audit_value(alert) for code, channel in CHANNELS.items()},
        "is_enabled": alert.is_enabled,
    }
