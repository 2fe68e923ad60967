"""The traits whose names Segment reserves (promises I-10 to I-15): what type each has, and what follows from them."""

from collections.abc import Mapping
from typing import Any, Final

from django.utils.dateparse import parse_date, parse_datetime

from cohorts.ids import read_id
from cohorts.value_match import NUMBER

TEXT: Final = "text"
NUMERIC: Final = "a number"
DATE: Final = "a date such as 2026-11-22 or 2026-11-22T08:30:00Z"
ID: Final = "text or a number"
Fields = Mapping[str, str | Mapping[str, Any]]  # the type of each by name; of an object, those of its fields

TRAITS: Final[Fields] = {
    "address": {
        **dict.fromkeys(("city", "country", "postalCode", "state", "street"), TEXT),
        "postal_code": TEXT,
    },
    "age": NUMERIC,
    "avatar": TEXT,
    "birthday": DATE,
    "company": {"name": TEXT, "id": ID, "industry": TEXT, "employee_count": NUMERIC, "plan": TEXT},
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


def odd_traits(traits: Mapping[str, Any]) -> list[str]:
    """A sentence for every reserved trait of a foreign type (promises I-10, I-17), in the order of the traits. Pure.

    `traits.age: a number was expected, found text.` Nothing is odd about null, which removes a trait, about a list of
    one value of the right type (Altis sends such) and about a number as text (Ibexa does). Values are never quoted:
    they are personal. Costs about a microsecond unless something is odd.
    """
    odd: list[str] = []
    _note_odd(traits, TRAITS, "traits", odd)
    return odd


def _note_odd(fields: Mapping[str, Any], types: Fields, place: str, odd: list[str]) -> None:
    for name, value in fields.items():
        type_ = types.get(name)
        if type_ is None or value is None:
            continue
        one = only(value)
        if isinstance(type_, str):
            if not _is(one, type_):
                odd.append(f"{place}.{name}: {type_} was expected, found {_kind(one)}.")
        elif one == []:  # an empty object, as PHP writes it
            continue
        elif isinstance(one, dict):
            _note_odd(one, type_, f"{place}.{name}", odd)
        else:
            odd.append(f"{place}.{name}: an object was expected, found {_kind(one)}.")


def only(value: Any) -> Any:
    """The element of a list of one, which Altis sends for a single value; else the value itself."""
    return value[0] if isinstance(value, list) and len(value) == 1 else value


def _is(value: Any, type_: str) -> bool:
    if isinstance(value, str):
        return (
            type_ in (TEXT, ID)
            or (type_ == NUMERIC and NUMBER.fullmatch(value.strip()) is not None)
            or (type_ == DATE and _is_date(value))
        )
    return type_ in (NUMERIC, ID) and isinstance(value, int | float) and not isinstance(value, bool)


def _is_date(text: str) -> bool:
    try:
        return (parse_datetime(text) or parse_date(text)) is not None
    except ValueError:  # in the form of a date that no calendar has
        return False


def _kind(value: Any) -> str:
    """What a value is, in JSON's words."""
    if isinstance(value, bool):
        return "true or false"
    for types, name in ((str, TEXT), (int | float, NUMERIC), (list, "a list"), (dict, "an object")):
        if isinstance(value, types):
            return name
    return "null"


NAME_PARTS: Final = ("firstName", "first_name", "lastName", "last_name")


def full_name(traits: Mapping[str, Any]) -> str | None:
    """First and last name as one, for who has no `name` of their own; None unless both are there (promises I-14, I-15).

    The camel-case spelling wins over the other one. Pure.
    """
    parts = [
        next((part for part in (_text(traits.get(spelling)) for spelling in spellings) if part), "")
        for spellings in (NAME_PARTS[:2], NAME_PARTS[2:])
    ]
    return " ".join(parts) if all(parts) else None


def _text(value: Any) -> str:
    value = only(value)
    return value.strip() if isinstance(value, str) else ""


def company_id(traits: Mapping[str, Any]) -> str | None:
    """The id of somebody's company, as a group id would be read (promise I-12). Pure."""
    company = only(traits.get("company"))
    return read_id(only(company.get("id")))[0] if isinstance(company, dict) else None
