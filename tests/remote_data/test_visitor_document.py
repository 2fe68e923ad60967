"""Visits from rows of a visitor, in any order of the rows."""

import json
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from api.remote_data.visitor_document import Row, VisitorQuery, VisitorRow, describe_visitor
from goals.visits import VISIT_GAP, Stretch, join_stretches

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
ALL = frozenset({"currentVisit", "staticData", "conversion", "customData", "experiment", "page", "geolocation"})


def row(kind: Row, minutes: float, last: float | None = None, **fields: Any) -> VisitorRow:
    at = NOW + timedelta(minutes=minutes)
    until = at if last is None else NOW + timedelta(minutes=last)
    return VisitorRow(at, 0, kind, until, json.dumps(fields))


def describe(*rows: VisitorRow, flags: frozenset[str] = ALL, previous: int = 25) -> dict[str, Any]:
    return describe_visitor("1q2w3e4r5t", "v1", rows, VisitorQuery(flags, previous), {}, now=NOW)


def test_visits__with_a_gap_of_thirty_minutes__are_two_and_the_newest_comes_first() -> None:
    rows = [row(Row.PAGE_VIEW, minute, href=f"/{minute}") for minute in (-95, -65, -36, -5)]

    document = describe(*rows)

    current, previous = document["currentVisit"], document["previousVisits"]
    assert [page["data"]["href"] for page in current["pageEvents"]] == ["/-5"]
    assert [[page["data"]["href"] for page in visit["pageEvents"]] for visit in previous] == [
        ["/-65", "/-36"],
        ["/-95"],
    ]
    assert [visit["staticDataEvent"]["data"]["visitNumber"] for visit in (current, *previous)] == [2, 1, 0]
    assert current["staticDataEvent"]["data"]["timeSincePreviousVisit"] == 31 * 60_000


def test_visit__that_is_over__is_a_previous_one() -> None:
    document = describe(row(Row.PAGE_VIEW, -30, href="/"))

    assert "currentVisit" not in document
    assert len(document["previousVisits"]) == 1


def test_activity__between_facts__joins_them_to_one_visit() -> None:
    facts = [row(Row.PAGE_VIEW, -90, href="/a"), row(Row.PAGE_VIEW, -10, href="/b")]

    assert len(describe(*facts)["previousVisits"]) == 1
    document = describe(*facts, row(Row.ACTIVITY, -89, -11))
    assert document["previousVisits"] == []
    assert document["currentVisit"]["timeStarted"] == int((NOW - timedelta(minutes=90)).timestamp() * 1_000)


def test_events__of_each_kind__have_the_shapes_that_sdks_need() -> None:
    document = describe(
        row(Row.PAGE_VIEW, -5, href="/"),
        row(Row.STATIC_DATA, -5, browserIndex=1, browserVersion=11.5),
        row(Row.STATIC_DATA, -4, osIndex=5, deviceType="PHONE"),
        row(Row.CUSTOM_DATA, -4, index=3, valuesCountMap={"known-1": 1}, overwrite=True, mappingIdentifier=True),
        row(Row.EXPOSURE, -3, id=5011, variationId=70111),
        row(Row.CONVERSION, -2, goalId=1001, revenue=10.25, negative=False),
        row(Row.GEOLOCATION, -1, country="France"),
    )

    visit = document["currentVisit"]
    assert visit["pageEvents"][0]["data"] == {"href": "/", "title": "", "referrersIndices": []}
    assert visit["staticDataEvent"]["data"] == {
        "browserIndex": 1,
        "browser": "INTERNET_EXPLORER",
        "browserVersion": 11.5,
        "osIndex": 5,
        "os": "WINDOWS_PHONE",
        "deviceType": "PHONE",
        "visitNumber": 0,
        "timeSincePreviousVisit": 0,
    }
    assert visit["customDataEvents"][0]["data"]["mappingIdentifier"] is True
    assert visit["experimentEvents"][0]["data"] == {"id": 5011, "variationId": 70111}
    times = [event["time"] for name, events in visit.items() if name.endswith("Events") for event in events]
    assert all(visit["timeStarted"] <= time <= visit["timeLastEvent"] for time in times)


def test_flags__that_are_not_asked_for__leave_their_lists_out() -> None:
    visit = describe(row(Row.PAGE_VIEW, -5, href="/"), flags=frozenset({"currentVisit"}))["currentVisit"]

    assert set(visit) == {"siteCode", "visitorCode", "timeStarted", "timeLastEvent"}


def test_visitor__without_rows__is_empty() -> None:
    assert describe() == {}


@given(
    st.lists(st.tuples(st.integers(0, 500), st.integers(0, 90))).flatmap(
        lambda spans: st.tuples(st.just(spans), st.permutations(spans))
    )
)
def test_stretches__in_any_order__are_the_same_visits_with_gaps_between(
    spans: tuple[list[tuple[int, int]], list[tuple[int, int]]],
) -> None:
    given_stretches, permuted = (
        [Stretch(at := NOW + timedelta(minutes=start), at + timedelta(minutes=length)) for start, length in each]
        for each in spans
    )

    visits = join_stretches(given_stretches)

    assert visits == join_stretches(permuted) == join_stretches([*visits, *permuted])
    assert all(after.started_at - before.last_at >= VISIT_GAP for before, after in pairwise(visits))
