"""Rules in use: stored fields, created goals, and the forecast before rules are saved."""

import random
from dataclasses import asdict
from decimal import Decimal
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection

from api.digest.forecast import Forecast, forecast_rules
from api.digest.replay import replay
from api.http.credentials import clear_lookups
from api.ingest import accept
from api.ingest.provisioning import create_source
from api.models import Message, Rule, Source
from api.rules import rule as pure
from cohorts.models import Identity
from goals.models import Conversion, Goal
from tests.support.messages import all_bodies
from tests.support.rules import add_rule
from tests.support.tracking import KEY, basic
from tests.world import World


def send(world: World, *events: dict[str, Any], key: str = KEY) -> None:
    response = world.client.post("/v1/batch", json={"batch": list(events)}, headers=basic(key))
    assert response.status_code == 200, response.text
    world.digest()


@pytest.mark.promise("B-08", "B-09", "B-10")
@pytest.mark.parametrize(
    ("template", "goal"),
    [
        ("", "SegmentIO track – Home"),
        ("Page: {name}", "SegmentIO track – Page: Home"),
        ("{name} Viewed", "SegmentIO track – Home Viewed"),
    ],
)
def test_page__under_a_rule__becomes_a_track_by_its_name(
    world: World, source: Source, template: str, goal: str
) -> None:
    add_rule(world, "page_to_track", event_type="page")
    if template:
        add_rule(world, "rename", template)

    send(world, {"type": "page", "name": "Home", "userId": "u1", "messageId": "m1"})

    assert world.goals() == {goal: 1}


def test_event__dropped_by_a_rule__leaves_nothing_but_its_reason(world: World, source: Source) -> None:
    add_rule(world, "drop", "Nobody needs heartbeats.", name_test="prefix", name_value="Heart")

    send(world, {"type": "track", "event": "Heartbeat", "userId": "u1", "context": {"traits": {"plan": "gold"}}})

    message = world.last_message()
    assert (message.status, message.effects, message.reason) == ("done", ["nothing"], "dropped_by_rule")
    assert message.detail == "Nobody needs heartbeats."
    assert (world.goals(), Identity.objects.count()) == ({}, 0)


def test_event__that_makes_no_goal__still_tells_of_its_person(world: World, source: Source) -> None:
    add_rule(world, "no_goal", event_type="track")

    send(world, {"type": "track", "event": "E", "userId": "u1", "context": {"traits": {"plan": "gold"}}})

    assert (world.goals(), world.traits("u1")) == ({}, {"plan": "gold"})
    assert world.last_message().effects == ["profile_updated"]


@pytest.mark.promise("A-05")
def test_group__from_a_field__has_its_traits_and_the_goal_is_made(world: World, source: Source) -> None:
    add_rule(
        world,
        "group_from",
        "properties.AudienceId",
        group_traits={"country": "context.location.country"},
        source=source,
    )
    event = {
        "type": "track",
        "event": "click",
        "anonymousId": "a1",
        "properties": {"AudienceId": ["42"]},
        "context": {"location": {"country": "GB"}},
    }

    send(world, event)

    assert world.read("IDENTIFY_a1") == {"traits": {}, "groupId": "42"}
    assert world.goals() == {"SegmentIO track – click": 1}


def test_names_with_numbers__under_a_pattern_goal__spare_the_quota(world: World, source: Source) -> None:
    world.change_site(goals_per_10_seconds=1)
    add_rule(world, "pattern_goal", "Viewed order {n}")

    send(world, *({"type": "track", "event": f"Viewed order {n}", "userId": "u1"} for n in range(300)))

    assert world.goals() == {"SegmentIO track – Viewed order {n}": 300}
    assert len(world.creations()) == 1


@pytest.mark.promise("B-07")
def test_source__told_to_take_no_track__lets_another_one_count(world: World, source: Source) -> None:
    create_source(world.site, name="Server", kind="server", write_key="server_key")
    Source.objects.filter(pk=source.pk).update(takes_track=False)

    for key in (KEY, "server_key"):
        send(
            world,
            {"type": "track", "event": "E", "userId": "u1", "messageId": key},
            {"type": "page", "name": "Home", "userId": "u1", "messageId": key},
            key=key,
        )

    assert world.goals() == {"SegmentIO page – Home": 2, "SegmentIO track – E": 1}
    assert Message.objects.get(source=source, type="track").reason == "track_not_taken"


def test_rules__of_one_source__do_not_concern_another(world: World, source: Source) -> None:
    create_source(world.site, name="Server", kind="server", write_key="server_key")
    add_rule(world, "no_goal", source=source)
    add_rule(world, "rename", "of the site", is_enabled=False)

    for key in (KEY, "server_key"):
        send(world, {"type": "track", "event": "E", "userId": "u1"}, key=key)

    assert world.goals() == {"SegmentIO track – E": 1}


@pytest.mark.promise("A-03")
def test_source__of_altis__makes_no_goals_of_sessions_and_page_titles(world: World) -> None:
    create_source(world.site, name="Altis", kind="altis", write_key=KEY)

    send(
        world,
        {"type": "track", "event": "_session.start", "anonymousId": "a1"},
        {"type": "page", "name": "Offers", "anonymousId": "a1"},
        {"type": "track", "event": "click", "anonymousId": "a1"},
    )

    assert world.goals() == {"SegmentIO track – click": 1}


# Revenue


@pytest.mark.parametrize(
    ("properties", "revenue", "warnings"),
    [
        ({"total": 12.5, "currency": "EUR"}, "12.5 EUR", []),
        ({"total": 12.5, "revenue": 3}, "3 USD", []),
        ({"total": "7", "revenue": None}, "7 USD", []),
        ({"total": "7", "revenue": ""}, "7 USD", []),
        ({"total": "$7"}, None, ["invalid_revenue"]),
        ({"total": None, "value": 4}, "4 USD", []),
        ({"other": 1}, None, []),
        ({"total": 7, "revenue": "$3"}, None, ["invalid_revenue"]),
    ],
)
def test_revenue_from__a_field__counts_where_the_event_has_no_revenue(
    world: World, properties: dict[str, Any], revenue: str | None, warnings: list[str]
) -> None:
    world.post(world.event(event="Order Completed", properties=properties))
    rules = [pure.EventRule("revenue_from", "properties.total"), pure.EventRule("revenue_from", "properties.value")]
    forecast = forecast_rules(world.site, [(None, rule) for rule in rules])
    for rule in rules:
        add_rule(world, rule.action, rule.argument)
    world.digest()

    conversion = Conversion.objects.get()
    told = None if conversion.revenue is None else f"{conversion.revenue.normalize():f} {conversion.currency}"
    assert told == revenue
    assert world.last_message().warnings == warnings
    expected = {} if revenue is None else {revenue.split()[1]: Decimal(revenue.split()[0])}
    assert forecast.revenue_then == expected
    call_command("verify", stdout=StringIO())


# Redaction


@pytest.mark.parametrize("path", ["/v1/batch", "/segmentio"])
def test_field__that_must_not_be_stored__is_in_no_table(world: World, path: str) -> None:
    source = (
        world.site.sources.get()
        if path == "/segmentio"
        else create_source(world.site, name="Web", kind="browser", write_key=KEY)
    )
    add_rule(world, "drop_field", "traits.email", source=source)
    add_rule(world, "hash_field", "traits.phone")
    secret = {"email": "ada@example.com", "phone": "+441234", "plan": "gold"}
    events: list[dict[str, Any]] = [
        {"type": "identify", "userId": "u1", "messageId": "m1", "traits": secret},
        {"type": "identify", "userId": "u1", "messageId": "m2", "properties": secret},
        {"type": "track", "event": "E", "userId": "u1", "messageId": "m3", "context": {"traits": secret}},
        {"type": "track", "userId": "u1", "messageId": "refused", "context": {"traits": secret}},
    ]

    if path == "/segmentio":
        world.post(events)
    else:
        world.client.post(path, json={"batch": events}, headers=basic())
    world.client.post(path, content=b'{"email": "ada@example.com', headers=basic())
    world.post(b'{"email": "ada@example.com')
    world.digest()

    stored = b"".join(all_bodies())
    everything = stored + str(list(Identity.objects.values_list("registers", flat=True))).encode()
    everything += str(list(Conversion.objects.values_list("properties", flat=True))).encode()
    assert b"ada@example.com" not in everything
    assert b"+441234" not in everything
    assert world.traits("u1")["plan"] == "gold"
    assert world.traits("u1")["phone"].startswith("sha256:")


SECRET = b'"email": "ada@example.com"'
# However JSON writes the field, and wherever a sender puts the trait.
WAYS_IN = [
    b'"type": "identify", "traits": {"email": "other", %b}' % SECRET,
    b'"type": "identify", "traits": {%b, "email": "other"}' % SECRET,
    b'"type": "identify", "traits": {"em\\u0061il": "ada@example.com"}',
    b'"type": "identify", "tr\\u0061its": {%b}' % SECRET,
    b'"type": "identify", "properties": {%b}' % SECRET,
    b'"type": "identify", "context": {"traits": {%b}}' % SECRET,
    b'"type": "Identify", "properties": {%b}' % SECRET,
    b'"properties": {%b}' % SECRET,
    b'"type": "page", "name": "Home", "context": {"traits": {%b}}' % SECRET,
    b'"type": "identify", "traits": [{%b}]' % SECRET,
    b'"type": "identify", "traits": {"email": ["ada@example.com"]}',
    b'"type": "identify", "traits": {"email": {"home": "ada@example.com"}}',
    b'"type": "alias", "previousId": "u2", "traits": {%b}, "context": {"traits": {%b}}' % (SECRET, SECRET),
    b'"type": "group", "groupId": "g", "properties": {%b}' % SECRET,
    b'"type": "group", "groupId": "g", "traits": {%b}' % SECRET,
    b'"type": "track", "event": "Trait Computed", "properties": {"trait_key": "email", %b}' % SECRET,
    b'"type": "track", "event": "Trait Computed", "properties": {%b}, '
    b'"context": {"personas": {"computation_key": "email"}}' % SECRET,
    b'"type": "track", "event": "", "traits": {%b}' % SECRET,
]


def everything_stored() -> str:
    """Every row of every table, and every body."""
    texts = [body.decode() for body in all_bodies()]
    with connection.cursor() as cursor:
        for table in connection.introspection.table_names(cursor):
            cursor.execute(f'SELECT t::text FROM "{table}" t')
            texts += [row[0] for row in cursor.fetchall()]
    return "\n".join(texts)


@pytest.mark.parametrize("action", ["drop_field", "hash_field"])
@pytest.mark.parametrize("way", WAYS_IN)
def test_trait__that_must_not_be_stored__comes_in_by_no_way(world: World, way: bytes, action: str) -> None:
    add_rule(world, action, "traits.email")

    world.post(b'{"userId": "u1", "messageId": "m", %b}' % way)
    world.digest()

    assert Message.objects.count() == 1
    assert "ada@example.com" not in everything_stored()


def test_trait__of_an_event_that_was_kept_before_the_rule__is_not_in_what_is_tried_again(world: World) -> None:
    traits = {"email": "ada@example.com", "plan": "gold"}
    world.change_site()
    source = world.site.sources.get()
    Source.objects.filter(pk=source.pk).update(is_enabled=False)
    clear_lookups()
    assert world.post(world.event("identify", userId="u1", traits=traits)).status_code == 403
    assert world.post([world.event("identify", userId="u2", traits=traits)]).status_code == 403
    Source.objects.filter(pk=source.pk).update(is_enabled=True)
    add_rule(world, "drop_field", "traits.email")

    replay(world.site.pk, "integration_off", who="x")
    world.digest()

    assert world.traits("u1") == world.traits("u2") == {"plan": "gold"}
    assert "ada@example.com" not in everything_stored()


# Forecast


NAMES = ("Signed Up", "Viewed order 1", "Viewed order 2", "Heartbeat", "Home")
RULES = (
    pure.EventRule("drop", "heartbeats", name_test="prefix", name_value="Heart"),
    pure.EventRule("pattern_goal", "Viewed order {n}"),
    pure.EventRule("no_goal", event_type="page"),
    pure.EventRule("page_to_track", event_type="page"),
    pure.EventRule("rename", "Page: {name}", event_type="page"),
    pure.EventRule("rename", "{properties.title}", path="properties.title", path_test="exists"),
    pure.EventRule("group_from", "properties.team", group_traits=(("size", "properties.size"),)),
    pure.EventRule("no_goal", path="traits.plan", path_test="equals", path_value="gold"),
)


def random_events(draw: random.Random) -> list[dict[str, Any]]:
    def event(number: int) -> dict[str, Any]:
        type_ = draw.choice(["track", "track", "page", "identify"])
        return {
            "type": type_,
            "messageId": f"m{number}",
            "timestamp": f"2026-11-0{draw.randint(1, 9)}T00:00:00Z",
            draw.choice(["userId", "anonymousId"]): f"p{draw.randint(1, 4)}",
            **({"event": draw.choice(NAMES)} if type_ == "track" else {}),
            **({"name": draw.choice(NAMES)} if type_ == "page" else {}),
            **({"traits": {"plan": draw.choice(["gold", "tin"])}} if type_ == "identify" else {}),
            **({"properties": {"team": draw.choice("ab"), "size": 3}} if draw.random() < 0.3 else {}),
            **({"context": {"traits": {"plan": draw.choice(["gold", "tin"])}}} if draw.random() < 0.3 else {}),
        }

    return [event(number) for number in range(60)]


@pytest.mark.promise("N-08")
@pytest.mark.parametrize("seed", range(8))
def test_what_if__of_random_rules__is_what_happens_once_they_are_saved(world: World, source: Source, seed: int) -> None:
    draw = random.Random(seed)
    world.change_site(goals_per_10_seconds=1_000)
    Goal.objects.create(site=world.site, name="SegmentIO track – Signed Up")
    rules = [(draw.choice([None, source.pk]), rule) for rule in draw.sample(RULES, draw.randint(1, 5))]
    events = random_events(draw)
    world.client.post("/v1/batch", json={"batch": events[:40]}, headers=basic())
    world.post(events[40:])

    forecast = forecast_rules(world.site, rules, last=1_000)

    for number, (source_id, rule) in enumerate(rules):
        fields = {**asdict(rule), "group_traits": dict(rule.group_traits)}
        fields.pop("id")
        Rule.objects.create(site=world.site, source_id=source_id, position=number, **fields)
    goals_before = Goal.objects.count()
    world.digest()
    conversions = {name: count for name, count in world.goals().items() if count}
    assert {goal.name: goal.conversions_then for goal in forecast.goals if goal.conversions_then} == conversions
    assert forecast.conversions_then == sum(conversions.values())
    assert forecast.goals_made_then == Goal.objects.count() - goals_before
    assert forecast.dropped_then == Message.objects.filter(reason="dropped_by_rule").count()
    assert forecast.rejected_then == Message.objects.filter(status="rejected").count()
    for profile in forecast.profiles:
        registers = Identity.objects.filter(site=world.site, value=profile.value)
        found = [each.registers for each in registers if each.get_kind_display() == profile.kind]
        kept = found[0] if found else {}
        assert profile.then.get("traits", {}) == {name: each[3] for name, each in kept.get("traits", {}).items()}
        assert profile.then.get("group") == (kept["group"][3] if "group" in kept else None)


def test_what_if__of_no_rules_more__changes_nothing_and_writes_nothing(world: World, source: Source) -> None:
    rule = add_rule(world, "no_goal", event_type="page")
    send(world, {"type": "page", "name": "Home", "userId": "u1"}, {"type": "track", "event": "E", "userId": "u1"})
    before = (Message.objects.count(), Goal.objects.count(), Conversion.objects.count())

    same = forecast_rules(world.site, [(None, pure.EventRule("no_goal", event_type="page", id=rule.pk))])

    assert (same.conversions_now, same.conversions_then, same.profiles_changed) == (1, 1, 0)
    assert (Message.objects.count(), Goal.objects.count(), Conversion.objects.count()) == before
    none = forecast_rules(world.site, [])
    assert isinstance(none, Forecast)
    assert (none.conversions_then, none.goals_made_then, none.messages) == (2, 1, 2)


def test_what_if__of_a_redaction__shows_profiles_without_the_field(world: World, source: Source) -> None:
    send(world, {"type": "identify", "userId": "u1", "traits": {"email": "ada@example.com", "plan": "a"}})

    forecast = forecast_rules(world.site, [(None, pure.EventRule("drop_field", "traits.email"))])

    assert [(each.now["traits"], each.then["traits"]) for each in forecast.profiles] == [
        ({"email": "ada@example.com", "plan": "a"}, {"plan": "a"})
    ]


def test_rules__that_take_too_long__have_the_request_refused_and_nothing_stored(
    world: World, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_rule(world, "drop_field", "properties.email")
    events = [world.event(properties={"email": "ada@example.com"}) for _ in range(3)]
    assert world.client.post("/v1/batch", json={"batch": events}, headers=basic(KEY)).status_code == 200
    monkeypatch.setattr(accept, "RULE_SECONDS", 0.0)

    answer = world.client.post("/v1/batch", json={"batch": [*events, world.event()]}, headers=basic(KEY))

    assert (answer.status_code, answer.json()["code"]) == (429, "overloaded")
    assert "rules" in answer.json()["message"]
    assert int(answer.headers["retry-after"]) > 0
    assert Message.objects.count() == 3
    one = {**events[0], "messageId": "alone"}  # one event by itself is always taken
    assert world.client.post("/v1/track", json=one, headers=basic(KEY)).status_code == 200
    assert b"example.com" not in b"".join(all_bodies())
