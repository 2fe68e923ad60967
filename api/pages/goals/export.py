"""A list of goals as CSV, written for spreadsheets: Excel, Numbers, LibreOffice, Google Sheets."""

import csv
import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

from django.http import HttpRequest, HttpResponseBase, StreamingHttpResponse
from django.utils import timezone

from api.models import Site
from api.pages.access import site_page
from api.pages.goals.goal_list import address_of_list, ids_in
from api.pages.goals.list_query import read_wish
from goals import reports
from goals.list_order import find_goal_ids
from goals.models import Goal
from goals.queries import live_goals
from goals.reports import GoalSummary

CHUNK: Final = 500  # goals that are held at a time
BYTE_ORDER_MARK: Final = "\ufeff"  # without it Excel reads UTF-8 as the computer's old code page
# A spreadsheet runs a cell that begins so: after white space and quotes too, and in the full width of Japanese
# keyboards. One that separates by semicolons (Excel in most of Europe) begins a cell behind each of them as well.
FORMULA: Final = re.compile(r"""(^|[;\t\r\n])(?=[\s"']*[=+\-@＝＋－＠])|^(?=[\t\r\n])""")
SPANS: Final = ("24 h", "30 days", "all")


@site_page()
def export_goals(request: HttpRequest, site: Site) -> HttpResponseBase:
    """Send the goals that were picked, else all of a list, in its order, with the figures of this moment."""
    asked = address_of_list(request) if request.method == "POST" else request.GET
    now = timezone.now()
    wish = read_wish(asked, now=now)
    wanted = find_goal_ids([site.pk], wish.filter, now=now, order=wish.order)
    ids, picked = wanted.ids, set(ids_in(request.POST.getlist("goal")))
    if picked:
        ids = [id_ for id_ in ids if id_ in picked]
    lines = csv_of(site, ids, sorted(wanted.currencies), now=now)
    answer = StreamingHttpResponse(lines, content_type="text/csv; charset=utf-8")
    answer["Content-Disposition"] = f'attachment; filename="goals-{site.sitecode}.csv"'
    return answer


def csv_of(site: Site, ids: Sequence[int], currencies: Sequence[str], *, now: datetime) -> Iterator[str]:
    """Yield the lines of these goals, some hundred at a time. Five queries for each 500 goals."""
    writer = csv.writer(_Line())
    figures = [f"{figure}, {span}" for figure in ("conversions", "converting visits") for span in SPANS]
    money = [f"revenue {currency}" for currency in currencies]
    heads = ["id", "name", "status", "made by", "tags", *figures, "converting visitors", *money, "last conversion"]
    yield BYTE_ORDER_MARK + writer.writerow(heads)
    for start in range(0, len(ids), CHUNK):
        goals = live_goals([site.pk]).in_bulk(ids[start : start + CHUNK])
        found = [goals[id_] for id_ in ids[start : start + CHUNK] if id_ in goals]
        headlines = reports.summarise_goals(found, now=now)
        yield "".join(writer.writerow(cells_of(goal, headlines[goal.pk], currencies)) for goal in found)


class _Line:
    """A file for `csv.writer` that gives each line back."""

    def write(self, line: str) -> str:
        return line


def cells_of(goal: Goal, headline: GoalSummary, currencies: Sequence[str]) -> list[Any]:
    """Return a goal's cells. Texts run nothing, numbers are plain, times are ISO 8601 of UTC."""
    spans = (headline.last_24_hours, headline.last_30_days, headline.ever)
    revenue, last = headline.ever.revenue, headline.last_conversion_at
    return [
        goal.pk,
        as_text(goal.name),
        "archived" if goal.archived_at else "active",
        goal.origin,
        as_text(", ".join(tag.name for tag in goal.tags.all())),
        *(each.conversions for each in spans),
        *(each.visits for each in spans),
        headline.ever.visitors,
        *(as_number(revenue[currency]) if currency in revenue else "" for currency in currencies),
        f"{last.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}" if last else "",
    ]


def as_text(text: str) -> str:
    """Return a stranger's text with an apostrophe wherever a spreadsheet would take it for a formula."""
    return FORMULA.sub(r"\1'", text)


def as_number(amount: Decimal) -> str:
    """Return an amount without zeros at its end, separators or an exponent: `1234.5`."""
    return f"{amount.normalize():f}"
