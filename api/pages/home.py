"""Home page of a site: its state, its conversions beside those of another period, and its delivery."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Final

from django.http import HttpRequest, HttpResponseBase
from django.utils import timezone

from api.ingest.source_counts import SourceCounts
from api.insight import site_status
from api.insight.delivery import Lag, measure_lag
from api.insight.site_status import InboxState, QuotaHeadroom, SourceState
from api.models import Role, Site
from api.pages.access import may, show, site_page
from api.pages.attention import list_needs
from api.pages.change import Card, FigureChange, compare, make_card, make_revenue_card
from api.pages.charts import Chart, Series
from api.pages.goals.figures import draw_steps, label_before, place_side_by_side
from api.pages.ranges import SHORT, Period, Range, make_control, read_range
from goals.models import Goal
from goals.reports.series import SeriesStep
from goals.reports.site_periods import MOST_READ, ChartSpan, GoalMovement, SitePeriods, SiteTotal, load_site_periods

HOURS: Final = timedelta(hours=24)
LITTLE: Final = 0.2  # of the new-goal limit


@dataclass(frozen=True, slots=True)
class GoalLine:
    """A goal with its conversions in the range, and their change."""

    goal: Goal
    conversions: int
    before: int
    change: FigureChange | None


@dataclass(frozen=True, slots=True)
class DeliveryRow:
    """Events of the last 24 hours, and those that are queued or failed now."""

    received: int
    rejected: int
    queued: int
    failed: int
    is_cut: bool  # more are queued or failed than are counted
    lag: Lag
    last_at: datetime | None


@site_page()
def home(request: HttpRequest, site: Site) -> HttpResponseBase:
    """Show the home page. Eight queries of its own: of kept figures, an index or a bounded number of rows."""
    now = timezone.now()
    range_ = read_range(request, site, now=now)
    sources, came = site_status.received_by_source(site, now=now)
    inbox = site_status.count_inbox(site)
    seen = load_periods(site, range_)
    goal_ids = [each.goal_id for each in (*seen.top, *seen.movers)]
    problems = site_status.find_problems(site, now=now, goal_ids=goal_ids)
    rooms = site_status.measure_headroom(site, now=now)
    short = [room for room in rooms if is_short(room)]
    page = show(
        request,
        "pages/home.html",
        title="Home",
        range=range_,
        control=make_control(range_, request.GET),
        cards=[] if range_.trouble else make_cards(site, seen),
        chart=None if range_.trouble else draw_line(site, seen, range_),
        top=list_goals(seen.top, problems.goals, range_),
        movers=list_goals(seen.movers, problems.goals, range_),
        delivery=make_delivery(site, sources, came, inbox, now=now),
        rooms=rooms,
        goals_to_recount=seen.goals_of_other_zones,
        short=short,
        is_new=not came,
        is_empty=not (came or seen.has_goals or inbox.pending or inbox.deferred or inbox.failed or short),
    )
    shown = page.context_data or {}
    firing, may_own = shown["frame"].alerts, may(request, Role.OWNER)  # the frame has read them
    shown["needs"] = list_needs(site, sources, inbox, problems, firing, may_own=may_own, now=now)
    return page


def make_cards(site: Site, seen: SitePeriods) -> list[Card]:
    """Return conversions, converting visitors and revenue of a range, each with its change. Pure."""
    now, before = seen.totals[0], seen.totals[1] if len(seen.totals) > 1 else None
    cards = [make_card("Conversions", now.conversions, before.conversions if before else None)]
    if now.visitors is None:
        cards.append(Card("Converting visitors", "–", help="Counted for up to 100,000 conversions."))
    else:
        cards.append(make_card("Converting visitors", now.visitors, before.visitors if before else None))
    currency = find_currency(site, seen.totals)
    if currency:
        cards.append(make_revenue_card(now.revenue, before.revenue if before else None, currency))
    return cards


def find_currency(site: Site, totals: Sequence[SiteTotal]) -> str:
    """Return the currency of the site if it has revenue, otherwise the first that has; empty without revenue. Pure."""
    found = sorted({currency for total in totals for currency in total.revenue})
    return site.default_currency if site.default_currency in found else next(iter(found), "")


def load_periods(site: Site, range_: Range) -> SitePeriods:
    """Return the figures of a site in a range and in the compared one. One query."""
    return load_site_periods(
        site.pk,
        range_.periods,
        line=[span_of(range_.period), *([span_of(range_.compared)] if range_.compared else ())],
        by_hour=range_.step == SeriesStep.HOUR,
        zone=site.time_zone,
    )


def span_of(period: Period) -> ChartSpan:
    """Return the days and hours of a period, also those of its running day that are to come. Pure."""
    return ChartSpan(period.first, period.last, period.begin, period.whole_end)


def draw_line(site: Site, seen: SitePeriods, range_: Range) -> Chart | None:
    """Return a chart of the conversions in a range, with the ones before. None if it has too many points. Pure.

    The chart is by day where the conversions are too many to read their hours, and None if the range is of hours.
    """
    step = range_.step
    if step == SeriesStep.HOUR and any(total.conversions > MOST_READ for total in seen.totals):
        step = SeriesStep.DAY
    if range_.preset in SHORT and step != SeriesStep.HOUR:  # the first day would have hours before the range
        return None
    load = partial(seen.list_points, step=step, zone=site.time_zone, first_weekday=site.first_weekday)
    try:
        points = load(span_of(range_.period)._replace(until=range_.end))
        before = load(span_of(range_.compared)) if range_.compared else ()
    except ValueError:
        return None
    series = [Series("Conversions", [point.conversions for point in points])]
    if range_.compared:
        beside = place_side_by_side(points, before, range_.compared).before
        series.append(Series(label_before(range_), [point.conversions for point in beside], role="before"))
    return draw_steps(site, points, range_, series, step=step)


def list_goals(changes: Sequence[GoalMovement], goals: Mapping[int, Goal], range_: Range) -> list[GoalLine]:
    """Return goals with the change of their conversions. Pure."""
    return [
        GoalLine(
            goals[each.goal_id],
            each.conversions,
            each.before,
            compare(each.conversions, each.before) if range_.compared else None,
        )
        for each in changes
        if each.goal_id in goals
    ]


def make_delivery(
    site: Site,
    sources: Sequence[SourceState],
    came: Mapping[datetime, SourceCounts],
    inbox: InboxState,
    *,
    now: datetime,
) -> DeliveryRow:
    """Return the row of delivery. One query."""
    hours = [came[hour] for hour in site_status.list_hours(now)[-site_status.DAY :] if hour in came]
    queued = inbox.pending + inbox.deferred
    return DeliveryRow(
        sum(hour.received for hour in hours),
        sum(hour.rejected for hour in hours),
        queued,
        inbox.failed,
        max(inbox.pending, inbox.deferred, inbox.failed) >= site_status.MOST_COUNTED,
        measure_lag(site.pk, since=now - HOURS),
        max((source.came.last_received_at for source in sources if source.came.last_received_at), default=None),
    )


def is_short(room: QuotaHeadroom) -> bool:
    """Return True if little is left of a window of the new-goal limit. Pure."""
    return room.left < room.window.limit * LITTLE
