"""Ranges of pages: what addresses name, what they are compared with, and what a person chose last."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
from django.http import QueryDict

from api.models import Site
from api.pages.change import compare, make_card
from api.pages.ranges import Period, Preset, Range, make_control, resolve_range
from goals.models import Goal
from goals.reports.series import SeriesStep
from tests.support.goal_pages import page_of
from tests.support.pages import Enter, text_of
from tests.world import World

NOW = datetime(2026, 11, 27, 15, 20, tzinfo=UTC)  # a Friday
SITE = Site(sitecode="1q2w3e4r5t")


def resolve(query: str, *, now: datetime = NOW) -> Range:
    return resolve_range(SITE, QueryDict(query), {}, now=now)


def days(period: Period | None) -> tuple[str, str] | None:
    return None if period is None else (str(period.first), str(period.last))


@pytest.mark.parametrize(
    ("query", "first", "last", "step"),
    [
        ("range=today", "2026-11-27", "2026-11-27", "hour"),
        ("range=7d", "2026-11-21", "2026-11-27", "day"),
        ("range=28d", "2026-10-31", "2026-11-27", "day"),
        ("range=90d", "2026-08-30", "2026-11-27", "day"),
        ("range=month", "2026-11-01", "2026-11-27", "day"),
        ("range=last-month", "2026-10-01", "2026-10-31", "day"),
        ("range=custom&from=2025-01-01&to=2026-01-01", "2025-01-01", "2026-01-01", "week"),
        ("from=2026-11-02&to=2026-11-03", "2026-11-02", "2026-11-03", "day"),
        ("from=2026-11-02&to=2026-11-02", "2026-11-02", "2026-11-02", "hour"),
        ("range=7d&from=2026-11-02", "2026-11-21", "2026-11-27", "day"),
        ("range=7d&step=hour", "2026-11-21", "2026-11-27", "hour"),
        ("range=x", "2026-10-31", "2026-11-27", "day"),
        ("", "2026-10-31", "2026-11-27", "day"),
    ],
)
def test_range__of_an_address__has_these_days(query: str, first: str, last: str, step: str) -> None:
    found = resolve(query)

    assert (days(found.period), found.step, found.trouble) == ((first, last), SeriesStep(step), "")
    assert found.begin == datetime.fromisoformat(first).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("query", "first", "last"),
    [
        ("range=today", "2026-11-20", "2026-11-20"),
        ("range=7d", "2026-11-14", "2026-11-20"),
        ("range=28d", "2026-10-03", "2026-10-30"),
        ("range=90d", "2026-05-31", "2026-08-28"),
        ("from=2026-11-20&to=2026-11-22", "2026-11-13", "2026-11-15"),
        ("from=2026-11-01&to=2026-11-08", "2026-10-18", "2026-10-25"),
        ("range=month", "2026-10-01", "2026-10-27"),
        ("range=last-month", "2026-09-01", "2026-09-30"),
        ("range=7d&compare=year", "2025-11-22", "2025-11-28"),
        ("range=month&compare=year", "2025-11-01", "2025-11-27"),
        ("range=last-month&compare=year", "2025-10-01", "2025-10-31"),
    ],
)
def test_range__compared__has_the_same_weekdays_or_the_same_month(query: str, first: str, last: str) -> None:
    found = resolve(query)

    assert days(found.compared) == (first, last)
    assert found.compared is not None
    if "month" not in query:
        assert found.compared.first.weekday() == found.first.weekday()


@pytest.mark.parametrize("query", ["range=today", "range=7d", "range=month", "range=7d&compare=year"])
def test_range__that_runs__is_compared_up_to_the_same_time(query: str) -> None:
    found = resolve(query)

    assert found.is_running
    assert found.end == NOW
    assert found.compared is not None
    assert (found.compared.end.time(), found.compared.end.date()) == (NOW.time(), found.compared.last)
    assert found.compared.whole_end - found.compared.end == found.period.whole_end - NOW


def test_range__that_is_over__is_compared_whole() -> None:
    found = resolve("range=last-month")

    assert not found.is_running
    assert found.end == datetime(2026, 11, 1, tzinfo=UTC)
    assert found.compared is not None
    assert found.compared.end == found.compared.whole_end == datetime(2026, 10, 1, tzinfo=UTC)


def test_range__of_24_hours__begins_with_an_hour_and_is_compared_with_the_day_before() -> None:
    found = resolve("range=24h")

    assert (found.begin, found.end) == (datetime(2026, 11, 26, 16, tzinfo=UTC), NOW)
    assert found.compared is not None
    day = timedelta(days=1)
    assert (found.compared.begin, found.compared.end) == (found.begin - day, NOW - day)


def test_range__of_the_29th_of_february__is_compared_with_the_28th() -> None:
    found = resolve("range=month&compare=year", now=datetime(2028, 2, 29, 12, tzinfo=UTC))

    assert days(found.compared) == ("2027-02-01", "2027-02-28")


def test_range__without_comparison__has_none() -> None:
    assert resolve("range=7d&compare=none").compared is None
    assert resolve("from=1990-01-01&to=1990-02-01").compared is None


@pytest.mark.parametrize(
    ("query", "trouble"),
    [
        ("from=2026-11-29&to=2026-11-26", "From (2026-11-29) is after To (2026-11-26). Change one of the two."),
        ("from=2026-13-40", "From (“2026-13-40”) is not a date. Write 2026-11-27, for example."),
        ("range=custom&from=2026-11-29", "From (2026-11-29) is in the future. It is now 2026-11-27."),
        ("to=1990-01-03", ""),
        ("to=2199-01-01", ""),
    ],
)
def test_range__of_days_that_cannot_be__says_so(query: str, trouble: str) -> None:
    found = resolve(query)

    assert found.trouble == trouble
    assert not trouble or found.compared is None
    assert resolve_range(SITE, QueryDict(), found.parts, now=NOW).trouble == ""


def test_range__into_the_future__ends_today_and_says_so() -> None:
    found = resolve("from=2026-11-20&to=2026-12-24")

    assert (found.last, found.trouble) == (date(2026, 11, 27), "")
    assert found.note == "To (2026-12-24) is in the future. Showing days up to today, 2026-11-27."


def test_range__that_an_address_leaves_out__is_the_last_one() -> None:
    last = resolve("from=2026-11-02&to=2026-11-03&compare=year").parts

    found = resolve_range(SITE, QueryDict("step=day"), last, now=NOW)
    other = resolve_range(SITE, QueryDict("range=today"), last, now=NOW)

    assert found.parts == last
    assert other.parts == {"range": "today", "compare": "year"}


@pytest.mark.parametrize(
    "last",
    [
        {"range": "x"},
        {"from": "x"},
        {"range": "custom", "from": "9"},
        {"range": "custom", "from": "2026-11-28", "to": "2026-11-28"},
        {"compare": "7"},
    ],
)
def test_range__after_an_odd_last_one__still_has_days(last: dict[str, str]) -> None:
    found = resolve_range(SITE, QueryDict(), last, now=NOW)

    assert (found.trouble, found.begin <= NOW) == ("", True)


def test_control__of_a_page__keeps_its_filters_and_not_its_place() -> None:
    query = QueryDict("by=trait&path=plan&before=2026&id=3&range=7d&step=hour&tag=a&tag=b")

    control = make_control(resolve_range(SITE, query, {}, now=NOW), query)

    assert ("Today", "by=trait&path=plan&tag=a&tag=b&range=today&compare=previous", False) in control.presets
    assert (
        "Same weekdays last year",
        "by=trait&path=plan&tag=a&tag=b&range=7d&compare=year",
        False,
    ) in control.comparisons
    assert [label for label, _, is_chosen in control.presets if is_chosen] == ["Last 7 days"]
    assert ("range", Preset.CUSTOM) in control.kept


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("range=7d", "21–27 Nov"),
        ("range=28d", "31 Oct – 27 Nov"),
        ("range=today", "27 Nov"),
        ("from=2025-11-02&to=2025-11-03", "2–3 Nov 2025"),
        ("from=2025-12-31&to=2026-01-01", "31 Dec 2025 – 1 Jan 2026"),
    ],
)
def test_range__in_words__names_its_days(query: str, words: str) -> None:
    assert resolve(query).days == words


def test_change__of_little_money__is_an_amount() -> None:
    card = make_card("Revenue", Decimal("125.5"), Decimal("4.5"), write=lambda value: f"EUR {value:.2f}")

    assert card.change is not None
    assert (card.change.text, card.change.words) == ("▲ EUR 121.00", "up EUR 121.00")


@pytest.mark.parametrize(
    ("now", "before", "text", "words"),
    [
        (112, 100, "▲ 12 %", "up 12 %"),
        (50, 100, "▼ 50 %", "down 50 %"),
        (0, 8, "▼ 100 %", "down 100 %"),
        (100_100, 100_000, "▲ under 1 %", "up under 1 %"),
        (2_500, 100, "▲ 2,400 %", "up 2,400 %"),
        (7, 4, "▲ 3", "up 3"),
        (0, 4, "▼ 4", "down 4"),
        (3, 0, "new", "new, none before"),
        (-3, 0, "▼ 3", "down 3"),
        (0, 0, "no change", "no change"),
        (9, 9, "no change", "no change"),
    ],
)
def test_change__between_two_figures__has_a_percentage_only_of_enough(
    now: int, before: int, text: str, words: str
) -> None:
    change = compare(now, before)

    assert (change.text, change.words) == (text, words)
    assert change.tone == ("" if now == before else "good" if now > before else "bad")


def test_page__after_a_choice__opens_with_it_again(world: World, goal: Goal, enter: Enter) -> None:
    viewer, other = enter("viewer"), enter("editor")

    text_of(viewer.get(f"{page_of(goal)}?range=7d&compare=year"))
    again = text_of(viewer.get(page_of(goal, "breakdown/")))

    assert '<span class="gp-hidden">Range: </span>Last 7 days' in again
    assert '<span class="gp-hidden">Compare with: </span>Same weekdays last year' in again
    assert "Last 28 days</summary>" in text_of(other.get(page_of(goal)))


@pytest.mark.parametrize("tab", ["", "breakdown/", "conversions/"])
def test_goal__with_a_range__has_it_in_the_links_of_its_tabs(world: World, goal: Goal, enter: Enter, tab: str) -> None:
    page = text_of(enter("viewer").get(f"{page_of(goal, tab)}?range=7d&compare=none"))

    for other in ("", "breakdown/", "conversions/"):
        assert f'href="{page_of(goal, other)}?range=7d&amp;compare=none"' in page


@pytest.mark.parametrize(
    ("query", "rows"), [("from=2026-11-22&to=2026-11-22", 2), ("from=2026-11-20&to=2026-11-21", 0)]
)
def test_conversions__of_a_range__leave_out_the_others(
    world: World, goal: Goal, enter: Enter, query: str, rows: int
) -> None:
    page = enter("viewer").get(f"{page_of(goal, 'conversions/')}?{query}")

    assert len(page.context["rows"]) == rows


@pytest.mark.parametrize(
    ("query", "label"),
    [
        ("range=today", "Same day last week"),
        ("range=24h", "Previous period"),
        ("range=28d", "Previous period"),
        ("range=today&compare=year", "Same weekdays last year"),
        ("range=24h&compare=year", "Same weekdays last year"),
        ("range=month&compare=year", "Last year"),
        ("range=month&compare=none", "No comparison"),
    ],
)
def test_comparison__of_a_range__is_called_what_it_is(query: str, label: str) -> None:
    assert resolve(query).compare_label == label
