"""Alerts are looked at every half minute: each is told of once when it begins to hold, and once when it is over.

The state is in the row, and an UPDATE that asks for the state before decides who tells: any number of workers may look
at the same time, or be killed. Nothing watches the workers themselves here; `/health/ready` and the doctor do.
"""

from datetime import datetime, timedelta
from functools import cached_property
from typing import Any, Final

import structlog
from django.db import transaction
from django.db.models import Case, F, TextField, Value, When

from api.alerts import conditions, outbox
from api.alerts.conditions import Condition, Finding
from api.insight import delivery, site_status
from api.insight.delivery import DeliveryPeriod, Outcomes
from api.models import Alert, AlertDelivery, Site

REMIND: Final = timedelta(hours=24)

log = structlog.get_logger(__name__)
Event = AlertDelivery.Event


class Readings:
    """The figures of a site as its pages show them, each read at most once however many alerts ask."""

    def __init__(self, site: Site, now: datetime) -> None:
        self.site, self.now = site, now

    @cached_property
    def outcomes(self) -> Outcomes:
        return delivery.count_outcomes(self.site.pk, span=DeliveryPeriod.DAY, now=self.now)

    @cached_property
    def lag(self) -> delivery.Lag:
        return delivery.measure_lag(self.site.pk, since=self.now - conditions.RECENT)

    @cached_property
    def inbox(self) -> site_status.InboxState:
        return site_status.count_inbox(self.site)

    @cached_property
    def sources(self) -> list[site_status.SourceState]:
        return site_status.received_by_source(self.site, now=self.now)[0]

    @cached_property
    def rooms(self) -> list[site_status.QuotaHeadroom]:
        return site_status.measure_headroom(self.site, now=self.now)


def evaluate(*, now: datetime) -> None:
    """Look at every alert. One query for all, at most five of bounded cost for each site, and one or two for each
    alert to note what was found. With a million messages a site takes some 0.6 s, nearly all of it for outcomes.
    """
    readings: Readings | None = None
    for alert in Alert.objects.filter(is_enabled=True).select_related("site").order_by("site", "pk"):
        if readings is None or readings.site.pk != alert.site_id:
            readings = Readings(alert.site, now)
        try:
            settle(alert, look(alert, readings), now=now)
        except Exception:  # one alert's trouble must not keep the others quiet
            log.exception("alert.failed", alert=alert.pk)


def look(alert: Alert, readings: Readings) -> Finding:
    """Whether an alert's condition holds now. At most two queries."""
    threshold = alert.threshold or 0.0
    match alert.condition:
        case Condition.SUCCESS:
            became = readings.outcomes
            of_these = became.of_source(alert.source_id) if alert.source_id else became
            return conditions.judge_success(of_these, percent=threshold)
        case Condition.LAG:
            oldest = readings.inbox.oldest
            return conditions.judge_lag(readings.lag, oldest, seconds=threshold, now=readings.now)
        case Condition.SILENCE:
            source, now = alert.source_id, readings.now
            return conditions.judge_silence(readings.sources, source_id=source, minutes=threshold, now=now)
        case Condition.QUOTA:
            return conditions.judge_quota(readings.rooms, sum(readings.inbox.deferred.values()))
        case unknown:
            raise ValueError(unknown)


def settle(alert: Alert, finding: Finding, *, now: datetime) -> None:
    """Note what was found; where the state changed, or a day went by, have it told. At most three queries.

    The change and what is to be sent are one transaction.
    """
    rows = Alert.objects.filter(pk=alert.pk, is_enabled=True)
    found: dict[str, Any] = {"checked_at": now, "finding": finding.sentence}
    with transaction.atomic():
        if finding.holds:
            found |= {"held_at": now}
            if rows.filter(firing_since=None).update(**found, firing_since=now, told_at=now):
                outbox.tell(alert, Event.FIRED, finding.sentence, since=now, now=now)
            elif rows.filter(told_at__lte=now - REMIND).update(**found, told_at=now):
                outbox.tell(alert, Event.REMINDER, finding.sentence, since=alert.firing_since, now=now)
            else:
                rows.update(**found)
        elif rows.filter(firing_since__isnull=False, held_at__lte=now - conditions.CALM).update(
            **found, firing_since=None, held_at=None, told_at=None
        ):
            outbox.tell(alert, Event.RESOLVED, finding.sentence, since=alert.firing_since, now=now)
        else:
            fires = When(firing_since__isnull=False, then=F("finding"))  # it keeps what it fires for
            rows.update(checked_at=now, finding=Case(fires, default=Value(finding.sentence, TextField())))
