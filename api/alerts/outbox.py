"""The queue of notifications: written with an alert's change, sent by a worker, retried with growing pauses."""

import time
from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Any, Final

import structlog
from django.db import transaction
from django.db.models import Case, Q, When

from api.alerts.channels import CHANNELS, DeliveryError, list_addresses
from api.models import Alert, AlertDelivery, Site
from site_rows import lock_first

# Pauses between attempts. If a worker dies, another one retries after the pause, so an attempt must end within the
# first pause.
PAUSES: Final = (timedelta(seconds=30), timedelta(minutes=2), timedelta(minutes=10), timedelta(hours=1))
TRIES: Final = len(PAUSES) + 1
LEASE: Final = timedelta(minutes=1)  # of the last attempt
TESTS_AN_HOUR: Final = 30  # addresses of a site that tests are sent to: three of the largest alert
SENT_AN_HOUR: Final = 2_000  # of a site: twice what all of its alerts send when they fire and resolve at once
SLOW: Final = 2.0  # seconds of an attempt; the site's other notifications then wait for the next run
HOUR: Final = timedelta(hours=1)
KEEP: Final = timedelta(days=90)
CHUNK: Final = 1_000

log = structlog.get_logger(__name__)
Event, Outcome = AlertDelivery.Event, AlertDelivery.Outcome


class TooManyTestsError(Exception):
    """More tests than a site may send in an hour."""


def enqueue(alert: Alert, event: str, finding: str, *, since: datetime | None, now: datetime) -> list[AlertDelivery]:
    """Store a notification for each address of an alert. Two queries, in the caller's transaction.

    Beyond SENT_AN_HOUR of a site they are stored as failed, with the reason.
    """
    addresses = list_addresses(alert)
    log.info("alert.enqueued", alert=alert.pk, alert_event=str(event), addresses=len(addresses))
    has_room = count_last_hour(alert.site_id, now=now) + len(addresses) <= SENT_AN_HOUR
    limit = f"Not sent: alerts of this site notified {SENT_AN_HOUR:,} addresses in the last hour, the limit."
    return AlertDelivery.objects.bulk_create(
        AlertDelivery(
            site_id=alert.site_id,
            alert=alert,
            event=event,
            channel=channel,
            address=address,
            finding=finding,
            firing_since=since,
            at=now,
            outcome=Outcome.WAITING if has_room else Outcome.FAILED,
            detail="" if has_room else limit,
            next_try_at=now,
        )
        for channel, address in addresses
    )


def enqueue_test(alert: Alert, *, now: datetime) -> list[AlertDelivery]:
    """Store a test for each address of an alert, one attempt each. Raises TooManyTestsError. Four queries."""
    with transaction.atomic():
        Site.objects.select_for_update().get(pk=alert.site_id)  # otherwise concurrent requests all find room
        count = len(list_addresses(alert))
        if count_last_hour(alert.site_id, now=now, event=Event.TEST) + count > TESTS_AN_HOUR:
            raise TooManyTestsError
        return enqueue(alert, Event.TEST, "This is a test that an owner started.", since=None, now=now)


def count_last_hour(site_id: int, *, now: datetime, **only: Any) -> int:
    """Return how many notifications a site's alerts queued in the last hour. One query of that hour's rows."""
    of_hour = {"at__gt": now - HOUR, "at__lte": now + HOUR}  # without rows of a clock that was further ahead
    return AlertDelivery.objects.filter(site=site_id, **of_hour, **only).count()


def send_due(*, now: datetime, seconds: float) -> int:
    """Send due notifications for some seconds and return the number of attempts. The last attempt may end later.

    A row lock claims each, so that one of many workers sends it. If that worker is killed, another one sends it
    again with the same id: receivers may get it twice. After a slow attempt the site waits for the next call, so that
    its receiver does not delay other sites.
    """
    until, attempts = time.monotonic() + seconds, 0
    slow: set[int] = set()
    while time.monotonic() < until and (delivery := claim(now=now, without=slow)):
        began = time.monotonic()
        send(delivery)
        if time.monotonic() - began > SLOW:
            slow.add(delivery.site_id)
        attempts += 1
    return attempts


def claim(*, now: datetime, without: Collection[int] = ()) -> AlertDelivery | None:
    """Return the longest due notification of the sites that are not in `without`, tests last. Three queries.

    The attempt counts at once. The notification is due again after the time in which its worker may have died.
    """
    latest = now + 2 * max(*PAUSES, LEASE)  # a clock that was ahead wrote rows that are due later than any pause allows
    is_due = Q(next_try_at__lte=now) | Q(next_try_at__gt=latest)
    waiting = AlertDelivery.objects.filter(is_due, outcome=Outcome.WAITING).exclude(site_id__in=list(without))
    tests_last = Case(When(event=Event.TEST, then=1), default=0)
    with transaction.atomic():
        first = waiting.select_related("alert", "site").order_by(tests_last, "next_try_at")
        delivery = lock_first(first)
        if delivery is not None:
            pause = (*PAUSES, LEASE)[min(delivery.attempts, TRIES - 1)]
            delivery.attempts, delivery.next_try_at = delivery.attempts + 1, now + pause
            delivery.save(update_fields=["attempts", "next_try_at"])
        return delivery


def send(delivery: AlertDelivery) -> None:
    """Try once and store the outcome. After TRIES attempts, of a test after one, it has failed for good."""
    channel = CHANNELS[delivery.channel]
    tries = 1 if delivery.event == Event.TEST else TRIES
    if not delivery.alert.is_enabled and delivery.event != Event.TEST:
        conclude(delivery, Outcome.FAILED, "The alert was switched off before the notification was sent.")
    elif obstacle := channel.obstacle(delivery):
        conclude(delivery, Outcome.FAILED, obstacle)
    elif delivery.attempts > tries:
        conclude(delivery, Outcome.FAILED, delivery.detail or "The last attempt was interrupted.")
    else:
        try:
            detail = channel.send(delivery)
        except DeliveryError as error:
            outcome = Outcome.FAILED if delivery.attempts >= tries else Outcome.WAITING
            conclude(delivery, outcome, str(error))
        else:
            conclude(delivery, Outcome.SENT, detail)


def conclude(delivery: AlertDelivery, outcome: str, detail: str) -> None:
    """Store the outcome of an attempt. If another worker has claimed the delivery meanwhile, keep its result."""
    delivery.outcome, delivery.detail = outcome, detail.replace("\0", "")[:500]
    this_attempt = AlertDelivery.objects.filter(
        site_id=delivery.site_id, pk=delivery.pk, attempts=delivery.attempts, outcome=Outcome.WAITING
    )
    this_attempt.update(outcome=delivery.outcome, detail=delivery.detail)
    log.info(
        "alert.sent",
        delivery=delivery.pk,
        channel=str(delivery.channel),
        outcome=str(outcome),
        attempts=delivery.attempts,
    )


def prune(*, before: datetime, seconds: float) -> int:
    """Delete notifications older than a time for some seconds and return how many. Each chunk is a transaction.

    Sites come in random order, so that the end of the time does not always skip the same ones.
    """
    until, pruned = time.monotonic() + seconds, 0
    for site_id in Site.objects.order_by("?").values_list("pk", flat=True):
        of_site, count = AlertDelivery.objects.filter(site_id=site_id), CHUNK
        while count == CHUNK and time.monotonic() < until:
            old = of_site.filter(at__lt=before).order_by("at").values_list("pk", flat=True)[:CHUNK]
            count, _ = of_site.filter(pk__in=list(old)).delete()
            pruned += count
    return pruned
