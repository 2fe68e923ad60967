"""Export of the goal list as CSV for spreadsheets: Excel, Numbers, LibreOffice, Google Sheets."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, Final

from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.utils import timezone

from api.insight.rates import find_base
from api.models import Site
from api.pages.access import site_page
from api.pages.csv_cells import as_text, write_at, write_money, write_rate
from api.pages.csv_file import send_csv
from api.pages.goals.goal_list import find_currencies, order_in, query_of_list, read_ids
from api.pages.goals.list_query import GoalListQuery
from api.pages.ranges import Range, recall_range
from api.pages.rates import load_base, name_base
from goals.list_order import find_goal_ids, load_currencies
from goals.models import Goal
from goals.queries import live_goals
from goals.reports.figures import GoalFigures
from goals.reports.periods import load_period, load_visitors
from goals.reports.site_periods import MOST_READ
from goals.reports.summaries import GoalSummary, summarise_goals

CHUNK: Final = 500  # goals that are held at a time
SPANS: Final = ("24 h", "30 days", "all")


@site_page()
def export_goals(request: HttpRequest, site: Site) -> HttpResponseBase:
    """Send the selected goals, otherwise all of the list, in its order, with their current figures.

    As for other changes of goals, `scope=all` means the list, whatever is selected.
    """
    now = timezone.now()
    asked = query_of_list(request) if request.method == "POST" else request.GET
    query = GoalListQuery(asked, template=site.goal_name_template, now=now)
    span = recall_range(request, site, asked, now=now)
    if span.trouble:
        return HttpResponse(span.trouble, status=400, content_type="text/plain; charset=utf-8")
    order = order_in(query.order, span, find_currencies(site, query.order))
    ids = find_goal_ids([site.pk], query.filter, now=now, order=order)
    selected = set(read_ids(request.POST.getlist("goal")))
    if selected and request.POST.get("scope") != "all":
        ids = [id_ for id_ in ids if id_ in selected]
    currencies = sorted(load_currencies([site.pk]))
    pages = list_pages(site, ids, currencies, span, now=now)
    return send_csv(f"goals-{site.sitecode}", list_heads(site, currencies, span), pages)


def list_heads(site: Site, currencies: Sequence[str], span: Range) -> list[str]:
    figures = [f"{figure}, {span}" for figure in ("conversions", "converting visits") for span in SPANS]
    days = f"{span.first} to {span.last}"
    of_range = [f"conversions, {days}", f"converting visitors, {days}"]
    of_rate = [as_text(f"visitors {name_base(site, find_base(site))}, {days}"), f"conversion rate, {days}"]
    money = [f"revenue {currency}" for currency in currencies]
    money_of_range = [f"revenue {currency}, {days}" for currency in currencies]
    figures += ["converting visitors", "cancelled conversions"]
    return [
        "id",
        "name",
        "display name",
        "status",
        "made by",
        "tags",
        *figures,
        *money,
        "last conversion",
        *of_range,
        *money_of_range,
        *of_rate,
    ]


def list_pages(
    site: Site, ids: Sequence[int], currencies: Sequence[str], span: Range, *, now: datetime
) -> Iterator[list[list[Any]]]:
    """Yield the rows of these goals, some hundred at a time. Ten queries for each 500 goals."""
    for start in range(0, len(ids), CHUNK):
        goals = live_goals(site.pk).in_bulk(ids[start : start + CHUNK])
        chunk = [goals[id_] for id_ in ids[start : start + CHUNK] if id_ in goals]
        headlines = summarise_goals(site.pk, chunk, now=now)
        begin, end = span.periods[0]
        ranges = load_period(site.pk, chunk, begin=begin, end=end, counts_visits=False)
        visitors = load_visitors(site.pk, chunk, ranges, begin=begin, end=end, most_read=MOST_READ)
        # After the visitors: a conversion that is committed in between must not make a rate of more than 100 %.
        base = load_base(site, span)
        yield [
            [
                *make_cells(goal, headlines[goal.pk], ranges[goal.pk], currencies, visitors=visitors.get(goal.pk, "")),
                *write_rate(base.rate(visitors.get(goal.pk)))[1:],
            ]
            for goal in chunk
        ]


def make_cells(
    goal: Goal, headline: GoalSummary, figures: GoalFigures, currencies: Sequence[str], *, visitors: int | str
) -> list[Any]:
    """Return a goal's cells: harmless texts, plain numbers, times in ISO 8601 and UTC.

    The visitors are those of the range, empty if they are not counted.
    """
    spans = (headline.last_24_hours, headline.last_30_days, headline.ever)
    revenue, last = headline.ever.revenue, headline.last_conversion_at
    return [
        goal.pk,
        as_text(goal.name),
        as_text(goal.display_name),
        "archived" if goal.archived_at else "active",
        goal.origin,
        as_text(", ".join(tag.name for tag in goal.tags.all())),
        *(span.conversions for span in spans),
        *(span.visits for span in spans),
        headline.ever.visitors,
        headline.ever.cancellations,
        *write_money(revenue, currencies),
        write_at(last),
        figures.conversions,
        visitors,
        *write_money(figures.revenue, currencies),
    ]
