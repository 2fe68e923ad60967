"""Random facts and conditions of segments."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

from hypothesis import strategies as st

from cohorts.segments.conditions import (
    BooleanTest,
    CompiledSegment,
    Condition,
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
)
from cohorts.segments.facts import ConvertedGoal, GoalConversion, OutsideFacts, PersonFacts

NOW = datetime(2026, 11, 22, 3, 0, tzinfo=UTC)
HOURS = st.integers(-100, 100)  # around now, so that spans and times fall together
TIMES = HOURS.map(lambda hours: NOW + timedelta(hours=hours))
DAYS = st.integers(1, 60).map(lambda hours: hours / 24)
NAMES = st.sampled_from(["a", "b", "c"])
SMALL = st.integers(-2, 3)

dates = st.one_of(
    st.builds(DateTest, how=st.sampled_from(["before", "since"]), date=TIMES.map(datetime.isoformat)),
    st.builds(DateTest, how=st.sampled_from(["within", "longer_ago", "in_next"]), days=DAYS),
)
numbers = st.builds(
    NumberTest,
    how=st.sampled_from(["equals", "above", "at_least", "below", "at_most", "between"]),
    number=SMALL.map(Decimal),
    most=SMALL.map(Decimal),
)
tests = st.one_of(
    st.just(Exists()),
    dates,
    numbers,
    st.builds(BooleanTest, is_true=st.booleans()),
    st.builds(TextTest, texts=st.tuples(NAMES), how=st.sampled_from(["equals", "contains", "begins", "ends"])),
    st.builds(ListTest, texts=st.lists(NAMES, min_size=1, max_size=2).map(tuple), how=st.sampled_from(["any", "all"])),
)
paths = st.one_of(NAMES.map(lambda name: (name,)), st.tuples(NAMES, NAMES))
negated = st.booleans()
goal_conditions = st.builds(
    GoalCondition,
    goal=st.integers(1, 2),
    times=st.integers(1, 3),
    revenue=st.none() | SMALL.map(Decimal),
    currency=st.just("USD"),
    days=st.none() | DAYS,
    negated=negated,
)
conditions: st.SearchStrategy[Condition] = st.one_of(
    st.builds(TraitCondition, path=paths, test=tests, negated=negated),
    st.builds(GroupCondition, ids=st.lists(NAMES, max_size=2).map(tuple), negated=negated),
    st.builds(GroupTraitCondition, path=paths, test=tests, negated=negated),
    st.builds(PersonaCondition, name=NAMES, negated=negated),
    st.builds(CustomDataCondition, index=st.integers(1, 2), test=tests, negated=negated),
    goal_conditions,
    st.builds(SeenCondition, which=st.sampled_from(["first", "last"]), test=dates, negated=negated),
    st.builds(VisitsCondition, test=numbers, days=DAYS, negated=negated),
    st.builds(SourceCondition, source=st.integers(1, 2), negated=negated),
    st.builds(SegmentCondition, segment=st.integers(1, 3), negated=negated),
)
groups = st.lists(st.lists(conditions, min_size=1, max_size=3).map(tuple), min_size=1, max_size=3).map(tuple)


def _segments(all_conditions: list[tuple[tuple[Condition, ...], ...]]) -> list[CompiledSegment]:
    return [CompiledSegment(number, f"s{number}", 1, each) for number, each in enumerate(all_conditions, start=1)]


segments = st.lists(groups, min_size=1, max_size=3).map(_segments)

values = st.recursive(
    st.one_of(st.none(), st.booleans(), SMALL, NAMES, TIMES.map(datetime.isoformat), st.just("2")),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(NAMES, inner, max_size=2),
    max_leaves=3,
)
fields = st.dictionaries(NAMES, values, max_size=3)


def _goal_facts(latest: list[GoalConversion]) -> ConvertedGoal:
    newest = sorted(latest, key=lambda fact: fact.at, reverse=True)
    revenue = sum((fact.revenue for fact in latest if fact.revenue is not None), Decimal())
    return ConvertedGoal(len(latest), newest[0].at, {"USD": revenue}, newest)


conversions = st.builds(
    GoalConversion, TIMES.map(lambda at: min(at, NOW)), st.none() | SMALL.map(Decimal), st.just("USD")
)
facts = st.builds(
    PersonFacts,
    traits=fields,
    group=st.none() | NAMES,
    group_traits=fields,
    personas=st.frozensets(NAMES),
    custom_data=st.dictionaries(st.integers(1, 2), st.lists(NAMES | st.just("2"), max_size=2)),
    outside=st.builds(
        OutsideFacts,
        goals=st.dictionaries(st.integers(1, 2), st.lists(conversions, min_size=1, max_size=5).map(_goal_facts)),
        first_seen=st.none() | TIMES,
        last_seen=st.none() | TIMES,
        visits=st.lists(TIMES, max_size=4, unique=True).map(sorted),
        sources=st.frozensets(st.integers(1, 2)),
    ),
)
