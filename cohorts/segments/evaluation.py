"""The evaluator of segments: yes or no for a person, why, and when time alone will turn it. Pure.

Preview, membership, remote data, reports and explanation call it. Libraries of JSON Logic trace which operations held,
but not when an answer turns. The digest would have to ask them again all the time.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import assert_never

from cohorts.segments.conditions import (
    CompiledSegment,
    Condition,
    CustomDataCondition,
    GoalCondition,
    GroupCondition,
    GroupTraitCondition,
    PersonaCondition,
    SeenCondition,
    SegmentCondition,
    SourceCondition,
    TraitCondition,
    VisitsCondition,
    references_of,
)
from cohorts.segments.facts import ConvertedGoal, PersonFacts
from cohorts.segments.signals import ALWAYS, NEVER, Signal, all_of, any_of, negate, until
from cohorts.segments.value_tests import find_value, judge_date, judge_value, passes_number


@dataclass(frozen=True, slots=True)
class Judgement:
    """The result of a segment for a person: its signal, and those of its conditions by group."""

    signal: Signal
    conditions: tuple[tuple[Signal, ...], ...]

    @property
    def is_member(self) -> bool:
        return self.signal.holds

    @property
    def until(self) -> datetime | None:
        """Return the time at which time alone will turn the membership, None if never."""
        return self.signal.next_turn


def in_order(segments: Iterable[CompiledSegment]) -> list[CompiledSegment]:
    """Return segments after those that they name. A circle, which validation refuses, is cut anywhere."""
    by_id = {segment.id: segment for segment in segments}
    ordered: dict[int, CompiledSegment] = {}
    visited = set[int]()

    def visit(id_: int) -> None:
        if id_ in visited or id_ not in by_id:
            return
        visited.add(id_)
        for named in sorted(references_of(by_id[id_].conditions)):
            visit(named)
        ordered[id_] = by_id[id_]

    for id_ in sorted(by_id):
        visit(id_)
    return list(ordered.values())


def judge(segments: Sequence[CompiledSegment], facts: PersonFacts, *, now: datetime) -> dict[int, Judgement]:
    """Return the result of each segment for one person. Call it with the segments `in_order`.

    A segment that is gone counts as one without members.
    """
    judgements: dict[int, Judgement] = {}
    for segment in segments:
        conditions = tuple(
            tuple(judge_condition(condition, facts, judgements, now=now) for condition in group)
            for group in segment.conditions
        )
        signal = all_of([any_of(group) for group in conditions])
        judgements[segment.id] = Judgement(signal, conditions)
    return judgements


def judge_condition(
    condition: Condition, facts: PersonFacts, segments: Mapping[int, Judgement], *, now: datetime
) -> Signal:
    """Return the signal of one condition."""
    signal = _judge(condition, facts, segments, now)
    return negate(signal) if condition.negated else signal


def _judge(  # noqa: C901, PLR0911 - a case each
    condition: Condition, facts: PersonFacts, segments: Mapping[int, Judgement], now: datetime
) -> Signal:
    match condition:
        case TraitCondition():
            return judge_value(find_value(facts.traits, condition.path), condition.test, now)
        case GroupCondition():
            return _claim(facts.group is not None and (not condition.ids or facts.group in condition.ids))
        case GroupTraitCondition():
            return judge_value(find_value(facts.group_traits, condition.path), condition.test, now)
        case PersonaCondition():
            return _claim(condition.name in facts.personas)
        case CustomDataCondition():
            values = facts.custom_data.get(condition.index, ())
            return any_of([judge_value(value, condition.test, now) for value in values])
        case GoalCondition():
            return _judge_goal(condition, facts.outside.goals.get(condition.goal), now)
        case SeenCondition():
            outside = facts.outside
            seen = outside.first_seen if condition.which == "first" else outside.last_seen
            return judge_date(seen, condition.test, now)
        case VisitsCondition():
            return _claim(passes_number(Decimal(facts.outside.visits), condition.test))
        case SourceCondition():
            return _claim(condition.source in facts.outside.sources)
        case SegmentCondition():
            named = segments.get(condition.segment)
            return NEVER if named is None else named.signal
    assert_never(condition)


def _claim(holds: bool) -> Signal:  # noqa: FBT001 - it is the claim
    return ALWAYS if holds else NEVER


def _judge_goal(condition: GoalCondition, known: ConvertedGoal | None, now: datetime) -> Signal:
    if known is None:
        return NEVER
    currency = condition.currency or ""
    if condition.days is None:
        has_revenue = condition.revenue is None or known.revenue.get(currency, Decimal()) >= condition.revenue
        return _claim(known.conversions >= condition.times and has_revenue)
    span = timedelta(days=condition.days)
    if condition.times == 1 and condition.revenue is None:
        return until(known.last_at + span, now)
    return _judge_period(condition, known, span, now)


def _judge_period(condition: GoalCondition, known: ConvertedGoal, span: timedelta, now: datetime) -> Signal:
    """Return the signal of a condition on several conversions in a period, which leave it one after the other."""
    inside = sorted((fact for fact in known.latest if fact.at + span > now), key=lambda fact: fact.at)
    count, revenue = len(inside), Decimal()
    for fact in inside:
        if fact.revenue is not None and fact.currency == condition.currency:
            revenue += fact.revenue
    holds = before = count >= condition.times and (condition.revenue is None or revenue >= condition.revenue)
    turns = list[datetime]()
    for place, fact in enumerate(inside):
        count -= 1
        if fact.revenue is not None and fact.currency == condition.currency:
            revenue -= fact.revenue
        if place + 1 < len(inside) and inside[place + 1].at == fact.at:  # they leave at the same moment
            continue
        after = count >= condition.times and (condition.revenue is None or revenue >= condition.revenue)
        if after != before:
            turns.append(fact.at + span)
        before = after
    return Signal(holds, tuple(turns))
