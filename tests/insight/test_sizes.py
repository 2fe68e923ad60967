"""Memory of reads and size of their answers are limited in bytes and in rows."""

import json
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client

from api.digest.forecast import forecast_rules
from api.erasure import erase
from api.insight import breakdowns
from api.insight.breakdowns import BreakdownBy
from api.insight.export import export
from api.insight.people import look_up
from api.insight.why_not import why_not
from api.models import Erasure, Message
from api.rest.conversions import PAGE_BYTES
from api.rules.rule import EventRule
from cohorts.models import Identity, Persona, PersonaFact
from goals.models import Conversion, Goal
from tests.support.management_api import Caller
from tests.support.messages import all_bodies, replace_bodies, store_messages
from tests.support.pages import address, browser_of, text_of
from tests.support.people import persona_changes
from tests.world import START, World

MB = 1_000_000


class Peak:
    """The most that a block held at a time, in bytes."""

    bytes = 0


@contextmanager
def measured() -> Iterator[Peak]:
    """Measure what a block allocates beyond what there was before."""
    peak = Peak()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        yield peak
        peak.bytes = tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()


def add_conversions(world: World, count: int, *, size: int, with_messages: bool = False) -> Goal:
    """Give the user u1 conversions of one goal whose properties have `size` bytes, and their messages."""
    goal = Goal.objects.create(site=world.site, name="Buy")
    text = "".join(f"{number:07x}" for number in range(size // 7))  # nothing that PostgreSQL makes much smaller
    Conversion.objects.bulk_create(
        (
            Conversion(
                site=world.site,
                goal=goal,
                visitor_code="u1",
                user_id="u1",
                keyed_by=Conversion.KeyedBy.USER,
                occurred_at=START + timedelta(seconds=number),
                message_key=f"track:m{number}",
                properties={"text": text, "number": number},
            )
            for number in range(count)
        ),
        batch_size=20,
    )
    if with_messages:
        body = json.dumps({"type": "track", "event": "Buy", "userId": "u1", "properties": {"text": text}}).encode()
        store_messages(
            (
                Message(
                    site=world.site,
                    type="track",
                    message_id=f"m{number}",
                    received_at=START,
                    digested_at=START,
                    occurred_at=START + timedelta(seconds=number),
                    status="done",
                    effects=["converted"],
                    goal_id=goal.pk,
                    reading=3,
                ),
                body,
            )
            for number in range(count)
        )
    return goal


def make_person(world: World, *, trait: int, changes: int) -> Identity:
    """Make the user u1 with a trait of `trait` bytes, who entered `changes` personas."""
    world.identify(userId="u1", traits={"text": "x" * trait})
    identity = Identity.objects.get(value="u1")
    personas = Persona.objects.bulk_create(Persona(site=world.site, name=f"persona {n}") for n in range(changes))
    PersonaFact.objects.bulk_create(
        PersonaFact(
            site=world.site,
            identity=identity,
            persona=each,
            occurred_at=START,
            position=n,
            message_id="",
            is_member=True,
        )
        for n, each in enumerate(personas)
    )
    return identity


def test_persona_changes__of_a_large_person__never_load_the_profile(world: World) -> None:
    """Once for each change it was: 3,000 changes took 10 GB."""
    identity = make_person(world, trait=200_000, changes=300)

    with measured() as peak:
        changes = persona_changes(world.site, [identity])

    assert len(changes) == 300
    assert peak.bytes < 2 * MB


def test_export__of_a_person__streams(world: World) -> None:
    make_person(world, trait=200_000, changes=600)
    add_conversions(world, 60, size=400_000, with_messages=True)
    person = look_up(world.site, "u1")
    assert person is not None

    size = 0
    with measured() as peak:
        for piece in export(world.site, person, now=START):
            size += len(piece)

    assert size > 48 * MB
    assert peak.bytes < 24 * MB


def test_export__of_a_person__leaves_nothing_out(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the number of conversions, visitor codes, changes and devices."""
    for module in ("api.insight.export", "api.http.chunks"):
        monkeypatch.setattr(f"{module}.CHUNK_ROWS", 4)
    monkeypatch.setattr("api.insight.export.MOST_CODES", 2)
    make_person(world, trait=10, changes=11)
    for number in range(5):
        world.track("Buy", at=number, userId="u1", anonymousId=f"a{number}", properties={"n": number})
    add_conversions(world, 9, size=1_000, with_messages=True)

    held = json.loads(text_of(browser_of(world.site, "editor").get(address("people/person/export/?id=u1"))))

    assert len(held["conversions"]) == len(held["messages"]) == 14
    assert {each["message"] for each in held["conversions"]} == set(
        Conversion.objects.values_list("message_key", flat=True)
    )
    assert len(held["personaHistory"]) == 11
    assert len(held["devices"]) == 5
    assert len(held["identities"]) == 6
    by_number = {each["properties"]["number"] for each in held["conversions"] if "number" in each["properties"]}
    assert by_number == set(range(9))


def test_conversions_of_the_api__that_are_large__come_in_smaller_pages(world: World) -> None:
    goal, owner = add_conversions(world, 30, size=600_000), Caller.build(world.site)

    with measured() as peak:
        page = owner.get(f"/api/goals/{goal.pk}/conversions?limit=200")

    assert 0 < len(json.dumps(page)) < PAGE_BYTES + MB
    assert peak.bytes < 8 * PAGE_BYTES
    seen = [each["properties"]["number"] for each in page["results"]]
    while page["next"]:
        page = owner.get(f"/api/goals/{goal.pk}/conversions?limit=200&cursor={page['next']}")
        seen += [each["properties"]["number"] for each in page["results"]]
    assert seen == list(range(30))[::-1]


def test_conversions_of_the_api__larger_than_any_event_today__lack_their_properties(world: World) -> None:
    goal, owner = add_conversions(world, 1, size=3_000_000), Caller.build(world.site)

    (found,) = owner.get(f"/api/goals/{goal.pk}/conversions")["results"]

    assert (found["properties"], found["hasAllProperties"]) == ({}, False)


PAGES: dict[str, Callable[[Client, Goal], Any]] = {
    "conversions of a goal": lambda viewer, goal: viewer.get(address(f"goals/{goal.pk}/conversions/")),
    "a goal": lambda viewer, goal: viewer.get(address(f"goals/{goal.pk}/")),
    "breakdown by a property": lambda viewer, goal: viewer.get(
        address(f"goals/{goal.pk}/breakdown/?by=property&path=text&from=2026-11-22&to=2026-11-23")
    ),
    "a person": lambda viewer, _: viewer.get(address("people/person/?id=u1")),
    "events": lambda viewer, _: viewer.get(address("events/")),
    "why not": lambda viewer, goal: viewer.get(address(f"why/?person=u1&goal={goal.pk}")),
    "a trace in the API": lambda viewer, _: viewer.get(address("people/?q=u1"), follow=True),
}


@pytest.mark.parametrize("page", PAGES)
def test_page__over_many_large_events__is_bounded_in_bytes(world: World, page: str) -> None:
    make_person(world, trait=100, changes=3)
    goal = add_conversions(world, 40, size=700_000, with_messages=True)
    viewer = browser_of(world.site, "viewer")
    look = PAGES[page]
    look(viewer, goal)  # loads templates and modules

    with measured() as peak:
        text = text_of(look(viewer, goal))

    assert len(text) < MB
    assert peak.bytes < 20 * MB


@pytest.mark.parametrize("depth", [0, 200, 5_000])
def test_event_page__of_a_large_body__shows_its_beginning_and_leads_to_the_whole(world: World, depth: int) -> None:
    """With the indents of 200 levels, 0.5 MB would be 100 MB."""
    world.post({"type": "track", "event": "Buy", "userId": "u1"})
    body = b'{"type":"track","deep":' + b"[" * depth + b"[" + b",".join([b"1"] * 250_000) + b"]" + b"]" * depth + b"}"
    replace_bodies(body)
    viewer, number = browser_of(world.site, "viewer"), Message.objects.get().pk
    viewer.get(address(f"events/{number}/"))

    with measured() as peak:
        page = text_of(viewer.get(address(f"events/{number}/")))

    assert "Only the beginning is shown: 65,536 characters" in page
    assert len(page) < MB
    assert peak.bytes < 20 * MB
    whole = viewer.get(address(f"events/{number}/body/"))
    assert (whole.content, whole["Content-Type"]) == (body, "application/octet-stream")
    assert "attachment" in whole["Content-Disposition"]


def test_event_page__of_a_usual_body__shows_all_of_it(world: World) -> None:
    world.post({"type": "track", "event": "Buy", "userId": "u1", "properties": {"text": "x" * 32_000}})
    page = text_of(browser_of(world.site, "viewer").get(address(f"events/{Message.objects.get().pk}/")))

    assert "x" * 32_000 in page
    assert "Only the beginning" not in page


def test_trace_in_the_api__of_what_is_refused_again_and_again__holds_one_body(world: World) -> None:
    body = json.dumps({"type": "track", "userId": "u1", "text": "x" * 500_000}).encode()
    common = {"site": world.site, "type": "track", "message_id": "m1", "received_at": START, "occurred_at": START}
    store_messages((Message(**common, status="rejected", reason="missing_name"), body) for _ in range(60))
    owner = Caller.build(world.site)
    owner.get("/api/trace?messageId=m1")

    with measured() as peak:
        found = owner.get("/api/trace?messageId=m1")

    assert len(found["messages"]) == 60
    assert peak.bytes < 10 * MB


def test_why_not__of_more_bytes_than_it_searches__says_of_how_many_messages_it_tells(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.insight.person_messages.LOOK_BYTES", 10_000)
    for number in range(6):
        world.track("Buy", userId="u1", properties={"text": "x" * 3_000, "number": number})
    goal = Goal.objects.get()

    answer = why_not(world.site, "u1", goal)

    assert "3 of the latest 3 events are this person's" in " ".join(each.text for each in answer.sentences)


def test_breakdown__by_a_long_value__calls_it_by_its_beginning_and_tells_it_apart(world: World) -> None:
    for number in range(3):
        world.track("Buy", at=number, userId="u1", properties={"text": "x" * 100_000 + str(number // 2)})
    seen = breakdowns.break_down(
        world.site, Goal.objects.get(), BreakdownBy.PROPERTY, name="text", begin=START, end=START + timedelta(days=1)
    )

    assert [part.conversions for part in seen.breakdown.parts] == [2, 1]
    assert all(part.value and part.value.startswith("xxx") and len(part.value) < 250 for part in seen.breakdown.parts)


def test_breakdown__of_more_bytes_than_it_looks_into__says_that_it_is_cut(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    goal = add_conversions(world, 10, size=100_000)
    monkeypatch.setattr(breakdowns, "LOOK_BYTES", 200_000)
    until = START + timedelta(days=1)

    seen = breakdowns.break_down(world.site, goal, BreakdownBy.PROPERTY, name="number", begin=START, end=until)
    of_few = breakdowns.break_down(world.site, goal, BreakdownBy.CURRENCY, begin=START, end=until)

    assert (seen.is_cut, sum(part.conversions for part in seen.breakdown.parts)) in {(True, n) for n in range(3, 6)}
    assert (of_few.is_cut, sum(part.conversions for part in of_few.breakdown.parts)) == (False, 10)


def test_what_if__of_large_events__looks_at_as_many_as_fit(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.digest.forecast.MOST_BYTES", 10_000)
    for number in range(6):
        world.identify(userId=f"u{number}", traits={"text": "x" * 3_000})

    forecast = forecast_rules(world.site, [(None, EventRule("drop"))])

    assert (forecast.messages, forecast.dropped_then) == (3, 3)
    assert len(forecast.profiles[0].now["traits"]["text"]) < 1_100  # and shows their beginnings


@pytest.mark.parametrize(("limit", "steps"), [(10**9, 1), (25_000, 5)])
def test_erasure__of_large_events__searches_so_many_bytes_a_step(
    world: World, monkeypatch: pytest.MonkeyPatch, limit: int, steps: int
) -> None:
    monkeypatch.setattr("api.erasure.erase.CHUNK_BYTES", limit)
    for number in range(10):
        world.post(
            world.event(userId=f"u{number}", messageId=f"m{number}", properties={"by": "eve", "text": "x" * 10_000})
        )
    world.identify(userId="eve", traits={"plan": "pro"})
    receipt = erase.erase(world.site, "eve", by="test", now=START)
    assert receipt is not None

    taken = 0
    while erase.sweep(now=START):
        receipt.refresh_from_db()
        taken += receipt.stage == Erasure.Stage.MESSAGES

    assert taken >= steps - 1
    assert not [body for body in all_bodies() if b'"eve"' in body]
    assert Message.objects.count() == 10
