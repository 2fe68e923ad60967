"""Expected types of reserved traits. Other values are stored too, with a warning."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cohorts import reserved_traits
from cohorts.reserved_traits import company_id, find_type_mismatches, full_name

TEXT = ("text", ["ada", "", "é"], [3, True, {}, ["a", "b"], [3]])
NUMBER = ("a number", [33, 33.5, "33", " 3.5 "], ["old", "", True, {}, [], ["1", "2"], "1_000"])
DATE = (
    "a date such as 2026-11-22 or 2026-11-22T08:30:00Z",
    ["2024-01-01", "2024-01-01T00:00:00Z", "2024-01-01T00:00:00.123+02:00", "2024-01-01 10:00"],
    ["yesterday", "2024-02-31", "2024-02-31T00:00:00Z", "", 1_704_067_200, True, {}],
)
ID = ("text or a number", ["c-7", 7, 7.0], [True, {}, [7, 8]])
OBJECT = ("an object", [{}, {"colour": 1}], ["Initech", 7, True, [{}, {}]])

EXPECTED: dict[str, tuple[str, list[Any], list[Any]]] = {
    "address": OBJECT,
    "address.city": TEXT,
    "address.country": TEXT,
    "address.postalCode": TEXT,
    "address.postal_code": TEXT,
    "address.state": TEXT,
    "address.street": TEXT,
    "age": NUMBER,
    "avatar": TEXT,
    "birthday": DATE,
    "company": OBJECT,
    "company.name": TEXT,
    "company.id": ID,
    "company.industry": TEXT,
    "company.employee_count": NUMBER,
    "company.plan": TEXT,
    "createdAt": DATE,
    "created_at": DATE,
    "description": TEXT,
    "email": TEXT,
    "firstName": TEXT,
    "first_name": TEXT,
    "gender": TEXT,
    "id": TEXT,
    "lastName": TEXT,
    "last_name": TEXT,
    "name": TEXT,
    "phone": TEXT,
    "title": TEXT,
    "username": TEXT,
    "website": TEXT,
}


def of(name: str, value: Any) -> dict[str, Any]:
    """Return traits with `value` under a name or a path of two names."""
    first, dot, second = name.partition(".")
    return {first: {second: value}} if dot else {first: value}


@pytest.mark.promise("I-10", "I-12", "I-15", "I-17")
@pytest.mark.parametrize("name", EXPECTED)
def test_odd_traits__reserved_name__wants_its_type(name: str) -> None:
    type_, right, foreign = EXPECTED[name]

    for value in [*right, *([each] for each in right), None]:
        assert find_type_mismatches(of(name, value)) == [], value
    for value in foreign:
        (said,) = find_type_mismatches(of(name, value))
        assert said.startswith(f"traits.{name}: {type_} was expected, found "), value


@pytest.mark.promise("I-10")
def test_odd_traits__names__are_all_that_are_reserved() -> None:
    names = {name.partition(".")[0] for name in EXPECTED}
    assert names == set(reserved_traits.TRAITS)


@pytest.mark.promise("I-17")
@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("old", "text"),
        (True, "true or false"),
        ({}, "an object"),
        ([1, 2], "a list"),
        (["old"], "text"),
        ([None], "null"),
    ],
)
def test_odd_traits__foreign_type__is_named_and_the_value_is_not(value: object, found: str) -> None:
    assert find_type_mismatches({"plan": 3, "age": value, "email": "a@example.com"}) == [
        f"traits.age: a number was expected, found {found}."
    ]


@pytest.mark.promise("I-17")
def test_odd_traits__several__are_told_in_the_order_of_the_traits() -> None:
    traits = {"phone": 5, "favourite_colour": 1, "company": {"id": [], "size": "?"}, "address": "Austin", "age": "33"}

    assert find_type_mismatches(traits) == [
        "traits.phone: text was expected, found a number.",
        "traits.company.id: text or a number was expected, found a list.",
        "traits.address: an object was expected, found text.",
    ]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["id", "city", "x"]), inner),
)


@pytest.mark.promise("I-17")
@given(st.dictionaries(st.sampled_from([*reserved_traits.TRAITS, "x"]), JSON))
def test_reserved__of_any_values__never_fails(traits: dict[str, Any]) -> None:
    assert len(find_type_mismatches(traits)) <= 2 * len(traits) + 10
    assert full_name(traits) != ""
    assert company_id(traits) != ""


@pytest.mark.promise("I-14", "I-15")
@pytest.mark.parametrize(
    ("traits", "name"),
    [
        ({"firstName": "Ada", "lastName": "Lovelace"}, "Ada Lovelace"),
        ({"first_name": "Ada", "last_name": "Lovelace"}, "Ada Lovelace"),
        ({"firstName": "Ada", "last_name": "Lovelace"}, "Ada Lovelace"),
        ({"firstName": "Ada", "first_name": "A.", "lastName": "Lovelace"}, "Ada Lovelace"),
        ({"firstName": " ", "first_name": "Ada", "lastName": "Lovelace"}, "Ada Lovelace"),
        ({"firstName": ["Ada"], "lastName": [" Lovelace "]}, "Ada Lovelace"),
        ({"firstName": "Ada"}, None),
        ({"lastName": "Lovelace"}, None),
        ({"firstName": "Ada", "lastName": ""}, None),
        ({"firstName": "Ada", "lastName": 7}, None),
        ({"firstName": ["Ada", "Augusta"], "lastName": "Lovelace"}, None),
        ({}, None),
    ],
)
def test_full_name__of_first_and_last__needs_both(traits: dict[str, Any], name: str | None) -> None:
    assert full_name(traits) == name


@pytest.mark.promise("I-12")
@pytest.mark.parametrize(
    ("company", "id_"),
    [
        ({"id": "c-7"}, "c-7"),
        ({"id": " c-7 "}, "c-7"),
        ({"id": 7}, "7"),
        ({"id": 7.0}, "7"),
        ({"id": 7.5}, "7.5"),
        ([{"id": ["c-7"]}], "c-7"),
        ({"id": 0}, None),
        ({"id": "null"}, None),
        ({"id": True}, None),
        ({"id": None}, None),
        ({"id": "x" * 256}, None),
        ({"name": "Initech"}, None),
        ("Initech", None),
        (None, None),
    ],
)
def test_company_id__as_a_sender_puts_it__is_read_as_a_group_id_is(company: object, id_: str | None) -> None:
    assert company_id({"company": company}) == id_
