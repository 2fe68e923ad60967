"""Random histories of a shop: the figures that are kept, and every report on them, are those of a slow recount.

For longer: HISTORY_EXAMPLES=500 .venv/bin/python -m pytest -q tests/goals/test_recount.py
"""

import os
from collections import Counter
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from api.digest import recounts
from api.erasure import erase
from api.ingest.provisioning import create_site
from api.models import Message
from goals import catalogue, merging
from goals.models import Cancellation, Conversion, Goal
from goals.reports.breakdown import BreakdownField, load_breakdown
from goals.reports.figures import GoalFigures
from goals.reports.periods import load_period
from goals.reports.series import SeriesPoint, SeriesStep, load_series
from goals.reports.summaries import GoalSummary, load_figures, summarise_goals
from tests.goals.recount import assert_exact, visits_of
from tests.support.erasures import finish_erasures
from tests.support.sdk import conversion, post_lines
from tests.world import START, World
from zones import day_of, start_of

EXAMPLES = int(os.environ.get("HISTORY_EXAMPLES", "25"))
NOW = START + timedelta(hours=3)
DAY = timedelta(days=1)
NAMES, USERS, CODES = ("A", "B", "C"), ("u1", "u2"), ("v1", "v2")

ZONES = ("UTC", "Europe/Zurich", "Asia/Kolkata", "America/Havana")
# In Zurich and in Havana, where midnight comes twice.
CLOCKS_PUT_BACK = (datetime(2026, 10, 25, 0, 40, tzinfo=UTC), datetime(2026, 11, 1, 4, 30, tzinfo=UTC))

# Where a visit ends and another begins; over midnight; yesterday; and before the last 30 days.
minutes = st.sampled_from(
    [
        *(0, 10, 29, 30, 31, 59, 60, -170, -185, -1_440, -60 * 24 * 40, -245, -260, 15 * 60 + 20),
        *(int((at - START).total_seconds() // 60) + more for at in CLOCKS_PUT_BACK for more in (0, 25, 60)),
    ]
)
hits = st.fixed_dictionaries(
    {"event": st.sampled_from(NAMES), "minute": minutes, "userId": st.sampled_from(USERS)},
    optional={
        "revenue": st.sampled_from(["0.1", "25.5", 0]),
        "currency": st.sampled_from(["EUR", "USD"]),
        "kameleoonVisitorCode": st.sampled_from(CODES),
    },
)
merges = st.permutations(NAMES).map(lambda names: ("merge", *names[:2]))
steps = st.one_of(
    merges,
    st.tuples(st.just("send"), st.lists(hits, min_size=1, max_size=6)),
    st.tuples(st.just("send"), st.lists(hits, min_size=1, max_size=2)),
    st.tuples(st.just("link"), st.sampled_from(USERS), st.sampled_from(CODES), minutes),
    merges,
    st.tuples(st.just("cancel"), st.sampled_from(NAMES), st.sampled_from(CODES), minutes, st.sampled_from([0.1, 0])),
    st.tuples(st.just("unmerge"), st.integers(0, 1)),
    st.tuples(st.just("delete"), st.sampled_from(NAMES), st.booleans()),
    st.tuples(st.just("replay")),
    st.tuples(st.just("erase"), st.sampled_from(USERS + CODES)),
    st.tuples(st.just("zone"), st.sampled_from(ZONES)),
    st.tuples(st.just("recount")),
)


MEANWHILE = {"event": "A", "minute": 30, "userId": "u2", "revenue": "0.1"}


def event_of(shop: World, hit: dict[str, Any]) -> dict[str, Any]:
    return shop.event(
        event=hit["event"],
        at=60 * hit["minute"],
        userId=hit["userId"],
        properties={name: hit[name] for name in hit.keys() - {"event", "minute", "userId"}},
    )


def take(shop: World, step: tuple[Any, ...]) -> None:  # noqa: C901 - a case each
    """One step of a history; a merge that makes no sense is none."""
    goals = {goal.name[-1]: goal for goal in Goal.objects.filter(site=shop.site, deleted_at=None)}
    match step:
        case "send", said:
            assert shop.post([event_of(shop, hit) for hit in said], sitecode=shop.site.sitecode).status_code == 200
        case "link", user, code, minute:
            event = shop.event("identify", at=60 * minute, userId=user, properties={"kameleoonVisitorCode": code})
            assert shop.post(event, sitecode=shop.site.sitecode).status_code == 200
        case "cancel", name, code, minute, revenue if name in goals:
            line = conversion(goals[name].pk, code, revenue=revenue, negative=True)
            assert post_lines(shop, line).status_code == 204
            at = START + timedelta(minutes=minute)
            Message.objects.filter(site=shop.site, status="pending").update(occurred_at=at)
        case "merge", one, other if one in goals and other in goals:
            merge(goals[one], goals[other])
        case "unmerge", place:
            unmerge(goals, place)
        case "delete", name, is_purged if name in goals:
            catalogue.delete_goal(goals[name], now=datetime.now(UTC))
            while is_purged and catalogue.purge_deleted():
                pass
        case "zone", zone:
            shop.change_site(time_zone=zone)
        case ("recount",):
            recounts.recount_next_of_each()
        case ("replay",):
            Message.objects.filter(site=shop.site).update(status="pending", reason="", digested_at=None)
        case "erase", id_:
            erase.erase(shop.site, id_, by="owner", now=datetime.now(UTC))
            finish_erasures()
    shop.digest()


def merge(goal: Goal, into: Goal) -> None:
    with suppress(merging.MergeError):
        ids = [*merging.list_merged_below(goal), *merging.list_merged_below(into.counts_for or into)]
        target = merging.merge(goal, into)
        ever = summarise_goals(target.site_id, [target], now=NOW)[target.pk].ever
        assert load_figures(target.site_id, {0: ids})[0] == ever


def unmerge(goals: dict[str, Goal], place: int) -> None:
    for goal in [each for _, each in sorted(goals.items()) if each.merged_into_id][place:][:1]:
        merging.unmerge(goal)


def slow_figures(rows: list[Conversion], cancelled: list[Cancellation], since: datetime | None = None) -> GoalFigures:
    """Return the figures of conversions and cancellations as of one goal, from a time on."""
    times: dict[str, list[datetime]] = {}
    revenue = Counter[str]()
    recent = [row for row in rows if since is None or row.occurred_at >= since]
    for row in rows:
        times.setdefault(row.visitor_code, []).append(row.occurred_at)
    for row in recent:
        if row.revenue is not None:
            revenue[str(row.currency)] += row.revenue  # type: ignore[assignment]  # a Decimal
    taken = [row for row in cancelled if since is None or row.occurred_at >= since]
    for back in taken:
        if back.revenue is not None:
            revenue[str(back.currency)] -= back.revenue  # type: ignore[assignment]  # a Decimal
    starts = [at for its in times.values() for at in visits_of(its)]
    return GoalFigures(
        len(recent),
        sum(since is None or at >= since for at in starts),
        len({row.visitor_code for row in recent}),
        {name: Decimal(total) for name, total in revenue.items()},
        len(taken),
    )


def assert_periods_are_right(shop: World) -> None:
    """Periods and series are exact, whatever the zones in which days are kept."""
    zone = shop.site.zone
    live = list(Goal.objects.filter(site=shop.site, deleted_at=None).order_by("id"))
    for goal in [goal for goal in live if goal.merged_into_id is None]:
        members = [each for each in live if end_of(each, live) == goal]
        rows, taken = (
            list(Conversion.objects.filter(goal__in=members)),
            list(Cancellation.objects.filter(goal__in=members)),
        )
        begin = start_of(date(2026, 10, 24), zone)
        for since in (begin, *CLOCKS_PUT_BACK):
            found = load_period(goal.site_id, [goal], begin=since, end=None)[goal.pk]
            assert found == slow_figures(rows, taken, since)
        end = begin + timedelta(days=31)
        for step in (SeriesStep.DAY, SeriesStep.WEEK):
            points = load_series(goal, begin=begin, end=end, step=step, zone=zone)
            starts = [*(max(begin, point.begin) for point in points), end + timedelta(days=7)]
            ever = [slow_figures(rows, taken, at) for at in starts]
            assert [count_of(point) for point in points] == [
                tuple(one - other for one, other in zip(count_of(each), count_of(later), strict=True))
                for each, later in pairwise(ever)
            ]


def assert_reports_are_right(shop: World) -> None:
    assert_periods_are_right(shop)
    while recounts.recount_next_of_each():
        assert_exact()
    assert_periods_are_right(shop)
    zone = shop.site.zone
    month = start_of(day_of(NOW, zone) - timedelta(days=29), zone)
    live = list(Goal.objects.filter(site=shop.site, deleted_at=None).order_by("id"))
    shown = [goal for goal in live if goal.merged_into_id is None]
    heads = summarise_goals(shop.site.pk, shown, now=NOW)
    for goal in shown:
        members = [each for each in live if end_of(each, live) == goal]
        rows = list(Conversion.objects.filter(goal__in=members))
        taken = list(Cancellation.objects.filter(goal__in=members))
        assert replace(heads[goal.pk], line=()) == GoalSummary(
            slow_figures(rows, taken, NOW - timedelta(hours=24)),
            slow_figures(rows, taken, month),
            slow_figures(rows, taken),
            max((row.occurred_at for row in rows), default=None),
            line=(),
        )
        points = load_series(goal, begin=month, end=NOW, step=SeriesStep.DAY, zone=zone)
        assert heads[goal.pk].line == tuple(point.headline(goal) for point in points)
        hours = load_series(goal, begin=NOW - timedelta(days=2), end=NOW + DAY, step=SeriesStep.HOUR, zone=zone)
        recent = slow_figures(rows, taken, hours[0].begin)
        assert tuple(map(sum, zip(*map(count_of, hours), strict=True))) == count_of(recent)
        parts = load_breakdown(goal, BreakdownField.CURRENCY).parts
        assert {part.value: part.conversions for part in parts} == Counter(row.currency for row in rows)


def count_of(figures: GoalFigures | SeriesPoint) -> tuple[int | Decimal, ...]:
    """Return the figures that add up over time."""
    revenue = [figures.revenue.get(currency, Decimal()) for currency in ("EUR", "USD")]
    return (figures.conversions, figures.visits, figures.cancellations, *revenue)


def end_of(goal: Goal, live: list[Goal]) -> Goal:
    by_id = {each.pk: each for each in live}
    while goal.merged_into_id is not None:
        goal = by_id[goal.merged_into_id]
    return goal


@pytest.mark.promise("N-06", "N-09", "I-09", "K-18")
@settings(derandomize="HISTORY_EXAMPLES" not in os.environ, max_examples=EXAMPLES)
@given(history=st.lists(steps, min_size=4, max_size=14), zone=st.sampled_from(ZONES))
@example(
    history=[("merge", "A", "B"), ("send", [MEANWHILE]), ("merge", "B", "C"), ("unmerge", 1), ("replay",)], zone="UTC"
)
@example(
    zone="Asia/Kolkata",
    history=[("merge", "A", "B"), ("merge", "B", "C"), ("send", [MEANWHILE]), ("unmerge", 0), ("delete", "C", True)],
)
@example(history=[("delete", name, False) for name in NAMES], zone="UTC")
def test_figures__after_any_history__are_those_of_a_recount(
    world: World, history: list[tuple[Any, ...]], zone: str
) -> None:
    shop = replace(world, site=create_site(name="Random", time_zone=zone))
    world.credential.sites.add(shop.site)
    shop.change_site(goals_per_10_seconds=50)
    try:
        one_of_each = [{"event": name, "minute": 10 * place, "userId": "u1"} for place, name in enumerate(NAMES)]
        for step in [("send", one_of_each), *history]:
            take(shop, step)
            assert_exact()
        assert_reports_are_right(shop)
    finally:
        shop.site.delete()
