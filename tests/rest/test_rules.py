"""Requests of `/api/sites/{sitecode}/rules`: one ordered list, replaced as a whole, with a forecast."""

import json
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest
from django.db import connection
from django.http import HttpResponse

from api.ingest.provisioning import create_site, create_source
from api.models import Rule, Site
from tests.support.management_api import Caller, message, refusal
from tests.world import SITECODE, World

PATH = f"/api/sites/{SITECODE}/rules"
BLANK: dict[str, Any] = {
    "source": None,
    "name": "",
    "isEnabled": True,
    "eventType": "",
    "nameTest": "",
    "nameValue": "",
    "path": "",
    "pathTest": "",
    "pathValue": "",
    "argument": "",
    "groupTraits": {},
}


def put(caller: Caller, *rules: dict[str, Any], path: str = PATH) -> HttpResponse:
    return caller.ask("PUT", path, {"rules": rules})


def rules_of(caller: Caller) -> list[dict[str, Any]]:
    rules: list[dict[str, Any]] = caller.get(PATH)["rules"]
    return rules


@pytest.mark.promise("B-11")
@pytest.mark.parametrize("slash", ["", "/"])
def test_put__a_list__is_the_sites_in_this_order(world: World, owner: Caller, slash: str) -> None:
    source = create_source(world.site, name="Web", kind="browser")
    rules = [
        {**BLANK, "action": "page_to_track", "source": source.pk, "name": "Pages", "eventType": "page"},
        {**BLANK, "action": "rename", "eventType": "track", "argument": " {name} Viewed", "isEnabled": False},
        {
            **BLANK,
            "action": "group_from",
            "argument": "properties.AudienceId",
            "path": "properties.AudienceId",
            "pathTest": "exists",
            "groupTraits": {"country": "properties.country"},
        },
        {**BLANK, "action": "drop", "nameTest": "prefix", "nameValue": "_", "argument": "noise"},
    ]

    response = put(owner, *rules, path=f"{PATH}{slash}")

    assert response.status_code == 200, response.content
    assert json.loads(response.content) == {"rules": rules}
    assert rules_of(owner) == rules

    put(owner, rules[3], rules[0])
    assert rules_of(owner) == [rules[3], rules[0]]
    assert [rule.position for rule in Rule.objects.all()] == [0, 1]
    put(owner)
    assert rules_of(owner) == []


def test_put__fields_left_out__are_empty(world: World, owner: Caller) -> None:
    put(owner, {"action": "drop"})

    assert rules_of(owner) == [{**BLANK, "action": "drop"}]


@pytest.mark.promise("B-10", "B-08")
def test_put__a_type_in_any_case__is_the_type(world: World, owner: Caller) -> None:
    assert put(owner, {"action": "drop", "eventType": "Track", "argument": "noise"}).status_code == 200
    assert rules_of(owner)[0]["eventType"] == "track"


def test_put__rules__hold_for_the_next_events(world: World, owner: Caller) -> None:
    put(
        owner,
        {"action": "drop", "path": "properties.bot", "pathTest": "equals", "pathValue": "true"},
        {"action": "page_to_track", "eventType": "page", "nameTest": "equals", "nameValue": "Home"},
    )

    world.send(
        world.event("page", name="Home"),
        world.event("page", name="Home", properties={"bot": True}),
        world.event("page", name="About"),
    )

    assert world.goals() == {"SegmentIO page – About": 1, "SegmentIO track – Home": 1}


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"action": "explode"}, "rules.1.action: "),
        ({"action": None}, "rules.1.action: "),
        ({"eventType": "click"}, "rules.1.eventType: "),
        ({"nameTest": "like", "nameValue": "x"}, "rules.1.nameTest: "),
        ({"nameTest": "equals"}, "rules.1.nameValue: "),
        ({"nameTest": "pattern", "nameValue": "{x}"}, "rules.1.nameValue: "),
        ({"path": "properties.x"}, "rules.1.path: "),
        ({"path": "a..b", "pathTest": "exists"}, "rules.1.path: "),
        ({"pathTest": "near", "path": "x"}, "rules.1.pathTest: "),
        ({"action": "rename"}, "rules.1.argument: "),
        ({"action": "hash_field", "argument": "userId"}, "rules.1.argument: "),
        ({"argument": "x" * 501}, "rules.1.argument: "),
        ({"name": "a\0b"}, "rules.1.name: "),
        ({"groupTraits": {"country": ""}}, "rules.1.groupTraits"),
        ({"groupTraits": {"a\0b": "properties.x"}}, "rules.1.groupTraits: "),
        ({"groupTraits": ["x"]}, "rules.1.groupTraits: "),
        ({"source": 10**30}, "rules.1.source: "),
        ({"isEnabled": "perhaps"}, "rules.1.isEnabled: "),
    ],
)
@pytest.mark.promise("I-28")
def test_put__a_wrong_rule__is_named_and_nothing_replaced(
    world: World, owner: Caller, wrong: dict[str, Any], named: str
) -> None:
    put(owner, {"action": "drop", "name": "before"})
    changed_at = Site.objects.get().rules_changed_at

    response = put(owner, {"action": "drop"}, {"action": "drop", **wrong})

    assert refusal(response) == (400, "invalid_request")
    assert message(response).startswith(named), message(response)
    assert [rule["name"] for rule in rules_of(owner)] == ["before"]
    assert Site.objects.get().rules_changed_at == changed_at


@pytest.mark.parametrize("sent", [[], {}, {"rules": {}}, {"rules": [7]}, {"rules": None}, 7])
def test_put__no_list_of_rules__is_refused(world: World, owner: Caller, sent: Any) -> None:
    assert refusal(owner.ask("PUT", PATH, sent)) == (400, "invalid_request")


def test_put__source_of_another_site__is_unknown_here(world: World, teammate: Caller) -> None:
    other = create_source(create_site(name="Elsewhere"), name="Theirs", kind="server")

    for source in (other.pk, 2**62):
        response = put(teammate, {"action": "drop", "source": source})
        assert refusal(response) == (400, "invalid_request")
        assert message(response) == "rules.0.source: The site has no such source."


def test_put__two_hundred_rules__is_the_most(world: World, owner: Caller) -> None:
    assert put(owner, *[{"action": "drop"}] * 200).status_code == 200
    response = put(owner, *[{"action": "drop"}] * 201)

    assert refusal(response) == (400, "invalid_request")
    assert message(response).startswith("rules: ")
    assert len(rules_of(owner)) == 200


def test_put__fifty_rules_about_fields__is_the_most_but_for_those_there_are(world: World, owner: Caller) -> None:
    """These rules act at ingest, where senders wait for them."""
    redact = [{"action": "hash_field", "argument": f"traits.t{number}"} for number in range(60)]
    assert put(owner, *redact[:50]).status_code == 200
    response = put(owner, *redact[:51])

    assert refusal(response) == (400, "invalid_request")
    assert message(response).startswith("rules: A site may have 50 rules that remove or hash a field")
    assert put(owner, *redact[:50], *[{"action": "drop"}] * 150).status_code == 200
    Rule.objects.bulk_create(Rule(site=world.site, action="drop_field", argument="traits.x") for _ in range(5))
    assert put(owner, *redact[:55]).status_code == 200
    assert put(owner, *redact[:56]).status_code == 400
    assert put(owner, *redact[:20]).status_code == 200


def test_put__any_list__notes_when_rules_changed(world: World, owner: Caller) -> None:
    assert Site.objects.get().rules_changed_at is None
    put(owner)
    first = Site.objects.get().rules_changed_at
    put(owner, {"action": "drop"})

    assert first is not None
    assert Site.objects.get().rules_changed_at > first  # type: ignore[operator]  # not None after a change


def test_put__by_many_at_once__leaves_the_whole_list_of_one(world: World) -> None:
    together = Barrier(4)
    callers = {name: Caller.build(world.site) for name in "abcd"}

    def put_with_others(name: str) -> int:
        together.wait(timeout=60)
        status = put(callers[name], *[{"action": "drop", "name": name}] * 3).status_code
        connection.close()
        return status

    with ThreadPoolExecutor(4) as threads:
        for _ in range(10):
            assert set(threads.map(put_with_others, callers)) == {200}
            names = list(Rule.objects.values_list("name", flat=True))
            assert names in [[name] * 3 for name in callers]


@pytest.mark.promise("K-40")
@pytest.mark.parametrize("way", ["GET", "PUT", "what-if"])
def test_rules__of_a_teammate_or_of_another_site__are_open_or_not_there(
    world: World, owner: Caller, teammate: Caller, outsider: Caller, way: str
) -> None:
    put(owner, {"action": "drop", "name": "before"})
    method, path = ("POST", f"{PATH}/what-if") if way == "what-if" else (way, PATH)

    assert refusal(outsider.ask(method, path, {"rules": []})) == (404, "unknown_site")
    assert refusal(owner.ask(method, path, {"rules": []}, authorization="")) == (401, "unauthorized")
    assert len(rules_of(owner)) == 1
    assert teammate.ask(method, path, {"rules": []}).status_code == 200


# Forecasts


@pytest.mark.promise("N-08", "B-11")
@pytest.mark.parametrize("slash", ["", "/"])
def test_what_if__rules_in_hand__are_told_and_not_kept(world: World, owner: Caller, slash: str) -> None:
    source = create_source(world.site, name="Web", kind="browser")
    world.send(
        world.event(event="Viewed order 1"), world.event(event="Viewed order 2"), world.event(event="Bot", userId="bot")
    )
    rules = [
        {"action": "pattern_goal", "argument": "Viewed order {n}"},
        {"action": "drop", "nameTest": "equals", "nameValue": "Bot"},
        {"action": "drop", "isEnabled": False},
        {"action": "drop", "source": source.pk},
    ]

    response = owner.post(f"{PATH}/what-if{slash}", {"rules": rules})

    assert response.status_code == 200, response.content
    forecast = json.loads(response.content)
    profiles = forecast.pop("profiles")
    assert forecast == {
        "messages": 3,
        "goals": [
            {"name": "SegmentIO track – Bot", "isMade": False, "conversionsNow": 1, "conversionsThen": 0},
            {"name": "SegmentIO track – Viewed order 1", "isMade": False, "conversionsNow": 1, "conversionsThen": 0},
            {"name": "SegmentIO track – Viewed order 2", "isMade": False, "conversionsNow": 1, "conversionsThen": 0},
            {"name": "SegmentIO track – Viewed order {n}", "isMade": True, "conversionsNow": 0, "conversionsThen": 2},
        ],
        "goalsMadeNow": 0,
        "goalsMadeThen": 1,
        "conversionsNow": 3,
        "conversionsThen": 2,
        "droppedNow": 0,
        "droppedThen": 1,
        "rejectedNow": 0,
        "rejectedThen": 0,
        "revenueNow": {},
        "revenueThen": {},
        "profilesChanged": len(profiles),
    }
    assert rules_of(owner) == []
    assert "SegmentIO track – Viewed order {n}" not in world.goals()


def test_what_if__fewer_messages__are_the_last_ones(world: World, owner: Caller) -> None:
    world.send(world.event(event="First"), world.event(event="Second"))

    forecast = json.loads(owner.post(f"{PATH}/what-if", {"rules": [], "last": 1}).content)

    assert (forecast["messages"], [goal["name"] for goal in forecast["goals"]]) == (1, ["SegmentIO track – Second"])


def test_what_if__a_trait_that_would_be_removed__shows_in_its_profile(world: World, owner: Caller) -> None:
    world.identify(traits={"plan": "pro", "email": "ann@example.com"})

    forecast = json.loads(
        owner.post(f"{PATH}/what-if", {"rules": [{"action": "drop_field", "argument": "traits.email"}]}).content
    )

    (profile,) = forecast["profiles"]
    assert (forecast["profilesChanged"], profile["kind"], profile["value"]) == (1, "user", "user-1")
    assert profile["now"]["traits"] == {"plan": "pro", "email": "ann@example.com"}
    assert profile["then"]["traits"] == {"plan": "pro"}


@pytest.mark.parametrize(
    "wrong", [{"last": 0}, {"last": 10_001}, {"last": "all"}, {"rules": [{"action": "rename"}]}, {"rules": None}]
)
def test_what_if__impossible__is_refused(world: World, owner: Caller, wrong: dict[str, Any]) -> None:
    response = owner.post(f"{PATH}/what-if", {"rules": [], **wrong})

    assert refusal(response) == (400, "invalid_request")
