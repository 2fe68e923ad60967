"""The guide's Destination Function, run as Segment runs it, and webhooks with raw events."""

import json
from pathlib import Path
from typing import Any

import pytest

from api.pages.guide import read_code
from api.runtime.embedded import free_port
from tests.contract.captured import BODIES, GOALS, remote_data, send_captured
from tests.contract.node import needs_node, run_node
from tests.contract.server import Shop

HERE = Path(__file__).parent


def as_segment_knows_it(body: dict[str, Any]) -> dict[str, Any]:
    """Return the event of a source from which the destination made this body."""
    event = {**body, "channel": "client", "context": body.get("context", {"library": {"name": "analytics.js"}})}
    if body["type"] in {"identify", "group"}:
        event["traits"] = event.pop("properties")
    return event


EVENTS = [as_segment_knows_it(body) for body in BODIES]


def run_function(
    shop: Shop, *events: dict[str, Any], status: int = 0, is_redirected: bool = False, **changed: str
) -> Any:
    """Run the function for events and return its outcomes.

    `status` replaces the server's answer. `changed` holds wrong settings.
    """
    _, _, api_key = shop.headers["authorization"].partition(" ")
    settings = {"host": f"{shop.server.url}/", "apiKey": api_key, "sitecode": shop.sitecode, **changed}
    task = {"code": read_code("function"), "settings": settings, "events": events, "status": status}
    return run_node(HERE / "function.mjs", {**task, "isRedirected": is_redirected})


@needs_node
@pytest.mark.promise("K-01", "K-37", "K-49", "K-67", "K-85", "W1", "W4", "W7")
def test_function__for_the_events_behind_the_captured_requests__sends_the_same_bytes(
    shop: Shop, other_shop: Shop
) -> None:
    send_captured(other_shop)
    other_shop.digest()

    result = run_function(shop, *EVENTS)
    shop.digest()

    assert set(result["outcomes"]) == {"delivered"}
    assert [request["body"] for request in result["sent"]] == [
        json.dumps(body, ensure_ascii=False, separators=(",", ":")) for body in BODIES
    ]
    assert {request["url"] for request in result["sent"]} == {f"{shop.server.url}/segmentio"}
    assert [{**shop.headers, **request["headers"]} for request in result["sent"]] == [shop.headers] * len(BODIES)
    assert shop.goals() == other_shop.goals() == GOALS
    assert remote_data(shop) == remote_data(other_shop)


@needs_node
@pytest.mark.promise("K-49")
def test_function__visitor_code_in_the_context__reaches_every_type(shop: Shop) -> None:
    events = [
        {**shop.event(type_, name="Home", groupId="initech"), "context": {"kameleoonVisitorCode": "vc1"}}
        for type_ in ("track", "page", "screen", "identify", "group")
    ]

    result = run_function(shop, *events)

    assert [json.loads(request["body"])["properties"] for request in result["sent"]] == [
        {"kameleoonVisitorCode": "vc1"}
    ] * 5


@needs_node
@pytest.mark.promise("K-83")
def test_function__refused_by_the_server__throws_what_segment_does_not_repeat(shop: Shop) -> None:
    event = shop.event()
    large = {**event, "properties": {"filling": "x" * 1_048_576}}
    unnamed = {key: value for key, value in event.items() if key != "messageId"}

    assert run_function(shop, event, apiKey="bad")["outcomes"][0].startswith("ValidationError: HTTP 401: {")
    assert run_function(shop, event, host=f"{shop.server.url}/no")["outcomes"][0].startswith(
        "ValidationError: HTTP 404"
    )
    assert run_function(shop, event, sitecode="nosuchsite")["outcomes"][0].startswith("ValidationError: HTTP 403: {")
    assert run_function(shop, large)["outcomes"][0].startswith("InvalidEventPayload: HTTP 413: {")
    assert run_function(shop, {**event, "type": "alias"})["outcomes"] == ["EventNotSupported: alias"]
    assert run_function(shop, unnamed)["outcomes"] == ["delivered"]


@needs_node
@pytest.mark.promise("K-83", "W11")
def test_function__when_a_repetition_can_help__throws_what_segment_repeats(shop: Shop) -> None:
    nobody_listens = f"http://127.0.0.1:{free_port()}"

    assert run_function(shop, shop.event(), host=nobody_listens)["outcomes"][0].startswith("RetryError: ")
    for status in (408, 423, 429, 500, 502, 503, 504):
        assert run_function(shop, shop.event(), status=status)["outcomes"] == [f"RetryError: HTTP {status}: told to"]


@needs_node
@pytest.mark.promise("K-83", "W1")
def test_function__host_that_redirects__loses_nothing_in_silence(shop: Shop) -> None:
    """After a redirect the request arrives as a GET without the event, and its 200 looks like a delivery."""
    result = run_function(shop, shop.event(), is_redirected=True)

    assert result["outcomes"][0].startswith("ValidationError: HTTP 301")


@pytest.mark.promise("K-01", "K-85")
@pytest.mark.parametrize("size", [1, 4])
def test_webhook__raw_events_single_or_in_arrays__come_out_as_through_the_destination(shop: Shop, size: int) -> None:
    """Segment's and RudderStack's webhooks, set up as the guide says, send events in these two forms."""
    headers = {name: shop.headers[name] for name in ("authorization", "x-segment-settings")}
    bodies = EVENTS if size == 1 else [EVENTS[start : start + size] for start in range(0, len(EVENTS), size)]
    answers = [shop.client.post("/segmentio", json=body, headers=headers) for body in bodies]
    shop.digest()

    assert {answer.status_code for answer in answers} == {200}
    assert size == 1 or sum(answer.json()["accepted"] for answer in answers) == len(EVENTS)
    assert shop.goals() == GOALS
    assert shop.read("IDENTIFY_anon-1")["groupId"] == "group-1"
    assert shop.read("common") == {"cohorts": ["big_spenders"]}
