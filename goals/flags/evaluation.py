"""Evaluation of feature flags for one visitor, with the results of Kameleoon's SDKs. Pure.

A condition that only an SDK can judge, on a browser or a page, is neither true nor false here. A rule applies only if
its segment certainly holds the visitor.
"""

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec

OFF: Final = "off"  # the variation in which SDKs call a flag inactive
Document = Mapping[str, Any]
Memberships = dict[int, bool | None]  # by segment


class Facts(msgspec.Struct, frozen=True):
    """Facts of a visitor that conditions ask for."""

    code: str  # by which shares are drawn
    custom_data: Mapping[int, Collection[str]]
    goals: Collection[int]  # converted


class Evaluation(msgspec.Struct, frozen=True):
    """The variation of a flag, the reason by OpenFeature's names, and the rule that chose it, if any."""

    variation: Document
    reason: str
    rule_id: int | None = None
    experiment_id: int | None = None
    variation_id: int | None = None

    @property
    def value(self) -> Any:
        """The value for code: of the only variable, all variables by name, or True unless the variation is `off`."""
        variables = {each["key"]: _read_value(each) for each in self.variation.get("variables", ())}
        if not variables:
            return self.variation["key"] != OFF
        return next(iter(variables.values())) if len(variables) == 1 else variables


def evaluate(
    flag: Document,
    segments: Mapping[int, Document],
    facts: Facts,
    *,
    group: Sequence[int] = (),
    known: Memberships | None = None,
) -> Evaluation:
    """Return the variation of a flag for a visitor.

    `segments` are those of the file. A rule whose segment is not there is passed over. `group` has the ids of the flags
    in its mutually exclusive group, `known` the memberships of this visitor that were found before.
    """
    variations = {variation["key"]: variation for variation in flag["variations"]}
    default = variations[flag["defaultVariationKey"]]
    if not flag["environmentEnabled"]:
        return Evaluation(default, "DISABLED")
    code = _find_code(flag, facts)
    if group and _pick(group, code, flag["mutuallyExclusiveGroup"]) != flag["id"]:
        return Evaluation(default, "STATIC")
    known = {} if known is None else known
    for rule in flag["rules"]:
        segment_id = rule.get("segmentId")
        if segment_id is not None and not is_member(segment_id, segments, facts, known):
            continue
        is_delivery = rule["type"] == "TARGETED_DELIVERY"
        shares: Sequence[Document] = rule["variationByExposition"]
        if draw(code, rule["id"], rule.get("respoolTime")) > rule["exposition"]:
            if is_delivery:
                break
            continue
        if is_delivery:
            share = shares[0] if shares else None
        else:
            share = _find_share(shares, draw(code, rule["experimentId"], rule.get("respoolTime")))
        if share is not None:
            is_certain = rule["exposition"] >= 1 and share["exposition"] >= 1
            reason = (
                "SPLIT" if not (is_certain or is_delivery) else "STATIC" if segment_id is None else "TARGETING_MATCH"
            )
            return Evaluation(
                variations[share["variationKey"]], reason, rule["id"], rule["experimentId"], share.get("variationId")
            )
        if is_delivery:
            break
    return Evaluation(default, "STATIC")


def draw(code: str, id_: int, respool_time: float | None) -> float:
    """Return the number between 0 and 1 by which SDKs draw a share for a code and the id of a rule or experiment."""
    return _hash(f"{code}{id_}{respool_time or ''}")


def _hash(text: str) -> float:
    return int(hashlib.sha256(text.encode("utf-8", "replace")).hexdigest(), 16) / 2**256


def _find_code(flag: Document, facts: Facts) -> str:
    """Return the code by which shares of this flag are drawn."""
    index = flag.get("bucketingCustomDataIndex")
    values = () if index is None else facts.custom_data.get(index, ())
    return next(iter(values), facts.code)


def _pick(group: Sequence[int], code: str, name: str) -> int:
    """Return the id of the only flag of a group that a visitor may have, as SDKs pick it."""
    return sorted(group)[min(int(_hash(f"{code}{name}") * len(group)), len(group) - 1)]


def is_member(
    segment_id: int, segments: Mapping[int, Document], facts: Facts, known: Memberships | None = None
) -> bool | None:
    """Return True or False, or None if it depends on what only an SDK knows.

    Each segment is judged once: `known` remembers its result. Segments do not lead to themselves, and no chain of them
    is longer than find_withheld lets it be.
    """
    known = {} if known is None else known
    if segment_id not in known:
        known[segment_id] = _judge_segment(segments.get(segment_id), segments, facts, known)
    return known[segment_id]


def _judge_segment(
    segment: Document | None, segments: Mapping[int, Document], facts: Facts, known: Memberships
) -> bool | None:
    if segment is None:
        return None
    conditions = segment["conditionsData"]
    groups = (
        _combine(group["orOperators"], (_judge(condition, segments, facts, known) for condition in group["conditions"]))
        for group in conditions["firstLevel"]
    )
    return _combine(conditions["firstLevelOrOperators"], groups)


def _combine(operators: Sequence[bool], results: Iterable[bool | None]) -> bool | None:
    """Return the results joined by OR if the operators are true, otherwise by AND. Operators of a list are equal."""
    decisive = bool(operators and operators[0])
    is_unknown = False
    for result in results:
        if result is decisive:
            return decisive
        is_unknown = is_unknown or result is None
    return None if is_unknown else not decisive


def _judge(condition: Document, segments: Mapping[int, Document], facts: Facts, known: Memberships) -> bool | None:
    type_ = condition["targetingType"]
    result: bool | None = None
    if type_ == "CUSTOM_DATUM":
        result = _has_value(condition, facts.custom_data.get(int(condition["customDataIndex"]), ()))
    elif type_ == "CONVERSIONS":
        result = condition["goalId"] in facts.goals
    elif type_ == "SEGMENT":
        result = is_member(condition["segmentId"], segments, facts, known)
    return None if result is None else result == condition["isInclude"]


def _has_value(condition: Document, values: Collection[str]) -> bool | None:
    """Return True if one of the values passes. None for a pattern, because one that backtracks would block all."""
    how, wanted = condition["valueMatchType"], condition.get("value", "")
    if how == "REGULAR_EXPRESSION":
        return None
    if how == "UNDEFINED":
        return not values
    if how in {"EXACT", "TRUE", "FALSE"}:
        return (wanted if how == "EXACT" else how.lower()) in values
    if how == "CONTAINS":
        return any(wanted in value for value in values)
    if how == "AMONG_VALUES":
        return not set(json.loads(wanted)).isdisjoint(values)
    return _compare(how, float(wanted), values)


def _compare(how: str, wanted: float, values: Iterable[str]) -> bool:
    """Return True if one of the values is such a number. What is no number does not pass, as in JavaScript's SDK."""
    numbers = [number for value in values if (number := _read_number(value)) is not None]
    if how == "EQUAL":
        return any(abs(number - wanted) < 1e-9 for number in numbers)  # noqa: PLR2004 - of the SDKs
    return any(number > wanted if how == "GREATER" else number < wanted for number in numbers)


def _read_number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _find_share(shares: Iterable[Document], drawn: float) -> Document | None:
    """Return the variation in whose part of the running sum the number is, None beyond the last one."""
    total = 0.0
    for share in shares:
        total += share["exposition"]
        if total >= drawn:
            return share
    return None


def _read_value(variable: Document) -> Any:
    """Return the value of a variable. That of the type JSON may be a text that holds it."""
    value = variable["value"]
    if variable.get("type") == "JSON" and isinstance(value, str):
        try:
            return json.loads(value)
        except ValueError:
            return value
    return value
