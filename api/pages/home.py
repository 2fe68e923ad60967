"""Home page of a site: its state at a glance, and what needs attention."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Final

from django.http import HttpRequest, HttpResponseBase
from django.urls import reverse
from django.utils import timezone

from api.alerts.conditions import explain
from api.http.refused_keys import KeyProblem
from api.http.wording import count_of, duration_of
from api.ingest.source_counts import SourceCounts
from api.insight import site_status
from api.insight.delivery import DeliveryPeriod, measure_lag
from api.models import Role, Site
from api.pages.access import may, show, site_page
from api.pages.charts import Chart, Series
from goals.models import Goal
from goals.shown_names import show_goal_name

NEWEST_GOALS: Final = 8
MOST_ALERTS: Final = 5
LAG_WARNING: Final = timedelta(seconds=30)  # as the doctor's
# The page on which an owner finds a valid key.
PLACES: Final[Mapping[KeyProblem, tuple[str, str]]] = {
    KeyProblem.WRITE_KEY: ("settings-sources", "Sources"),
    KeyProblem.NO_KEY: ("guide", "Set-up guide"),
    KeyProblem.CREDENTIAL: ("settings-credentials", "Credentials"),
    KeyProblem.SITECODE: ("settings-credentials", "Credentials"),
    KeyProblem.SCOPE: ("settings-credentials", "Credentials"),
    KeyProblem.TOKEN: ("settings-tokens", "Tokens"),
}
NOT_OF_OWNERS: Final = ("guide", "Set-up guide")


@dataclass(frozen=True, slots=True)
class AttentionItem:
    """Something that needs attention, and the pages on which to act: (label, address)."""

    sentence: str
    actions: Sequence[tuple[str, str]]


@site_page()
def home(request: HttpRequest, site: Site) -> HttpResponseBase:
    """Show the home page. Ten queries of its own, each of stored figures, an index or a bounded number of rows."""
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
        newest=Goal.objects.filter(site=site, deleted_at=None).order_by("-pk")[:NEWEST_GOALS],
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
    """Return the charts of 24 hours by the hour and 14 days by the day, each with its label."""
    hours = site_status.list_hours(now)
    last = hours[-site_status.DAY :]
    days = sorted({hour.date() for hour in hours})

    def chart(unit: str, labels: list[str], steps: list[list[datetime]], conversions: list[int]) -> Chart:
        figures = [[came.get(hour, SourceCounts()) for hour in step] for step in steps]
        return Chart(
            labels,
            [
                Series("Received", [sum(row.received for row in step) for step in figures]),
                Series("Conversions", conversions),
                Series("Rejected", [sum(row.rejected for row in step) for step in figures], "bad"),
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
) -> Iterable[AttentionItem]:
    """Yield what needs attention, alerts first. Four queries."""
    troubles = site_status.find_problems(site, now=now)
    for alert in site.alerts.filter(is_enabled=True, firing_since__isnull=False).order_by("firing_since")[:MOST_ALERTS]:
        duration = duration_of((now - (alert.firing_since or now)).total_seconds())
        # Only owners may open the alerts; Delivery shows their figures to everybody.
        action = ("Alerts", page_of(site, "settings-alerts")) if may_own else ("Delivery", page_of(site, "delivery"))
        yield AttentionItem(f"Alert “{alert.name}” has been firing for {duration}. {explain(alert)}", [action])
    yield from queue_needs(site, inbox, may_own=may_own, now=now)
    settings = page_of(site, "settings-sources")
    for one, other, count in troubles.duplicates:
        sentence = f"“{one}” and “{other}” are double-counting: {count_of(count, 'event')} so far."
        yield AttentionItem(sentence, [("Stop counting one of them", settings)])
    for source in sources:
        if not source.is_enabled and source.came.received:
            yield AttentionItem(
                f"“{source.name}” is disabled; its events are rejected and stored.", [("Sources", settings)]
            )
        elif source.is_silent(now):
            last = f"{source.came.last_received_at:%Y-%m-%d %H:%M:%S} UTC"
            yield AttentionItem(f"No events from “{source.name}” since {last}.", [("Sources", settings)])
    for goal in troubles.archived:
        name = show_goal_name(goal, template=site.goal_name_template)
        sentence = f"The archived goal “{name}” still counts conversions."
        yield AttentionItem(sentence, [("View goal", reverse("pages:goal", args=[site.sitecode, goal.pk]))])
    for refused in troubles.refused:
        page, label = PLACES[refused.reason] if may_own else NOT_OF_OWNERS
        yield AttentionItem(refused.sentence, [(label, page_of(site, page))])


def queue_needs(site: Site, inbox: site_status.InboxState, *, may_own: bool, now: datetime) -> Iterable[AttentionItem]:
    """Yield what is wrong with events that are queued or failed."""
    events = page_of(site, "events")
    if inbox.oldest and now - inbox.oldest > LAG_WARNING:
        duration = duration_of((now - inbox.oldest).total_seconds())
        sentence = f"The oldest event has been queued for {duration}. Is a worker running?"
        yield AttentionItem(sentence, [("Delivery", page_of(site, "delivery"))])
    if inbox.failed:
        sentence = f"{in_words(inbox.failed)} failed. Fix the cause, then retry."
        yield AttentionItem(sentence, [("Review", f"{events}?outcome=failed")])
    if inbox.deferred:
        count = sum(inbox.deferred.values())
        limits = f"{site.goals_per_10_seconds:,} in 10 seconds, {site.goals_per_hour:,} an hour"
        actions = [("Review", f"{events}?outcome=deferred"), ("Group names", page_of(site, "goals-cleanup"))]
        if may_own:
            actions.insert(1, ("Raise limit", page_of(site, "settings")))
        verb = "is" if count == 1 else "are"
        yield AttentionItem(f"{in_words(count)} {verb} queued: the new-goal limit ({limits}) is reached.", actions)


def in_words(count: int) -> str:
    """Return `1 event` or `10,000 events or more`: no more are counted."""
    more = " or more" if count >= site_status.MOST_COUNTED else ""
    return f"{count_of(min(count, site_status.MOST_COUNTED), 'event')}{more}"


def page_of(site: Site, page: str) -> str:
    """Return the address of a page of a site."""
    return reverse(f"pages:{page}", args=[site.sitecode])
