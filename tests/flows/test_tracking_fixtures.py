"""The requests of Altis and Ibexa Connect, as their documents and code make them, and what becomes of them."""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest

from api.ingest.provisioning import create_source
from api.models import Message, Source
from goals.models import Conversion
from tests.support.clock import Clock
from tests.world import World

FIXTURES = Path(__file__).parent.parent / "fixtures"
ALTIS = json.loads((FIXTURES / "altis.json").read_text())
IBEXA = json.loads((FIXTURES / "ibexa.json").read_text())
WRITE_KEY = "test_write_key_0001"  # the one in the requests' headers
PERSON = "person_D97F88AD-E835-4565-AD1A-9F75C5C381F6"


def add_source(world: World, kind: str) -> Source:
    return create_source(world.site, name="Sender", kind=kind, write_key=WRITE_KEY)


def send(world: World, request: Mapping[str, Any], **changed: Any) -> httpx.Response:
    """Return a captured request with some changes of its body."""
    body = None if request["body"] is None else json.dumps({**request["body"], **changed})
    return world.client.request(request["method"], request["path"], headers=request["headers"], content=body)


def accepted(count: int, *, duplicates: int = 0) -> dict[str, Any]:
    return {"success": True, "accepted": count, "duplicates": duplicates, "rejected": []}


# Altis


@pytest.mark.promise("I-03", "I-05")
@pytest.mark.parametrize(
    ("request_number", "repeated"),
    [
        pytest.param(0, 0, id="without message ids"),
        pytest.param(1, 6, id="one message id for the identify and the page or track of an event"),
        pytest.param(2, 6, id="group ids in lists"),
    ],
)
def test_altis__captured_batch__counts_every_call_and_keeps_lists(
    world: World, request_number: int, repeated: int
) -> None:
    add_source(world, Source.Kind.ALTIS)
    request = ALTIS[request_number]

    assert send(world, request).json() == accepted(9)
    world.digest()

    assert {status for status, _ in world.statuses()} == {"done"}
    assert world.goals() == {"SegmentIO track – click": 1}
    click = Conversion.objects.get()
    assert (click.occurred_at, click.visitor_code) == (datetime(2022, 2, 1, 0, 5, 21, tzinfo=UTC), "altis-ep-1")
    documents = [world.read(f"IDENTIFY_{id_}") for id_ in ("altis-ep-1", "altis-user-1")]
    traits = request["body"]["batch"][6]["traits"]
    assert documents == [{"traits": traits, "groupId": "42"}] * 2
    assert documents[0]["traits"]["AudienceId"] == ["42"]
    assert send(world, request).json() == accepted(9 - repeated, duplicates=repeated)


@pytest.mark.promise("A-03")
def test_altis__ten_minutes_of_events_at_once__loses_no_conversion(world: World, clock: Clock) -> None:
    """As many calls as fill one of its requests, under more page titles than may become goals in ten seconds."""
    add_source(world, Source.Kind.SERVER)
    page = ALTIS[0]["body"]["batch"][2]
    pages = [{**page, "name": f"Title {number % 120}", "anonymousId": f"ep-{number}"} for number in range(240)]
    identifies = [{**ALTIS[0]["body"]["batch"][0], "anonymousId": each["anonymousId"]} for each in pages]
    batch = [call for both in zip(identifies, pages, strict=True) for call in both]

    answers = [send(world, ALTIS[0], batch=batch) for _ in range(2)]  # without message ids nothing is a duplicate
    world.digest()
    assert sum(world.goals().values()) < 480
    for _ in range(2):
        clock.forward(10.1)
        world.tend()

    assert [answer.json() for answer in answers] == [accepted(480)] * 2
    assert world.goals() == {f"SegmentIO page – Title {number}": 4 for number in range(120)}
    assert {status for status, _ in world.statuses()} == {"done"}


# Ibexa Connect


@pytest.mark.promise("I-01", "I-03", "I-05", "I-07", "I-26", "I-27")
def test_ibexa__captured_requests__make_a_person_and_exact_revenue(world: World) -> None:
    add_source(world, Source.Kind.SERVER)
    begun = datetime.now(UTC)

    answers = [send(world, request) for request in IBEXA[:5]]
    world.digest()

    assert [answer.content for answer in answers] == [b'{"success":true}'] * 5
    assert {answer.status_code for answer in answers} == {200}
    order = Conversion.objects.get(goal__name="SegmentIO track – Order Completed")
    assert (order.revenue, order.currency, order.value) == (Decimal("19.99"), "EUR", Decimal(5))
    newsletter = Conversion.objects.get(goal__name="SegmentIO track – Newsletter Signup")
    assert (newsletter.revenue, newsletter.currency, newsletter.value) == (Decimal("19.99"), "USD", Decimal(3))
    received = Message.objects.filter(type="track").order_by("id").values_list("received_at", flat=True)
    assert [order.occurred_at, newsletter.occurred_at] == list(received)
    assert min(received) >= begun
    traits = {**IBEXA[0]["body"]["traits"], "name": "Peter Gibbons"}
    for id_ in (PERSON, "ibexa-anon"):
        assert world.read(f"IDENTIFY_{id_}") == {"traits": traits, "groupId": "8e9df332ac"}


@pytest.mark.parametrize("request_", IBEXA[5:], ids=lambda request: request["method"])
def test_ibexa__call_of_another_method__is_told_which_one_works(world: World, request_: Mapping[str, Any]) -> None:
    add_source(world, Source.Kind.SERVER)

    answer = send(world, request_)

    assert answer.status_code == 405
    assert "POST" in answer.headers["allow"]
    assert request_["method"] not in answer.headers["allow"]
    assert (answer.json()["success"], set(answer.json())) == (False, {"success", "code", "message"})
    assert not Message.objects.exists()


IDS: Sequence[Mapping[str, Any]] = (
    {"userId": "user-1"},
    {"anonymousId": "any text at all"},
    {"anonymousId": 42},
    {"userId": None, "anonymousId": "e0a3c1f2-0000-4000-8000-000000000001"},
)


@pytest.mark.promise("I-01", "I-05")
@pytest.mark.parametrize("ids", IDS)
def test_identify__with_one_id_of_any_form__is_taken(world: World, ids: Mapping[str, Any]) -> None:
    add_source(world, Source.Kind.SERVER)
    request = {**IBEXA[0], "body": {**ids, "traits": {"plan": "scale"}}}

    assert send(world, request).json() == {"success": True}
    world.digest()

    for id_ in filter(None, ids.values()):
        assert world.traits(str(id_)) == {"plan": "scale"}
