"""The evaluator of segments: yes or no for a person, why, and when time alone will turn it. Pure.

Preview, membership, remote data, reports and explanation call it. Libraries of JSON Logic trace which operations held,
but not when an answer turns. The digest would have to ask them again all the time.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import Any, assert_never

from cohorts.segments.conditions import (
    CompiledSegment,
    Condition,
    Conditions,
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
from cohorts.segments.signals import ALWAYS, NEVER, Signal, all_of, any_of, claim, negate, until
from cohorts.segments.value_tests import compile_test, find_value, judge_date, passes_number

JudgeCondition = Callable[[PersonFacts, Mapping[int, Signal], datetime], Signal]  # the signals of named segments
CompiledConditions = tuple[tuple[JudgeCondition, ...], ...]


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
    signals: dict[int, Signal] = {}
    for segment in segments:
        conditions = tuple(
            tuple(judge_condition(condition, facts, signals, now=now) for condition in group)
            for group in segment.conditions
        )
        signal = signals[segment.id] = all_of([any_of(group) for group in conditions])
        judgements[segment.id] = Judgement(signal, conditions)
    return judgements


def compile_conditions(conditions: Conditions) -> CompiledConditions:
    """Return the functions that judge conditions, by group."""
    return tuple(tuple(map(compile_condition, group)) for group in conditions)


def find_signals(
    segments: Iterable[tuple[int, CompiledConditions]], facts: PersonFacts, *, now: datetime
) -> dict[int, Signal]:
    """Return the signal of each segment as `judge` does, without those of conditions that cannot change it."""
    signals: dict[int, Signal] = {}
    for id_, groups in segments:
        signals[id_] = _judge_groups(groups, facts, signals, now)
    return signals


def _judge_groups(
    groups: CompiledConditions, facts: PersonFacts, segments: Mapping[int, Signal], now: datetime
) -> Signal:
    of_groups: list[Signal] = []
    for group in groups:
        of_group: list[Signal] = []
        for judge_one in group:
            signal = judge_one(facts, segments, now)
            of_group.append(signal)
            if signal == ALWAYS:
                break
        else:
            signal = any_of(of_group)
            if signal == NEVER:
                return NEVER
            of_groups.append(signal)
    return all_of(of_groups) if of_groups else ALWAYS


def judge_condition(
    condition: Condition, facts: PersonFacts, segments: Mapping[int, Signal], *, now: datetime
) -> Signal:
    """Return the signal of one condition."""
    return compile_condition(condition)(facts, segments, now)


@lru_cache(maxsize=16_384)
def compile_condition(condition: Condition) -> JudgeCondition:
    """Return the function that judges a condition, which looks at its kind only once."""
    judge_it = _compile(condition)
    return (lambda facts, segments, now: negate(judge_it(facts, segments, now))) if condition.negated else judge_it


def _compile(condition: Condition) -> JudgeCondition:  # noqa: C901, PLR0911 - a case each
    match condition:
        case TraitCondition():
            return _compile_path(condition, lambda facts: facts.traits)
        case GroupCondition(ids=ids):
            return lambda facts, _, __: claim(facts.group is not None and (not ids or facts.group in ids))
        case GroupTraitCondition():
            return _compile_path(condition, lambda facts: facts.group_traits)
        case PersonaCondition(name=name):
            return lambda facts, _, __: claim(name in facts.personas)
        case CustomDataCondition(index=index):
            judge_text = compile_test(condition.test)
            return lambda facts, _, now: any_of([judge_text(text, now) for text in facts.custom_data.get(index, ())])
        case GoalCondition() as asked:
            return lambda facts, _, now: _judge_goal(asked, facts.outside.goals.get(asked.goal), now)
        case SeenCondition(which="first", test=date):
            return lambda facts, _, now: judge_date(facts.outside.first_seen, date, now)
        case SeenCondition(test=date):
            return lambda facts, _, now: judge_date(facts.outside.last_seen, date, now)
        case VisitsCondition() as counted:
            return lambda facts, _, now: _judge_visits(counted, facts.outside.visits, now)
        case SourceCondition(source=source):
            return lambda facts, _, __: claim(source in facts.outside.sources)
        case SegmentCondition(segment=segment):
            return lambda _, segments, __: segments.get(segment, NEVER)
    assert_never(condition)


def _compile_path(
    condition: TraitCondition | GroupTraitCondition, traits_of: Callable[[PersonFacts], Mapping[str, Any]]
) -> JudgeCondition:
    judge_it, path = compile_test(condition.test), condition.path
    if len(path) > 1:
        return lambda facts, _, now: judge_it(find_value(traits_of(facts), path), now)
    (name,) = path
    return lambda facts, _, now: judge_it(traits_of(facts).get(name), now)


def _judge_goal(condition: GoalCondition, known: ConvertedGoal | None, now: datetime) -> Signal:
    if known is None:
        return NEVER
    currency = condition.currency or ""
    if condition.days is None:
        has_revenue = condition.revenue is None or known.revenue.get(currency, Decimal()) >= condition.revenue
        return claim(known.conversions >= condition.times and has_revenue)
    span = timedelta(days=condition.days)
    if condition.times == 1 and condition.revenue is None:
        return until(known.last_at + span, now)
    return _judge_period(condition, known, span, now)


def _judge_visits(condition: VisitsCondition, starts: Sequence[datetime], now: datetime) -> Signal:
    """Return the signal of a condition on the visits of a period, which leave it one after the other."""
    ends = sorted({start + timedelta(days=condition.days) for start in starts})
    ends = [end for end in ends if end > now]
    passes = [passes_number(Decimal(left), condition.test) for left in range(len(ends), -1, -1)]
    turns = [end for end, before, after in zip(ends, passes, passes[1:], strict=False) if before != after]
    return Signal(passes[0], tuple(turns))


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
