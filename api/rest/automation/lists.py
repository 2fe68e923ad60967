"""Lists as Kameleoon's Automation API has them: `filter`, `sort`, `page`, `perPage`, and an array as the answer."""
# ruff: noqa: N815 - the names are the wire's

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final, Literal

import msgspec
from django.utils.dateparse import parse_datetime
from rest_framework import serializers

from api.rest.reading import DEPTH_LIMIT, PageQuery, first_row, is_too_deep, page_headers

MOST_CONDITIONS: Final = 20

Row = Mapping[str, Any]  # of a list, by the wire's names; `id` and `siteId` find the whole row


class Condition(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One filter. All filters of a request must hold."""

    field: str
    operator: Literal["EQUAL", "NOT_EQUAL", "CONTAINS", "GREATER", "LOWER", "BETWEEN"]
    parameters: list[Any]


class Sorting(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One field of an order."""

    field: str
    direction: Literal["ASC", "DESC"] = "ASC"


class AutomationQuery(PageQuery):
    filter = serializers.CharField(
        required=False,
        help_text='A JSON array such as `[{"field":"siteId","operator":"EQUAL","parameters":["1"]}]`. Operators: EQUAL '
        "(any of the parameters), NOT_EQUAL, CONTAINS, GREATER, LOWER, BETWEEN. All of the filters must hold.",
    )
    sort = serializers.CharField(
        required=False, help_text='A JSON array such as `[{"field":"name","direction":"DESC"}]`. Default: by id.'
    )
    optionalFields = serializers.CharField(required=False, help_text="Ignored: every field is always there.")

    def validate_filter(self, text: str) -> list[Condition]:
        """Return the filters. Raises ValidationError."""
        conditions: list[Condition] = _decode(text, list[Condition])
        return conditions

    def validate_sort(self, text: str) -> list[Sorting]:
        """Return the order. Raises ValidationError."""
        sortings: list[Sorting] = _decode(text, list[Sorting])
        return sortings


def _decode(text: str, kind: Any) -> Any:
    if is_too_deep(text):
        raise serializers.ValidationError(f"It is nested deeper than {DEPTH_LIMIT} levels.")
    try:
        decoded = msgspec.json.decode(text.encode(errors="replace"), type=kind)
    except msgspec.DecodeError as error:  # also of a wrong type
        raise serializers.ValidationError(f"{error}.") from error
    if len(decoded) > MOST_CONDITIONS:
        raise serializers.ValidationError(f"Send {MOST_CONDITIONS} at most.")
    return decoded


def named_sites(query: Mapping[str, Any], site_ids: frozenset[int]) -> list[int]:
    """Return the sites whose rows can pass the filters, so that those of others are not read."""
    wanted = set(site_ids)
    for condition in query.get("filter", ()):
        if condition.field == "siteId" and condition.operator == "EQUAL":
            wanted &= {int(value) for value in map(str, condition.parameters) if value.isdecimal() and len(value) < 19}  # noqa: PLR2004 - digits
    return sorted(wanted)


def named_fields(query: Mapping[str, Any]) -> set[str]:
    """Return the fields by which a request filters and sorts, so that a list need not read the others."""
    return {named.field for named in (*query.get("filter", ()), *query.get("sort", ()))}


def page_of(
    rows: Sequence[Row], query: Mapping[str, Any], fields: Mapping[str, type]
) -> tuple[list[Row], dict[str, str]]:
    """Return the rows of a page that pass the filters, in order, and the headers that count pages.

    `fields` are the names that may be filtered and sorted by, with their types. Raises ValidationError.
    """
    tests = [_test_of(condition, fields) for condition in query.get("filter", ())]
    found = sorted((row for row in rows if all(test(row) for test in tests)), key=lambda row: row["id"])
    for sorting in reversed(query.get("sort", ())):
        _require_field("sort", sorting.field, fields)
        found.sort(key=partial(_rank, sorting.field), reverse=sorting.direction == "DESC")
    first = first_row(query)
    return found[first : first + query["perPage"]], page_headers(len(found), per_page=query["perPage"])


def _rank(name: str, row: Row) -> tuple[bool, Any]:
    """Return a key that orders rows by a field, None first."""
    value = row[name]
    return value is not None, "" if value is None else value


def _require_field(of: str, name: str, fields: Mapping[str, type]) -> None:
    if name not in fields:
        raise serializers.ValidationError({of: f"There is no field {name[:64]} here; there are {', '.join(fields)}."})


def _test_of(condition: Condition, fields: Mapping[str, type]) -> Callable[[Row], bool]:
    """Return the test of a filter. Raises ValidationError for a wrong field or parameter."""
    name, operator = condition.field, condition.operator
    _require_field("filter", name, fields)
    given = [_read(parameter, fields[name], name) for parameter in condition.parameters]
    count = {"BETWEEN": 2, "GREATER": 1, "LOWER": 1}.get(operator)
    if (count is not None and len(given) != count) or not given:
        raise serializers.ValidationError({"filter": f"{operator} takes {count or 'one or more'} parameters."})

    def holds(row: Row) -> bool:  # noqa: PLR0911 - a table
        value = row[name]
        values = value if isinstance(value, list) else [value]
        match operator:
            case "EQUAL":
                return any(one in given for one in values)
            case "NOT_EQUAL":
                return not any(one in given for one in values)
            case "CONTAINS":
                return any(str(part).casefold() in str(one).casefold() for one in values for part in given)
            case _ if value is None or isinstance(value, list):
                return False
            case "GREATER":
                return bool(value > given[0])
            case "LOWER":
                return bool(value < given[0])
            case _:
                return bool(given[0] <= value <= given[1])

    return holds


def _read(parameter: Any, kind: type, name: str) -> Any:
    """Return a parameter, a text or JSON, as a value of the field's type. Raises ValidationError."""
    text = parameter if isinstance(parameter, str) else msgspec.json.encode(parameter).decode()
    try:
        if kind is bool:
            return {"true": True, "false": False}[text.lower()]
        if kind is datetime:
            at = parse_datetime(text)
            if at is None:
                raise ValueError(text)
            return at if at.tzinfo else at.replace(tzinfo=UTC)
        return int(text[:20]) if kind is int else text
    except (KeyError, ValueError, OverflowError) as error:
        message = f"{name} cannot be compared with {text[:64]}."
        raise serializers.ValidationError({"filter": message}) from error
