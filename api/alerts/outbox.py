"""What alerts tell: written with the change that it tells of, sent by the worker, tried again with growing pauses."""

import smtplib
import time
from datetime import datetime, timedelta
from typing import Any, Final

import structlog
from django.conf import settings
from django.core.mail import EmailMessage
from django.db import connection

from api.alerts import webhook
from api.alerts.conditions import describe
from api.models import Alert, AlertDelivery, Site
from api.public_address import link_to

# After each try but the last. The first is also how long a try may take: who was killed at it is followed by another.
PAUSES: Final = (timedelta(seconds=30), timedelta(minutes=2), timedelta(minutes=10), timedelta(hours=1))
TRIES: Final = len(PAUSES) + 1
LEASE: Final = timedelta(minutes=1)  # of the last try
TEST_SECONDS: Final = 15.0  # a person waits
KEEP: Final = timedelta(days=90)
CHUNK: Final = 1_000

log = structlog.get_logger(__name__)
Event, Outcome, Way = AlertDelivery.Event, AlertDelivery.Outcome, AlertDelivery.Way


def tell(alert: Alert, event: str, finding: str, *, since: datetime | None, now: datetime) -> list[AlertDelivery]:
    """Write down what is to be sent to each address of an alert. One query, in the caller's transaction.

    A test is sent by who makes it: to the worker, its one try has been begun.
    """
    is_test = event == Event.TEST
    ways = [(Way.EMAIL, address) for address in alert.emails] + ([(Way.WEBHOOK, "")] if alert.webhook_url else [])
    log.info("alert.told", alert=alert.pk, told=str(event), ways=len(ways))
    return AlertDelivery.objects.bulk_create(
        AlertDelivery(
            site_id=alert.site_id,
            alert=alert,
            event=event,
            way=way,
            address=address,
            finding=finding,
            firing_since=since,
            at=now,
            attempts=1 if is_test else 0,
            next_try_at=now + LEASE if is_test else now,
        )
        for way, address in ways
    )


def send_due(*, now: datetime, seconds: float) -> int:
    """Send what is due, for some seconds and the try that is under way then; how many tries were made.

    Each is claimed by an UPDATE of its own, so that of many workers one sends it. A worker that is killed at it leaves
    it to be tried again, with the same id: receivers may get it twice, never not at all.
    """
    until, tries = time.monotonic() + seconds, 0
    while time.monotonic() < until and (delivery := claim(now=now)):
        send(delivery)
        tries += 1
    return tries


def claim(*, now: datetime) -> AlertDelivery | None:
    """The delivery that has been due the longest, its try counted; due again when that may have died. Two queries."""
    pauses = ", ".join(f"interval '{pause.total_seconds():.0f} s'" for pause in (*PAUSES, LEASE))
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            UPDATE api_alertdelivery
               SET attempts = attempts + 1, next_try_at = %(now)s + (ARRAY[{pauses}])[least(attempts + 1, {TRIES})]
             WHERE id = (SELECT id FROM api_alertdelivery
                          -- What is due later than any pause allows was noted by a clock that was ahead.
                          WHERE outcome = 'waiting' AND (next_try_at <= %(now)s OR next_try_at > %(latest)s)
                          ORDER BY next_try_at LIMIT 1 FOR UPDATE SKIP LOCKED)
            RETURNING id
            """,
            {"now": now, "latest": now + 2 * max(*PAUSES, LEASE)},
        )
        row = cursor.fetchone()
    # None too where its alert was deleted at this moment: the next look goes on.
    return AlertDelivery.objects.select_related("alert", "site").filter(pk=row[0]).first() if row else None


def send(delivery: AlertDelivery) -> None:
    """Make one try and note what came of it; after TRIES, of a test after one, it has failed for good."""
    alert = delivery.alert
    tries = 1 if delivery.event == Event.TEST else TRIES
    if obstacle := obstacle_to(delivery):
        conclude(delivery, Outcome.FAILED, obstacle)
    elif delivery.attempts > tries:
        conclude(delivery, Outcome.FAILED, delivery.detail or "The last try was cut short.")
    else:
        try:
            if delivery.way == Way.EMAIL:
                detail = mail(delivery)
            else:
                detail = webhook.post(alert.webhook_url, payload(delivery), secret=alert.secret)
        except (OSError, ValueError, webhook.RefusedError) as error:  # smtplib's are OSErrors; a ValueError: no address
            outcome = Outcome.FAILED if delivery.attempts >= tries else Outcome.WAITING
            conclude(delivery, outcome, describe_error(error))
        else:
            conclude(delivery, Outcome.SENT, detail)


def conclude(delivery: AlertDelivery, outcome: str, detail: str) -> None:
    """Note what came of a try. Who took longer than a pause finds that another one tries: what that finds stands."""
    delivery.outcome, delivery.detail = outcome, detail.replace("\0", "")[:500]
    this_try = AlertDelivery.objects.filter(pk=delivery.pk, attempts=delivery.attempts, outcome=Outcome.WAITING)
    this_try.update(outcome=delivery.outcome, detail=delivery.detail)
    log.info(
        "alert.sent", delivery=delivery.pk, way=str(delivery.way), outcome=str(outcome), attempts=delivery.attempts
    )


def obstacle_to(delivery: AlertDelivery) -> str:
    """Why a delivery is not even tried; nothing where it is."""
    alert = delivery.alert
    if not alert.is_enabled and delivery.event != Event.TEST:
        return "The alert was switched off before it could be sent."
    if delivery.way == Way.EMAIL and delivery.address not in alert.emails:
        return "The address was taken out of the alert before it could be sent."
    if delivery.way == Way.EMAIL and not settings.EMAIL_HOST:
        return "No mail server is set: GOALPOST_EMAIL_URL."
    if delivery.way == Way.WEBHOOK and not alert.webhook_url:
        return "The webhook was taken out of the alert before it could be sent."
    return ""


def describe_error(error: Exception) -> str:
    """What went wrong, without what a mail server says: that may quote addresses."""
    if isinstance(error, webhook.RefusedError):
        return str(error)
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        return f"The mail server refused the address: {', '.join(str(code) for code, _ in error.recipients.values())}."
    if isinstance(error, smtplib.SMTPResponseException):
        return f"The mail server answered {error.smtp_code}."
    if isinstance(error, ValueError):
        return "The address cannot be written to."
    return f"The mail server could not be talked to: {error.strerror or type(error).__name__}."  # type: ignore[attr-defined]  # an OSError


def send_test(alert: Alert, *, now: datetime) -> list[AlertDelivery]:
    """Send a test to each address of an alert at once, one try each, and return what came of it.

    Takes some seconds more than TEST_SECONDS at most; what is not tried by then has failed, and says so.
    """
    until = time.monotonic() + TEST_SECONDS
    deliveries = tell(alert, Event.TEST, "This is a test: somebody pressed the button.", since=None, now=now)
    for delivery in deliveries:
        if time.monotonic() < until:
            send(delivery)
        else:
            conclude(delivery, Outcome.FAILED, "Not tried: those before it took too long.")
    return deliveries


def payload(delivery: AlertDelivery) -> dict[str, Any]:
    """What a webhook gets. Neither bodies of events nor anything of a person."""
    alert, site = delivery.alert, delivery.site
    since = delivery.firing_since
    return {
        "id": delivery.pk,
        "event": str(delivery.event),
        "at": delivery.at.isoformat(),
        "firingSince": since.isoformat() if since else None,
        "site": {"sitecode": site.sitecode, "name": site.name},
        "alert": {"id": alert.pk, "name": alert.name, "condition": describe(alert.condition, alert.threshold)},
        "message": delivery.finding,
        "path": page_of(site),
        "url": link_to(page_of(site)) if settings.PUBLIC_URL else None,
    }


def page_of(site: Site) -> str:
    """Return the path of the page on which an alert's figures are looked at."""
    return f"/admin/s/{site.sitecode}/delivery/"


def mail(delivery: AlertDelivery) -> str:
    """Send an e-mail; what came of it. Raises what smtplib does, all of it OSErrors."""
    alert, site = delivery.alert, delivery.site
    words = Event(delivery.event).label
    link = link_to(page_of(site))
    where = link if settings.PUBLIC_URL else f"Look at {link} of your Goalpost; GOALPOST_PUBLIC_URL makes this a link."
    since = delivery.firing_since
    lines = [
        f"{alert.name} ({describe(alert.condition, alert.threshold)}) {words}.",
        "",
        delivery.finding,
        *([f"It has held since {since:%Y-%m-%d %H:%M:%S} UTC."] if since and delivery.event == Event.REMINDER else []),
        *([f"It held since {since:%Y-%m-%d %H:%M:%S} UTC."] if since and delivery.event == Event.RESOLVED else []),
        "",
        f"Site: {site.name} ({site.sitecode})",
        where,
        f"{delivery.at:%Y-%m-%d %H:%M:%S} UTC",
    ]
    subject = " ".join(f"[Goalpost] {site.name}: {alert.name} – {words}".split())
    EmailMessage(subject, "\n".join(lines), to=[delivery.address]).send()
    return "The mail server took it."


def prune(*, before: datetime, seconds: float) -> int:
    """Delete what was told before a time, for some seconds; how many. Each chunk is its own short transaction."""
    until, pruned = time.monotonic() + seconds, 0
    while time.monotonic() < until:
        old = AlertDelivery.objects.filter(at__lt=before).order_by("at").values_list("pk", flat=True)[:CHUNK]
        count, _ = AlertDelivery.objects.filter(pk__in=list(old)).delete()
        pruned += count
        if count < CHUNK:
            break
    return pruned
