"""Conversions, people and personas that follow from events of the tracking API."""

from decimal import Decimal
from typing import Any

import pytest

from api.digest.forecast import forecast_rules
from api.models import Message, Source
from api.rules.rule import EventRule
from cohorts.models import Group, Identity
from goals.models import Conversion
from tests.support.tracking import post
from tests.world import World


@pytest.mark.parametrize("type_", ["track", "identify", "group", "page"])
def test_objects__that_php_writes_as_empty_lists__are_empty_without_a_warning(
    world: World, source: Source, type_: str
) -> None:
    event = {
        "type": type_,
        "userId": "u1",
        "event": "E",
        "groupId": "g",
        "properties": [],
        "traits": [],
        "integrations": [],
    }

    world.send({**event, "context": []}, {**event, "context": {"traits": [], "personas": []}})

    assert [(message.status, message.warnings) for message in Message.objects.all()] == [("done", [])] * 2
    world.send({"type": "identify", "userId": "u1", "traits": {"address": [], "company": []}})
    assert world.last_message().warnings == []
    world.send({**event, "properties": [1]})
    assert world.last_message().warnings == ["unreadable_properties"]


@pytest.mark.parametrize("place", ["/segmentio", "/v1/group", "/v1/batch"])
@pytest.mark.parametrize("who", [{}, {"userId": None}, {"anonymousId": "(null)"}])
def test_group__without_a_person__sets_the_traits_of_the_group(
    world: World, source: Source, place: str, who: dict[str, Any]
) -> None:
    event: dict[str, Any] = {"type": "group", "groupId": "g", "traits": {"name": "ACME"}, **who}
    bodies: dict[str, Any] = {"/segmentio": event, "/v1/group": event, "/v1/batch": {"batch": [event]}}
    answer = world.post(event) if place == "/segmentio" else post(world, place, bodies[place])
    assert answer.status_code == 200

    world.digest()

    group = Group.objects.get()
    assert (group.group_id, group.registers["traits"]["name"][3]) == ("g", "ACME")
    assert (world.statuses(), world.last_message().effects) == ([("done", "")], ["profile_updated"])
    assert not Identity.objects.exists()
    world.send(event)
    assert world.statuses()[1] == ("done", "already_known")


@pytest.mark.parametrize("type_", ["track", "identify", "page", "screen"])
def test_event__of_another_type_with_a_group_and_no_person__names_nobody(world: World, type_: str) -> None:
    world.send({"type": type_, "event": "E", "groupId": "g", "traits": {"plan": 1}})

    assert world.statuses() == [("rejected", "no_identity")]


@pytest.mark.promise("I-19", "I-20", "I-21", "I-22", "I-24")
@pytest.mark.parametrize(
    ("properties", "expected", "warnings"),
    [
        ({"revenue": 19.99, "currency": "EUR", "value": 5}, ("19.99", "EUR", "5"), []),
        ({"revenue": "19.99"}, ("19.99", "USD", None), []),
        ({"value": "3"}, (None, None, "3"), []),
        ({"revenue": 1, "currency": "usd"}, ("1", "USD", None), []),
        ({"revenue": 1, "currency": "EURO"}, ("1", "XXX", None), ["unknown_currency"]),
        ({"revenue": "$19.99"}, (None, None, None), ["invalid_revenue"]),
        ({"revenue": "19,99", "value": "many"}, (None, None, None), ["invalid_revenue", "invalid_value"]),
        ({"revenue": -5}, ("-5", "USD", None), []),
        ({"revenue": 10**20}, (None, None, None), ["invalid_revenue"]),
        ({"revenue": True}, (None, None, None), ["invalid_revenue"]),
    ],
)
def test_money__of_a_track__is_exact_and_apart_from_value(
    world: World, source: Source, properties: dict[str, Any], expected: tuple[Any, ...], warnings: list[str]
) -> None:
    post(world, "/v1/track", {"userId": "u1", "event": "E", "properties": properties})
    world.digest()

    conversion = Conversion.objects.get()
    revenue, currency, value = expected
    assert conversion.revenue == (None if revenue is None else Decimal(revenue))
    assert conversion.currency == currency
    assert conversion.value == (None if value is None else Decimal(value))
    assert world.last_message().warnings == warnings


@pytest.mark.promise("I-23", "K-78")
def test_properties__of_any_name_and_type__are_kept_with_the_conversion(world: World, source: Source) -> None:
    properties = {"coupon": "SPRING", "deep": {"list": [1, {"a": None}]}, "Größe": 1.5, "is_gift": True}

    post(world, "/v1/track", {"userId": "u1", "event": "E", "properties": properties})
    world.digest()

    assert Conversion.objects.get().properties == properties
    of_coupon = EventRule("drop", path="properties.coupon", path_test="equals", path_value="SPRING")
    assert forecast_rules(world.site, [(None, of_coupon)]).dropped_then == 1


@pytest.mark.promise("K-49", "K-45")
@pytest.mark.parametrize("place", ["properties", "context", "context.traits", "traits"])
@pytest.mark.parametrize("name", ["kameleoonVisitorCode", "k_visitorCode"])
def test_visitor_code__in_any_place__is_whose_conversion_it_is(
    world: World, source: Source, place: str, name: str
) -> None:
    inner: dict[str, Any] = {name: "vc1"}
    for part in reversed(place.split(".")):
        inner = {part: inner}

    post(world, "/v1/track", {"userId": "u1", "anonymousId": "a1", "event": "E", **inner})
    world.digest()

    assert world.visitors() == ["vc1"]
    assert [world.read(f"IDENTIFY_{id_}") for id_ in ("vc1", "u1", "a1")] == [{}, {}, {}]


def test_alias__of_an_anonymous_id__makes_one_person(world: World, source: Source) -> None:
    post(world, "/v1/identify", {"anonymousId": "a1", "traits": {"plan": "gold"}})
    post(world, "/v1/track", {"anonymousId": "a1", "event": "E"})
    post(world, "/v1/alias", {"previousId": "a1", "userId": "u1"})
    world.digest()

    assert world.traits("u1") == world.traits("a1") == {"plan": "gold"}


@pytest.mark.promise("K-44")
def test_user_id__of_a_site_whose_users_are_visitors__is_the_visitor_code(world: World, source: Source) -> None:
    world.change_site(user_id_is_visitor_code=True)

    post(world, "/v1/track", {"userId": "vc1", "event": "E"})
    world.digest()

    assert Conversion.objects.values_list("visitor_code", "keyed_by").get() == ("vc1", 0)


@pytest.mark.promise("K-62", "K-63", "K-65")
@pytest.mark.parametrize("type_", ["track", "identify"])
def test_audience__sent_as_track_or_identify__is_a_persona_and_no_goal(
    world: World, source: Source, type_: str
) -> None:
    facts = {"first_time_shopper": True}
    personas = {"computation_class": "audience", "computation_key": "first_time_shopper", "namespace": "spa_1"}
    event = {
        "userId": "u1",
        **({"event": "Audience Entered", "properties": facts} if type_ == "track" else {"traits": facts}),
        "context": {"personas": personas},
        "integrations": {"All": False, "Goalpost": True},
    }

    post(world, f"/v1/{type_}", event)
    world.digest()

    assert world.read("COHORTS_u1") == {"first_time_shopper": True}
    assert world.goals() == {}
    assert world.traits("u1") == (facts if type_ == "identify" else {})


@pytest.mark.promise("I-10", "I-17")
def test_trait__reserved_and_of_a_foreign_type__warns_in_words_and_is_kept(world: World, source: Source) -> None:
    post(world, "/v1/identify", {"userId": "u1", "traits": {"age": "old", "plan": "gold"}})
    world.digest()

    assert world.traits("u1") == {"age": "old", "plan": "gold"}
    message = world.last_message()
    assert (message.status, message.warnings) == ("done", ["odd_trait"])
    assert "age" in message.detail


@pytest.mark.promise("I-16")
def test_username__of_another_user__warns_and_merges_nothing(world: World, source: Source) -> None:
    for user in ("u1", "u2"):
        post(world, "/v1/identify", {"userId": user, "traits": {"username": "ada", "of": user}})
    world.digest()

    assert world.last_message().warnings == ["username_taken"]
    assert world.traits("u1")["of"] == "u1"
