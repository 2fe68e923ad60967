"""Events in the address of an image (`/v1/pixel/…`) and from a page that is left (`/beacon/v1/batch`)."""

import base64
import json
import struct
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from pytest_django import Settings

from api.http.bodies import STRANGERS
from api.ingest import nudge
from api.ingest.provisioning import create_source
from api.models import Message, Source
from tests.support.asgi import full
from tests.support.concurrency import wait_until
from tests.support.messages import body_of
from tests.support.outages import database_down, forget_backlog
from tests.support.rules import add_rule
from tests.support.tracking import EVENTS, KEY
from tests.world import World


@pytest.fixture
def source(world: World) -> Source:
    return create_source(world.site, name="Mails", kind="browser", write_key=KEY)


def pixel(world: World, type_: str, data: Any, *, query: str = "", **request: Any) -> httpx.Response:
    """GET a pixel; `data` is the parameter itself, or an event."""
    if not isinstance(data, str):
        data = base64.b64encode(json.dumps(data).encode()).decode()
    return world.client.get(f"/v1/pixel/{type_}?data={quote(data, safe='')}{query}", **request)


def is_pixel(answer: httpx.Response) -> bool:
    """Return True if an answer is an image of one transparent pixel that must not be cached."""
    width, height = struct.unpack("<HH", answer.content[6:10])
    return (
        answer.headers["content-type"] == "image/gif"
        and answer.content.startswith(b"GIF89a")
        and answer.content.endswith(b";")
        and (width, height) == (1, 1)
        and "no-store" in answer.headers["cache-control"]
        and not {"etag", "last-modified", "set-cookie", "www-authenticate"} & set(answer.headers)
        and answer.headers["access-control-allow-origin"] == "*"
        and answer.headers["cross-origin-resource-policy"] == "cross-origin"
    )


@pytest.mark.parametrize("slash", ["", "/"])
@pytest.mark.parametrize("type_", EVENTS)
def test_pixel__with_an_event_of_each_type__is_an_image_and_the_event_is_stored(
    world: World, source: Source, type_: str, slash: str
) -> None:
    answer = pixel(world, f"{type_}{slash}", {**EVENTS[type_], "writeKey": KEY, "messageId": "m1"})

    assert answer.status_code == 200
    assert is_pixel(answer)
    assert "goalpost-error" not in answer.headers
    message = world.last_message()
    assert (message.type, message.source, message.message_id, message.status) == (type_, source, "m1", "pending")
    world.digest()
    assert world.last_message().status == "done"


def test_pixel__of_a_type_in_another_case__is_taken(world: World, source: Source) -> None:
    assert is_pixel(pixel(world, "Track", {**EVENTS["track"], "writeKey": KEY}))
    assert world.last_message().type == "track"


def test_pixel__with_revenue_and_a_visitor_code__means_what_a_post_means(world: World, source: Source) -> None:
    properties = {"revenue": "12.5", "currency": "EUR", "kameleoonVisitorCode": "vc1"}

    pixel(world, "track", {"writeKey": KEY, "userId": "u", "event": "Email Opened", "properties": properties})
    pixel(world, "identify", {"writeKey": KEY, "userId": "u", "traits": {"plan": "gold"}})
    world.digest()

    assert world.goals() == {"SegmentIO track – Email Opened": 1}
    assert world.visitors() == ["vc1"]
    assert world.traits("vc1") == {"plan": "gold"}


# 0xfb, 0xef, 0xff within the text make a plus, a slash and their like in the other alphabet.
ODD = {"writeKey": KEY, "userId": "ûïÿ>>>???~~~", "event": "E"}
BASE64 = base64.b64encode(json.dumps(ODD, ensure_ascii=False).encode()).decode()


@pytest.mark.parametrize(
    "raw",
    [
        quote(BASE64, safe=""),
        BASE64,  # whoever forgets to escape a plus has a space arrive
        BASE64.rstrip("="),
        BASE64.replace("+", "-").replace("/", "_"),
        BASE64.replace("+", "-").replace("/", "_").rstrip("="),
        quote("\n".join(BASE64[each : each + 20] for each in range(0, len(BASE64), 20))),  # as base64 wraps its lines
        quote("\r\n".join(BASE64[each : each + 20] for each in range(0, len(BASE64), 20)) + "\r\n"),
    ],
)
def test_pixel__with_data_in_any_base64__is_read(world: World, source: Source, raw: str) -> None:
    assert {"+", "/"} < set(BASE64)

    answer = world.client.get(f"/v1/pixel/track?data={raw}")

    assert is_pixel(answer)
    assert json.loads(body_of(world.last_message())) == ODD


@pytest.mark.parametrize(
    ("query", "request_"),
    [("", {"auth": (KEY, "")}), (f"&writeKey={KEY}", {}), (f"&writeKey={KEY}", {"auth": ("unknown", "")})],
)
def test_pixel__with_a_key_beside_its_data__is_taken(
    world: World, source: Source, query: str, request_: dict[str, Any]
) -> None:
    answer = pixel(world, "track", {"userId": "u", "event": "E", "writeKey": "the-old-source"}, query=query, **request_)

    assert is_pixel(answer)
    assert world.last_message().source == source


@pytest.mark.parametrize("data", ["", "%%%", "nonsense", "bm9uc2Vuc2U=", "W10=", "e30", "eyJ1c2VySWQi"])
def test_pixel__with_data_that_is_no_event__is_an_image_and_kept_as_refused(
    world: World, source: Source, data: str
) -> None:
    answer = pixel(world, "track", data, query=f"&writeKey={KEY}")

    assert (answer.status_code, is_pixel(answer)) == (200, True)
    assert answer.headers["goalpost-error"].partition(":")[0] in {"invalid_json", "no_identity"}
    assert world.last_message().status == "rejected"


def test_pixel__refused_for_its_event_or_source__is_an_image_and_kept(world: World, source: Source) -> None:
    nameless = {"userId": "u", "writeKey": KEY, "messageId": "m1"}

    answers = [pixel(world, "track", nameless)]
    Source.objects.filter(pk=source.pk).update(is_enabled=False)
    world.change_site()
    answers.append(pixel(world, "track", {**nameless, "event": "E"}))

    assert all(map(is_pixel, answers))
    assert [answer.headers["goalpost-error"].partition(":")[0] for answer in answers] == ["missing_name", "source_off"]
    assert world.statuses() == [("rejected", "missing_name"), ("rejected", "source_off")]


@pytest.mark.parametrize("data", ["", "nonsense", {"userId": "u", "event": "E"}, {**EVENTS["track"], "writeKey": "x"}])
def test_pixel__of_a_stranger__is_an_image_and_stores_nothing(world: World, source: Source, data: Any) -> None:
    answer = pixel(world, "track", data)

    assert (answer.status_code, is_pixel(answer)) == (200, True)
    assert answer.headers["goalpost-error"].startswith("unauthorized: ")
    assert not Message.objects.exists()


@pytest.mark.parametrize("method", ["HEAD", "POST", "PUT"])
def test_pixel__asked_for_by_another_method__is_an_image_and_stores_nothing(
    world: World, source: Source, method: str
) -> None:
    data = base64.b64encode(json.dumps({**EVENTS["track"], "writeKey": KEY}).encode()).decode()

    answer = world.client.request(method, "/v1/pixel/track", params={"data": data})

    assert answer.status_code == 405
    assert method == "HEAD" or is_pixel(answer)
    assert not Message.objects.exists()


def test_pixel__under_a_redaction__does_not_store_what_it_drops(world: World, source: Source) -> None:
    add_rule(world, "drop_field", "properties.secret")

    pixel(world, "track", {**EVENTS["track"], "writeKey": KEY, "properties": {"secret": 1, "other": 2}})

    assert json.loads(body_of(world.last_message()))["properties"] == {"other": 2}


def test_pixel__while_strangers_take_all_room__needs_none(world: World, source: Source) -> None:
    with full(STRANGERS):
        answer = pixel(world, "track", {**EVENTS["track"], "writeKey": KEY})

    assert "goalpost-error" not in answer.headers
    assert world.last_message().source == source


def test_pixel__of_which_nothing_could_be_stored__says_so_to_who_can_come_again(
    world: World, source: Source, settings: Settings
) -> None:
    event = {**EVENTS["track"], "writeKey": KEY}
    assert pixel(world, "track", event).status_code == 200
    world.digest()
    settings.INBOX_LIMIT = 1
    forget_backlog()
    world.post(world.event())
    wait_until(nudge.refuses_senders)

    answers = [pixel(world, "track", event)]
    world.digest()
    wait_until(lambda: not nudge.refuses_senders())
    with database_down():
        answers.append(pixel(world, "track", event))

    wait_until(lambda: world.client.get("/health/ready").status_code == 200)  # for the tests that follow
    assert [answer.status_code for answer in answers] == [429, 503]
    assert all(map(is_pixel, answers))
    assert all(int(answer.headers["retry-after"]) > 0 for answer in answers)
    assert Message.objects.filter(source=source).count() == 1


# Beacons


def beacon(world: World, body: Any, *, key: str = KEY) -> httpx.Response:
    """POST as a browser sends what a page leaves behind: no header of the page's, plain text."""
    content = json.dumps(body).encode()
    headers = {"content-type": "text/plain;charset=UTF-8", "origin": "https://shop.example"}
    return world.client.post(f"/beacon/v1/batch?writeKey={key}", content=content, headers=headers)


def test_beacon__with_a_batch__is_answered_as_a_batch(world: World, source: Source) -> None:
    events = [{"type": type_, **event, "messageId": type_} for type_, event in EVENTS.items()]

    answers = [beacon(world, {"batch": [*events, {"type": "track"}], "sentAt": "2026-11-22T03:00:00Z"}) for _ in "ab"]

    assert [answer.status_code for answer in answers] == [200, 200], answers[0].text
    assert [(answer.json()["accepted"], answer.json()["duplicates"]) for answer in answers] == [(6, 0), (0, 6)]
    assert [each["code"] for each in answers[0].json()["rejected"]] == ["no_identity"]
    assert all(answer.headers["access-control-allow-origin"] == "*" for answer in answers)
    world.digest()
    assert Message.objects.filter(source=source, status="done").count() == 6


def test_beacon__of_a_stranger__is_401(world: World, source: Source) -> None:
    answer = beacon(world, {"batch": [{"type": "track", **EVENTS["track"]}]}, key="unknown")

    assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized")
    assert not Message.objects.exists()
