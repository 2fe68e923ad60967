"""Conditions and actions of rules as values, without a database."""

import re
from copy import deepcopy
from functools import partial
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from api.rules.actions import apply_rules
from api.rules.paths import ABSENT, find_value
from api.rules.patterns import PLACEHOLDER, PLACEHOLDERS, compile_pattern, matches_pattern
from api.rules.redaction import redact
from api.rules.rule import EventRule, name_event
from api.rules.validation import explain_too_many, find_problems

EVENT: dict[str, Any] = {
    "event": "Order Completed",
    "userId": "u1",
    "properties": {
        "plan": "gold",
        "total": 19.5,
        "count": 3,
        "is_new": True,
        "title": "Shoes",
        "products": [{"sku": "a", "email": "x@example.com"}, {"sku": "b"}],
        "dotted.name": "here",
        "tags": ["red", "blue"],
        "none": None,
    },
    "context": {
        "page": {"title": "Shop"},
        "traits": {"email": "ada@example.com", "plan": "silver", "address": {"country": "GB"}},
    },
}


@pytest.mark.promise("A-15", "I-11")
@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("event", "Order Completed"),
        ("properties.products.1.sku", "b"),
        ("properties.products.2.sku", ABSENT),
        ("properties.products.sku", ABSENT),
        ("properties.plan.deeper", ABSENT),
        (r"properties.dotted\.name", "here"),
        ("properties.dotted.name", ABSENT),
        ("context.page.title", "Shop"),
        ("traits.address.country", "GB"),
        ("traits.email", "ada@example.com"),  # where a track bears traits
        ("missing", ABSENT),
        ("properties.none", None),
    ],
)
def test_path__in_an_event__leads_to_its_value(path: str, value: Any) -> None:
    assert find_value("track", EVENT, path) == value


def test_path__of_a_trait__is_found_wherever_a_sender_puts_it() -> None:
    """Segment's Kameleoon destination moves the traits of an identify into its properties."""
    for event in ({"traits": {"plan": "a"}}, {"properties": {"plan": "a"}}, {"context": {"traits": {"plan": "a"}}}):
        assert find_value("identify", event, "traits.plan") == "a"
    assert find_value("track", {"properties": {"plan": "a"}}, "traits.plan") is ABSENT


@pytest.mark.promise("B-10")
@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        ({}, True),
        ({"event_type": "track"}, True),
        ({"event_type": "page"}, False),
        ({"name_test": "equals", "name_value": "Order Completed"}, True),
        ({"name_test": "equals", "name_value": "order completed"}, False),
        ({"name_test": "equals", "name_value": "Order {word}"}, False),
        ({"name_test": "prefix", "name_value": "Order"}, True),
        ({"name_test": "prefix", "name_value": "Orders"}, False),
        ({"name_test": "pattern", "name_value": "Order {word}"}, True),
        ({"name_test": "pattern", "name_value": "Order {n}"}, False),
        ({"path": "properties.plan", "path_test": "exists"}, True),
        ({"path": "properties.none", "path_test": "exists"}, False),
        ({"path": "properties.plan", "path_test": "equals", "path_value": "gold"}, True),
        ({"path": "traits.plan", "path_test": "equals", "path_value": "silver"}, True),
        ({"path": "properties.total", "path_test": "equals", "path_value": "19.50"}, True),
        ({"path": "properties.count", "path_test": "equals", "path_value": "3.0"}, True),
        ({"path": "properties.is_new", "path_test": "equals", "path_value": "true"}, True),
        ({"path": "properties.tags", "path_test": "equals", "path_value": "blue"}, True),
        ({"path": "properties.tags.0", "path_test": "equals", "path_value": "blue"}, False),
        ({"event_type": "track", "path": "properties.plan", "path_test": "equals", "path_value": "tin"}, False),
    ],
)
def test_condition__of_a_rule__holds_when_all_its_parts_do(condition: dict[str, Any], holds: bool) -> None:  # noqa: FBT001
    assert apply_rules("track", EVENT, [EventRule("drop", **condition)]).is_dropped == holds


@pytest.mark.promise("B-08", "B-09")
@pytest.mark.parametrize(
    ("template", "name"),
    [
        ("Page: {name}", "Page: Home"),
        ("{name} Viewed", "Home Viewed"),
        ("{properties.title}", "Shoes"),
        ("{properties.count} of {name}!", "3 of Home!"),
        ("fixed", "fixed"),
        ("{properties.missing}", "Home"),
        ("{properties.tags}", "Home"),
    ],
)
def test_page__renamed_and_taken_for_a_track__is_called_by_the_template(template: str, name: str) -> None:
    page = {**EVENT, "name": "Home", "event": None}
    rules = [EventRule("page_to_track", event_type="page", id=1), EventRule("rename", template, id=2)]

    ruled = apply_rules("page", page, rules)

    assert (ruled.type, ruled.name) == ("track", name)
    assert ruled.warnings == (set() if name != "Home" else {"rule_not_applied"})


def test_rules__in_their_order__each_see_what_those_before_left() -> None:
    rules = [
        EventRule("rename", "First", id=1),
        EventRule("rename", "Second of {name}", name_test="equals", name_value="First", id=2),
        EventRule("drop", "never", name_test="equals", name_value="Order Completed", id=3),
        EventRule("no_goal", name_test="prefix", name_value="Second", id=4),
        EventRule("drop", "at last", id=5),
        EventRule("rename", "not reached", id=6),
    ]

    ruled = apply_rules("track", EVENT, rules)

    assert (ruled.name, ruled.makes_goal, ruled.is_dropped, ruled.reason) == ("Second of First", False, True, "at last")
    assert ruled.fired == [1, 2, 4, 5]


def test_event__without_rules__makes_a_goal_of_its_name() -> None:
    ruled = apply_rules("track", EVENT, [])

    assert (ruled.name, ruled.makes_goal, ruled.is_dropped, ruled.fired) == ("Order Completed", True, False, [])


@pytest.mark.parametrize(
    ("pattern", "name", "matches"),
    [
        ("Viewed order {n}", "Viewed order 1234", True),
        ("Viewed order {n}", "Viewed order 12a4", False),
        ("Viewed order {n}", "viewed order 1", False),
        ("Viewed order {n}", "Viewed order 1 ", False),
        ("Viewed {id}", "Viewed 8e9df332-ac", True),
        ("Viewed {id}", "Viewed basket", False),
        ("{word} viewed", "Grüße viewed", True),
        ("{word} viewed", "two words viewed", False),
        ("a.c {any}", "abc x", False),
        ("a.c {any}", "a.c x\ny", True),
        ("Order {n} of {n}", "Order 1 of 22", True),
        ("Order {n} of {n}", "Order x of y", False),
        ("{any}-{any}", "a-b", True),
        ("{any}-{any}!", "a-b", False),
        ("{any}any{any}", "1any2", True),
        # The word in a name is no placeholder.
        ("any{any}", "one", False),
        ("{n}any{any}", "1one", False),
        ("{n}any{n}any{any}", "1any1one", False),
        ("{n}x{n}any{any}", "1x1one", False),
        ("plain", "plain", True),
        ("{any}", "x" * 500, True),
        ("{any}", "x" * 501, False),
    ],
)
def test_pattern__of_names__has_places(pattern: str, name: str, matches: bool) -> None:  # noqa: FBT001
    assert matches_pattern(name, pattern) == matches


@pytest.mark.parametrize(("pattern", "problem"), [("{any}{any}{any}", "no more than 2"), ("{z}{a}", "no place {a}")])
def test_pattern__with_places_that_cannot_be__is_refused(pattern: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        compile_pattern(pattern)


def test_pattern__against_a_hostile_name__ends() -> None:
    name = "a1" * 250

    assert not matches_pattern(name, "{any}{any}{id}{id}{word}{n}!")


def test_names__of_one_pattern__become_one() -> None:
    rule = EventRule("pattern_goal", "Viewed order {n}")
    names = ["Viewed order 1", "Viewed order 22", "Viewed order"]

    assert [apply_rules("track", {"event": name}, [rule]).name for name in names] == [
        "Viewed order {n}",
        "Viewed order {n}",
        "Viewed order",
    ]


@pytest.mark.promise("A-05", "A-13")
def test_group__taken_from_a_field__has_traits_from_fields() -> None:
    """Altis calls this register_segment_group_field."""
    event = {"properties": {"AudienceId": ["42"], "country": "GB", "deep": {"size": 3}}}
    traits = (("country", "properties.country"), ("size", "properties.deep.size"), ("none", "properties.none"))

    ruled = apply_rules("track", event, [EventRule("group_from", "properties.AudienceId", group_traits=traits)])

    assert (ruled.group, ruled.group_traits) == (["42"], {"country": "GB", "size": 3})


# Redaction


KEY = b"k" * 32


@pytest.mark.parametrize(
    ("type_", "event"),
    [
        ("identify", {"traits": {"email": "ada@example.com", "plan": "a"}}),
        ("identify", {"properties": {"email": "ada@example.com", "plan": "a"}}),
        ("track", {"context": {"traits": {"email": "ada@example.com", "plan": "a"}}}),
        ("group", {"properties": {"email": "ada@example.com", "plan": "a"}}),
    ],
)
def test_redaction__of_a_trait__reaches_it_wherever_it_is(type_: str, event: dict[str, Any]) -> None:
    dropped = redact(type_, deepcopy(event), [EventRule("drop_field", "traits.email")], key=KEY)
    hashed = redact(type_, deepcopy(event), [EventRule("hash_field", "traits.email")], key=KEY)

    assert "ada@example.com" not in str(dropped) + str(hashed)
    assert "'plan': 'a'" in str(dropped)
    assert find_value(type_, dropped, "traits.email") is ABSENT
    assert find_value(type_, hashed, "traits.email").startswith("sha256:")


def test_redaction__within_lists__reaches_every_item() -> None:
    event = {"properties": {"products": [{"email": "x"}, {"sku": 1}, {"email": "y", "sku": 2}], "emails": ["x", "y"]}}
    rules = [EventRule("drop_field", "properties.products.email"), EventRule("drop_field", "properties.emails.0")]

    assert redact("track", event, rules, key=KEY) == {
        "properties": {"products": [{}, {"sku": 1}, {"sku": 2}], "emails": [None, "y"]}
    }


def test_hash__of_equal_values__is_equal_and_stays_when_it_is_hashed_again() -> None:
    rule = EventRule("hash_field", "properties.x")

    def hashed(value: Any, key: bytes = KEY) -> Any:
        return redact("track", {"properties": {"x": value}}, [rule], key=key)["properties"]["x"]

    assert hashed("a") == hashed("a") != hashed("b")
    assert hashed({"a": 1, "b": 2}) == hashed({"b": 2, "a": 1})
    assert hashed(hashed("a")) == hashed("a")
    assert hashed("a", b"another") != hashed("a")
    assert hashed(None) is None


def test_redaction__under_a_condition__leaves_other_events_alone() -> None:
    rule = EventRule("drop_field", "properties.plan", event_type="track", name_test="prefix", name_value="Order")

    assert "plan" not in redact("track", deepcopy(EVENT), [rule], key=KEY)["properties"]
    other = {**deepcopy(EVENT), "event": "Other"}
    assert redact("track", other, [rule], key=KEY)["properties"] == EVENT["properties"]


def test_redaction__under_conditions__sees_what_the_rules_before_left() -> None:
    page = {"properties": {"name": "Home", "email": "a", "phone": "b"}}
    named = partial(EventRule, "drop_field", event_type="page", name_test="equals", name_value="Home")
    rules = [
        named("properties.email"),
        EventRule("drop_field", "properties.name", path="properties.email", path_test="exists"),
        named("properties.name"),
        named("properties.phone"),  # by now it is unnamed
    ]

    assert redact("page", page, rules, key=KEY) == {"properties": {"phone": "b"}}


def test_rules__of_a_page_with_only_a_title__name_it_by_that_if_the_site_asks() -> None:
    page = {"properties": {"title": "Shop", "email": "a"}}
    named = partial(EventRule, name_test="equals", name_value="Shop")
    redaction, drop = named("drop_field", "properties.email"), named("drop")

    assert redact("page", deepcopy(page), [redaction], key=KEY) == page
    assert redact("page", deepcopy(page), [redaction], key=KEY, by_title=True) == {"properties": {"title": "Shop"}}
    assert name_event("page", page, set()) == "Unnamed page"
    assert not apply_rules("page", page, [drop]).is_dropped
    assert not apply_rules("page", page, [EventRule("drop", event_type="track")]).is_dropped
    assert apply_rules("page", page, [drop], by_title=True).is_dropped


def test_redaction__of_a_field_that_is_not_there__matches_no_pattern(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def ask(name: str, _pattern: str) -> bool:
        asked.append(name)
        return True

    monkeypatch.setattr("api.rules.rule.matches_pattern", ask)
    rules = [
        EventRule("drop_field", f"properties.{name}", name_test="pattern", name_value="{any}") for name in ("x", "plan")
    ]

    redact("track", deepcopy(EVENT), rules, key=KEY)

    assert asked == ["Order Completed"]


# Of every pattern that people may write: what comes between two places that hold anything may be anything.
PARTS = st.sampled_from(["a", "1", "-", "ab", "a1", "{n}", "{id}", "{word}"])
MIDDLES = st.lists(PARTS, max_size=4).map("".join)


@given(begin=MIDDLES, middle=MIDDLES, end=MIDDLES, name=st.text("ab1-_ ", max_size=14))
@example(begin="", middle="", end="", name="a")
@example(begin="", middle="{n}a", end="", name="11a1a1")
def test_pattern__with_anything_twice__is_found_wherever_it_can_be(
    begin: str, middle: str, end: str, name: str
) -> None:
    def regular(pattern: str) -> str:
        return "".join(PLACEHOLDERS.get(part, re.escape(part)) for part in PLACEHOLDER.split(pattern))

    everywhere = f"{regular(begin)}.+{regular(middle)}.+{regular(end)}"

    assert matches_pattern(name, f"{begin}{{any}}{middle}{{any}}{end}") == bool(
        re.fullmatch(everywhere, name, re.DOTALL)
    )


# Errors of rules


@pytest.mark.parametrize(
    ("rule", "field"),
    [
        (EventRule("explode"), "action"),
        (EventRule("rename"), "argument"),
        (EventRule("rename", "{}"), "argument"),
        (EventRule("pattern_goal", "Order {digits}"), "argument"),
        (EventRule("pattern_goal", "{any} {any} {any}"), "argument"),
        (EventRule("group_from", "a..b"), "argument"),
        (EventRule("revenue_from", ""), "argument"),
        (EventRule("revenue_from", "a..b"), "argument"),
        (EventRule("drop_field", "userId"), "argument"),
        (EventRule("drop_field", "properties"), "argument"),
        (EventRule("hash_field", "properties."), "argument"),
        (EventRule("drop", event_type="purchase"), "event_type"),
        (EventRule("drop", name_test="equals"), "name_value"),
        (EventRule("drop", name_value="x"), "name_value"),
        (EventRule("drop", name_test="like", name_value="x"), "name_test"),
        (EventRule("drop", name_test="pattern", name_value="{x}"), "name_value"),
        (EventRule("drop", path="properties.plan"), "path"),
        (EventRule("drop", path_test="exists"), "path"),
        (EventRule("drop", path="properties.plan", path_test="like"), "path_test"),
        (EventRule("group_from", "properties.id", group_traits=(("x", ""),)), "group_traits"),
    ],
)
def test_rule__that_cannot_be_used__is_told_by_its_field(rule: EventRule, field: str) -> None:
    assert list(find_problems(rule)) == [field]


@pytest.mark.parametrize(
    "rule",
    [
        EventRule("drop"),
        EventRule("drop", "because", event_type="track", name_test="pattern", name_value="a {n}"),
        EventRule("rename", "Page: {name}"),
        EventRule("pattern_goal", "Viewed {id}"),
        EventRule("hash_field", "traits.email", path="properties.plan", path_test="exists"),
        EventRule("group_from", "properties.a", group_traits=(("x", "properties.x"),)),
    ],
)
def test_rule__that_can_be_used__has_no_problems(rule: EventRule) -> None:
    assert find_problems(rule) == {}


@pytest.mark.parametrize(
    ("actions", "before", "limits"),
    [
        (["drop"] * 200, [], []),
        (["drop"] * 201, [], [200]),
        (["drop"] * 201, ["rename"] * 201, []),
        (["drop"] * 202, ["rename"] * 201, [200]),
        (["drop_field"] * 50, [], []),
        (["drop_field"] * 51, [], [50]),
        (["drop_field"] * 51, ["hash_field"] * 51, []),
        (["drop_field"] * 52, ["hash_field"] * 51, [50]),
    ],
)
def test_rules__of_a_site__have_a_limit_that_keeps_what_it_had(
    actions: list[str], before: list[str], limits: list[int]
) -> None:
    assert [int(number) for number in re.findall(r"\d+", explain_too_many(actions, before=before))] == limits
