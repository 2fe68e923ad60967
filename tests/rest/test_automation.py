"""The Automation API's own paths, at the root, in its shapes (promise W13)."""

import json
from typing import Any
from urllib.parse import quote

import pytest

from api.ingest.provisioning import create_site
from api.models import AuditEntry
from api.rest.automation import goals as automation_goals
from cohorts.models import CustomData
from goals.models import Goal
from tests.support.management_api import Caller, body, make_goal, message, refusal
from tests.world import CLIENT_ID, SECRET, SITECODE, World


def condition(field: str, operator: str, *parameters: Any) -> dict[str, Any]:
    return {"field": field, "operator": operator, "parameters": list(parameters)}


def ask(caller: Caller, path: str, *conditions: dict[str, Any], sort: Any = None, **query: object) -> Any:
    """Return the JSON of a list with these filters."""
    given = [f"{name}={value}" for name, value in query.items()]
    given += [f"filter={quote(json.dumps(conditions))}"] if conditions else []
    given += [f"sort={quote(json.dumps(sort))}"] if sort else []
    return caller.get(f"{path}?{'&'.join(given)}")


@pytest.fixture
def goals(world: World) -> list[Goal]:
    made = [make_goal(world, f"Goal {number}", *(["new"] if number > 2 else [])) for number in range(5)]
    Goal.objects.filter(pk=made[0].pk).update(archived_at=world.site.created_at)
    return made


@pytest.mark.promise("W13")
@pytest.mark.parametrize(
    ("conditions", "numbers"),
    [
        ([condition("name", "EQUAL", "Goal 1")], [1]),
        ([condition("name", "EQUAL", "Goal 1", "Goal 3")], [1, 3]),
        ([condition("name", "NOT_EQUAL", "Goal 1")], [0, 2, 3, 4]),
        ([condition("name", "CONTAINS", "goal")], [0, 1, 2, 3, 4]),
        ([condition("tags", "EQUAL", "new")], [3, 4]),
        ([condition("status", "EQUAL", "INACTIVE")], [0]),
        ([condition("isArchived", "EQUAL", "false"), condition("tags", "NOT_EQUAL", "new")], [1, 2]),
        ([condition("dateCreated", "GREATER", "2100-01-01T00:00:00Z")], []),
        ([condition("dateCreated", "BETWEEN", "2000-01-01", "2100-01-01T00:00:00")], [0, 1, 2, 3, 4]),
        ([condition("siteId", "EQUAL", "99999999")], []),
    ],
)
def test_goals__filtered__are_those_that_pass(
    world: World, owner: Caller, goals: list[Goal], conditions: list[dict[str, Any]], numbers: list[int]
) -> None:
    conditions = [*conditions, condition("siteId", "EQUAL", str(world.site.pk))] if numbers else conditions

    shown = ask(owner, "/goals", *conditions)

    assert [goal["id"] for goal in shown] == [goals[number].pk for number in numbers]


def test_goals__by_id_range_sorted_and_paged__have_the_count_of_pages(
    world: World, owner: Caller, goals: list[Goal]
) -> None:
    ids = [goal.pk for goal in goals]
    sort = [{"field": "name", "direction": "DESC"}]
    assert [row["id"] for row in ask(owner, "/goals", sort=sort)] == ids[::-1]
    assert [row["id"] for row in ask(owner, "/goals", condition("id", "LOWER", ids[2]))] == ids[:2]

    pages = [owner.ask("GET", f"/goals?perPage=2&page={page}") for page in (1, 2, 3, 4)]

    assert [[row["id"] for row in body(page)] for page in pages] == [ids[:2], ids[2:4], ids[4:], []]
    assert {page["X-Pagination-Page-Count"] for page in pages} == {"3"}


@pytest.mark.parametrize("name", [name for name in automation_goals.FIELDS if name != "tags"])
def test_goals__by_any_field__have_the_value_that_is_shown(
    world: World, owner: Caller, goals: list[Goal], name: str
) -> None:
    listed = ask(owner, "/goals", sort=[{"field": name}])

    found = {goal["id"]: ask(owner, "/goals", condition(name, "EQUAL", goal[name])) for goal in listed}

    assert sorted(found) == [goal.pk for goal in goals]
    assert found == {goal["id"]: [one for one in found[goal["id"]] if one[name] == goal[name]] for goal in listed}
    assert all(goal in found[goal["id"]] for goal in listed)


@pytest.mark.parametrize(
    "query",
    [
        "filter=x",
        "filter={}",
        f"filter={'[' * 1_500}",
        f"sort={'[' * 1_500}",
        f"filter={quote(json.dumps([condition('name', 'EQUAL', json.loads('[' * 500 + ']' * 500))]))}",
        f"filter={quote(json.dumps([condition('colour', 'EQUAL', 'red')]))}",
        f"filter={quote(json.dumps([condition('name', 'LIKE', 'red')]))}",
        f"filter={quote(json.dumps([condition('id', 'EQUAL', 'red')]))}",
        f"filter={quote(json.dumps([condition('id', 'BETWEEN', 1)]))}",
        f"filter={quote(json.dumps([condition('id', 'EQUAL')]))}",
        f"sort={quote(json.dumps([{'field': 'colour'}]))}",
        "sort=name",
        "page=0",
    ],
)
def test_list__with_a_wrong_query__is_400(world: World, owner: Caller, query: str) -> None:
    assert refusal(owner.ask("GET", f"/goals?{query}")) == (400, "invalid_request")


@pytest.mark.promise("W13")
def test_goal__by_an_access_token__is_created_replaced_and_deleted(world: World, owner: Caller) -> None:
    form = {"grant_type": "client_credentials", "client_id": CLIENT_ID, "client_secret": SECRET}
    token = world.client.post("/oauth/token", data=form).json()["access_token"]
    caller = Caller(f"Bearer {token}", owner.credential)
    new = {"name": "Bought", "siteId": world.site.pk, "type": "CUSTOM", "hasMultipleConversions": True}

    made = body(caller.post("/goals", new))
    replaced = caller.ask("PUT", f"/goals/{made['id']}", {**made, "name": "Sold"})

    assert {name: made[name] for name in new} == new
    assert body(replaced)["name"] == "Sold"
    assert body(caller.patch(f"/goals/{made['id']}/", {"tags": ["a"]}))["tags"] == ["a"]
    assert caller.ask("DELETE", f"/goals/{made['id']}").status_code == 204
    assert refusal(caller.ask("GET", f"/goals/{made['id']}")) == (404, "not_found")


@pytest.mark.promise("W13")
def test_sites__by_code__give_the_numeric_id(world: World, teammate: Caller) -> None:
    assert len(ask(teammate, "/sites")) == 2

    (shown,) = ask(teammate, "/sites", condition("code", "EQUAL", SITECODE))

    assert (shown["id"], shown["code"], shown["name"]) == (world.site.pk, SITECODE, "Shop")
    assert teammate.get(f"/sites/{world.site.pk}") == shown
    assert refusal(teammate.ask("GET", f"/sites/{create_site(name='Else').pk}")) == (404, "not_found")


def test_custom_data__created__gets_the_next_index_and_is_served(world: World, owner: Caller) -> None:
    new = {"name": "personas", "siteId": world.site.pk, "method": "SDK", "type": "LIST", "format": "STRING"}
    made = body(owner.post("/custom-datas", {**new, "scope": "VISITOR"}))
    second = body(owner.post("/custom-datas", {**new, "name": "plan", "index": 7, "method": "GTM"}))
    third = body(owner.post("/custom-datas", {**new, "name": "third"}))

    assert {name: made[name] for name in new} == new
    assert [row["index"] for row in (made, second, third)] == [1, 7, 2]
    assert second["method"] == "SDK"
    file = world.client.get(f"/v3/{SITECODE}").json()
    assert [row["name"] for row in file["customData"]] == ["personas", "third", "plan"]
    assert [row["id"] for row in ask(owner, "/custom-datas", condition("index", "GREATER", 1))] == [
        second["id"],
        third["id"],
    ]
    assert AuditEntry.objects.filter(what__startswith="Created the custom data").count() == 3


def test_custom_data__changed_and_deleted__is_served_so(world: World, owner: Caller) -> None:
    made = body(owner.post("/custom-datas", {"name": "plan", "isMappingIdentifier": True}))
    path = f"/custom-datas/{made['id']}"

    assert body(owner.patch(path, {"name": "tier"}))["isMappingIdentifier"] is True
    assert body(owner.ask("PUT", path, {**made, "name": "level"}))["name"] == "level"
    assert world.client.get(f"/v3/{SITECODE}").json()["customData"][0]["name"] == "level"
    assert owner.ask("DELETE", path).status_code == 204
    assert world.client.get(f"/v3/{SITECODE}").json()["customData"] == []
    assert [entry.what.split()[0] for entry in AuditEntry.objects.order_by("pk")] == [
        "Created",
        "Changed",
        "Changed",
        "Deleted",
    ]


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"name": "taken"}, "name"),
        ({"name": "new", "index": 1}, "index"),
        ({"name": "new", "isMappingIdentifier": True, "isLocalOnly": True}, "isMappingIdentifier"),
        ({"name": "new", "filledFrom": "segment", "filling": "x"}, "filling"),
        ({"name": "new", "type": "TREE"}, "type"),
    ],
)
def test_custom_data__that_cannot_be__is_400_and_names_the_field(
    world: World, owner: Caller, fields: dict[str, Any], named: str
) -> None:
    CustomData.objects.create(site=world.site, index=1, name="taken")

    answer = owner.post("/custom-datas", fields)

    assert refusal(answer) == (400, "invalid_request")
    assert named in message(answer)
    assert CustomData.objects.count() == 1
