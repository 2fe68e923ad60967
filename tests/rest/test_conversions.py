"""Requests of `/api/goals/{id}/conversions` and `/api/visitors/{code}/conversions`."""

import base64
from datetime import timedelta
from typing import Any
from urllib.parse import quote

import pytest

from api.ingest.provisioning import create_site
from goals import catalogue
from goals.models import Conversion, Goal
from tests.support.management_api import Caller, refusal
from tests.world import START, World

TEMPLATE = "SegmentIO {type} – {name}"


def add_conversions(goal: Goal, count: int, *, apart: float = 0, visitor_code: str = "visitor") -> None:
    """Add conversions `apart` seconds from each other, the oldest first."""
    Conversion.objects.bulk_create(
        Conversion(
            site=goal.site,
            goal=goal,
            visitor_code=visitor_code,
            keyed_by=Conversion.KeyedBy.EVENT,
            occurred_at=START + timedelta(seconds=apart * number),
            message_key=f"{goal.pk} {visitor_code} {number}",
        )
        for number in range(count)
    )


def make_goal(world: World, name: str = "Buy") -> Goal:
    return catalogue.create_goal(Goal(site=world.site, name=name), template=TEMPLATE)


def walk(caller: Caller, path: str, *, limit: int) -> list[Any]:
    """Return every conversion of at most a hundred pages."""
    results, cursor = [], ""
    for _ in range(100):
        page = caller.get(f"{path}?limit={limit}{cursor}")
        results += page["results"]
        if page["next"] is None:
            return results
        cursor = f"&cursor={quote(page['next'])}"
    raise AssertionError("no end")


@pytest.mark.promise("K-78", "K-51")
def test_conversion__of_an_event__shows_what_the_event_said(world: World, owner: Caller) -> None:
    properties = {"revenue": 19.99, "currency": "eur", "value": 3, "plan": "pro", "nested": {"a": [1, None, "é"]}}
    world.track("Buy", at=1, properties=properties, userId="user-1", anonymousId="anon-1")

    (conversion,) = owner.get(f"/api/goals/{Goal.objects.get().pk}/conversions")["results"]

    assert conversion == {
        "id": Conversion.objects.get().pk,
        "time": (START + timedelta(seconds=1)).isoformat().replace("+00:00", "Z"),
        "goalId": Goal.objects.get().pk,
        "goalName": "SegmentIO track – Buy",
        "visitorCode": "user-1",
        "isMatched": False,
        "userId": "user-1",
        "anonymousId": "anon-1",
        "revenue": "19.990000",
        "currency": "EUR",
        "value": "3.000000",
        "properties": properties,
        "hasAllProperties": True,
    }


@pytest.mark.promise("K-51")
def test_conversion__once_its_user_is_linked__is_matched_under_the_visitor_code(world: World, owner: Caller) -> None:
    world.track("Buy", userId="user-1")
    world.identify(at=1, userId="user-1", traits={"kameleoonVisitorCode": "visitor"})

    (conversion,) = owner.get("/api/visitors/visitor/conversions")["results"]

    assert (conversion["isMatched"], conversion["userId"]) == (True, "user-1")
    assert owner.get("/api/visitors/user-1/conversions")["results"] == []


@pytest.mark.parametrize("apart", [0, 1])
def test_pages__any_limit__give_each_conversion_once_newest_first(world: World, owner: Caller, apart: float) -> None:
    goal = make_goal(world)
    add_conversions(goal, 7, apart=apart)
    newest_first = list(Conversion.objects.order_by("-occurred_at", "-id").values_list("id", flat=True))

    for limit in (1, 2, 3, 7, 200):
        for path in (f"/api/goals/{goal.pk}/conversions", "/api/visitors/visitor/conversions"):
            assert [conversion["id"] for conversion in walk(owner, path, limit=limit)] == newest_first


def test_pages__events_arriving_between_them__repeat_and_skip_nothing(world: World, owner: Caller) -> None:
    goal = make_goal(world)
    add_conversions(goal, 4, apart=1)
    before = set(Conversion.objects.values_list("id", flat=True))
    path = f"/api/goals/{goal.pk}/conversions"

    first = owner.get(f"{path}?limit=2")
    add_conversions(goal, 3, apart=10, visitor_code="newcomer")
    rest = owner.get(f"{path}?limit=200&cursor={first['next']}")

    ids = [conversion["id"] for conversion in first["results"] + rest["results"]]
    assert len(ids) == len(set(ids))
    assert before <= set(ids)


@pytest.mark.parametrize("limit", ["0", "201", "-1", "x", "9" * 5000, ""])
def test_pages__limit_out_of_range__is_refused(world: World, owner: Caller, limit: str) -> None:
    response = owner.ask("GET", f"/api/visitors/visitor/conversions?limit={limit}")

    assert refusal(response) == (400, "invalid_request")


def encoded(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    "cursor",
    [
        "",
        "x",
        "é",
        "%00",
        "%ED%A0%80",
        encoded("[1]"),
        encoded("[1,2,3]"),
        encoded('["a",1]'),
        encoded("[1.5,1]"),
        encoded(f"[{10**30},1]"),
        encoded(f"[-{10**18},1]"),
        encoded(f"[1,{2**63}]"),
        encoded("{}"),
        encoded("[" * 5000),
    ],
)
def test_pages__cursor_that_we_did_not_write__is_refused(world: World, owner: Caller, cursor: str) -> None:
    response = owner.ask("GET", f"/api/visitors/visitor/conversions?cursor={cursor}")

    assert refusal(response) == (400, "invalid_request")


def test_pages__conversions_at_the_ends_of_time__can_be_walked(world: World, owner: Caller) -> None:
    goal = make_goal(world)
    add_conversions(goal, 2)
    early, late = Conversion.objects.order_by("id")
    Conversion.objects.filter(pk=early.pk).update(occurred_at=START.replace(year=1))
    Conversion.objects.filter(pk=late.pk).update(occurred_at=START.replace(year=9999))

    assert [conversion["id"] for conversion in walk(owner, f"/api/goals/{goal.pk}/conversions", limit=1)] == [
        late.pk,
        early.pk,
    ]


def test_visitor__on_sites_of_others__is_not_shown(
    world: World, owner: Caller, teammate: Caller, outsider: Caller
) -> None:
    add_conversions(make_goal(world), 1)
    elsewhere = create_site(name="Elsewhere")
    add_conversions(catalogue.create_goal(Goal(site=elsewhere, name="Buy"), template=TEMPLATE), 1)
    path = "/api/visitors/visitor/conversions"

    assert len(owner.get(path)["results"]) == 1
    assert len(teammate.get(path)["results"]) == 1
    assert len(teammate.get(f"{path}?site={world.site.sitecode}")["results"]) == 1
    assert outsider.get(path)["results"] == []
    assert refusal(outsider.ask("GET", f"{path}?site={world.site.sitecode}")) == (404, "unknown_site")
    assert refusal(owner.ask("GET", f"{path}?site={elsewhere.sitecode}")) == (404, "unknown_site")


def test_visitor__of_two_sites__is_shown_in_one_order(world: World, teammate: Caller) -> None:
    first, second = teammate.credential.sites.order_by("id")
    for site in (first, second):
        add_conversions(catalogue.create_goal(Goal(site=site, name="Buy"), template=TEMPLATE), 3, apart=1)

    conversions = walk(teammate, "/api/visitors/visitor/conversions", limit=2)

    assert [conversion["id"] for conversion in conversions] == list(
        Conversion.objects.order_by("-occurred_at", "-id").values_list("id", flat=True)
    )


@pytest.mark.promise("K-77")
@pytest.mark.parametrize(
    "code",
    [
        "a/b",
        "/",
        "a/",
        "//a//",
        "x/conversions",
        "conversions",
        "🛒",
        "a+b c",
        "100%",
        "%41",
        "a%2Fb",
        "?q=1&x#y",
        "a\nb\r",
        "été@example.com",
        "\\",
        "x" * 255,
        "é" * 255,
    ],
)
@pytest.mark.parametrize("end", ["", "/"])
def test_visitor__code_of_any_characters__is_found_percent_encoded(
    world: World, owner: Caller, code: str, end: str
) -> None:
    add_conversions(make_goal(world), 1, visitor_code=code)

    page = owner.get(f"/api/visitors/{quote(code, safe='')}/conversions{end}")

    assert [conversion["visitorCode"] for conversion in page["results"]] == [code]


@pytest.mark.parametrize("code", ["%00", "%ED%A0%80", "%FF", "x" * 5000, "..", "%2e%2e%2f"])
def test_visitor__code_that_nobody_can_have__has_no_conversions(world: World, owner: Caller, code: str) -> None:
    assert owner.get(f"/api/visitors/{code}/conversions") == {"results": [], "next": None}


def test_visitor__code_with_nul__is_found_as_it_was_stored(world: World, owner: Caller) -> None:
    world.track("Buy", properties={"kameleoonVisitorCode": "a\0b"})

    assert len(owner.get("/api/visitors/a%00b/conversions")["results"]) == 1
