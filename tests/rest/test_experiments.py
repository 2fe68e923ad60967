"""Experiments in the management API: made, described, changed, decided and archived, each with its audit entry."""

from typing import Any

import pytest

from api.ingest.provisioning import create_site
from api.models import AuditEntry
from goals.experiments.models import Experiment, Variation
from goals.experiments.numbers import number_of
from goals.models import Goal
from tests.support.concurrency import in_threads
from tests.support.management_api import Caller, body, message
from tests.world import SITECODE, World

PATH = f"/api/sites/{SITECODE}/experiments"
VARIATIONS: list[dict[str, Any]] = [
    {"key": "a", "name": "Old", "share": "0.5", "isReference": True},
    {"key": "b", "share": "0.5"},
]


@pytest.fixture
def goal(world: World) -> Goal:
    return Goal.objects.create(site=world.site, name="Order")


@pytest.fixture
def experiment(owner: Caller, goal: Goal) -> Any:
    new = {"key": "checkout-2", "name": "Checkout 2", "variations": VARIATIONS, "goals": [{"goal": goal.pk}]}
    return body(owner.post(PATH, new))


def test_experiment__made_by_a_program__is_listed_with_all_its_parts(
    owner: Caller, experiment: Any, goal: Goal
) -> None:
    assert owner.get(PATH) == [experiment]
    assert owner.get(f"{PATH}/{experiment['id']}") == experiment
    assert (experiment["number"], experiment["state"], experiment["origin"]) == (
        number_of("checkout-2"),
        "draft",
        "api",
    )
    assert [(each["key"], each["name"], each["share"]) for each in experiment["variations"]] == sorted(
        [("a", "Old", "0.50000000"), ("b", "b", "0.50000000")], key=lambda each: number_of(each[0])
    )
    assert experiment["goals"] == [{"goal": goal.pk, "role": "secondary"}]
    assert AuditEntry.objects.latest("pk").what == f"Created the experiment {experiment['id']}"


def test_experiment__that_exposures_made__is_listed_with_its_tags(world: World, owner: Caller) -> None:
    world.send(
        world.event(
            event="Experiment Viewed",
            properties={"experiment_id": "menu", "experiment_name": "Menu", "variation_id": "on"},
        )
    )

    (listed,) = owner.get(PATH)

    assert (listed["name"], listed["state"], listed["tags"]) == ("Menu", "running", ["segment.io"])
    assert [each["key"] for each in listed["variations"]] == ["on"]


def test_experiment__with_a_key_that_exists__is_400_and_changes_nothing(owner: Caller, experiment: Any) -> None:
    answer = owner.post(PATH, {"key": "checkout-2"})

    assert answer.status_code == 400
    assert "has an experiment with the key “checkout-2”" in message(answer)
    assert Experiment.objects.count() == 1


def test_change__of_fields_goals_and_decision__is_in_the_log(owner: Caller, experiment: Any, goal: Goal) -> None:
    path = f"{PATH}/{experiment['id']}"

    changed = body(
        owner.patch(
            path,
            {
                "hypothesis": "Fewer steps",
                "windowDays": 14,
                "goals": [{"goal": goal.pk, "role": "primary"}],
                "decided": {"decision": "ship", "reason": "It pays", "variation": "b"},
            },
        )
    )

    assert (changed["hypothesis"], changed["windowDays"], changed["state"]) == ("Fewer steps", 14, "decided")
    assert (changed["decidedFor"], changed["goals"]) == (number_of("b"), [{"goal": goal.pk, "role": "primary"}])
    entry = AuditEntry.objects.latest("pk")
    assert (entry.before or {})["goals"] == {str(goal.pk): "secondary"}
    assert (entry.after or {})["window_days"] == 14


def test_shares__of_one_that_runs__need_a_reason_and_begin_a_phase(owner: Caller, experiment: Any) -> None:
    path = f"{PATH}/{experiment['id']}"
    body(owner.patch(path, {"startedAt": "2026-11-20T00:00:00Z"}))
    wanted = [{**VARIATIONS[0], "share": "0.2"}, {**VARIATIONS[1], "share": "0.8"}]

    refused = owner.patch(path, {"name": "Lost", "variations": wanted})
    changed = body(owner.patch(path, {"variations": wanted, "reason": "More of B"}))

    assert refused.status_code == 400
    assert "Say why" in message(refused)
    assert changed["name"] == "Checkout 2"
    assert [phase["reason"] for phase in changed["phases"]] == ["More of B"]


def test_archive__takes_it_off_the_list_until_it_is_restored(owner: Caller, experiment: Any) -> None:
    path = f"{PATH}/{experiment['id']}"

    body(owner.patch(path, {"isArchived": True}))
    assert owner.get(PATH) == []
    assert [each["state"] for each in owner.get(f"{PATH}?archived=true")] == ["archived"]
    assert body(owner.patch(path, {"isArchived": False}))["state"] == "draft"


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"goals": [{"goal": 999_999}]}, "no goal 999999"),
        ({"decided": {"decision": "ship", "reason": "Why", "variation": "z"}}, "Choose a variation"),
        ({"decided": {"decision": "keep"}}, "Say why"),
        ({"windowDays": 0}, "windowDays"),
        ({"startedAt": "2026-11-20T00:00:00Z", "stoppedAt": "2026-11-19T00:00:00Z"}, "stop before it starts"),
        ({"startedAt": "0001-01-01T00:00:00Z"}, "from 1990 to 2200"),
        ({"stoppedAt": "9999-12-31T23:59:59Z"}, "from 1990 to 2200"),
        ({"variations": [{"key": "a"}, {"key": "a"}]}, "have one key"),
    ],
    ids=["goal", "ship", "reason", "window", "stop", "early", "late", "twins"],
)
def test_change__that_cannot_be__is_400_and_changes_nothing(
    owner: Caller, experiment: Any, fields: dict[str, Any], named: str
) -> None:
    answer = owner.patch(f"{PATH}/{experiment['id']}", fields)

    assert answer.status_code == 400
    assert named in message(answer)
    assert owner.get(PATH) == [experiment]


def test_goals__set_by_many_at_once__are_those_of_one(owner: Caller, experiment: Any, goal: Goal) -> None:
    path, roles = f"{PATH}/{experiment['id']}", ("primary", "secondary", "guardrail")

    answers = in_threads(6, lambda place: owner.patch(path, {"goals": [{"goal": goal.pk, "role": roles[place % 3]}]}))

    assert {answer.status_code for answer in answers} == {200}
    assert len(owner.get(path)["goals"]) == 1


def test_decision__to_ship_a_variation_of_an_sdk__names_it_by_its_key(owner: Caller, experiment: Any) -> None:
    Variation.objects.filter(key="b").update(key="-1", number=-1)

    decided = {"decision": "ship", "reason": "It pays", "variation": "-1"}

    assert body(owner.patch(f"{PATH}/{experiment['id']}", {"decided": decided}))["decidedFor"] == -1


def test_goal__of_another_site__is_400(owner: Caller, experiment: Any) -> None:
    other = Goal.objects.create(site=create_site(name="Other"), name="Buy")

    assert owner.patch(f"{PATH}/{experiment['id']}", {"goals": [{"goal": other.pk}]}).status_code == 400


def test_results__of_an_experiment__are_its_exact_sums(
    world: World, owner: Caller, goal: Goal, experiment: Any
) -> None:
    for user, variation, revenue in (("u1", "a", 5), ("u2", "b", 7.25), ("u3", "b", None)):
        properties = {"experiment_id": "checkout-2", "variation_id": variation}
        world.send(world.event(event="Experiment Viewed", at=1, userId=user, properties=properties))
        if revenue:
            world.send(world.event(event="Order", at=2, userId=user, properties={"revenue": revenue}))

    result = owner.get(f"{PATH}/{experiment['id']}/results")

    a, b = number_of("a"), number_of("b")
    assert (result["reference"], result["leftOut"], result["windowDays"]) == (a, 0, 7)
    assert {each["variation"]: each["visitors"] for each in result["visitors"]} == {a: 1, b: 2}
    revenue_of = {
        each["variation"]: (each["visitors"], each["y"], each["yy"])
        for metric in result["metrics"]
        if (metric["metric"], metric["currency"]) == ("revenue", "USD")
        for each in metric["variations"]
    }
    assert revenue_of == {a: (1, "5.000000", "25.000000000000"), b: (2, "7.250000", "52.562500000000")}


@pytest.mark.promise("N-12")
def test_results__of_a_difference__say_it_with_its_interval(
    world: World, owner: Caller, goal: Goal, experiment: Any
) -> None:
    events = []
    for variation, buyers in (("a", 30), ("b", 150)):
        for place in range(200):
            user = f"{variation}{place}"
            viewed = {"experiment_id": "checkout-2", "variation_id": variation}
            events.append(world.event(event="Experiment Viewed", at=place, userId=user, properties=viewed))
            if place < buyers:
                events.append(world.event(event="Order", at=place + 1, userId=user))
    world.send(*events)
    owner.patch(f"{PATH}/{experiment['id']}", {"goals": [{"goal": goal.pk, "role": "primary"}]})

    result = owner.get(f"{PATH}/{experiment['id']}/results")

    assert "raises Order by 400 % (" in result["sentence"]
    assert (result["state"], result["isRatioOff"]) == ("running", False)
    assert owner.get(f"{PATH}/{experiment['id']}")["state"] == "running"
    assert [each["state"] for each in owner.get(PATH)] == ["running"]
    (rate,) = [each for each in result["metrics"] if each["metric"] == "converted"]
    reference, other = rate["variations"]
    assert reference["comparison"] is None
    comparison = other["comparison"]
    assert (comparison["claim"], comparison["sentence"]) == ("higher", result["sentence"])
    assert 0 < comparison["relativeInterval"]["lower"] < 4 < comparison["relativeInterval"]["upper"]
    assert comparison["pValue"] < 0.001
