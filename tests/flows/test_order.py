"""Any order, any repetition, any split into requests, any number of workers: the state that tests/model.py predicts.

The law is about the stored messages: distinct (type, messageId) with fixed times, from any source of a site.

- A repetition is the same event again.
- Its time is its timestamp: never in the future, and without a `sentAt` that is a minute off, unless it has an
  `originalTimestamp`.
- Between equal times the position in the request decides, that of the first copy.
- An event without a messageId counts as often as it arrives.

For longer: ORDER_EXAMPLES=1000 .venv/bin/python -m pytest -q tests/flows/test_order.py
"""

import base64
import json
import os
import random
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from itertools import chain, cycle, permutations
from typing import Any

import pytest
from django.db import transaction
from django.test import override_settings
from hypothesis import given, settings
from hypothesis import strategies as st

from api.checks.run import CHECKS, run_check
from api.digest import derivation, identified_event, late_links, mapping, run
from api.digest.claims import Claims
from api.digest.readings import NEWEST, Reading
from api.events.envelope import NumberReader
from api.ingest.provisioning import create_site, create_source
from api.models import LateLink, Message, Site
from cohorts import changes, links, merge, people, remote_data
from cohorts.models import Group, Identity, PersonaFact
from goals import recording
from goals.models import Conversion, Goal
from tests.flows.test_resilience import in_threads
from tests.goals.recount import assert_exact
from tests.model import PLACEHOLDERS, Stored, Truth, canonical, exact, find_truth, read_id
from tests.world import CLIENT_ID, SECRET, START, World

PEOPLE = next(law for law in CHECKS if law.name == "people")
EXAMPLES = int(os.environ.get("ORDER_EXAMPLES", "6"))
IDS = ("u1", "u2", "a1", "a2", "v1", "v2", "é", "nobody", *sorted(PLACEHOLDERS))

Event = dict[str, Any]

values = st.sampled_from(
    [1, None, True, None, 1.0, None, "1", "é", [1], {"b": {}, "a": [1, None]}, 1e22, -0.0, 1e-7, 1.5]
)
traits = st.dictionaries(st.sampled_from(["plan", "age"]), values, max_size=2) | st.fixed_dictionaries(
    {},
    optional={
        **{
            name: st.sampled_from(["Ada", None, "é", " ", ["Ada"], 1])
            for name in ("firstName", "first_name", "lastName", "last_name", "name")
        },
        "company": st.sampled_from([{"id": "c1"}, {"id": 7}, {"id": 7.0}, {"name": "C"}, None, "C"]),
    },
)
money = st.fixed_dictionaries(
    {},
    optional={
        "revenue": st.sampled_from([25.5, "19.99", 0, -3, None, "€5"]),
        "currency": st.sampled_from(["EUR", "gbp"]),
    },
)
computed = {"personas": {"computation_class": "audience", "computation_key": "p1"}}


def say(type_: str, **fields: Any) -> st.SearchStrategy[Event]:
    """Draw an event without ids and time."""
    return st.fixed_dictionaries({"type": st.just(type_), **fields})


MEANINGS = (
    say("track", event=st.sampled_from(["A", "B", "é"]), properties=money),
    say("page", name=st.sampled_from(["A", "B"]), properties=money),
    say("page", properties=st.just({"path": "/", "title": "A"})),
    say("page", properties=st.just({"title": "A"}), category=st.just("B")),
    say("screen", event=st.sampled_from(["A", "B"])),
    say("track", event=st.just("Kameleoon identifier")),
    say(
        "track", event=st.just("Trait Computed"), properties=st.builds(lambda v: {"trait_key": "age", "age": v}, values)
    ),
    say(
        "track",
        event=st.sampled_from(["Audience Entered", "Audience Exited"]),
        properties=st.sampled_from([{"audience_key": "p1"}, {"audience_key": "p1", "p1": False}, {"p2": True}]),
    ),
    say(
        "track", event=st.just("C"), properties=st.builds(lambda v: {"p1": v}, st.booleans()), context=st.just(computed)
    ),
    say("identify", traits=st.builds(lambda v: {"p1": v}, st.booleans()), context=st.just(computed)),
    say("identify", traits=traits),
    say("identify", properties=traits),
    say("group", groupId=st.sampled_from(["g1", "g2"]), properties=traits),
    say("group", groupId=st.sampled_from(["g1", "(null)"]), traits=traits),
    say("alias", previousId=st.sampled_from(["u1", "u2", "é", "a1", "{{userId}}"])),
)


# "é" is a user, an anonymous id and a visitor code: three identities.
POOLS: dict[str, tuple[Any, ...]] = {
    "meaning": MEANINGS,
    "userId": ("u1", "u2", "é", "(null)", None),
    "anonymousId": ("a1", "a2", "é", "00000000-0000-0000-0000-000000000000", None),
    "visitor": ("v1", "v2", "é", "{{userId}}", None, None, None),
    "messageId": ("m1", "m2", "m3", "m4", "é", "(null)", None, None, None),
    "seconds": (0, 1, 2),
    "wishes": (
        *(None, None, None, None, {}, [], {"All": True}, {"All": False}, {"All": False, "Goalpost": True}),
        *({"All": False, "kameleoon": {}}, {"Kameleoon": False}, {"Goalpost": True, "Kameleoon": False}),
    ),
}


@st.composite
def events(draw: st.DrawFn, pools: Mapping[str, Sequence[Any]]) -> Event:
    event = dict(draw(st.one_of(pools["meaning"])))
    ids = {name: draw(st.sampled_from(pools[name])) for name in ("userId", "anonymousId", "messageId")}
    event |= {name: id_ for name, id_ in ids.items() if id_ is not None}
    beside = dict(draw(st.just({}) | traits))
    for code in draw(st.lists(st.sampled_from(pools["visitor"]), min_size=1, max_size=2)):
        if code is not None:
            place = draw(st.sampled_from(["properties", "traits", "context", "context.traits"]))
            name = draw(st.sampled_from(["kameleoonVisitorCode", "k_visitorCode"]))
            if place == "context.traits":
                beside |= {name: code}
            else:
                event[place] = {**event.get(place, {}), name: code}
    if beside:
        event["context"] = {**event.get("context", {}), "traits": beside}
    at = START + timedelta(seconds=draw(st.sampled_from(pools["seconds"])))
    event["timestamp"] = at.astimezone(timezone(timedelta(hours=draw(st.sampled_from([0, -7]))))).isoformat()
    wishes = draw(st.sampled_from(pools["wishes"]))
    if wishes is not None:
        event["integrations"] = wishes
    if draw(st.booleans()):  # already corrected by a forwarder, so a wrong `sentAt` must not change it
        event |= {"originalTimestamp": START.isoformat(), "sentAt": (START - timedelta(days=2)).isoformat()}
    return event


@st.composite
def several_events(draw: st.DrawFn) -> list[Event]:
    """Events that the inbox tells apart, often of a few pieces only, so that they meet.

    Some have one messageId under several types (W11).
    """
    pools = {
        name: draw(st.lists(st.sampled_from(pool), min_size=1, max_size=3) | st.just(pool))
        for name, pool in POOLS.items()
    }
    said = draw(st.lists(events(pools), min_size=8, max_size=30))
    apart = {(event["type"], read_id(event.get("messageId")) or place): event for place, event in enumerate(said)}
    return list(apart.values())


def split(said: Sequence[Event], chooser: random.Random) -> list[list[Event]]:
    """Return requests of one or more events each, in their order."""
    together = chooser.choice([0, 0.5])
    requests: list[list[Event]] = []
    for event in said:
        if not requests or chooser.random() >= together:
            requests.append([])
        requests[-1].append(event)
    return requests


@dataclass(frozen=True)
class Plan:
    """Plan of a delivery."""

    digest_after: int  # number of requests between two digests; the end is digested too
    workers: int
    batch: int
    in_arrays: bool  # also requests of one event
    doors: tuple[str, ...] = ("destination",)  # the sources that bring the requests in turn
    at_once: int | None = None  # conversions and users that links of a batch reach; the rest is done step by step
    steps: int = 1_000  # of those, after each run of the digest


ONE_BY_ONE = Plan(digest_after=1, workers=1, batch=500, in_arrays=False)
STEP_BY_STEP = replace(ONE_BY_ONE, at_once=0, steps=1)
plans = st.builds(
    Plan,
    digest_after=st.sampled_from([100, 4, 2]),
    workers=st.sampled_from([1, 4]),
    batch=st.sampled_from([500, 2, 1]),
    in_arrays=st.booleans(),
    doors=st.sampled_from([("destination",), ("server", "destination", "browser"), ("browser", "server")]),
    at_once=st.sampled_from([None, 0, 1, 2]),
    steps=st.sampled_from([0, 1, 3]),
)


def digest(shop: World, plan: Plan) -> None:
    """Run the plan's number of workers concurrently."""

    def work(_: int) -> None:
        claims = Claims()
        run.digest_all(claims, seconds=60)
        run.tend_queues(claims)
        claims.close()
        follow_links(plan, plan.steps)

    if plan.workers == 1:
        shop.digest()
        shop.tend()
        follow_links(plan, plan.steps)
    else:
        in_threads(plan.workers, work)
    if plan.at_once is None:
        return
    with transaction.atomic():  # also where steps are left
        assert run_check(PEOPLE, shop.site.pk).found == {}


def follow_links(plan: Plan, steps: int) -> None:
    for _ in range(steps):
        if not late_links.step_any(conversions=(plan.at_once or 0) + 1, users=(plan.at_once or 0) + 1):
            break


def is_complete(event: Event) -> bool:
    """Return True if a write key accepts it: with a user or an anonymous id, and for an alias with a user."""
    user, anonymous = (read_id(event.get(name)) for name in ("userId", "anonymousId"))
    if event["type"] == "group":
        return read_id(event["groupId"]) is not None
    if read_id(event.get("previousId", "unsaid")) is None:
        return False
    return user is not None or (anonymous is not None and event["type"] != "alias")


def send(shop: World, request: Sequence[Event], write_key: str | None, *, in_array: bool) -> None:
    """Send a request through the door of a write key, if there is one and it would refuse nothing of it."""
    body = request if in_array or len(request) > 1 else request[0]
    if write_key is None or not all(is_complete(event) for event in request):
        answer = shop.post(body, sitecode=shop.site.sitecode)
    else:
        path, body = ("batch", {"batch": body}) if body is request else (request[0]["type"], body)
        basic = base64.b64encode(f"{write_key}:".encode()).decode()
        answer = shop.post(body, path=f"/v1/{path}", authorization=f"Basic {basic}", sitecode=None)
    assert answer.status_code == 200, answer.text


def deliver(shop: World, requests: Sequence[Sequence[Event]], plan: Plan) -> list[Stored]:
    """Send requests and digest them until nothing waits; what the inbox keeps of them."""
    stored: dict[Any, Stored] = {}
    keys = {
        kind: create_source(shop.site, name=kind, kind=kind).write_keys.get().key
        for kind in {*plan.doors} - {"destination"}
    }
    bounds = {} if plan.at_once is None else {"MOST_REKEYED": plan.at_once, "MOST_LINKED": plan.at_once}
    with override_settings(DIGEST_BATCH=plan.batch, **bounds):
        for number, request in enumerate(requests, start=1):
            send(shop, request, keys.get(plan.doors[number % len(plan.doors)]), in_array=plan.in_arrays)
            for position, event in enumerate(request):
                key = event["type"], read_id(event.get("messageId")) or len(stored)
                stored.setdefault(key, Stored(event, position))
            if number % plan.digest_after == 0:
                shop.pass_time(6)
                digest(shop, plan)
        digest(shop, plan)
        until = time.monotonic() + 120
        while Message.objects.filter(status__in=["pending", "deferred"]).exists():
            assert time.monotonic() < until, list(Message.objects.values_list("status", "reason", "detail"))
            shop.pass_time(11)
            digest(shop, plan)
    follow_links(plan, steps=100_000)
    assert not LateLink.objects.exists()
    assert set(Message.objects.values_list("status", flat=True)) <= {"done", "rejected"}
    return list(stored.values())


def read(world: World, site: Site) -> tuple[Truth, tuple[bytes, list[str]]]:
    """Return the state of a site in the product, and the bytes of its remote data and registers."""
    keys = [f"{prefix}_{id_}" for prefix in ("IDENTIFY", "COHORTS") for id_ in IDS]
    params = {"siteCode": site.sitecode, "keys": json.dumps([*keys, "common"])}
    answer = world.client.get("/map/maps", params=params, auth=(CLIENT_ID, SECRET))
    conversions = Conversion.objects.filter(site=site).values_list(
        *("goal__name", "message_key", "occurred_at", "visitor_code", "keyed_by", "user_id", "anonymous_id"),
        *("revenue", "currency", "properties"),
    )
    identities = Identity.objects.filter(site=site).order_by("kind", "value")
    truth = Truth(
        goals={
            goal.name: ({tag.name for tag in goal.tags.all()}, goal.conversions.count())
            for goal in Goal.objects.filter(site=site)
        },
        conversions=Counter(
            (
                goal,
                None if key.startswith("#") else key,
                at,
                code,
                Conversion.KeyedBy(keyed_by).name,
                *ids_and_money,
                canonical(properties),
            )
            for goal, key, at, code, keyed_by, *ids_and_money, properties in conversions
        ),
        owners={
            (each.get_kind_display(), each.value): (each.get_parent_kind_display(), each.parent_value)
            if each.parent_value
            else None
            for each in identities
        },
        groups={
            group.group_id: exact({name: said[3] for name, said in group.registers.get("traits", {}).items()})
            for group in Group.objects.filter(site=site)
        },
        documents=exact(answer.json()),
        persona_facts={
            (Identity.Kind(kind).label, *fact)
            for kind, *fact in PersonaFact.objects.filter(persona__site=site).values_list(
                "identity__kind", "identity__value", "persona__name", "is_member", "occurred_at", "message_id"
            )
        },
    )
    return truth, (answer.content, [canonical(identity.registers) for identity in identities])


def follow(
    world: World, requests: Sequence[Sequence[Event]], plan: Plan = ONE_BY_ONE, *, quota: int = 50
) -> tuple[Truth, Any]:
    """Send requests to a new shop and see what the model predicts; that, and the bytes seen."""
    shop = replace(world, site=create_site(name="Shuffled"))
    world.credential.sites.add(shop.site)
    shop.change_site(goals_per_10_seconds=quota, company_is_group=True)
    try:
        expected = find_truth(deliver(shop, requests, plan), ids=IDS)
        seen, content = read(world, shop.site)
        assert_exact()
    finally:
        shop.site.delete()
    assert seen == expected
    return expected, content


def spread(event: Event, *, microseconds: int) -> Event:
    """Return the event a little later, so that no other has its time."""
    at = datetime.fromisoformat(event["timestamp"]) + timedelta(microseconds=microseconds)
    return {**event, "timestamp": at.isoformat()}


@pytest.mark.promise("N-10", "N-09", "K-31", "K-51", "K-53", "K-54", "K-64", "K-71", "K-72", "W11")
@pytest.mark.parametrize("quota", [50, 2])
# The suite says the same of the same code; a longer run searches.
@settings(derandomize="ORDER_EXAMPLES" not in os.environ, max_examples=EXAMPLES)
@given(
    said=several_events(),
    is_spread=st.booleans(),
    chooser=st.randoms(use_true_random=False),
    three=st.tuples(plans, plans, plans),
)
def test_state__of_messages_in_any_order_repetition_and_split__is_what_the_model_says(
    world: World, quota: int, said: list[Event], *, is_spread: bool, chooser: random.Random, three: list[Plan]
) -> None:
    if is_spread:
        said = [spread(event, microseconds=number) for number, event in enumerate(said)]
    requests = split(said, chooser)
    is_told_apart = [all(read_id(event.get("messageId")) for event in request) for request in requests]
    again = [
        request
        for request, may_repeat in zip(requests, is_told_apart, strict=True)
        if chooser.random() < 0.5 and may_repeat
    ]
    shuffled = chooser.sample(requests + again, k=len(requests + again))
    apart = [event for request in shuffled for event in request]
    regrouped = split(chooser.sample(apart, k=len(apart)), chooser)

    plain, seen = follow(world, requests, three[0], quota=quota)
    assert follow(world, shuffled, three[1], quota=quota) == (plain, seen)
    other, content = follow(world, regrouped, three[2], quota=quota)
    assert other == plain or not is_spread
    assert content[0] == seen[0] or other != plain


# Small scenes in every order; and the same with the product broken in a way that the scene gives away.


def at(second: int, **fields: Any) -> Event:
    """Return an event at some second without a messageId. By default it identifies the user u1."""
    return {"type": "identify", "userId": "u1", "timestamp": (START + timedelta(seconds=second)).isoformat(), **fields}


def hit(**fields: Any) -> Event:
    return at(3, type="track", event="A", **fields)


def link(second: int, code: str, **fields: Any) -> Event:
    return at(second, properties={"kameleoonVisitorCode": code}, **fields)


def audience(second: int, name: str) -> Event:
    return at(second, type="track", event=name, properties={"audience_key": "p1"})


def delete_when_null(registers: merge.Registers, name: str, key: str, register: merge.Register) -> merge.Move:
    move = set_in_map(registers, name, key, register)
    if move and register[3] is None:
        del registers[name][key]
    return move


def exit_at_once(registers: merge.Registers, name: str, key: str, register: merge.Register) -> merge.Move:
    if register[3] is False:
        registers.get(name, {}).pop(key, None)
    return set_in_map(registers, name, key, register)


def alias_backwards(event: Any) -> derivation.Derivation:
    effects = read_alias(event)
    change = effects.change
    assert change is not None
    return replace(effects, change=replace(change, user=change.previous_user, previous_user=change.user))


def context_wins(event: Any, *, traits: Any = None, **facts: Any) -> changes.Change:
    return change(event, traits={**(traits or {}), **event.context_traits}, **facts)


def forget_context(event: Any, **facts: Any) -> changes.Change:
    event.context_traits = {}
    return change(event, **facts)


def user_first(self: derivation.GoalHit, visitors: changes.Visitors) -> recording.Hit:
    firsts = {key: code for key, code in visitors.first.items() if key[0] == Identity.Kind.USER}
    return keyed(self, replace(visitors, first=firsts or visitors.first))


def device_first(self: derivation.GoalHit, visitors: changes.Visitors) -> recording.Hit:
    return keyed(self, replace(visitors, first={} if visitors.device else visitors.first))


def links_of_last_owners(site_id: int, keys: Sequence[changes.IdentityKey], _: int) -> list[changes.Link]:
    return [
        ((identity.kind, identity.value), identity.registers["user"][3])
        for identity in Identity.objects.filter(site_id=site_id, registers__has_key="user")
        if (identity.kind, identity.value) in keys
    ]


set_in_map, parent_of, keyed, change, read_alias = (
    merge.set_in_map,
    merge.parent_of,
    derivation.GoalHit.keyed,
    identified_event.IdentifiedEvent.change,
    mapping.READERS["alias"],
)
Broken = tuple[Any, str, Any]  # object, attribute, and the broken replacement
SCENES: dict[str, tuple[list[list[Event]], Broken]] = {
    "a group without a person": (
        [
            [at(1, type="group", userId=None, groupId="g1", traits={"plan": 1})],
            [at(0, type="group", userId="(null)", groupId="g1", traits={"plan": 2, "age": 2})],
            [at(0, type="group", groupId="g1")],
        ],
        (identified_event, "READINGS", {NEWEST: Reading(takes_groups_alone=False)}),
    ),
    "an event that its sender does not want here": (
        [
            [hit(integrations={"All": False})],
            [at(0, traits={"plan": 1}, integrations={"Goalpost": False, "Kameleoon": True})],
            [at(1, traits={"age": 1}, integrations={"All": False, "Kameleoon": {}})],
        ],
        (mapping, "READINGS", {NEWEST: Reading(heeds_integrations=False)}),
    ),
    "placeholders: strangers stay apart, and so do their messages": (
        [
            [at(0, userId=None, anonymousId="(null)", properties={"k_visitorCode": "v1"}, traits={"plan": 1})],
            [at(1, anonymousId="(null)", traits={"age": 1}), hit(messageId="(null)"), hit(messageId="(null)")],
            [at(2, userId="{{userId}}", anonymousId="a1", messageId="(null)", traits={"plan": 2})],
        ],
        (identified_event, "READINGS", {NEWEST: Reading(is_placeholder=lambda _: False)}),
    ),
    "traits: time counts, not arrival": (
        [[at(1, traits={"plan": "new"})], [at(0, traits={"plan": "old"})]],
        (merge, "is_later", lambda *_: True),
    ),
    "equal times: the place in the request": (
        [[at(0, messageId="m2", traits={"plan": "first"}), at(0, messageId="m1", traits={"plan": "last"})]],
        (merge, "is_later", lambda new, old: (new[0], *new[2:]) > (old[0], *old[2:])),
    ),
    "equal places: the messageId": (
        [[at(0, messageId="m2", traits={"plan": "a"})], [at(0, messageId="m1", traits={"plan": "b"})]],
        (merge, "is_later", lambda new, old: (*new[:2], new[3]) > (*old[:2], old[3])),
    ),
    "no messageIds: the canonical JSON": (
        [[at(0, traits={"plan": 1})], [at(0, traits={"plan": True})], [at(0, traits={"plan": [{}]})]],
        (merge, "is_later", lambda new, old: new[:3] > old[:3]),
    ),
    "no messageIds: JSON as it comes back from the database": (
        [[at(0, traits={"plan": 1e22})], [at(0, traits={"plan": 1e-7})]],
        (NumberReader, "read", lambda _, text: float(text)),
    ),
    "one messageId under two types: two messages": (
        [[hit(messageId="m1")], [at(3, type="page", name="A", messageId="m1")]],
        (derivation.StoredMessage, "key", property(lambda self: self.message_id)),
    ),
    "null stays removed": (
        [[at(1, traits={"plan": None})], [at(0, traits={"plan": "old"})]],
        (merge, "set_in_map", delete_when_null),
    ),
    "an older exit undoes no enter": (
        [[audience(1, "Audience Entered")], [audience(0, "Audience Exited")]],
        (merge, "set_in_map", exit_at_once),
    ),
    "a device changes hands": (
        [[at(0, anonymousId="a1", traits={"plan": 1})], [at(1, anonymousId="a1", userId="u2", traits={"plan": 2})]],
        (merge, "is_later", lambda new, old: new < old),
    ),
    "a user owns a visitor before an anonymous id": (
        [[link(0, "v1")], [link(1, "v1", userId=None, anonymousId="a1")]],
        (
            merge,
            "parent_of",
            lambda registers: parent_of({"user": registers["anonymous"]} if "anonymous" in registers else registers),
        ),
    ),
    "an alias": (
        [[at(0, type="alias", previousId="u2")], [at(0, traits={"plan": 1})], [at(1, userId="u2", traits={"plan": 2})]],
        (mapping, "READERS", {**mapping.READERS, "alias": alias_backwards}),
    ),
    "an alias before and after what both ids did": (
        [[hit(userId="u2")], [at(1, type="alias", previousId="u2")], [link(2, "v2", userId="u2"), link(3, "v1")]],
        (mapping, "READERS", {**mapping.READERS, "alias": alias_backwards}),
    ),
    "traits in the context of any event": (
        [
            [hit(userId=None, anonymousId="a1", context={"traits": {"plan": 1}})],
            [at(1, type="group", userId=None, anonymousId="a1", groupId="g1", context={"traits": {"age": 1}})],
            [at(2, type="alias", previousId="a1", context={"traits": {"name": "Ada"}})],
        ],
        (identified_event.IdentifiedEvent, "change", forget_context),
    ),
    "an event's own traits before those of its context": (
        [[at(0, traits={"plan": 1}, context={"traits": {"plan": 2, "age": 2}})], [at(1, traits={"age": None})]],
        (identified_event.IdentifiedEvent, "change", context_wins),
    ),
    "a visitor code in the context": (
        [[hit(context={"kameleoonVisitorCode": "v1"})], [hit(context={"traits": {"k_visitorCode": "v2"}})]],
        (identified_event, "VISITOR_FIELDS", ()),
    ),
    "a name of its parts, until one is given": (
        [
            [at(0, traits={"firstName": "Ada"}), at(1, traits={"last_name": "é"})],
            [at(2, traits={"firstName": "Augusta"})],
            [at(3, userId="u2", traits={"name": "Ada", "first_name": "é", "lastName": "é"})],
        ],
        (remote_data, "full_name", lambda _: None),
    ),
    "a company is the group of whom no group call tells": (
        [
            [at(1, traits={"company": {"id": 7}})],
            [at(2, userId="u2", traits={"company": {"id": "c1"}})],
            [at(0, userId="u2", type="group", groupId="g1")],
        ],
        (remote_data, "company_id", lambda _: None),
    ),
    "links later than their conversions, and a code of the event's own": (
        [[hit(), hit(properties={"k_visitorCode": "v2"})], [link(2, "v2"), link(1, "v1")], [link(2, "é")]],
        (recording, "rekey", lambda *_, **__: recording.RekeyResult([], [])),
    ),
    "the first link": (
        [[hit()], [link(1, "v1")], [link(2, "v2")]],
        (merge, "is_earlier_link", lambda new, old: new[0] > old[0]),
    ),
    "links at one time: the bytes": (
        [[hit()], [link(1, "v1")], [link(1, "v2")]],
        (merge, "is_earlier_link", lambda new, old: new[0] < old[0]),
    ),
    "several links in one batch": (
        [[hit()], [link(2, "v2"), link(1, "v1"), link(0, "é", userId=None, anonymousId="a1")]],
        (merge, "is_earlier_link", lambda new, old: new[0] > old[0]),
    ),
    "a device is nearer than its user": (
        [[hit(anonymousId="a1")], [link(1, "v1", userId=None, anonymousId="a1")], [link(0, "v2")]],
        (derivation.GoalHit, "keyed", user_first),
    ),
    "a user whose device alone has a code": (
        [[hit()], [at(0, anonymousId="a1")], [link(1, "v1", userId=None, anonymousId="a1")]],
        (people, "new_links_of", lambda *_: []),
    ),
    "a user's own code before its device's": (
        [[hit()], [at(0, anonymousId="a1")], [link(0, "v1", userId=None, anonymousId="a1")], [link(1, "v2")]],
        (derivation.GoalHit, "keyed", device_first),
    ),
    "the earliest of several devices": (
        [
            [hit()],
            [at(0, anonymousId="a1"), at(0, anonymousId="a2")],
            [link(2, "v1", userId=None, anonymousId="a1")],
            [link(1, "v2", userId=None, anonymousId="a2")],
        ],
        (merge, "is_earlier_link", lambda new, old: new[0] > old[0]),
    ),
    "a device that belongs to another user since": (
        [
            [hit()],
            [at(0, anonymousId="a1")],
            [at(1, anonymousId="a1", userId="u2")],
            [link(2, "v1", userId=None, anonymousId="a1")],
        ],
        (links, "find_links", links_of_last_owners),
    ),
    "aliases of users whose devices have a code": (
        [
            [hit()],
            [at(0, type="alias", previousId="u2")],
            [at(0, type="alias", userId="u2", previousId="é")],
            [link(1, "v1", userId="é", anonymousId="a1"), link(2, "v2", userId=None, anonymousId="a2")],
        ],
        (links, "find_links", lambda *_: []),
    ),
}


@pytest.mark.promise("N-10", "N-09", "K-51", "K-53", "K-54", "K-64", "K-71", "K-72", "W11")
@pytest.mark.parametrize("requests", [requests for requests, _ in SCENES.values()], ids=SCENES)
def test_scene__in_every_order__is_what_the_model_says(world: World, requests: list[list[Event]]) -> None:
    orders = zip(permutations(requests), cycle([ONE_BY_ONE, STEP_BY_STEP]), strict=False)
    first, *others = [follow(world, order, plan) for order, plan in orders]

    assert [other for other in others if other != first] == []


@pytest.mark.parametrize(("requests", "broken"), SCENES.values(), ids=SCENES)
def test_scene__of_a_product_that_is_broken__is_not(
    world: World, monkeypatch: pytest.MonkeyPatch, requests: list[list[Event]], broken: Broken
) -> None:
    monkeypatch.setattr(*broken)

    with pytest.raises(AssertionError, match=r"assert Truth\("):
        _ = [follow(world, order) for order in permutations(requests)]


# Much that meets in one place, for four workers that take it message by message.
CROWDS = {
    "a group": [at(0, type="group", userId=f"u{n}", groupId="g1", traits={f"t{n}": n}) for n in range(40)],
    "a user": [at(0, anonymousId=f"a{n}", traits={f"t{n}": n}) for n in range(40)],
    "a device": [at(n % 7, anonymousId="a1", userId=f"u{n}", traits={"plan": n}) for n in range(40)],
    "a user's conversions between the links of its devices": [
        *(hit() for _ in range(10)),
        *chain.from_iterable(
            (at(0, anonymousId=f"a{n}"), link(15 - n, f"v{n}", userId=None, anonymousId=f"a{n}")) for n in range(15)
        ),
    ],
    "users that are made one between the links of their devices": [
        *(hit(userId=f"u{n}") for n in range(10)),
        *(at(0, type="alias", userId=f"u{n}", previousId=f"u{n + 1}") for n in range(9)),
        *chain.from_iterable(
            (at(0, userId=f"u{n}", anonymousId=f"a{n}"), link(n, f"v{n}", userId=None, anonymousId=f"a{n}"))
            for n in range(10)
        ),
    ],
    "conversions between their users' links and their device's": [
        *(hit(userId=f"u{n}", anonymousId="a1") for n in range(15)),
        *chain.from_iterable(
            (link(15 - n, f"v{n}", userId=None, anonymousId="a1"), link(0, f"é{n}", userId=f"u{n}")) for n in range(15)
        ),
    ],
}


@pytest.mark.promise("N-10", "N-09")
@pytest.mark.parametrize("at_once", [None, 3])
@pytest.mark.parametrize("crowd", CROWDS.values(), ids=CROWDS)
def test_workers__that_meet_at_one_place__lose_nothing(world: World, crowd: list[Event], at_once: int | None) -> None:
    follow(world, [crowd], Plan(digest_after=1, workers=4, batch=1, in_arrays=True, at_once=at_once))
