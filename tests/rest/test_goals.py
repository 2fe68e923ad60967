"""Requests of `/api/goals`."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection

from goals import merging
from goals.models import Goal, GoalCreation
from tests.support.management_api import Caller, body, make_goal, message, refusal
from tests.world import SITECODE, START, World

# Reading


@pytest.mark.promise("K-10", "W13")
def test_goal__made_by_an_event__has_the_names_of_kameleoons_api(world: World, owner: Caller) -> None:
    world.track("Buy", at=5)
    goal = Goal.objects.get()

    assert owner.get(f"/api/goals/{goal.pk}") == {
        "id": goal.pk,
        "name": "SegmentIO track – Buy",
        "displayName": "",
        "siteId": world.site.pk,
        "sitecode": SITECODE,
        "type": "CUSTOM",
        "status": "ACTIVE",
        "description": "",
        "hasMultipleConversions": False,
        "tags": ["segment.io"],
        "isArchived": False,
        "origin": "event",
        "autoMade": True,
        "dateCreated": goal.created_at.isoformat().replace("+00:00", "Z"),
        "dateModified": goal.updated_at.isoformat().replace("+00:00", "Z"),
        "lastConversion": (START + timedelta(seconds=5)).isoformat().replace("+00:00", "Z"),
        "boundEvents": [],
        "mergedInto": None,
    }


@pytest.mark.promise("N-06")
def test_goal__merged_into_another__is_read_there_and_changed_no_more(world: World, owner: Caller) -> None:
    world.track("Buy")
    world.track("Bought")
    old, target = Goal.objects.order_by("pk")
    merging.merge(old, target)

    assert owner.get(f"/api/goals/{old.pk}") == owner.get(f"/api/goals/{target.pk}") | {"mergedInto": target.pk}
    assert owner.get(f"/api/goals/{target.pk}")["mergedInto"] is None
    assert len(owner.get(f"/api/goals/{old.pk}/conversions")["results"]) == 2
    assert owner.names("") == ["SegmentIO track – Bought"]
    assert owner.ask("delete", f"/api/goals/{old.pk}").status_code == 404

    merging.unmerge(old)
    assert owner.get(f"/api/goals/{old.pk}")["mergedInto"] is None


@pytest.mark.promise("K-10")
def test_goal__renamed_and_archived__keeps_its_number(world: World, owner: Caller) -> None:
    goal = make_goal(world, "Buy")

    owner.patch(f"/api/goals/{goal.pk}", {"name": "Bought"})
    owner.post(f"/api/goals/{goal.pk}/archive")

    read = owner.get(f"/api/goals/{goal.pk}")
    assert (read["id"], read["name"], read["status"], read["isArchived"]) == (goal.pk, "Bought", "INACTIVE", True)


@pytest.mark.parametrize("path", ["/api/goals", "/api/goals/"])
def test_list__with_and_without_slash__answers_without_a_redirect(world: World, owner: Caller, path: str) -> None:
    make_goal(world, "Buy")

    assert [goal["name"] for goal in owner.get(path)] == ["Buy"]


# Permissions


@pytest.mark.promise("K-40")
def test_list__teammate_and_outsider__see_their_own_sites_only(
    world: World, owner: Caller, teammate: Caller, outsider: Caller
) -> None:
    make_goal(world, "Buy")

    assert owner.names() == ["Buy"]
    assert teammate.names() == ["Buy"]
    assert outsider.names() == []
    assert teammate.names(f"site={SITECODE}") == ["Buy"]
    assert refusal(outsider.ask("GET", f"/api/goals?site={SITECODE}")) == (404, "unknown_site")


@pytest.mark.parametrize(
    "request_",
    [
        ("GET", "", None),
        ("PATCH", "", {"description": "mine"}),
        ("DELETE", "", None),
        ("POST", "/archive", None),
        ("POST", "/restore", None),
        ("GET", "/conversions", None),
    ],
)
def test_goal__of_a_teammate_or_of_another_site__is_open_or_not_there(
    world: World, teammate: Caller, outsider: Caller, request_: tuple[str, str, Any]
) -> None:
    method, path, sent = request_
    goal = make_goal(world, "Buy")

    assert refusal(outsider.ask(method, f"/api/goals/{goal.pk}{path}", sent)) == (404, "not_found")
    assert Goal.objects.get().deleted_at is None
    assert teammate.ask(method, f"/api/goals/{goal.pk}{path}", sent).status_code in {200, 204}


def test_create__for_a_site_of_others__is_not_there(world: World, outsider: Caller) -> None:
    response = outsider.post("/api/goals", {"name": "Buy", "sitecode": SITECODE})

    assert refusal(response) == (404, "unknown_site")
    assert not Goal.objects.exists()


# Listing


def test_list__filters__narrow_it(world: World, owner: Caller) -> None:
    make_goal(world, "A person's", "shop", "checkout", origin=Goal.Origin.PERSON)
    make_goal(world, "An import's", "shop", origin=Goal.Origin.IMPORT)
    make_goal(world, "Put aside", "checkout", archived_at=START)
    world.track("100% sure_")

    made = "SegmentIO track – 100% sure_"
    assert owner.names("tag=segment.io") == [made]
    assert owner.names("tag=shop&tag=checkout") == ["A person's", "An import's", "Put aside"]
    assert owner.names("tag=shop&tag=checkout&tagsMode=all") == ["A person's"]
    assert owner.names("tag=nobody's") == []
    assert owner.names("status=INACTIVE") == ["Put aside"]
    assert owner.names("status=ACTIVE&autoMade=false") == ["A person's", "An import's"]
    assert owner.names("autoMade=true") == [made]
    assert owner.names("search=PERSON") == ["A person's"]
    assert owner.names("search=%25") == [made]
    assert owner.names("search=sure_") == [made]
    assert owner.names("search=") == ["A person's", "An import's", "Put aside", made]


def test_list__ordering__is_stable_in_both_directions(world: World, owner: Caller) -> None:
    world.track("B", at=1)
    world.track("C", at=3)
    world.track("A", at=2)
    make_goal(world, "Never converted")
    a, b, c = (f"SegmentIO track – {name}" for name in "ABC")

    assert owner.names("ordering=name") == ["Never converted", a, b, c]
    assert owner.names("ordering=-name") == [c, b, a, "Never converted"]
    assert owner.names("ordering=created") == [b, c, a, "Never converted"]
    assert owner.names("ordering=lastConversion") == [b, a, c, "Never converted"]
    assert owner.names("ordering=-lastConversion") == [c, a, b, "Never converted"]


def test_list__ordering_by_a_figure__has_pages(world: World, owner: Caller) -> None:
    for name, count, price in (("A", 3, 1), ("B", 1, 100), ("C", 2, None)):
        for number in range(count):
            world.track(name, at=number, properties={} if price is None else {"revenue": price, "currency": "EUR"})
    make_goal(world, "D")
    a, b, c = (f"SegmentIO track – {name}" for name in "ABC")

    assert owner.names("ordering=-conversions") == [a, c, b, "D"]
    assert owner.names("ordering=visitors") == ["D", a, b, c]
    assert owner.names("ordering=-revenue") == [b, a, "D", c]
    assert owner.names("ordering=revenue&currency=EUR") == [a, b, c, "D"]
    assert owner.names("ordering=-revenue&currency=USD") == ["D", c, b, a]
    assert [owner.names(f"ordering=-conversions&perPage=3&page={page}") for page in (1, 2, 3)] == [[a, c, b], ["D"], []]


def test_list__pages__cover_every_goal_once(world: World, owner: Caller) -> None:
    for number in range(5):
        make_goal(world, f"Goal {number}")

    pages = [owner.ask("GET", f"/api/goals?perPage=2&page={page}") for page in (1, 2, 3, 4)]

    assert [[goal["name"] for goal in body(page)] for page in pages] == [
        ["Goal 0", "Goal 1"],
        ["Goal 2", "Goal 3"],
        ["Goal 4"],
        [],
    ]
    assert {(page["X-Pagination-Page-Count"], page["X-Pagination-Total-Count"]) for page in pages} == {("3", "5")}


@pytest.mark.promise("K-18")
def test_list__deleted_goal__is_in_no_list(world: World, owner: Caller) -> None:
    goal = make_goal(world, "Buy")

    assert owner.ask("DELETE", f"/api/goals/{goal.pk}").status_code == 204

    assert owner.names() == []
    for method, path in (("GET", ""), ("POST", "/archive"), ("GET", "/conversions"), ("DELETE", "")):
        assert refusal(owner.ask(method, f"/api/goals/{goal.pk}{path}")) == (404, "not_found")


@pytest.mark.parametrize("count", [1, 30])
def test_list__many_goals__takes_the_same_queries(
    world: World, owner: Caller, django_assert_num_queries: Any, count: int
) -> None:
    for number in range(count):
        make_goal(world, f"Goal {number}", "shop")

    with django_assert_num_queries(5):  # count; ids; goals with sites; tags; bindings
        owner.names()


# Creating


@pytest.mark.promise("K-32")
def test_create__more_than_the_quota__consumes_none_of_it(world: World, owner: Caller) -> None:
    world.change_site(goals_per_10_seconds=1)
    for number in range(3):
        response = owner.post("/api/goals", {"name": f"Goal {number}"})
        assert response.status_code == 201, response.content

    world.track("Buy")

    assert not Goal.objects.filter(name="Goal 0").exclude(origin=Goal.Origin.API).exists()
    assert GoalCreation.objects.count() == 1
    assert world.goals() == {"Goal 0": 0, "Goal 1": 0, "Goal 2": 0, "SegmentIO track – Buy": 1}


@pytest.mark.promise("K-02")
def test_create__every_field__is_kept_and_converts_by_its_bare_name(world: World, owner: Caller) -> None:
    sent = {
        "name": " Buy  it ",
        "siteId": world.site.pk,
        "type": "CLICK",
        "description": "What counts\n",
        "hasMultipleConversions": True,
        "tags": ["shop", "a, b", "shop"],
    }

    made = body(owner.post("/api/goals", sent))
    world.track(" Buy  it ")

    assert {name: made[name] for name in sent} == {**sent, "tags": ["a, b", "shop"]}
    assert made["origin"] == "api"
    assert world.goals() == {" Buy  it ": 1}


@pytest.mark.promise("K-19")
def test_create__name_of_another_goal__is_refused_with_its_number(world: World, owner: Caller) -> None:
    goal = make_goal(world, "Buy", archived_at=START)

    response = owner.post("/api/goals", {"name": "Buy"})

    assert refusal(response) == (409, "name_taken")
    assert f"Goal {goal.pk} " in message(response)


@pytest.mark.promise("K-19")
def test_create__one_name_at_the_same_moment__makes_one_goal(world: World) -> None:
    callers = [Caller.build(world.site) for _ in range(8)]

    def create(caller: Caller) -> int:
        try:
            return caller.post("/api/goals", {"name": "Buy", "tags": ["shop"]}).status_code
        finally:
            connection.close()

    with ThreadPoolExecutor(len(callers)) as pool:
        statuses = sorted(pool.map(create, callers))

    assert statuses == [201] + 7 * [409]
    assert world.goals() == {"Buy": 0}


def test_create__credential_of_several_sites__must_name_one(world: World, teammate: Caller) -> None:
    refused = teammate.post("/api/goals", {"name": "Buy"})
    made = teammate.post("/api/goals", {"name": "Buy", "sitecode": SITECODE})

    assert refusal(refused) == (400, "invalid_request")
    assert "sitecode" in message(refused)
    assert body(made)["sitecode"] == SITECODE


@pytest.mark.promise("K-20", "I-28")
@pytest.mark.parametrize(
    ("sent", "field"),
    [
        ({}, "name"),
        ({"name": ""}, "name"),
        ({"name": None}, "name"),
        ({"name": ["Buy"]}, "name"),
        ({"name": "B" * 601}, "name"),
        ({"name": "a\0b"}, "name"),
        ({"name": "Buy", "type": "NONE"}, "type"),
        ({"name": "Buy", "type": {}}, "type"),
        ({"name": "Buy", "tags": "shop"}, "tags"),
        ({"name": "Buy", "tags": ["shop", ""]}, "tags.1"),
        ({"name": "Buy", "tags": ["t" * 101]}, "tags.0"),
        ({"name": "Buy", "tags": ["t\0"]}, "tags.0"),
        ({"name": "Buy", "tags": [str(number) for number in range(101)]}, "tags"),
        ({"name": "Buy", "description": "\0"}, "description"),
        ({"name": "Buy", "hasMultipleConversions": "perhaps"}, "hasMultipleConversions"),
        ({"name": "Buy", "siteId": 10**30}, "siteId"),
        ({"name": "Buy", "siteId": "one"}, "siteId"),
        ({"name": "Buy", "sitecode": "a\0"}, "sitecode"),
    ],
)
def test_create__wrong_field__is_named(world: World, owner: Caller, sent: Any, field: str) -> None:
    response = owner.post("/api/goals", sent)

    assert refusal(response) == (400, "invalid_request")
    assert f"{field}: " in message(response)
    assert not Goal.objects.exists()


def test_create__longest_name__is_kept_whole(world: World, owner: Caller) -> None:
    assert body(owner.post("/api/goals", {"name": "é" * 600}))["name"] == "é" * 600
