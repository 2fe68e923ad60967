"""Random events, plans of their delivery, and the state that a plan leads to, for the tests of order."""

import base64
import json
import os
import random
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from typing import Any

from django.db import transaction
from django.test import override_settings
from hypothesis import strategies as st

from api.checks.run import CHECKS, run_check
from api.digest import late_links, run
from api.digest.claims import Claims
from api.ingest.provisioning import create_site, create_source
from api.models import LateLink, Message, Site
from cohorts.models import Group, Identity, Link, PersonaFact
from goals.models import Conversion, Goal
from tests.goals.recount import assert_exact
from tests.model import PLACEHOLDERS, Stored, Truth, canonical, exact, find_truth, read_id
from tests.support.concurrency import in_threads
from tests.world import CLIENT_ID, SECRET, START, World

PEOPLE = next(check for check in CHECKS if check.name == "people")
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
    """Send a request through a write key, if there is one and it would refuse nothing of it."""
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


def read(world: World, site: Site) -> tuple[Truth, tuple[bytes, list[str], set[tuple[int, str, str]]]]:
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
    links = set(Link.objects.filter(site=site).values_list("kind", "value", "user_value"))
    return truth, (answer.content, [canonical(identity.registers) for identity in identities], links)


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
