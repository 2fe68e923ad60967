"""Evaluation of flags: the published SDK for Python decides alike, and what only an SDK knows is passed over."""

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kameleoon.configuration.me_group import MEGroup
from kameleoon.data import CustomData
from kameleoon.helpers.hasher import Hasher
from kameleoon.targeting.conditions.custom_datum import CustomDatum

from goals.flags.evaluation import Facts, draw, evaluate, is_member

TEXTS = st.sampled_from(["true", "false", "1", "2.5", "2.50", "alpha", "alp", "", "1e1", "é"])
PAGE = {"targetingType": "PAGE_URL", "isInclude": True, "matchType": "EXACT", "url": "/"}


def condition(how: str = "EXACT", value: str = "alpha", *, is_include: bool = True) -> dict[str, Any]:
    return {
        "targetingType": "CUSTOM_DATUM",
        "isInclude": is_include,
        "customDataIndex": "1",
        "valueMatchType": how,
        "value": value,
    }


def segment(*groups: list[dict[str, Any]], is_any: bool = True) -> dict[str, Any]:
    """Return a segment of groups, all of which must hold, by any or all of their conditions."""
    return {
        "conditionsData": {
            "firstLevelOrOperators": [False] * (len(groups) - 1),
            "firstLevel": [
                {"orOperators": [is_any] * (len(conditions) - 1), "conditions": conditions} for conditions in groups
            ],
        }
    }


def facts(*values: str, code: str = "v1", goals: tuple[int, ...] = ()) -> Facts:
    return Facts(code, {1: values} if values else {}, goals)


def flag(*rules: dict[str, Any]) -> dict[str, Any]:
    whole = {"type": "EXPERIMENTATION", "exposition": 1.0, "experimentId": 77}
    return {
        "environmentEnabled": True,
        "defaultVariationKey": "off",
        "variations": [{"key": key, "variables": []} for key in ("off", "a", "b")],
        "rules": [{**whole, **rule} for rule in rules],
    }


@given(code=st.text(max_size=20), id_=st.integers(1, 10**9), respool=st.none() | st.integers(1, 10**12))
def test_draw__of_any_code__is_that_of_the_sdk(code: str, id_: int, respool: int | None) -> None:
    try:
        expected = Hasher.obtain(code, id_, respool)
    except UnicodeEncodeError:  # half a surrogate pair, which no request holds
        return
    assert draw(code, id_, respool) == expected


@given(
    how=st.sampled_from(["UNDEFINED", "EXACT", "CONTAINS", "EQUAL", "GREATER", "LOWER", "TRUE", "FALSE"]),
    value=TEXTS,
    values=st.lists(TEXTS, max_size=3),
)
def test_custom_data__under_any_test__is_judged_as_by_the_sdk(how: str, value: str, values: list[str]) -> None:
    if how in {"EQUAL", "GREATER", "LOWER"}:
        value = "2.5"  # an import takes numbers only
        # Where some values are numbers and some are not, the SDK for Python decides by their order.
        values = [text for text in values if text[:1].isdigit()]
    known = {1: CustomData(1, *values)} if values else {}

    expected = CustomDatum(condition(how, value)).check(known)

    assert is_member(7, {7: segment([condition(how, value)])}, facts(*values)) is expected
    assert is_member(7, {7: segment([condition(how, value, is_include=False)])}, facts(*values)) is not expected


def test_custom_data__among_values__is_judged_as_by_the_sdk() -> None:
    among = condition("AMONG_VALUES", '["alpha","beta"]')

    assert is_member(7, {7: segment([among])}, facts("x", "beta")) is True
    assert is_member(7, {7: segment([among])}, facts("x")) is False


@pytest.mark.parametrize(
    ("groups", "expected"),
    [
        ([[condition(), PAGE]], True),
        ([[condition(value="x"), PAGE]], None),
        ([[condition()], [PAGE]], None),
        ([[condition(value="x")], [PAGE]], False),
        ([[condition("REGULAR_EXPRESSION", "^(?:a+)+$")]], None),
        ([[{"targetingType": "SEGMENT", "isInclude": False, "segmentId": 8}]], False),
        ([[{"targetingType": "SEGMENT", "isInclude": False, "segmentId": 9}]], None),
        ([[{"targetingType": "CONVERSIONS", "isInclude": True, "goalId": 3}]], True),
        ([[{"targetingType": "CONVERSIONS", "isInclude": False, "goalId": 3}]], False),
    ],
)
def test_segment__with_what_only_an_sdk_knows__is_unknown_where_it_matters(groups: Any, expected: bool | None) -> None:  # noqa: FBT001
    segments = {7: segment(*groups), 8: segment([condition()])}

    assert is_member(7, segments, facts("alpha", goals=(3,))) is expected


def test_segment__named_many_times__is_judged_once() -> None:
    def lead(id_: int) -> dict[str, Any]:
        return {"targetingType": "SEGMENT", "isInclude": True, "segmentId": id_}

    segments = {number: segment([lead(number + 1), lead(number + 1)], is_any=False) for number in range(1, 40)}
    segments[40] = segment([condition()])

    assert is_member(1, segments, facts("alpha")) is True  # 2^39 steps otherwise
    assert is_member(1, segments, facts("x")) is False


@given(code=st.text(max_size=20), ids=st.lists(st.integers(1, 10**6), min_size=1, max_size=5, unique=True))
def test_group__of_mutually_exclusive_flags__has_the_flag_of_the_sdk(code: str, ids: list[int]) -> None:
    rule = {"id": 5, "variationByExposition": [{"variationKey": "a", "exposition": 1.0}]}
    flags = [{**flag(rule), "id": id_, "mutuallyExclusiveGroup": "checkout"} for id_ in ids]
    try:
        drawn = Hasher.obtain_hash_for_me_group(code, "checkout")
    except UnicodeEncodeError:  # half a surrogate pair, which no request holds
        return
    picked: Any = MEGroup([SimpleNamespace(id_=id_) for id_ in ids]).get_feature_flag_by_hash(drawn)

    found = {each["id"]: evaluate(each, {}, facts(code=code), group=ids).variation["key"] for each in flags}

    assert found == {id_: "a" if id_ == picked.id_ else "off" for id_ in ids}


def test_shares__of_an_experiment__are_drawn_in_their_order_and_the_rest_is_the_default() -> None:
    halves = [{"variationKey": "a", "exposition": 0.25}, {"variationKey": "b", "exposition": 0.5}]
    rule = {"id": 5, "variationByExposition": halves}
    found = {code: evaluate(flag(rule), {}, facts(code=code)) for code in map(str, range(400))}

    for code, evaluation in found.items():
        drawn = Hasher.obtain(code, 77)
        expected = "a" if drawn <= 0.25 else "b" if drawn <= 0.75 else "off"
        assert evaluation.variation["key"] == expected
        assert evaluation.reason == ("STATIC" if expected == "off" else "SPLIT")


def test_rule__beyond_its_exposition__leads_to_the_next_rule_except_a_delivery() -> None:
    on = [{"variationKey": "a", "exposition": 1.0}]
    other = {"id": 6, "variationByExposition": [{"variationKey": "b", "exposition": 1.0}]}
    nowhere = {"id": 5, "exposition": 0.0, "variationByExposition": on}

    assert evaluate(flag(nowhere, other), {}, facts()).variation["key"] == "b"
    delivery = {**nowhere, "type": "TARGETED_DELIVERY"}
    assert evaluate(flag(delivery, other), {}, facts()).variation["key"] == "off"


def test_rule__of_a_segment_that_is_unknown_or_not_there__is_passed_over() -> None:
    rule = {"id": 5, "segmentId": 7, "variationByExposition": [{"variationKey": "a", "exposition": 1.0}]}

    assert evaluate(flag(rule), {}, facts()).variation["key"] == "off"
    assert evaluate(flag(rule), {7: segment([PAGE])}, facts()).variation["key"] == "off"
    assert evaluate(flag(rule), {7: segment([condition()])}, facts("alpha")).reason == "TARGETING_MATCH"


def test_value__of_a_variation__is_that_of_its_variables() -> None:
    price = {"key": "price", "type": "NUMBER", "value": 2.5}
    shape = {"key": "shape", "type": "JSON", "value": '{"a": [1]}'}

    def value(*variables: dict[str, Any]) -> Any:
        document = flag()
        document["variations"][0]["variables"] = list(variables)
        return evaluate(document, {}, facts()).value

    assert [value(), value(price), value(shape), value(price, shape)] == [
        False,
        2.5,
        {"a": [1]},
        {"price": 2.5, "shape": {"a": [1]}},
    ]
