"""The home page of a site: whether all is well, at a glance."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Final
from urllib.parse import urlencode

from django.http import HttpRequest, HttpResponseBase
from django.urls import reverse
from django.utils import timezone

from api.alerts.conditions import explain
from api.http.refused_keys import KeyProblem
from api.http.wording import count_of
from api.ingest.source_counts import SourceCounts
from api.insight import site_status
from api.insight.delivery import DeliveryPeriod, measure_lag
from api.insight.refused import Refused
from api.models import Role, Site
from api.pages.access import may, show, site_page
from api.pages.charts import Chart, Series
from goals.models import Goal

NEWEST: Final = 8
MOST_ALERTS: Final = 5
LAG_WARNING: Final = timedelta(seconds=30)  # as the doctor's
# Where an owner finds a key in place of one that was refused.
PLACES: Final[Mapping[KeyProblem, tuple[str, str]]] = {
    KeyProblem.WRITE_KEY: ("settings-sources", "Sources"),
    KeyProblem.NO_KEY: ("guide", "Set-up guide"),
    KeyProblem.CREDENTIAL: ("settings-credentials", "Credentials"),
    KeyProblem.SITECODE: ("settings-credentials", "Credentials"),
    KeyProblem.TOKEN: ("settings-tokens", "Tokens"),
}
NOT_OF_OWNERS: Final = ("guide", "Set-up guide")


@dataclass(frozen=True, slots=True)
class Need:
    """Something that needs a person, and the page where it is looked at."""

    sentence: str
    link: str
    action: str


@site_page()
def home(request: HttpRequest, site: Site) -> HttpResponseBase:
    """Eight queries of its own, each of kept figures, an index or a bounded number of rows."""
    now = timezone.now()
    sources, came = site_status.received_by_source(site, now=now)
    by_hour, by_day = site_status.count_conversions(site, now=now)
    inbox = site_status.count_inbox(site)
    charts = draw(came, by_hour, by_day, inbox.deferred, now=now)
    day = site_status.list_hours(now)[-site_status.DAY :]
    waits = now - inbox.oldest if inbox.oldest else None
    return show(
        request,
        "pages/home.html",
        title="Home",
        charts=charts,
        figures=[
            ("received", sum(came[hour].received for hour in day if hour in came)),
            ("conversion" if sum(by_hour.values()) == 1 else "conversions", sum(by_hour.values())),
            ("rejected", sum(came[hour].rejected for hour in day if hour in came)),
        ],
        inbox=inbox,
        deferred=sum(inbox.deferred.values()),
        most=site_status.MOST_COUNTED,
        oldest_seconds=waits.total_seconds() if waits else None,
        lag=measure_lag(site.pk, since=DeliveryPeriod.DAY.times(now)[0]),
        rooms=site_status.measure_headroom(site, now=now),
        newest=Goal.objects.filter(site=site, deleted_at=None).order_by("-pk")[:NEWEST],
        needs=list(needs(site, sources, inbox, may_own=may(request, Role.OWNER), now=now)),
        is_new=not came,
    )


def draw(
    came: Mapping[datetime, SourceCounts],
    by_hour: Mapping[datetime, int],
    by_day: Mapping[date, int],
    deferred: Mapping[datetime, int],
    *,
    now: datetime,
) -> list[tuple[str, Chart]]:
    """The last 24 hours by the hour and 14 days by the day, each with its label."""
    hours = site_status.list_hours(now)
    last = hours[-site_status.DAY :]
    days = sorted({hour.date() for hour in hours})

    def chart(unit: str, labels: list[str], steps: list[list[datetime]], conversions: list[int]) -> Chart:
        figures = [[came.get(hour, SourceCounts()) for hour in step] for step in steps]
        return Chart(
            labels,
            [
                Series("Received", [sum(each.received for each in step) for step in figures]),
                Series("Conversions", conversions),
                Series("Rejected", [sum(each.rejected for each in step) for step in figures], "bad"),
                Series("Queued (goal limit)", [sum(deferred.get(hour, 0) for hour in step) for step in steps], "warn"),
            ],
            unit=unit,
            type="line",
        )

    of_day = [[hour for hour in hours if hour.date() == day] for day in days]
    in_hours = [by_hour.get(hour, 0) for hour in last]
    return [
        ("Last 24 hours", chart("Hour (UTC)", [f"{hour:%H:%M}" for hour in last], [[hour] for hour in last], in_hours)),
        ("Last 14 days", chart("Day (UTC)", [str(day) for day in days], of_day, [by_day.get(day, 0) for day in days])),
    ]


def needs(
    site: Site,
    sources: Iterable[site_status.SourceState],
    inbox: site_status.InboxState,
    *,
    may_own: bool,
    now: datetime,
) -> Iterable[Need]:
    """What needs a person. Two queries."""
    troubles = site_status.find_problems(site, now=now)
    settings = reverse("pages:settings-sources", args=[site.sitecode])
    for alert in site.alerts.filter(is_enabled=True, firing_since__isnull=False).order_by("firing_since")[:MOST_ALERTS]:
        since = f"{alert.firing_since:%Y-%m-%d %H:%M:%S}"
        told = f"The alert “{alert.name}” has fired since {since} UTC. {explain(alert)}"
        # Who is no owner may not see the alerts themselves; Delivery has the figures of all of them.
        page, action = ("settings-alerts", "Alerts") if may_own else ("delivery", "Delivery")
        yield Need(told, reverse(f"pages:{page}", args=[site.sitecode]), action)
    if inbox.oldest and now - inbox.oldest > LAG_WARNING:
        told = f"The oldest message has waited {(now - inbox.oldest).total_seconds():,.0f} seconds for the digest."
        delivery = reverse("pages:delivery", args=[site.sitecode])
        yield Need(f"{told} Is a worker running?", delivery, "Delivery")
    if inbox.failed:
        told = f"{in_words(inbox.failed)} failed. Fix the cause, then retry."
        yield Need(told, messages(site, "failed"), "Look at them")
    if inbox.deferred:
        told = f"{in_words(sum(inbox.deferred.values()))} queued: the new-goal limit is reached"
        yield Need(
            f"{told}. Raise it, or set a rule for names with identifiers.", messages(site, "deferred"), "Look at them"
        )
    for one, other, count in troubles.twins:
        told = f"“{one}” and “{other}” send the same events, each counted twice: {count:,} so far."
        yield Need(told, settings, "Switch off “takes track” at one")
    for source in sources:
        if not source.is_enabled and source.came.received:
            told = f"“{source.name}” is switched off; what it sends is rejected and kept."
            yield Need(told, settings, "Sources")
        elif source.is_silent(now):
            told = f"“{source.name}” has been silent since {source.came.last_received_at:%Y-%m-%d %H:%M:%S} UTC."
            yield Need(told, settings, "Sources")
    for id_, name in troubles.archived:
        goal = reverse("pages:goal", args=[site.sitecode, id_])
        yield Need(f"The archived goal “{name}” still converts.", goal, "The goal")
    yield from refused_needs(site, troubles.refused, may_own=may_own)


def refused_needs(site: Site, refusals: Iterable[Refused], *, may_own: bool) -> Iterable[Need]:
    """Return what senders showed in vain."""
    for refused in refusals:
        place, action = PLACES[refused.reason] if may_own else NOT_OF_OWNERS
        yield Need(refused.sentence, reverse(f"pages:{place}", args=[site.sitecode]), action)


def in_words(count: int) -> str:
    more = " or more" if count >= site_status.MOST_COUNTED else ""
    return f"{count_of(min(count, site_status.MOST_COUNTED), 'event')}{more}"


def messages(site: Site, outcome: str) -> str:
    """Return the address of a site's messages with this outcome."""
    return f"{reverse('pages:events', args=[site.sitecode])}?{urlencode({'outcome': outcome})}"
