"""Conversion rates on pages: over all visitors seen, and over the base goal that a site chose."""

import csv
import io
import threading
from typing import Any

import pytest
from django.core.cache import cache
from django.test import Client

from api.insight import rates
from api.models import AuditEntry
from api.pages.goals import export, goal_list
from api.pages.rates import UNCOUNTED, BaseOfRange, ShownRate, compare_shares
from api.templatetags.figures import share
from goals import catalogue, merging
from goals.models import Goal
from goals.reports.periods import load_visitors
from goals.reports.visitors_seen import SeenVisitors
from tests.support.goal_pages import BASE, page_of
from tests.support.pages import Enter, text_of
from tests.support.settings_pages import sent_form
from tests.world import SITECODE, START, World

DAY = 86_400
WEEK = "from=2026-11-16&to=2026-11-22&compare=previous"
SETTINGS = f"/admin/s/{SITECODE}/settings/"


@pytest.fixture
def buy(world: World) -> Goal:
    """Return a goal that 2 of 8 visitors converted, and 1 of 10 in the week before; 4 then 5 began a session."""
    for week, buyers, sessions, visitors in ((0, 2, 4, 8), (1, 1, 5, 10)):
        for number in range(visitors):
            at = -week * 7 * DAY - number * 60
            names = ["View", *(["Session"] if number < sessions else []), *(["Buy"] if number < buyers else [])]
            for name in names:
                world.track(name, at=at, userId=f"u{number}")
    return goal_of("Buy")


def goal_of(name: str) -> Goal:
    return Goal.objects.get(name__endswith=name)


def card_of(client: Client, goal: Goal, query: str = WEEK) -> Any:
    page = client.get(f"{page_of(goal)}?{query}")
    text_of(page)
    return next(card for card in page.context["seen"].cards if card.label == "Conversion rate")


def join_counting() -> None:
    """Wait for the threads that count."""
    for thread in threading.enumerate():
        if thread.name == rates.THREAD:
            thread.join(30)


def rate_in_list(client: Client, goal: Goal) -> tuple[str, str]:
    page = client.get(f"{BASE}?{WEEK}")
    (row,) = [row for row in page.context["rows"] if row.goal == goal]
    return row.rate.text, row.rate.title


@pytest.mark.parametrize(
    ("part", "text"),
    [
        (None, "–"),
        (0, "0 %"),
        (0.00001, "under 0.01 %"),
        (0.00354, "0.35 %"),
        (0.042, "4.2 %"),
        (0.1, "10 %"),
        (0.9999, "99.9 %"),
        (1, "100 %"),
        (1.4, "140 %"),
        (12.5, "1,250 %"),
    ],
)
def test_share__of_any_size__reads_as_it_is(part: float | None, text: str) -> None:
    assert share(part) == text


def test_compare_shares__of_two_rates__is_in_points() -> None:
    rise, fall = compare_shares(0.042, 0.039), compare_shares(0.1, 0.1004)

    assert (rise.text, rise.words, rise.tone) == ("▲ 0.3 points", "up 0.3 percentage points", "good")
    assert (fall.text, fall.tone) == ("▼ under 0.1 points", "bad")
    assert compare_shares(0.1, 0.1).text == "no change"


def test_rate__without_base_goal__is_of_the_visitors_seen(viewer: Client, buy: Goal) -> None:
    card = card_of(viewer, buy)

    assert (card.value, card.before, card.change.text) == ("25 %", "10 %", "▲ 15 points")
    assert card.help == "2 of 8 visitors seen."
    assert rate_in_list(viewer, buy) == ("25 %", "2 of 8 visitors seen.")
    assert "Rates are of 8 visitors seen." in text_of(viewer.get(f"{BASE}?{WEEK}"))


def test_rate__with_base_goal__is_of_its_visitors(world: World, viewer: Client, buy: Goal) -> None:
    world.change_site(base_goal_id=goal_of("Session").pk)

    card = card_of(viewer, buy)

    assert (card.value, card.before, card.help) == ("50 %", "20 %", "2 of 4 visitors who converted track Session.")
    text, title = rate_in_list(viewer, goal_of("View"))
    assert (text, title.partition(" Above")[0]) == ("200 %", "8 of 4 visitors who converted track Session.")
    assert title.endswith(" Above 100 %: more visitors converted this goal than the base goal.")


@pytest.mark.parametrize(
    ("base", "goal", "reason"),
    [
        (None, 1, "Above 100 %: the larger count is some minutes old."),
        (1, 1, "Above 100 %: the larger count is some minutes old."),
        (2, 1, "Above 100 %: more visitors converted this goal than the base goal."),
    ],
)
def test_rate__above_the_whole__gives_the_reason(base: int | None, goal: int, reason: str) -> None:
    of_range = BaseOfRange("seen", [SeenVisitors(1)], Goal(pk=base) if base else None)

    assert of_range.show(Goal(pk=goal), 2) == ShownRate("200 %", f"2 of 1 visitor seen. {reason}")


def test_rate__of_visitors_that_a_list_does_not_count__says_so(
    viewer: Client, buy: Goal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(goal_list, "MOST_READ", 1)

    assert rate_in_list(viewer, buy) == ("–", "Visitors are counted for up to 100,000 conversions.")


def test_rate__of_too_many_conversions__does_not_ask_to_reload(
    viewer: Client, buy: Goal, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache.clear()
    for name in ("MOST_READ", "MOST_COUNTED"):
        monkeypatch.setattr(rates, name, 5)

    card_of(viewer, buy)
    join_counting()

    assert card_of(viewer, buy).help.startswith("This period has too many conversions")
    assert rate_in_list(viewer, buy)[1] == UNCOUNTED
    join_counting()
    assert "This period has too many conversions" in text_of(viewer.get(f"{BASE}?{WEEK}"))


def test_rate__that_is_not_counted_in_files__says_so(
    viewer: Client, buy: Goal, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache.clear()
    monkeypatch.setattr(rates, "MOST_READ", 5)
    figures = viewer.get(f"{page_of(buy, 'figures.csv')}?{WEEK}&step=week").content.decode("utf-8-sig")
    goals = viewer.get(f"{BASE}export/?{WEEK}").getvalue().decode("utf-8-sig")
    join_counting()

    (row,) = csv.DictReader(io.StringIO(figures))
    listed = {row["id"]: row for row in csv.DictReader(io.StringIO(goals))}[str(buy.pk)]
    assert row["conversion rate"] == row["compared: conversion rate"] == "not counted"
    assert listed["conversion rate, 2026-11-16 to 2026-11-22"] == "not counted"


def test_rate__in_a_file__is_of_a_base_that_is_read_after_the_visitors(
    world: World, viewer: Client, buy: Goal, monkeypatch: pytest.MonkeyPatch
) -> None:
    def convert_meanwhile(*args: Any, **options: Any) -> dict[int, int]:
        for number in range(20, 30):
            world.track("Buy", userId=f"u{number}")
        return load_visitors(*args, **options)

    monkeypatch.setattr(export, "load_visitors", convert_meanwhile)

    goals = viewer.get(f"{BASE}export/?{WEEK}").getvalue().decode("utf-8-sig")

    listed = {row["id"]: row for row in csv.DictReader(io.StringIO(goals))}[str(buy.pk)]
    days = "2026-11-16 to 2026-11-22"
    assert [listed[f"{name}, {days}"] for name in ("converting visitors", "visitors seen")] == ["12", "18"]


def test_rate__of_a_base_goal_that_was_merged__is_of_its_target(world: World, viewer: Client, buy: Goal) -> None:
    world.change_site(base_goal_id=goal_of("Session").pk)

    merging.merge(goal_of("Session"), goal_of("View"))

    assert card_of(viewer, buy).help == "2 of 8 visitors who converted track View."


def test_rate__of_a_base_goal_that_was_deleted__is_of_the_visitors_seen(
    world: World, viewer: Client, buy: Goal
) -> None:
    world.change_site(base_goal_id=goal_of("Session").pk)

    catalogue.delete_goal(goal_of("Session"), now=START)

    assert card_of(viewer, buy).help == "2 of 8 visitors seen."


def test_rate__of_nobody__is_none(viewer: Client, buy: Goal) -> None:
    card = card_of(viewer, buy, "from=2026-01-01&to=2026-01-02")

    assert (card.value, card.change, card.help) == ("–", None, "0 of 0 visitors seen.")


def test_rate__in_a_chart__can_be_switched_on(viewer: Client, buy: Goal) -> None:
    chart = viewer.get(f"{page_of(buy)}?{WEEK}&step=day").context["chart"]

    rate = chart.series[-1]
    assert (rate.label, rate.role, rate.is_rate) == ("Conversion rate, %", "further", True)
    assert rate.values == [None] * 6 + [25.0]


def test_rate__in_files__names_both_sides(viewer: Client, buy: Goal) -> None:
    figures = viewer.get(f"{page_of(buy, 'figures.csv')}?{WEEK}&step=week").content.decode("utf-8-sig")
    goals = viewer.get(f"{BASE}export/?{WEEK}").getvalue().decode("utf-8-sig")

    (row,) = csv.DictReader(io.StringIO(figures))
    assert [row[name] for name in ("converting visitors", "visitors seen", "conversion rate")] == ["2", "8", "0.250000"]
    compared = [f"compared: {name}" for name in ("converting visitors", "visitors seen", "conversion rate")]
    assert [row[name] for name in compared] == ["1", "10", "0.100000"]
    listed = {row["id"]: row for row in csv.DictReader(io.StringIO(goals))}[str(buy.pk)]
    days = "2026-11-16 to 2026-11-22"
    assert [listed[f"{name}, {days}"] for name in ("visitors seen", "conversion rate")] == ["8", "0.250000"]


def test_rate__in_a_breakdown__is_of_the_same_visitors(viewer: Client, buy: Goal) -> None:
    page = viewer.get(f"{page_of(buy, 'breakdown/')}?{WEEK}&by=currency")

    assert [row.rate.title for row in page.context["breakdown"].parts] == ["2 of 8 visitors seen."]
    assert "Rates are of 8 visitors seen." in text_of(page)


def test_rate__of_many_conversions__is_counted_in_the_background(
    viewer: Client, buy: Goal, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache.clear()
    monkeypatch.setattr(rates, "MOST_READ", 5)

    first = card_of(viewer, buy)
    join_counting()

    assert (first.value, first.change) == ("–", None)
    assert "being counted" in first.help
    card = card_of(viewer, buy)
    assert (card.value, card.before, card.help) == ("25 %", "10 %", "2 of 8 visitors seen.")


def test_base_goal__in_settings__is_chosen_by_name(enter: Enter, world: World, buy: Goal) -> None:
    session, owner = goal_of("Session"), enter("owner")
    field = owner.get(SETTINGS).context["form"]["base_goal_id"].field

    names = dict(field.choices)
    saved = owner.post(f"{SETTINGS}save/", {**sent_form(owner), "base_goal_id": str(session.pk)})
    assert saved.status_code == 302, saved.context["form"].errors
    world.site.refresh_from_db()
    chosen = owner.get(SETTINGS).context["form"]["base_goal_id"].value()

    assert (names[""], names[session.pk]) == ("None: all visitors seen", "track Session")
    assert (world.site.base_goal_id, chosen) == (session.pk, session.pk)
    assert AuditEntry.objects.latest("pk").after == {"base_goal_id": session.pk}
    assert world.site.rules_changed_at is None
