"""Reader of the form of a segment: the conditions that it means, and what is wrong with it. Pure."""

import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, Final

import msgspec

from api.pages.people.segment_drafts import (
    FIELDS,
    FIRST_FIELD,
    KINDS,
    TESTS,
    WITH_DAYS,
    ConditionDraft,
    SegmentDraft,
)
from api.pages.people.segment_lines import read_lines
from cohorts.custom_data import parse_trait_path
from cohorts.segments.conditions import Condition, Conditions, GroupCondition
from cohorts.segments.validation import ConditionFault, KnownReferences, find_faults
from cohorts.segments.value_tests import read_number

# The fields of the form by the ends of places in conditions.
FIELD_OF: Final = {"name": "persona", **{name: name for name in FIELDS}}
PLACE: Final = re.compile(r"\[(\d+)\](?:\[(\d+)\])?(.*)", re.DOTALL)
MOST_DIGITS: Final = 18  # of a number

Fields = Mapping[str, str]


class WrongFieldError(Exception):
    """A field of a condition cannot be read; the arguments are its name and a sentence."""


def read_segment(
    draft: SegmentDraft, known: KnownReferences, goals: Mapping[str, int], *, segment_id: int | None
) -> Conditions:
    """Return the conditions of a draft, and note its faults in it. `goals` has the ids of goals as they are typed."""
    groups: list[tuple[Condition, ...]] = []
    for group in draft.groups:
        read: list[Condition] = []
        for each in group:
            try:
                read.append(read_condition(each, goals))
            except WrongFieldError as error:
                name, sentence = error.args
                each.faults[name] = sentence
                read.append(GroupCondition())  # in its place, so that the places of the others stay
        groups.append(tuple(read))
    conditions = tuple(groups)
    for fault in find_faults(conditions, known, segment_id=segment_id):
        note_fault(draft, fault)
    return conditions


def note_fault(draft: SegmentDraft, fault: ConditionFault) -> None:
    """Note a fault at its field."""
    match = PLACE.fullmatch(fault.place)
    if match is None or match[2] is None:
        draft.faults.append(fault.sentence)
        return
    each = draft.groups[int(match[1])][int(match[2])]
    name = FIELD_OF.get(match[3].rpartition(".")[2].partition("[")[0], FIRST_FIELD[each.kind])
    each.faults.setdefault(name, fault.sentence)


def read_condition(draft: ConditionDraft, goals: Mapping[str, int]) -> Condition:
    """Return the condition that a draft means. Raises WrongFieldError."""
    fields = draft.fields
    if fields["on"] not in KINDS:
        raise WrongFieldError("on", "Choose a kind of condition.")
    value = {"on": draft.kind, "negated": fields["negated"] == "yes", **READERS[draft.kind](fields, goals)}
    try:
        return msgspec.convert(value, Condition)  # type: ignore[no-any-return]  # a union
    except msgspec.ValidationError as error:
        raise WrongFieldError(FIRST_FIELD[draft.kind], f"{str(error).partition(' - at ')[0]}.") from error


def _read_trait(fields: Fields, _: Mapping[str, int]) -> dict[str, Any]:
    path = fields["path"].strip()
    if not path:
        raise WrongFieldError("path", "Enter a trait, for example plan or address.city.")
    return {"path": parse_trait_path(path), "test": _read_test(fields)}


def _read_persona(fields: Fields, _: Mapping[str, int]) -> dict[str, Any]:
    if not fields["persona"]:
        raise WrongFieldError("persona", "Enter a persona.")
    return {"name": fields["persona"]}


def _read_group(fields: Fields, _: Mapping[str, int]) -> dict[str, Any]:
    return {"ids": read_lines(fields["ids"])}


def _read_custom_data(fields: Fields, _: Mapping[str, int]) -> dict[str, Any]:
    return {"index": _read_choice(fields, "index", "Choose custom data."), "test": _read_test(fields)}


def _read_goal(fields: Fields, goals: Mapping[str, int]) -> dict[str, Any]:
    text = fields["goal"].strip()
    if not text:
        raise WrongFieldError("goal", "Enter the name or ID of a goal.")
    if text not in goals:
        raise WrongFieldError("goal", f"This site has no goal “{text[:100]}”. Pick one from the list.")
    revenue = _read_decimal(fields, "revenue") if fields["revenue"].strip() else None
    return {
        "goal": goals[text],
        "times": int(_read_decimal(fields, "times", is_whole=True)) if fields["times"].strip() else 1,
        "revenue": revenue,
        "currency": (fields["currency"].strip().upper() or None) if revenue is not None else None,
        "days": float(_read_decimal(fields, "days")) if fields["days"].strip() else None,
    }


def _read_seen(fields: Fields, _: Mapping[str, int]) -> dict[str, Any]:
    if fields["which"] not in {"first", "last"}:
        raise WrongFieldError("which", "Choose the first or the last time.")
    if fields["test"].partition(".")[0] != "date":
        raise WrongFieldError("test", "Choose a test of a date.")
    return {"which": fields["which"], "test": _read_test(fields)}


def _read_visits(fields: Fields, _: Mapping[str, int]) -> dict[str, Any]:
    if fields["test"].partition(".")[0] != "number":
        raise WrongFieldError("test", "Choose a test of a number.")
    days = {"days": float(_read_decimal(fields, "days"))} if fields["days"].strip() else {}
    return {"test": _read_test(fields), **days}


def _read_source(fields: Fields, _: Mapping[str, int]) -> dict[str, Any]:
    return {"source": _read_choice(fields, "source", "Choose a source.")}


def _read_named_segment(fields: Fields, _: Mapping[str, int]) -> dict[str, Any]:
    return {"segment": _read_choice(fields, "segment", "Choose a segment.")}


READERS: Final[dict[str, Callable[[Fields, Mapping[str, int]], dict[str, Any]]]] = {
    "trait": _read_trait,
    "persona": _read_persona,
    "group": _read_group,
    "groupTrait": _read_trait,
    "customData": _read_custom_data,
    "goal": _read_goal,
    "seen": _read_seen,
    "visits": _read_visits,
    "source": _read_source,
    "segment": _read_named_segment,
}


def _read_test(fields: Fields) -> dict[str, Any]:
    kind, _, how = fields["test"].partition(".")
    if not any(fields["test"] == value for _, tests in TESTS for value, _ in tests):
        raise WrongFieldError("test", "Choose a test.")
    match kind:
        case "text" | "list":
            texts = read_lines(fields["texts"])
            if not texts:
                raise WrongFieldError("texts", "Enter a value. Of several, enter one per line.")
            return {"type": kind, "how": how, "texts": texts}
        case "number":
            most = _read_decimal(fields, "most") if how == "between" else None
            return {"type": kind, "how": how, "number": _read_decimal(fields, "number"), "most": most}
        case "boolean":
            return {"type": kind, "isTrue": how == "true"}
        case "date" if fields["test"] in WITH_DAYS:
            return {"type": kind, "how": how, "days": float(_read_decimal(fields, "days"))}
        case "date":
            return {"type": kind, "how": how, "date": fields["date"].strip()}
        case _:
            return {"type": "any"}


def _read_choice(fields: Fields, name: str, sentence: str) -> int:
    text = fields[name]
    if not (text.isascii() and text.isdigit() and len(text) <= MOST_DIGITS):
        raise WrongFieldError(name, sentence)
    return int(text)


def _read_decimal(fields: Fields, name: str, *, is_whole: bool = False) -> Decimal:
    number = read_number(fields[name])
    if number is None or abs(number.adjusted()) > MOST_DIGITS or (is_whole and number != number.to_integral_value()):
        raise WrongFieldError(
            name, "Enter a whole number, for example 3." if is_whole else "Enter a number, for example 30 or 9.5."
        )
    return number
