"""Law: memberships that follow events equal those of a recomputation, for any history, order, workers and clock.

For longer: ORDER_EXAMPLES=1000 .venv/bin/python -m pytest -q tests/flows/test_segments_random.py
"""

import os
import random
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api.checks.run import run_check
from api.digest import segments
from api.erasure import erase
from api.ingest.provisioning import create_site
from api.models import Site
from cohorts.models import CustomData
from cohorts.segment_tables import Segment
from cohorts.segments.conditions import (
    BooleanTest,
    Condition,
    Conditions,
    CustomDataCondition,
    DateTest,
    Exists,
    GoalCondition,
    GroupCondition,
    GroupTraitCondition,
    ListTest,
    NumberTest,
    PersonaCondition,
    SeenCondition,
    SegmentCondition,
    SourceCondition,
    TextTest,
    TraitCondition,
    VisitsCondition,
    write_conditions,
)
from goals import merging
from goals.models import Goal
from tests.support.order_plans import EXAMPLES, ONE_BY_ONE, Event, Plan, deliver, plans, several_events, split
from tests.support.sdk import custom_data, flush_activity, send_lines
from tests.support.segments import CHECK, LONG_AGO, MovingClock, assert_exact, keep_up, set_clock
from tests.world import START, World

tests = st.sampled_from(
    [
        *(Exists(), BooleanTest(is_true=True), ListTest(("1",)), ListTest(("1", "é"), "all")),
        *(TextTest(("1", "é")), TextTest(("A",), "begins"), TextTest(("d", "é"), "ends"), TextTest(("a",), "contains")),
        *(NumberTest("at_least", Decimal(1)), NumberTest("equals", Decimal(1)), NumberTest("below", Decimal(2))),
        NumberTest("between", Decimal(1), Decimal("1.5")),
    ]
)
recent = st.builds(DateTest, how=st.sampled_from(["within", "longer_ago"]), days=st.sampled_from([0.5, 1.0, 2.0]))
dates = st.one_of(
    recent,
    st.builds(DateTest, how=st.just("in_next"), days=st.sampled_from([0.5, 1.0])),
    st.builds(DateTest, how=st.sampled_from(["before", "since"]), date=st.just(START.isoformat())),
)
negated = st.booleans()
goal_conditions = st.builds(
    GoalCondition,
    goal=st.integers(0, 2),
    times=st.sampled_from([1, 2, 2, 3]),
    revenue=st.none() | st.sampled_from([Decimal(0), Decimal("19.99"), Decimal(40)]),
    currency=st.sampled_from(["USD", "EUR"]),
    days=st.none() | st.sampled_from([0.5, 1.0, 2.0]),
    negated=negated,
)
conditions: st.SearchStrategy[Condition] = st.one_of(
    st.builds(
        TraitCondition,
        path=st.sampled_from([("plan",), ("age",), ("name",), ("company", "id"), ("plan", "a")]),
        test=tests,
        negated=negated,
    ),
    st.builds(TraitCondition, path=st.just(("day",)), test=dates, negated=negated),
    st.builds(CustomDataCondition, index=st.sampled_from([1, 2, 3, 4]), test=tests, negated=negated),
    st.builds(PersonaCondition, name=st.sampled_from(["p1", "p2"]), negated=negated),
    st.builds(GroupCondition, ids=st.sampled_from([(), ("g1",), ("c1", "7")]), negated=negated),
    st.builds(GroupTraitCondition, path=st.sampled_from([("plan",), ("age",)]), test=tests, negated=negated),
    goal_conditions,
    goal_conditions,
    goal_conditions,
    st.builds(SeenCondition, which=st.sampled_from(["first", "last"]), test=recent, negated=negated),
    st.builds(
        VisitsCondition,
        test=st.sampled_from([NumberTest("at_least", Decimal(1)), NumberTest("equals", Decimal(0))]),
        days=st.sampled_from([0.5, 1.0, 2.0]),
        negated=negated,
    ),
    st.builds(SourceCondition, source=st.just(0), negated=negated),
    st.builds(SegmentCondition, segment=st.just(0), negated=negated),
)
# Identify events with a date, beside the others.
days = st.lists(
    st.fixed_dictionaries(
        {
            "type": st.just("identify"),
            "userId": st.sampled_from(["u1", "u2"]),
            "traits": st.builds(
                lambda hours: {"day": (START + timedelta(hours=hours)).isoformat()}, st.sampled_from([-30, 0, 10, 20])
            ),
            "timestamp": st.builds(lambda at: (START + timedelta(seconds=at)).isoformat(), st.integers(0, 2)),
        }
    ),
    max_size=3,
)
lines = st.lists(
    st.builds(
        custom_data,
        st.sampled_from([1, 2]),
        st.sampled_from(["1", "é", "A"]),
        visitor=st.sampled_from(["v1", "v2", "é"]),
        overwrite=st.booleans(),
    ),
    max_size=4,
)
groups = st.lists(st.lists(conditions, min_size=1, max_size=2).map(tuple), min_size=1, max_size=2).map(tuple)


def save(site: Site, number: int, said: Conditions) -> None:
    """Insert or edit the segment of this number, whose references become those of the site."""
    goals = list(Goal.objects.filter(site=site).order_by("id").values_list("id", flat=True)) or [0]
    first = Segment.objects.filter(site=site).order_by("id").values_list("id", flat=True).first() or 0
    source = site.sources.values_list("id", flat=True).first() or 0

    def refer(condition: Condition) -> Condition:
        match condition:
            case GoalCondition():
                return GoalCondition(
                    goals[condition.goal % len(goals)],
                    condition.times,
                    condition.revenue,
                    condition.currency,
                    condition.days,
                    condition.negated,
                )
            case SourceCondition():
                return SourceCondition(source, condition.negated)
            case SegmentCondition():
                # The first segment names none, so that there is no circle.
                return SegmentCondition(first if number else 0, condition.negated)
        return condition

    value = write_conditions(tuple(tuple(map(refer, group)) for group in said))
    segment = Segment.objects.filter(site=site, name=f"s{number}").first()
    if segment is None:
        Segment.objects.create(site=site, name=f"s{number}", conditions=value, created_at=LONG_AGO)
        Segment.objects.filter(site=site).update(created_at=LONG_AGO)
        segments.forget_lookups()
        return
    rows = Segment.objects.filter(site=site)
    if number:
        rows = rows.filter(pk=segment.pk)
    # All may name the first.
    rows.update(version=segment.version + 1, is_filled=False, sweep=True, swept_to=None)
    Segment.objects.filter(site=site, pk=segment.pk).update(conditions=value)


def define_custom_data(site: Site) -> None:
    """Define custom data that Goalpost fills; the first is that of SDKs."""
    for index, (filled_from, filling) in enumerate((("trait", "plan.a"), ("group", ""), ("personas", "")), start=2):
        CustomData.objects.create(site=site, index=index, name=f"c{index}", filled_from=filled_from, filling=filling)


def settle(clock: MovingClock, site: Site) -> None:
    flush_activity()
    segments.note_goals(site.pk)
    keep_up(clock.value)


@pytest.mark.promise("N-11")
@settings(derandomize="ORDER_EXAMPLES" not in os.environ, max_examples=4 * EXAMPLES)
@given(
    said=several_events(),
    days=days,
    lines=lines,
    erased=st.none() | st.sampled_from(["u1", "a1", "v1", "é"]),
    is_parted=st.booleans(),
    chooser=st.randoms(use_true_random=False),
    first=st.lists(groups, min_size=3, max_size=3),
    edited=groups,
    two=st.tuples(plans, plans),
    hours=st.lists(st.sampled_from([1, 6, 13, 30]), min_size=3, max_size=3),
)
def test_memberships__of_any_history__are_those_of_a_recomputation(
    world: World,
    monkeypatch: pytest.MonkeyPatch,
    *,
    said: list[Event],
    days: list[Event],
    lines: list[str],
    erased: str | None,
    is_parted: bool,
    chooser: random.Random,
    first: list[Conditions],
    edited: Conditions,
    two: tuple[Plan, Plan],
    hours: Sequence[int],
) -> None:
    clock = set_clock(monkeypatch, START + timedelta(hours=1))
    shop = replace(world, site=create_site(name="Segmented"))
    world.credential.sites.add(shop.site)
    shop.change_site(company_is_group=True)
    define_custom_data(shop.site)
    said = [*said, *days]
    chooser.shuffle(said)
    requests = split(said, chooser)
    half = len(requests) // 2
    try:
        save(shop.site, 0, first[0])
        deliver(shop, requests[:half], two[0])
        assert run_check(CHECK, shop.site.pk).found == {}
        for number, each in enumerate(first):
            save(shop.site, number, each)
        settle(clock, shop.site)
        assert_exact(shop, shop.site)
        clock.move(hours=hours[0])
        deliver(shop, requests[half:], replace(two[1], doors=("destination",)))
        assert run_check(CHECK, shop.site.pk).found == {}
        settle(clock, shop.site)
        for line in lines:
            send_lines(shop, line)
            assert run_check(CHECK, shop.site.pk).found == {}
        # The same again changes no identity, but counts.
        hits = [event for event in said if event["type"] in ("track", "page", "screen")]
        deliver(shop, [[{**event, "messageId": f"again-{place}"}] for place, event in enumerate(hits)], ONE_BY_ONE)
        assert run_check(CHECK, shop.site.pk).found == {}
        settle(clock, shop.site)
        assert_exact(shop, shop.site)
        goals = list(Goal.objects.filter(site=shop.site).order_by("id")[:2])
        if len(goals) == 2:
            merging.merge(*goals)
            if is_parted:
                settle(clock, shop.site)
                assert_exact(shop, shop.site)
                merging.unmerge(goals[0])
        if erased is not None:
            settle(clock, shop.site)
            erase.erase(shop.site, erased, by="owner", now=datetime.now(UTC))
            assert run_check(CHECK, shop.site.pk).found == {}
            while erase.sweep(now=datetime.now(UTC)):
                pass
            assert run_check(CHECK, shop.site.pk).found == {}
        save(shop.site, len(first) - 1, edited)
        for span in hours:
            settle(clock, shop.site)
            assert_exact(shop, shop.site)
            clock.move(hours=span)
            assert run_check(CHECK, shop.site.pk).found == {}  # time has turned some, and stored times say so
    finally:
        shop.site.delete()
