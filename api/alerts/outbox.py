"""What alerts tell: written with the change that it tells of, sent by the worker, tried again with growing pauses."""

import smtplib
import time
from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Any, Final

import structlog
from django.conf import settings
from django.core.mail import EmailMessage
from django.db import connection, transaction

from api.alerts import webhook
from api.alerts.conditions import describe
from api.http.public_address import link_to
from api.models import Alert, AlertDelivery, Site

# After each try but the last. The first is also how long a try may take: who was killed at it is followed by another.
PAUSES: Final = (timedelta(seconds=30), timedelta(minutes=2), timedelta(minutes=10), timedelta(hours=1))
TRIES: Final = len(PAUSES) + 1
LEASE: Final = timedelta(minutes=1)  # of the last try
TESTS_AN_HOUR: Final = 30  # addresses of a site that tests are sent to: three of the largest alert
SENT_AN_HOUR: Final = 2_000  # of a site: twice what all of its alerts tell when they begin and end at once
SLOW: Final = 2.0  # seconds of a try; the site's other ones wait then for the next look
HOUR: Final = timedelta(hours=1)
KEEP: Final = timedelta(days=90)
CHUNK: Final = 1_000

log = structlog.get_logger(__name__)
Event, Outcome, Way = AlertDelivery.Event, AlertDelivery.Outcome, AlertDelivery.Way


class TooManyTestsError(Exception):
    """More tests than a site may send in an hour."""


def tell(alert: Alert, event: str, finding: str, *, since: datetime | None, now: datetime) -> list[AlertDelivery]:
    """Write down what is to be sent to each address of an alert. Two queries, in the caller's transaction.

    What is more than SENT_AN_HOUR of a site has failed from the start, and says so.
    """
    ways = [(Way.EMAIL, address) for address in alert.emails] + ([(Way.WEBHOOK, "")] if alert.webhook_url else [])
    log.info("alert.told", alert=alert.pk, told=str(event), ways=len(ways))
    has_room = count_of_hour(alert.site_id, now=now) + len(ways) <= SENT_AN_HOUR
    most = f"Not sent: alerts of this site went to {SENT_AN_HOUR:,} addresses in the last hour, the limit."
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
            outcome=Outcome.WAITING if has_room else Outcome.FAILED,
            detail="" if has_room else most,
            next_try_at=now,
        )
        for way, address in ways
    )


def count_of_hour(site_id: int, *, now: datetime, **only: Any) -> int:
    """Return to how many addresses a site's alerts were sent in the last hour. One query of that hour's rows."""
    of_hour = {"at__gt": now - HOUR, "at__lte": now + HOUR}  # not what a clock wrote that was ahead by more
    return AlertDelivery.objects.filter(site=site_id, **of_hour, **only).count()


def send_due(*, now: datetime, seconds: float) -> int:
    """Send what is due, for some seconds and the try that is under way then; how many tries were made.

    Each is claimed by an UPDATE of its own, so that of many workers one sends it. If a worker is killed at it, it is
    tried again with the same id: receivers may get it twice, but they get it. A site whose receiver is slow waits for
    the next call after each such try, so that it does not hold up the other sites.
    """
    until, tries = time.monotonic() + seconds, 0
    slow: set[int] = set()
    while time.monotonic() < until and (delivery := claim(now=now, without=slow)):
        began = time.monotonic()
        send(delivery)
        if time.monotonic() - began > SLOW:
            slow.add(delivery.site_id)
        tries += 1
    return tries


def claim(*, now: datetime, without: Collection[int] = ()) -> AlertDelivery | None:
    """Return the delivery that has been due the longest, tests last, of a site that is not among `without`.

    Its try is counted; it is due again when that may have died. Two queries.
    """
    pauses = ", ".join(f"interval '{pause.total_seconds():.0f} s'" for pause in (*PAUSES, LEASE))
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            UPDATE api_alertdelivery
               SET attempts = attempts + 1, next_try_at = %(now)s + (ARRAY[{pauses}])[least(attempts + 1, {TRIES})]
             WHERE id = (SELECT id FROM api_alertdelivery
                          -- What is due later than any pause allows was noted by a clock that was ahead.
                          WHERE outcome = 'waiting' AND (next_try_at <= %(now)s OR next_try_at > %(latest)s)
                            AND site_id <> ALL(%(without)s)
                          ORDER BY event = 'test', next_try_at LIMIT 1 FOR UPDATE SKIP LOCKED)
            RETURNING id
            """,
            {"now": now, "latest": now + 2 * max(*PAUSES, LEASE), "without": list(without)},
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
        except (OSError, ValueError, webhook.WebhookError) as error:  # smtplib's are OSErrors; a ValueError: no address
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
    if isinstance(error, webhook.WebhookError):
        return str(error)
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        return f"The mail server refused the address: {', '.join(str(code) for code, _ in error.recipients.values())}."
    if isinstance(error, smtplib.SMTPResponseException):
        return f"The mail server answered {error.smtp_code}."
    if isinstance(error, ValueError):
        return "The address cannot be written to."
    return f"The mail server could not be talked to: {error.strerror or type(error).__name__}."  # type: ignore[attr-defined]  # an OSError


def send_test(alert: Alert, *, now: datetime) -> list[AlertDelivery]:
    """Have a worker send a test to each address of an alert, one try each. Raises TooManyTestsError. Four queries."""
    with transaction.atomic():
        Site.objects.select_for_update().get(pk=alert.site_id)  # otherwise many at once would all find room
        ways = len(alert.emails) + bool(alert.webhook_url)
        if count_of_hour(alert.site_id, now=now, event=Event.TEST) + ways > TESTS_AN_HOUR:
            raise TooManyTestsError
        return tell(alert, Event.TEST, "This is a test: somebody pressed the button.", since=None, now=now)


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
