"""The figures of a goal in a range beside those of the compared period: cards, charts, CSV and annotations."""

import csv
import io
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from api.models.audit import write_audit
from goals import merging
from goals.models import Goal
from tests.support.goal_pages import make, page_of
from tests.support.pages import text_of
from tests.world import World

DAY = 86_400
WEEK = "from=2026-11-16&to=2026-11-22&compare=previous"


@pytest.fixture
def goal(world: World) -> Goal:
    """Return a goal of 12 conversions by 12 visitors in a week, and of 6 by 6 in the week before."""
    for week, count in ((0, 12), (1, 6)):
        for number in range(count):
            money = {"revenue": "2.50", "currency": ("EUR", "CHF")[number % 2]}
            world.track("Buy", at=-week * 7 * DAY - number * 60, userId=f"u{number}", properties=money)
    return Goal.objects.get()


def look(client: Client, goal: Goal, query: str) -> Any:
    response = client.get(f"{page_of(goal)}?{query}")
    text_of(response)
    return response


def test_cards__of_a_range__have_their_change_to_the_period_before(viewer: Client, goal: Goal) -> None:
    cards = {card.label: card for card in look(viewer, goal, WEEK).context["seen"].cards}

    assert list(cards)[1:3] == ["Converting visitors", "Conversion rate"]
    shown = {label: (card.value, card.before, card.change.text) for label, card in cards.items()}
    assert shown == {
        "Visits with a conversion": ("12", "6", "▲ 100 %"),
        "Converting visitors": ("12", "6", "▲ 100 %"),
        "Conversion rate": ("100 %", "100 %", "no change"),
        "Conversions": ("12", "6", "▲ 100 %"),
        "Revenue": ("CHF 15.00", "CHF 7.50", "▲ 100 %"),
    }


def test_cards__without_comparison__have_no_change(viewer: Client, goal: Goal) -> None:
    page = look(viewer, goal, WEEK.replace("previous", "none"))

    assert {card.change for card in page.context["seen"].cards} == {None}
    assert [series.role for series in page.context["chart"].series] == ["", "further", "further"]


def test_charts__of_a_range__have_one_currency_and_the_period_before(world: World, viewer: Client, goal: Goal) -> None:
    world.change_site(default_currency="EUR")

    page = look(viewer, goal, WEEK)
    in_francs = look(viewer, goal, f"{WEEK}&currency=CHF")
    chosen = in_francs.context["money_chart"]
    (card,) = (each for each in in_francs.context["seen"].cards if each.label == "Revenue")
    assert (card.value[:3], card.help[:3], card.help.count(",")) == ("CHF", "EUR", 0)

    chart, money = page.context["chart"], page.context["money_chart"]
    assert [(series.label, sum(series.values), series.role) for series in chart.series[:3]] == [
        ("Visits with a conversion", 12, ""),
        ("Previous period, 9–15 Nov", 6, "before"),
        ("Conversions", 12, "further"),
    ]
    assert [(series.label, sum(series.values)) for series in money.series] == [
        ("Revenue, EUR", 15),
        ("Previous period, 9–15 Nov", 7.5),
    ]
    assert chosen.series[0].label == "Revenue, CHF"
    assert (chart.ticks[0], chart.titles[0]) == ("16 Nov", "Monday, 16 November 2026")
    assert not chart.is_running


def test_chart__of_a_running_range__says_so(viewer: Client, goal: Goal) -> None:
    chart = look(viewer, goal, "range=7d").context["chart"]

    assert chart.is_running
    assert '"running":true' in chart.json


def test_chart__of_a_month_after_a_shorter_one__has_a_value_at_every_day(viewer: Client, goal: Goal) -> None:
    page = look(viewer, goal, "range=last-month&step=day")

    chart = page.context["chart"]
    assert {len(series.values) for series in chart.series} == {len(chart.labels)}


def test_figures__as_csv__have_both_periods_and_money_by_currency(viewer: Client, goal: Goal) -> None:
    response = viewer.get(f"{page_of(goal, 'figures.csv')}?{WEEK}&step=day")

    rows = list(csv.DictReader(io.StringIO(response.content.decode("utf-8-sig"))))
    assert len(rows) == 7
    assert rows[-1] == {
        "from": "2026-11-22T00:00:00Z",
        "conversions": "12",
        "visits with a conversion": "12",
        "cancelled": "0",
        "revenue CHF": "15",
        "revenue EUR": "15",
        "converting visitors": "12",
        "visitors seen": "12",
        "conversion rate": "1.000000",
        "compared: from": "2026-11-15T00:00:00Z",
        "compared: conversions": "6",
        "compared: visits with a conversion": "6",
        "compared: cancelled": "0",
        "compared: revenue CHF": "7.5",
        "compared: revenue EUR": "7.5",
        "compared: converting visitors": "6",
        "compared: visitors seen": "6",
        "compared: conversion rate": "1.000000",
    }


@pytest.mark.parametrize("query", ["from=2026-11-29&to=2026-11-26", "from=1990-01-01&step=hour"])
def test_figures__of_a_range_that_cannot_be__are_no_file(viewer: Client, goal: Goal, query: str) -> None:
    assert viewer.get(f"{page_of(goal, 'figures.csv')}?{query}").status_code == 400


def test_goal__after_changes__shows_those_that_concern_it(world: World, viewer: Client, goal: Goal) -> None:
    other = make(world, "Other")
    write_audit("ann", world.site, f"Merged the goal {other.pk} into the goal {goal.pk}")
    write_audit("ann", world.site, f"Changed the goal {goal.pk}", {"name": "Purchase"}, {"name": "Buy"})
    write_audit("ann", world.site, f"Changed the goal {goal.pk}", {"type": "CLICK"}, {"type": "CUSTOM"})
    write_audit("ann", world.site, f"Changed the goal {other.pk}", {"name": "A"}, {"name": "B"})
    write_audit("ann", world.site, "Created the rule 3 “If type is track”")
    write_audit("ann", world.site, "Added a member")

    page = look(viewer, goal, "range=7d")
    earlier = look(viewer, goal, f"from=2026-11-16&to={timezone.now() - timedelta(days=2):%Y-%m-%d}")

    texts = [mark.text for mark in page.context["seen"].annotations]
    assert texts == [
        f"Merged the goal {other.pk} into the goal {goal.pk}",
        "Renamed “Purchase” to “Buy”",
        "Created the rule 3 “If type is track”",
    ]
    assert [place for place, _ in page.context["chart"].marks] == [6, 6, 6]
    assert earlier.context["seen"].annotations == []


def test_goal__all_time__is_below_the_range(viewer: Client, goal: Goal) -> None:
    page = text_of(look(viewer, goal, "from=2026-01-01&to=2026-01-02"))

    assert "All time: 18 conversions, 18 visits with a conversion, 12 converting visitors" in page


def test_goal__that_is_merged__leads_to_the_other_with_its_range(world: World, viewer: Client, goal: Goal) -> None:
    other = make(world, "Other")
    merging.merge(goal, other)

    assert viewer.get(page_of(goal)).headers["location"] == page_of(other)
    assert viewer.get(f"{page_of(goal)}?range=7d").headers["location"] == f"{page_of(other)}?range=7d"
