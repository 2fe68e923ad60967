"""The document of `/visit/visitor`: visits of a visitor with their events, as Kameleoon's SDKs read them. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from enum import IntEnum
from typing import Any, Final, NamedTuple

import msgspec

from api.events.sdk_facts import BROWSERS, SYSTEMS
from goals.visits import VISIT_GAP, Stretch, join_stretches
from times import EPOCH, RESOLUTION

MICROSECONDS: Final = 1_000  # of a millisecond


class Row(IntEnum):
    """The kinds of rows that are read of a visitor. The first four are the types of facts."""

    PAGE_VIEW = 1
    STATIC_DATA = 2
    GEOLOCATION = 3
    CUSTOM_DATA = 4
    ACTIVITY = 5
    EXPOSURE = 6
    CONVERSION = 7


class VisitorRow(NamedTuple):
    """A row of a visitor: a moment, or a time of activity, and its fields as JSON."""

    started_at: datetime
    position: int  # of its line in the request, because the last of a request wins
    kind: int
    last_at: datetime
    fields: str


# The list of events in a visit for each flag of the request.
LISTS: Final[Mapping[str, tuple[Row, str]]] = {
    "conversion": (Row.CONVERSION, "conversionEvents"),
    "customData": (Row.CUSTOM_DATA, "customDataEvents"),
    "experiment": (Row.EXPOSURE, "experimentEvents"),
    "page": (Row.PAGE_VIEW, "pageEvents"),
    "geolocation": (Row.GEOLOCATION, "geolocationEvents"),
}


class VisitorQuery(NamedTuple):
    """The wishes of a reader."""

    flags: frozenset[str]
    previous_visits: int


Derived = Mapping[int, Sequence[str]]  # values by index of custom data that Goalpost fills


def describe_visitor(
    sitecode: str,
    visitor_code: str,
    rows: Sequence[VisitorRow],
    query: VisitorQuery,
    derived: Derived,
    *,
    now: datetime,
) -> dict[str, Any]:
    """Return the current visit, if it is asked for and not over, and earlier ones, newest first.

    A visitor without visits is `{}`. If Goalpost fills custom data of it, its current visit begins now and has that.
    """
    visits = join_stretches(Stretch(row.started_at, row.last_at) for row in rows)
    if not visits and "currentVisit" in query.flags and any(derived.values()):
        visits = [Stretch(now, now)]
    if not visits:
        return {}
    described = [(visit, number, visits[number - 1] if number else None) for number, visit in enumerate(visits)]
    is_current = now - visits[-1].last_at < VISIT_GAP
    earlier = described[:-1] if is_current else described
    document: dict[str, Any] = {}

    def describe(visit: Stretch, number: int, before: Stretch | None) -> dict[str, Any]:
        own = [row for row in rows if visit.started_at <= row.started_at <= visit.last_at]
        return {
            "siteCode": sitecode,
            "visitorCode": visitor_code,
            "timeStarted": _milliseconds(visit.started_at),
            "timeLastEvent": _milliseconds(visit.last_at),
            **_list_events(own, query.flags, derived),
            **_describe_static_data(own, query.flags, visit, number, before),
        }

    if is_current and "currentVisit" in query.flags:
        document["currentVisit"] = describe(*described[-1])
    document["previousVisits"] = [describe(*visit) for visit in reversed(earlier[-query.previous_visits :])]
    latest = document.get("currentVisit") or next(iter(document["previousVisits"]), None)
    if latest is not None and "customData" in query.flags:
        latest["customDataEvents"] += _list_derived(derived, latest["timeLastEvent"])
    return document


def _list_derived(derived: Derived, time: int) -> list[dict[str, Any]]:
    """Return the events of custom data that Goalpost fills. SDKs take the last event of the latest visit."""
    return [
        {"time": time, "data": {"index": index, "valuesCountMap": dict.fromkeys(values, 1), "overwrite": True}}
        for index, values in sorted(derived.items())
        if values
    ]


def _list_events(rows: Iterable[VisitorRow], flags: frozenset[str], derived: Derived) -> dict[str, Any]:
    """Return the lists of events that are asked for, each oldest first, because the last one wins.

    An SDK sends custom data back that it read. Under an index that Goalpost fills, that may be a private trait.
    """
    rows = list(rows)
    return {
        name: [
            {"time": _milliseconds(row.started_at), "data": fields}
            for row in rows
            if row.kind == kind
            for fields in [_complete(kind, msgspec.json.decode(row.fields))]
            if kind != Row.CUSTOM_DATA or fields.get("index") not in derived
        ]
        for flag, (kind, name) in LISTS.items()
        if flag in flags
    }


def _complete(kind: Row, fields: dict[str, Any]) -> dict[str, Any]:
    """Add the fields without which an SDK fails: the JavaScript core needs a list of referrers."""
    if kind == Row.PAGE_VIEW:
        return {"title": "", "referrersIndices": [], **fields}
    return fields


def _describe_static_data(
    rows: Sequence[VisitorRow], flags: frozenset[str], visit: Stretch, number: int, before: Stretch | None
) -> dict[str, Any]:
    """Return browser, system and device as the lines of the visit tell them together, with the number of the visit."""
    if "staticData" not in flags:
        return {}
    fields: dict[str, Any] = {
        "visitNumber": number,
        "timeSincePreviousVisit": _milliseconds(visit.started_at) - _milliseconds(before.last_at) if before else 0,
    }
    at = visit.started_at
    for row in rows:
        if row.kind == Row.STATIC_DATA:
            fields |= msgspec.json.decode(row.fields)
            at = row.started_at
    for index, name, names in (("browserIndex", "browser", BROWSERS), ("osIndex", "os", SYSTEMS)):
        if isinstance(number_of := fields.get(index), int) and 0 <= number_of < len(names):
            fields[name] = names[number_of]
    return {"staticDataEvent": {"time": _milliseconds(at), "data": fields}}


def _milliseconds(at: datetime) -> int:
    return (at - EPOCH) // RESOLUTION // MICROSECONDS
