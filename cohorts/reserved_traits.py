"""Traits with names that Segment reserves (promises I-10 to I-15): their types, and values derived from them."""

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


def find_type_mismatches(traits: Mapping[str, Any]) -> list[str]:
    """Return a sentence for every reserved trait of another type (promises I-10, I-17), in the order of the traits.

    `traits.age: a number was expected, found text.` Null is accepted, because it removes a trait. So are a list of
    one value of the right type (sent by Altis) and a number as text (sent by Ibexa). Values are never quoted, because
    they are personal. Costs about a microsecond if all types are right.
    """
    mismatches: list[str] = []
    _add_mismatches(traits, TRAITS, "traits", mismatches)
    return mismatches


def _add_mismatches(fields: Mapping[str, Any], types: Fields, place: str, mismatches: list[str]) -> None:
    for name, value in fields.items():
        type_ = types.get(name)
        if type_ is None or value is None:
            continue
        one = unwrap_single(value)
        if isinstance(type_, str):
            if not _is(one, type_):
                mismatches.append(f"{place}.{name}: {type_} was expected, found {_kind(one)}.")
        elif one == []:  # an empty object, as PHP writes it
            continue
        elif isinstance(one, dict):
            _add_mismatches(one, type_, f"{place}.{name}", mismatches)
        else:
            mismatches.append(f"{place}.{name}: an object was expected, found {_kind(one)}.")


def unwrap_single(value: Any) -> Any:
    """Return the element of a list of one, which Altis sends for a single value, otherwise the value itself."""
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
    """Return the type of a value in JSON's words."""
    if isinstance(value, bool):
        return "true or false"
    for types, name in ((str, TEXT), (int | float, NUMERIC), (list, "a list"), (dict, "an object")):
        if isinstance(value, types):
            return name
    return "null"


NAME_PARTS: Final = ("firstName", "first_name", "lastName", "last_name")


def full_name(traits: Mapping[str, Any]) -> str | None:
    """Return first and last name as one text, None unless both are there (promises I-14, I-15).

    The camel-case spelling wins.
    """
    parts = [
        next((part for part in (_text(traits.get(spelling)) for spelling in spellings) if part), "")
        for spellings in (NAME_PARTS[:2], NAME_PARTS[2:])
    ]
    return " ".join(parts) if all(parts) else None


def _text(value: Any) -> str:
    value = unwrap_single(value)
    return value.strip() if isinstance(value, str) else ""


def company_id(traits: Mapping[str, Any]) -> str | None:
    """Return the id of a person's company, read as a group id (promise I-12)."""
    company = unwrap_single(traits.get("company"))
    return read_id(unwrap_single(company.get("id")))[0] if isinstance(company, dict) else None
