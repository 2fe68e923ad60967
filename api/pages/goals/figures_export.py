"""Export of a goal's chart as CSV, the compared period beside it."""

import csv

from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.utils import timezone

from api.http.wording import stamp_of
from api.models import Site
from api.pages.access import site_page
from api.pages.csv_cells import BYTE_ORDER_MARK, as_text, write_money, write_rate
from api.pages.goals.detail import find_goal
from api.pages.goals.figures import load_goal_rates, load_goal_series
from api.pages.ranges import read_range
from goals.reports.series import SeriesPoint


@site_page()
def export_figures(request: HttpRequest, site: Site, goal_id: int) -> HttpResponseBase:
    """Send the steps of a goal's chart: times in ISO 8601 and UTC, money in a column for each currency."""
    goal = find_goal(site, goal_id)
    range_ = read_range(request, site, now=timezone.now())
    if range_.trouble:
        return HttpResponse(range_.trouble, status=400, content_type="text/plain; charset=utf-8")
    try:
        series = load_goal_series(site, goal, range_)
    except ValueError as error:
        return HttpResponse(str(error), status=400, content_type="text/plain; charset=utf-8")
    response = HttpResponse(BYTE_ORDER_MARK, content_type="text/csv; charset=utf-8")
    response["Content-Disposition"] = f'attachment; filename="goal-{goal.pk}-{range_.first}-{range_.last}.csv"'
    currencies = sorted({currency for each in (*series.points, *series.before) for currency in each.revenue})
    rates = load_goal_rates(site, goal, range_, series)
    heads = ["conversions", "visits with a conversion", "cancelled", *(f"revenue {each}" for each in currencies)]
    figures = [*heads, "converting visitors", as_text(f"visitors {rates.base.words}"), "conversion rate"]
    compared = [f"compared: {head}" for head in ("from", *figures)] if series.before else []

    def cells(point: SeriesPoint, period: int) -> list[str | int]:
        rate = rates.at(point.begin, period)
        return [
            stamp_of(point.begin),
            point.conversions,
            point.visits,
            point.cancellations,
            *write_money(point.revenue, currencies),
            *write_rate(rate),
        ]

    writer = csv.writer(response)
    writer.writerow(["from", *figures, *compared])
    for place, point in enumerate(series.points):
        writer.writerow(cells(point, 0) + (cells(series.before[place], 1) if series.before else []))
    return response
