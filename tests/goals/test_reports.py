"""The figures of goals, from conversions that a small world makes."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from goals.models import Goal
from goals.reports import breakdown
from goals.reports.breakdown import Breakdown, BreakdownField, BreakdownPart, load_breakdown
from goals.reports.figures import GoalFigures
from goals.reports.series import SeriesPoint, SeriesStep, load_series, sum_weeks
from goals.reports.summaries import GoalSummary, summarise_goals
from tests.world import START, World

DAY = 86_400


@pytest.fixture
def goal(world: World) -> Goal:
    """Six conversions of three visitors, sent in no order: four visits, two of them today."""
    for minutes, user, price in ((29, "u1", 2), (0, "u1", 1), (60, "u1", None), (5, "u2", 4)):
        money = {} if price is None else {"revenue": price, "currency": "EUR"}
        world.track("Buy", at=60 * minutes, userId=user, properties={"size": {"eu": price}, **money})
    world.track("Buy", at=-40 * DAY, userId="u3", properties={"revenue": "0.10"})
    world.track("Buy", at=-2 * DAY, userId="u2", properties={"size": {"eu": "2"}})
    return Goal.objects.get()


def now(seconds: float = 7_200) -> datetime:
    return START + timedelta(seconds=seconds)


def test_headlines__of_goals__count_conversions_visits_and_visitors(world: World, goal: Goal) -> None:
    other = Goal.objects.create(site=world.site, name="Never")
    euros, dollars = Decimal("7.000000"), Decimal("0.100000")

    assert summarise_goals(goal.site_id, [goal, other], now=now()) == {
        goal.pk: GoalSummary(
            GoalFigures(4, 3, 2, {"EUR": euros}),
            GoalFigures(5, 4, 2, {"EUR": euros}),
            GoalFigures(6, 5, 3, {"EUR": euros, "USD": dollars}),
            last_conversion_at=START + timedelta(hours=1),
            line=(*[0] * 27, 1, 0, 3),
        ),
        other.pk: GoalSummary(),
    }


def test_headline__of_figures__is_what_the_goal_says_counts(goal: Goal) -> None:
    figures = GoalFigures(conversions=4, visits=3)
    assert figures.headline(goal) == 3
    goal.has_multiple_conversions = True
    assert figures.headline(goal) == 4


def test_headline__of_a_goal_where_every_conversion_counts__has_their_line(goal: Goal) -> None:
    goal.has_multiple_conversions = True
    assert summarise_goals(goal.site_id, [goal], now=now())[goal.pk].line == (*[0] * 27, 1, 0, 4)


def test_series__by_step__has_every_step(goal: Goal) -> None:
    begin, end = START - timedelta(days=2), START + timedelta(minutes=61)
    hours = load_series(goal, begin=START - timedelta(hours=1), end=end, step=SeriesStep.HOUR, zone=UTC)
    days = load_series(goal, begin=begin, end=end, step=SeriesStep.DAY, zone=UTC)
    weeks = load_series(goal, begin=begin, end=end, step=SeriesStep.WEEK, zone=UTC)

    assert hours == [
        SeriesPoint(START - timedelta(hours=1)),
        SeriesPoint(START, 3, 2, {"EUR": Decimal("7.000000")}),
        SeriesPoint(START + timedelta(hours=1), 1, 1),
    ]
    assert [(point.begin.day, point.conversions, point.visits) for point in days] == [
        (20, 1, 1),
        (21, 0, 0),
        (22, 4, 3),
    ]
    assert [(point.begin.day, point.conversions, point.visits) for point in weeks] == [(16, 5, 4)]
    sundays = load_series(goal, begin=begin, end=end, step=SeriesStep.WEEK, zone=UTC, first_weekday=6)
    assert [(point.begin.day, point.conversions, point.visits) for point in sundays] == [(15, 1, 1), (22, 4, 3)]
    (cut,) = load_series(goal, begin=START - timedelta(days=1), end=end, step=SeriesStep.WEEK, zone=UTC)
    assert (cut.begin.day, cut.conversions, cut.visits) == (16, 4, 3)  # without the day before
    for first, weekday, expected in ((begin, 0, weeks), (begin, 6, sundays), (START - timedelta(days=1), 0, [cut])):
        assert sum_weeks(days, begin=first, end=end, zone=UTC, first_weekday=weekday) == expected
    with pytest.raises(ValueError, match="points"):
        load_series(goal, begin=begin - timedelta(days=365), end=end, step=SeriesStep.HOUR, zone=UTC)


def test_breakdown__by_property__has_the_largest_parts_and_the_rest(
    goal: Goal, monkeypatch: pytest.MonkeyPatch
) -> None:
    euros, cents = Decimal("2.000000"), Decimal("0.100000")
    whole = load_breakdown(goal, BreakdownField.PROPERTY, path=["size", "eu"])
    assert whole.parts[0] == BreakdownPart("2", 2, 2, {"EUR": euros}, 1)
    assert whole.values == 4
    assert whole.other is None

    monkeypatch.setattr(breakdown, "TOP", 1)
    assert load_breakdown(goal, BreakdownField.PROPERTY, path=["size", "eu"]) == Breakdown(
        [BreakdownPart("2", 2, 2, {"EUR": euros}, 1)],
        BreakdownPart(None, 4, 3, {"EUR": Decimal("5.000000"), "USD": cents}, 4),
        4,
    )


def test_breakdown__by_currency_and_source__in_a_range(goal: Goal) -> None:
    euros = {"EUR": Decimal("7.000000")}
    assert load_breakdown(goal, BreakdownField.CURRENCY, begin=START - timedelta(days=3)) == Breakdown(
        [BreakdownPart("EUR", 3, 2, euros, 2), BreakdownPart(None, 2, 2, {}, 2)], None, 2
    )
    (part,) = load_breakdown(goal, BreakdownField.SOURCE, begin=START, end=START + timedelta(hours=1)).parts
    assert (part.conversions, part.visitors, part.revenue) == (3, 2, euros)
