"""The evaluator of segments: yes or no, and when time alone turns it."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cohorts.segments.conditions import (
    CompiledSegment,
    Condition,
    Conditions,
    DateTest,
    GoalCondition,
    NumberTest,
    PersonaCondition,
    SegmentCondition,
    TextTest,
    TraitCondition,
    VisitsCondition,
    decode_conditions,
    read_conditions,
    write_conditions,
)
from cohorts.segments.evaluation import Judgement, in_order, judge
from cohorts.segments.facts import ConvertedGoal, GoalConversion, OutsideFacts, PersonFacts
from tests.cohorts.segments import strategies as random
from tests.cohorts.segments.strategies import NOW

DAY = timedelta(days=1)


def judge_one(*groups: Sequence[Condition], facts: PersonFacts, now: datetime = NOW) -> Judgement:
    segment = CompiledSegment(1, "s", 1, tuple(tuple(group) for group in groups))
    return judge([segment], facts, now=now)[1]


def of_trait(test: Any, **options: Any) -> TraitCondition:
    return TraitCondition(("trait",), test, **options)


@given(segments=random.segments, facts=random.facts, hours=st.integers(0, 300))
def test_judgement__at_a_later_time__is_what_the_turns_say(
    segments: list[CompiledSegment], facts: PersonFacts, hours: int
) -> None:
    ordered, later = in_order(segments), NOW + timedelta(hours=hours)

    at_once = judge(ordered, facts, now=NOW)
    then = judge(ordered, facts, now=later)

    assert {id_: each.signal.at(later) for id_, each in at_once.items()} == {
        id_: each.is_member for id_, each in then.items()
    }
    assert all(each.signal.turns == tuple(sorted(set(each.signal.turns))) for each in at_once.values())
    assert all(turn > NOW for each in at_once.values() for turn in each.signal.turns)


@given(groups=random.groups)
def test_conditions__written_as_json__are_read_alike(groups: Conditions) -> None:
    assert read_conditions(write_conditions(groups)) == groups


@given(groups=random.groups, facts=random.facts)
def test_negation__of_each_condition__is_its_opposite(groups: Conditions, facts: PersonFacts) -> None:
    for condition in (condition for group in groups for condition in group):
        opposite = type(condition)(
            **{
                **{name: getattr(condition, name) for name in condition.__struct_fields__},
                "negated": not condition.negated,
            }
        )
        assert judge_one([condition], facts=facts).is_member != judge_one([opposite], facts=facts).is_member


@pytest.mark.promise("I-13")
def test_created_at__of_an_account__gives_its_age() -> None:
    older = of_trait(DateTest("longer_ago", days=30))
    created = {"trait": (NOW - 29 * DAY).isoformat()}

    judgement = judge_one([older], facts=PersonFacts(traits=created))

    assert (judgement.is_member, judgement.until) == (False, NOW + DAY)
    assert judge_one([older], facts=PersonFacts(traits=created), now=NOW + DAY).is_member


@pytest.mark.promise("K-88")
def test_goal__converted_n_times_in_a_period__ends_when_one_leaves_it() -> None:
    latest = [GoalConversion(NOW - hours * DAY / 24) for hours in (1, 5, 40)]
    facts = PersonFacts(outside=OutsideFacts({7: ConvertedGoal(3, latest[0].at, latest=latest)}))

    twice = judge_one([GoalCondition(7, times=2, days=1)], facts=facts)
    thrice = judge_one([GoalCondition(7, times=3, days=1)], facts=facts)
    ever = judge_one([GoalCondition(7, times=3)], facts=facts)

    assert (twice.is_member, twice.until) == (True, latest[1].at + DAY)
    assert (thrice.is_member, thrice.until) == (False, None)
    assert (ever.is_member, ever.until) == (True, None)
    assert not judge_one([GoalCondition(8)], facts=facts).is_member


def test_goal__with_a_revenue__counts_its_currency_only() -> None:
    revenue = {"USD": Decimal(10), "EUR": Decimal(90)}
    facts = PersonFacts(outside=OutsideFacts({7: ConvertedGoal(2, NOW, revenue)}))

    enough = GoalCondition(7, revenue=Decimal(10), currency="USD")
    assert judge_one([enough], facts=facts).is_member
    assert not judge_one([GoalCondition(7, revenue=Decimal(11), currency="USD")], facts=facts).is_member


def test_goal__of_negative_revenue_that_leaves_the_period__turns_twice() -> None:
    latest = [
        GoalConversion(NOW, Decimal(10), "USD"),
        GoalConversion(NOW - DAY / 2, Decimal(-5), "USD"),
        GoalConversion(NOW - DAY / 2, None, None),
    ]
    facts = PersonFacts(outside=OutsideFacts({7: ConvertedGoal(3, NOW, latest=latest)}))

    judgement = judge_one([GoalCondition(7, revenue=Decimal(10), currency="USD", days=1)], facts=facts)

    assert judgement.signal.holds is False
    assert judgement.signal.turns == (NOW + DAY / 2, NOW + DAY)


@pytest.mark.parametrize(
    ("value", "test", "holds"),
    [
        ("Paris", TextTest(("Paris", "Rome")), True),
        (["x", "Paris"], TextTest(("Paris",)), True),
        ("Paris", TextTest(("ari",), "contains"), True),
        ("Paris", TextTest(("ari",), "begins"), False),
        ("Paris", TextTest(("ris",), "ends"), True),
        (3, TextTest(("3.0",)), True),
        (None, TextTest(("",)), False),
        ("19.5", NumberTest("above", Decimal(19)), True),
        ([4], NumberTest("at_most", Decimal(4)), True),
        (True, NumberTest("equals", Decimal(1)), False),
        ("four", NumberTest("below", Decimal(9)), False),
        (5, NumberTest("between", Decimal(5), Decimal(6)), True),
        (7, NumberTest("between", Decimal(5), Decimal(6)), False),
    ],
)
def test_trait__of_each_type__passes_its_test(value: Any, test: Any, holds: bool) -> None:  # noqa: FBT001
    assert judge_one([of_trait(test)], facts=PersonFacts(traits={"trait": value})).is_member is holds


@pytest.mark.parametrize(
    ("value", "is_read"),
    [
        ("2026-11-20", True),
        ("2026-11-20T10:00:00+02:00", True),
        (1_763_600_000, True),
        (1_763_600_000_000, True),
        ("2026-02-31", False),
        ("yesterday", False),
        (1e300, False),
        (True, False),
        ("0001-01-01T00:00:00+14:00", False),
    ],
)
def test_date__in_any_spelling__is_read(value: Any, is_read: bool) -> None:  # noqa: FBT001
    long_ago = of_trait(DateTest("before", date="2026-11-21"))
    assert judge_one([long_ago], facts=PersonFacts(traits={"trait": value})).is_member is is_read


def test_path__to_a_nested_value__is_followed() -> None:
    condition = TraitCondition(("address", "city"), TextTest(("Paris",)))

    assert judge_one([condition], facts=PersonFacts(traits={"address": {"city": "Paris"}})).is_member
    assert judge_one([condition], facts=PersonFacts(traits={"address": [{"city": "Paris"}]})).is_member
    assert not judge_one([condition], facts=PersonFacts(traits={"address": "Paris"})).is_member


def test_groups__of_conditions__must_all_have_one_that_holds() -> None:
    vip, new = PersonaCondition("vip"), PersonaCondition("new")
    often = VisitsCondition(NumberTest("at_least", Decimal(3)))
    facts = PersonFacts(
        personas=frozenset({"vip"}), outside=OutsideFacts(visits=[NOW - DAY * day for day in (3, 2, 1)])
    )

    assert judge_one([vip, new], [often], facts=facts).is_member
    assert not judge_one([vip], [new], facts=facts).is_member
    assert judge_one([new, often], facts=facts).conditions[0][1].holds


def test_visits__of_a_period__leave_it_one_after_the_other() -> None:
    facts = PersonFacts(outside=OutsideFacts(visits=[NOW - DAY * day for day in (9, 5, 2, 1)]))

    twice = VisitsCondition(NumberTest("equals", Decimal(2)), days=3)
    often = VisitsCondition(NumberTest("at_least", Decimal(3)), days=7)
    never = VisitsCondition(NumberTest("equals", Decimal(0)), days=3)

    assert judge_one([twice], facts=facts).signal == (True, (NOW + DAY,))
    assert judge_one([often], facts=facts).signal == (True, (NOW + 2 * DAY,))
    assert judge_one([never], facts=facts).signal == (False, (NOW + 2 * DAY,))
    assert judge_one([never], facts=PersonFacts()).signal == (True, ())


def test_segment__that_names_another__follows_it_and_its_turns() -> None:
    recent = CompiledSegment(2, "recent", 1, ((of_trait(DateTest("within", days=1)),),))
    others = CompiledSegment(1, "others", 1, ((SegmentCondition(2, negated=True), SegmentCondition(9)),))

    judgements = judge(in_order([others, recent]), PersonFacts(traits={"trait": NOW.isoformat()}), now=NOW)

    assert (judgements[1].is_member, judgements[1].until) == (False, NOW + DAY)
    assert judgements[2].is_member


def test_decoding__of_stored_conditions__gives_the_same_value() -> None:
    stored = '[[{"on": "persona", "name": "vip"}]]'
    assert decode_conditions(stored) == ((PersonaCondition("vip"),),)
