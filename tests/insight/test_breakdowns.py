"""Breakdowns of a goal by properties of its visitors (promise K-87)."""

from collections import defaultdict
from collections.abc import Collection
from datetime import timedelta
from typing import Any

import pytest

from api.insight import breakdowns
from api.insight.breakdowns import FILTERS, BreakdownBy, PartFilter
from goals import merging
from goals.models import Conversion, Goal
from goals.reports import breakdown
from goals.reports.breakdown import Breakdown, BreakdownPart
from goals.reports.summaries import summarise_goals
from tests.goals.recount import visits_of
from tests.support.ada import ENTERED, EXITED
from tests.support.segments import make_segment
from tests.world import START, World

END = START + timedelta(days=1)


@pytest.fixture
def goal(world: World) -> Goal:
    """Ten conversions of five visitors, some of whom something is known."""
    world.send(
        *(
            world.event("track", event="Buy", at=600 * number, userId=f"u{number % 5}", properties={"revenue": number})
            for number in range(10)
        ),
        world.event("identify", userId="u0", anonymousId="a0", properties={"plan": "pro", "tags": ["x", 1]}),
        world.event("identify", userId=None, anonymousId="a0", at=9_000, properties={"plan": "free"}),
        world.event("identify", userId="u1", at=9_000, properties={"plan": "free", "firstName": "Ada"}),
        world.event("identify", userId="u2", at=9_000, properties={"plan": None, "age": 3}),
        world.event("group", userId="u1", groupId="acme", traits={}),
        world.event("track", userId="u0", **ENTERED),
        world.event("track", userId="u1", **ENTERED),
        world.event("track", at=1, userId="u1", **EXITED),
        world.event("track", event="Other", userId="u3", at=20_000),
        world.event("track", event="Third", userId="u3", at=-90_000),
        world.event("track", event="Third", userId="u4"),
    )
    plan = {"on": "trait", "path": ["plan"], "test": {"type": "text", "texts": ["free"]}}
    make_segment(world.site, [plan], name="free")
    make_segment(world.site, [{"on": "persona", "name": "vip"}], name="Vips")
    return Goal.objects.get(name__endswith="Buy")


KNOWN: dict[tuple[BreakdownBy, str], dict[str, list[str]]] = {
    (BreakdownBy.TRAIT, "plan"): {"u0": ["free"], "u1": ["free"]},  # the latest, also through a device
    (BreakdownBy.TRAIT, "tags"): {"u0": ['["x", 1]']},
    (BreakdownBy.TRAIT, "age"): {"u2": ["3"]},
    (BreakdownBy.TRAIT, "nothing"): {},
    (BreakdownBy.GROUP, ""): {"u1": ["acme"]},
    (BreakdownBy.PERSONA, ""): {"u0": ["vip"]},
    (BreakdownBy.SEGMENT, ""): {"u0": ["free", "Vips"], "u1": ["free"]},
    (BreakdownBy.GOAL, ""): {"u3": ["Other", "Third"], "u4": ["Third"]},
}


def recount(goal: Goal, labels: dict[str, list[str]], of: Collection[str] | None = None) -> Any:
    """Recount slowly: (conversions, visits, visitors, revenue) by label, of some visitors only."""
    times, money = defaultdict[str, list[Any]](list), defaultdict[str, list[Any]](list)
    for each in Conversion.objects.filter(goal=goal, occurred_at__gte=START, occurred_at__lt=END):
        times[each.visitor_code].append(each.occurred_at)
        money[each.visitor_code].append(each.revenue)
    found: Any = defaultdict(lambda: [0, 0, 0, 0])
    for code, its in times.items():
        if of is not None and code not in of:
            continue
        for label in labels.get(code) or [None]:  # type: ignore[list-item]  # of none
            row = found[label]
            row[:] = [row[0] + len(its), row[1] + len(visits_of(its)), row[2] + 1, row[3] + sum(money[code])]
    return dict(found)


def by_name(breakdown: Breakdown, by: BreakdownBy) -> Any:
    """As `recount` says it."""
    goals = Goal.objects.values_list("pk", "name") if by == BreakdownBy.GOAL else ()
    names = {str(pk): name.rpartition(" ")[2] for pk, name in goals}
    return {names.get(part.value or "", part.value): figures_of(part) for part in breakdown.parts}


def figures_of(part: BreakdownPart) -> list[Any]:
    return [part.conversions, part.visits, part.visitors, sum(part.revenue.values())]


@pytest.mark.promise("K-87")
@pytest.mark.parametrize(("by", "name", "labels"), [(*of, labels) for of, labels in KNOWN.items()])
def test_breakdown__by_what_is_known_of_visitors__equals_a_recount(
    world: World, goal: Goal, by: BreakdownBy, name: str, labels: dict[str, list[str]]
) -> None:
    seen = breakdowns.break_down(world.site, goal, by, name=name, begin=START, end=END)

    found = by_name(seen.breakdown, by)
    assert found == recount(goal, labels)
    assert (seen.is_cut, seen.breakdown.other, seen.breakdown.values) == (False, None, len(found))
    if by not in breakdowns.OVERLAPS:
        ever = summarise_goals(goal.site_id, [goal], now=END)[goal.pk].ever
        sums = [sum(column) for column in zip(*found.values(), strict=True)]
        assert sums == [ever.conversions, ever.visits, ever.visitors, sum(ever.revenue.values())]


@pytest.mark.promise("K-87")
@pytest.mark.parametrize(
    "only",
    [
        (by, name, value)
        for (by, name), labels in KNOWN.items()
        for value in sorted({"?", *(value for its in labels.values() for value in its)})
    ],
)
def test_breakdown__of_some_visitors__equals_a_recount_of_them(
    world: World, goal: Goal, only: tuple[BreakdownBy, str, str]
) -> None:
    by, name, value = only
    of = {code for code, labels in KNOWN[by, name].items() if value in labels}
    other = breakdowns.find_other(world.site, f"SegmentIO track – {value}")
    wanted = PartFilter(by, str(other.pk) if other and by == BreakdownBy.GOAL else value, name)

    for each, labels in KNOWN.items():
        seen = breakdowns.break_down(world.site, goal, each[0], name=each[1], only=[wanted], begin=START, end=END)
        assert by_name(seen.breakdown, each[0]) == recount(goal, labels, of)
    currencies = breakdowns.break_down(world.site, goal, BreakdownBy.CURRENCY, only=[wanted], begin=START, end=END)

    whole = recount(goal, {}, of).get(None, [0, 0, 0, 0])
    assert figures_of(currencies.whole or BreakdownPart("?", -1, -1, {})) == whole
    sums = [sum(column) for column in zip([0] * 4, *map(figures_of, currencies.breakdown.parts), strict=True)]
    assert (sums[0], sums[1], sums[3]) == (whole[0], whole[1], whole[3])


@pytest.mark.parametrize(("wanted", "name"), [("{id}", "Third"), ("SegmentIO track – Other", "Third"), ("x", None)])
def test_find_other__by_id_or_name__follows_merges(world: World, goal: Goal, wanted: str, name: str | None) -> None:
    other, third = (Goal.objects.get(name__endswith=each) for each in ("Other", "Third"))
    merging.merge(other, third)

    found = breakdowns.find_other(world.site, wanted.format(id=other.pk))

    assert (found and found.name.rpartition(" ")[2]) == name


@pytest.mark.promise("K-87")
def test_breakdown__beyond_the_most_parts__has_the_rest_together(
    world: World, goal: Goal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(breakdown, "TOP", 1)

    found = breakdowns.break_down(world.site, goal, BreakdownBy.GOAL, begin=START, end=END).breakdown

    assert [(part.value, part.visitors) for part in found.parts] == [(None, 3)]
    assert found.other is not None
    assert (found.other.visitors, found.other.conversions, found.values) == (2, 4, 3)  # u3 once, though in two


@pytest.mark.promise("K-87")
def test_breakdown__by_a_merged_goal__names_the_one_it_counts_for(world: World, goal: Goal) -> None:
    other, third = (Goal.objects.get(name__endswith=name) for name in ("Other", "Third"))
    merging.merge(other, third)

    found = breakdowns.break_down(world.site, goal, BreakdownBy.GOAL, begin=START, end=END).breakdown

    assert [(part.value, part.visitors) for part in found.parts] == [(None, 3), (str(third.pk), 2)]


@pytest.mark.parametrize("by", [BreakdownBy.CURRENCY, BreakdownBy.GROUP])
def test_breakdown__of_too_many_conversions__is_of_the_newest_and_says_so(
    world: World, goal: Goal, by: BreakdownBy, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("NEWEST_CONVERSIONS", "NEWEST_OF_PEOPLE"):
        monkeypatch.setattr(breakdowns, name, 4)

    seen = breakdowns.break_down(world.site, goal, by, begin=START, end=END)

    assert (seen.is_cut, seen.begin) == (True, START + timedelta(seconds=3_600))
    assert sum(part.conversions for part in seen.breakdown.parts) == 4


@pytest.mark.parametrize("by", [BreakdownBy.CURRENCY, BreakdownBy.GROUP])
def test_breakdown__of_too_many_conversions_at_one_time__is_bounded_all_the_same(
    world: World, goal: Goal, by: BreakdownBy, monkeypatch: pytest.MonkeyPatch
) -> None:
    Conversion.objects.filter(goal=goal).update(occurred_at=START)
    for module, name, most in ((breakdowns, "NEWEST_CONVERSIONS", 4), (breakdowns, "NEWEST_OF_PEOPLE", 4)):
        monkeypatch.setattr(module, name, most)

    seen = breakdowns.break_down(world.site, goal, by, begin=START, end=END)

    assert (seen.is_cut, seen.begin) == (True, START)
    assert sum(part.conversions for part in seen.breakdown.parts) == 4
    monkeypatch.setattr(breakdowns, "NEWEST_CONVERSIONS", 10)
    monkeypatch.setattr(breakdowns, "NEWEST_OF_PEOPLE", 10)
    assert not breakdowns.break_down(world.site, goal, by, begin=START, end=END).is_cut


def test_filters__are_what_is_known_of_visitors() -> None:
    assert {by for by, _ in KNOWN} == set(FILTERS)
