"""Sums of experiments, beside a slow recount in plain Python over random histories."""

from collections import defaultdict
from collections.abc import Mapping
from datetime import date, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from operator import itemgetter
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import pytest
from django.db import transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from goals import merging
from goals.experiments.measuring import ExperimentSums, MeasureSettings, Metric, MetricKind, load_sums
from goals.experiments.sums import VariationSums
from goals.models import Conversion, Goal
from goals.visit_models import Exposure
from tests.world import START, World

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
ZONE = "America/New_York"
WINDOW, BEFORE = timedelta(days=3), timedelta(days=2)
GAP = timedelta(minutes=30)
EXPERIMENT = -77
CAP = Decimal("12.5")

moments = st.integers(-5 * 24 * 4, 6 * 24 * 4).map(lambda quarters: START + quarters * HOUR / 4)
codes = st.sampled_from(["v1", "v2", "v3", "v4"])
exposures = st.lists(st.tuples(codes, st.sampled_from([0, 0, 0, 1]), moments), max_size=8)
money = st.sampled_from([None, Decimal("0.000001"), Decimal("3.50"), Decimal(20)])
hits = st.lists(st.tuples(codes, st.integers(0, 2), moments, money, st.sampled_from(["EUR", "USD"])), max_size=25)


def variation_of(code: str, shift: int) -> int:
    return 1 + (int(code[1]) + shift) % 2


def recount(
    exposed: list[Any],
    converted: list[Any],
    goals: Mapping[int, list[int]],
    multiple: set[int],
    chosen: MeasureSettings,
) -> dict[str, Any]:
    """Return visitors by variation, the number left out, and the sums by metric and variation."""
    seen = defaultdict[str, dict[int, datetime]](dict)
    for code, variation, at in exposed:
        seen[code][variation] = min(at, seen[code].get(variation, at))
    first = {code: min(times.values()) for code, times in seen.items()}
    inside = {
        code
        for code, at in first.items()
        if (chosen.since is None or at >= chosen.since) and (chosen.until is None or at < chosen.until)
    }
    mixed = {code for code in inside if len(seen[code]) > 1}
    units = {code: next(iter(seen[code])) for code in inside - mixed}
    values: dict[Metric, dict[str, tuple[Decimal, Decimal]]] = defaultdict(dict)
    for goal, members in goals.items():
        for code in units:
            mine = sorted((hit[2:] for hit in converted if hit[0] == code and hit[1] in members), key=itemgetter(0))
            sides = [
                [each for each in mine if first[code] - chosen.before <= each[0] < first[code]],
                [each for each in mine if first[code] <= each[0] < first[code] + chosen.window],
            ]
            counts = [count_of(side, is_multiple=goal in multiple) for side in sides]
            for metric in {metric for count in counts for metric in count}:
                most = (chosen.caps or {}).get(Metric(goal, *metric), Decimal(10**9))
                x, y = (min(count.get(metric, Decimal(0)), most) for count in counts)
                values[Metric(goal, *metric)][code] = (x, y)
    sums = {
        (metric, variation): sum(
            (
                VariationSums(0, y=y, yy=y * y, x=x, xx=x * x, xy=x * y)
                for code, (x, y) in by_code.items()
                if units[code] == variation
            ),
            VariationSums(0),
        )
        for metric, by_code in values.items()
        for variation in set(units.values())
    }
    return {"left_out": len(mixed), "units": units, "sums": sums, "first": first}


def count_of(side: list[Any], *, is_multiple: bool) -> dict[tuple[MetricKind, str], Decimal]:
    counts: dict[tuple[MetricKind, str], Decimal] = defaultdict(Decimal)
    before: datetime | None = None
    for at, revenue, currency in side:
        if before is None:
            counts[MetricKind.CONVERTED, ""] = Decimal(1)
        if is_multiple or before is None or at - before >= GAP:
            counts[MetricKind.CONVERSIONS, ""] += 1
        if revenue is not None:
            counts[MetricKind.REVENUE, currency] += revenue
        before = at
    return counts


def fill(world: World, goals: list[Goal], exposed: list[Any], converted: list[Any]) -> None:
    first: dict[tuple[str, int], datetime] = {}
    for code, variation, at in exposed:
        first[code, variation] = min(at, first.get((code, variation), at))
    Exposure.objects.bulk_create(
        Exposure(
            site=world.site,
            visitor_code=code if number % 2 else f"user-{number}",  # a link says so
            is_user=not number % 2,
            linked_code=None if number % 2 else code,
            linked_by=None if number % 2 else 1,
            experiment_id=EXPERIMENT,
            variation_id=variation,
            first_at=at,
        )
        for number, ((code, variation), at) in enumerate(first.items())
    )
    Conversion.objects.bulk_create(
        Conversion(
            site=world.site,
            goal=goals[goal],
            visitor_code=code,
            keyed_by=0,
            occurred_at=at,
            revenue=revenue,
            currency=None if revenue is None else currency,
            message_key=f"track:{number}",
        )
        for number, (code, goal, at, revenue, currency) in enumerate(converted)
    )


class History(NamedTuple):
    exposed: list[Any]
    converted: list[Any]
    has_period: bool
    is_capped: bool
    merges: int  # of goal 2 into 0, and of goal 0 into 1


@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
@given(history=st.builds(History, exposures, hits, st.booleans(), st.booleans(), st.integers(0, 2)))
def test_sums__of_any_history__equal_a_slow_recount(world: World, history: History) -> None:
    exposed, converted, has_period, is_capped, merges = history
    named = [(code, variation_of(code, shift), at) for code, shift, at in exposed]
    with transaction.atomic():
        goals = [
            Goal.objects.create(site=world.site, name=f"G{number}", has_multiple_conversions=number == 1)
            for number in range(3)
        ]
        for merged, into in [(2, 0), (0, 1)][:merges]:
            merging.merge(goals[merged], goals[into])
        fill(world, goals, named, converted)
        asked = [goal.pk for goal in goals]
        caps = {Metric(asked[1], MetricKind.CONVERSIONS): Decimal(2), Metric(asked[0], MetricKind.REVENUE, "USD"): CAP}
        chosen = MeasureSettings(
            EXPERIMENT,
            asked,
            since=START - DAY if has_period else None,
            until=START + 2 * DAY if has_period else None,
            window=WINDOW,
            before=BEFORE,
            zone=ZONE,
            caps=caps if is_capped else None,
        )
        found = load_sums(world.site.pk, chosen)
        transaction.set_rollback(True)
    together = [[{0}, {1}, {2}], [{0, 2}, {1}, {0, 2}], [{0, 1, 2}] * 3][merges]
    members = {goal: sorted(its) for goal, its in zip(asked, together, strict=True)}
    multiple = {goal for goal, its in members.items() if 1 in its}
    expected = recount(named, converted, members, multiple, chosen)
    assert found.left_out == expected["left_out"]
    units = list(expected["units"].values())
    assert dict(found.visitors) == {variation: units.count(variation) for variation in set(units)}
    for metric in found.metrics:
        for variation, sums in found.of(metric).items():
            right = expected["sums"].get((metric, variation), VariationSums(0))
            assert sums == right + VariationSums(found.visitors[variation]), (metric, variation)
    assert {metric for metric, _ in expected["sums"]} <= set(found.metrics)
    assert_curves(found, expected, named)


def assert_curves(found: ExperimentSums, expected: Mapping[str, Any], exposed: list[Any]) -> None:
    """Check that curves end at the sums, and begin with the visitors of the first days."""
    starts: dict[int, list[date]] = defaultdict(list)
    for code, variation in expected["units"].items():
        starts[variation].append(expected["first"][code].astimezone(ZoneInfo(ZONE)).date())
    for metric in found.metrics:
        curve = found.curve(metric)
        for variation, sums in found.of(metric).items():
            assert curve[variation][-1] == sums
            for day, reached in zip(found.days, curve[variation], strict=True):
                assert reached.visitors == sum(start <= day for start in starts[variation])
            assert all(later.y >= earlier.y for earlier, later in pairwise(curve[variation]))


@pytest.mark.promise("W14")
def test_conversions__before_the_exposure_or_after_the_window__do_not_count(world: World) -> None:
    begin = -10 * 86_400
    for at in (-60, 0, 6 * 86_400, 7 * 86_400):
        world.track("Order", at=begin + at, userId="ann", properties={"revenue": 5})
    viewed = {"experiment_id": "menu", "variation_id": "on"}
    world.send(world.event(event="Experiment Viewed", at=begin, userId="ann", properties=viewed))
    goal = Goal.objects.get(name__endswith="Order")
    exposure = Exposure.objects.get()

    sums = load_sums(world.site.pk, MeasureSettings(exposure.experiment_id, [goal.pk]))

    (variation,) = sums.visitors
    assert sums.of(Metric(goal.pk, MetricKind.CONVERTED))[variation].y == 1
    assert sums.of(Metric(goal.pk, MetricKind.CONVERSIONS))[variation] == VariationSums(1, y=2, yy=4, x=1, xx=1, xy=2)
    assert sums.of(Metric(goal.pk, MetricKind.REVENUE, "USD"))[variation].y == 10


@pytest.mark.promise("N-10")
def test_sums__of_events_and_links_in_other_orders__are_the_same(world: World) -> None:
    def events(run: int) -> list[dict[str, Any]]:
        viewed = {"experiment_id": f"menu-{run}", "variation_id": "on"}
        other = {**viewed, "variation_id": "off"}
        return [
            world.event(event="Experiment Viewed", at=10, userId=f"u{run}", properties=viewed),
            world.event(event=f"Order {run}", at=20, userId=None, anonymousId=f"d{run}"),
            world.event("identify", at=30, userId=f"u{run}", anonymousId=f"d{run}"),
            world.event(at=40, userId=f"u{run}", properties={"kameleoonVisitorCode": f"v{run}"}),
            world.event(at=50, userId=None, anonymousId=f"d{run}", properties={"kameleoonVisitorCode": f"v{run}"}),
            world.event(event="Experiment Viewed", at=15, userId=f"x{run}", properties=other),
        ]

    found = set()
    for run, order in enumerate([(0, 1, 2, 3, 4, 5), (5, 4, 3, 2, 1, 0), (1, 3, 0, 5, 2, 4), (4, 0, 5, 1, 3, 2)]):
        stream = events(run)
        world.send(*(stream[place] for place in order))
        goal = Goal.objects.get(name__endswith=f"Order {run}")
        number = Exposure.objects.filter(visitor_code=f"x{run}").get().experiment_id
        sums = load_sums(world.site.pk, MeasureSettings(number, [goal.pk]))
        found.add(tuple(sorted(sums.of(Metric(goal.pk, MetricKind.CONVERTED)).values(), key=lambda each: each.y)))
    assert found == {(VariationSums(1), VariationSums(1, y=1, yy=1))}


def test_sums__of_an_experiment_that_nobody_saw__are_empty(world: World) -> None:
    goal = Goal.objects.create(site=world.site, name="Order")

    sums = load_sums(world.site.pk, MeasureSettings(5, [goal.pk]))

    assert (sums.visitors, sums.left_out, sums.days) == ({}, 0, [])
    assert sums.curve(Metric(goal.pk, MetricKind.CONVERTED)) == {}
