"""The code that the README prints, run as it is printed against a running server."""

import importlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.test import override_settings

from api.digest import hooks
from api.models import Source
from api.runtime.embedded import free_port
from tests.contract.captured import BODIES, GOALS, remote_data, send_captured
from tests.contract.node import needs_node, run_node
from tests.contract.server import Shop
from tests.manage.conftest import Caller
from tests.world import SITECODE, World

HERE = Path(__file__).parent
README = (HERE.parents[1] / "README.md").read_text()


def printed(name: str) -> str:
    """The JavaScript block of the README that defines this function."""
    blocks: list[str] = re.findall(r"^```js\n(.*?)^```", README, re.DOTALL | re.MULTILINE)
    return next(block for block in blocks if f"async function {name}(" in block)


def as_segment_knows_it(body: dict[str, Any]) -> dict[str, Any]:
    """The event of a source, from which the destination made this body."""
    event = {**body, "channel": "client", "context": body.get("context", {"library": {"name": "analytics.js"}})}
    if body["type"] in {"identify", "group"}:
        event["traits"] = event.pop("properties")
    return event


EVENTS = [as_segment_knows_it(body) for body in BODIES]


def run_function(
    shop: Shop, *events: dict[str, Any], status: int = 0, is_redirected: bool = False, **changed: str
) -> Any:
    """What becomes of events; `status` is answered in place of the server, `changed` are wrong settings."""
    _, _, api_key = shop.headers["authorization"].partition(" ")
    settings = {"host": f"{shop.server.url}/", "apiKey": api_key, "sitecode": shop.sitecode, **changed}
    task = {"code": printed("onTrack"), "settings": settings, "events": events, "status": status}
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
    assert [each["body"] for each in result["sent"]] == [
        json.dumps(body, ensure_ascii=False, separators=(",", ":")) for body in BODIES
    ]
    assert {each["url"] for each in result["sent"]} == {f"{shop.server.url}/segmentio"}
    assert [{**shop.headers, **each["headers"]} for each in result["sent"]] == [shop.headers] * len(BODIES)
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

    assert [json.loads(each["body"])["properties"] for each in result["sent"]] == [{"kameleoonVisitorCode": "vc1"}] * 5


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
    """A POST that follows a redirect arrives as a GET without the event, and its 200 looks like a delivery."""
    result = run_function(shop, shop.event(), is_redirected=True)

    assert result["outcomes"][0].startswith("ValidationError: HTTP 301")


@pytest.mark.promise("K-01", "K-85")
@pytest.mark.parametrize("size", [1, 4])
def test_webhook__raw_events_single_or_in_arrays__come_out_as_through_the_destination(shop: Shop, size: int) -> None:
    """The settings that the README gives for Segment's and RudderStack's webhooks."""
    headers = {name: shop.headers[name] for name in ("authorization", "x-segment-settings")}
    bodies = EVENTS if size == 1 else [EVENTS[start : start + size] for start in range(0, len(EVENTS), size)]
    answers = [shop.client.post("/segmentio", json=body, headers=headers) for body in bodies]
    shop.digest()

    assert {answer.status_code for answer in answers} == {200}
    assert size == 1 or sum(answer.json()["accepted"] for answer in answers) == len(EVENTS)
    assert shop.goals() == GOALS
    assert shop.read("IDENTIFY_anon-1")["groupId"] == "group-1"
    assert shop.read("common") == {"cohorts": ["big_spenders"]}


@needs_node
@pytest.mark.promise("K-57", "K-75", "K-76")
def test_page_function__for_known_and_unknown_visitors__reads_personas_traits_and_group(shop: Shop) -> None:
    shop.send(
        shop.event("identify", properties={"plan": "scale", "email": "ann@example.com"}),
        shop.event("group", groupId="initech"),
        shop.event(event="Audience Entered", properties={"audience_key": "vip", "vip": True}),
        shop.event(event="Audience Exited", properties={"audience_key": "new", "new": False}),
    )
    task = {"code": printed("readVisitor"), "host": shop.server.url, "sitecode": shop.sitecode}

    assert run_node(HERE / "visitor.mjs", {**task, "ids": ["user-1", "nobody"]}) == {
        "user-1": {"personas": ["vip"], "traits": {"plan": "scale"}, "groupId": "initech"},
        "nobody": {"personas": [], "traits": {}},
    }


def printed_block(language: str, containing: str) -> str:
    """The block of the README in this language that holds a text."""
    blocks: list[str] = re.findall(rf"^```{language}\n(.*?)^```", README, re.DOTALL | re.MULTILINE)
    (block,) = [block for block in blocks if containing in block]
    return block


def run_commands(shop: Shop, commands: str) -> str:
    """What commands of the README print, run by a shell after those of `.data/first-site.env`."""
    variables = {
        "URL": shop.server.url,
        "GOALPOST_CLIENT_ID": shop.client_id,
        "GOALPOST_CLIENT_SECRET": shop.secret,
        "GOALPOST_WRITE_KEY": shop.write_key,
    }
    done = subprocess.run(
        ["bash", "-euc", commands],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return done.stdout


needs_curl = pytest.mark.skipif(not (shutil.which("curl") and shutil.which("bash")), reason="there is no curl")


@needs_curl
@pytest.mark.promise("I-03", "I-27", "A-04")
def test_commands__of_sending_from_anywhere__answer_as_printed(shop: Shop) -> None:
    answers = run_commands(shop, printed_block("sh", "/v1/track"))
    shop.digest()

    assert answers == printed_block("json", '"rejected":[{')
    assert shop.goals() == {"SegmentIO page – Home": ["grace"], "SegmentIO track – Signed Up": ["grace"]}


@needs_curl
@pytest.mark.promise("A-02", "A-10", "B-07")
def test_commands__of_sources__make_one_and_another_key(shop: Shop) -> None:
    run_commands(shop, printed_block("sh", "write-keys"))

    source = Source.objects.get(site__sitecode=shop.sitecode, name="Shop server")
    assert (source.kind, source.takes_track) == ("server", True)
    assert [key.ends_at is None for key in source.write_keys.order_by("pk")] == [False, True]


def put_rules(caller: Caller, containing: str) -> None:
    rules = json.loads(printed_block("json", containing))
    response = caller.ask("PUT", f"/api/sites/{SITECODE}/rules", rules)
    assert response.status_code == 200, response.content


@pytest.mark.promise("B-08", "B-09")
def test_rules__for_pages__make_track_events_with_a_prefix(world: World) -> None:
    put_rules(Caller.build(world.site), "page_to_track")

    world.send(world.event("page", name="Home"), world.event("track", event="Buy"))

    assert world.goals() == {"SegmentIO track – Buy": 1, "SegmentIO track – Page: Home": 1}


@pytest.mark.promise("A-05")
def test_rules__of_altis__take_the_group_from_its_lists(world: World) -> None:
    put_rules(Caller.build(world.site), "AudienceId")

    world.identify(traits={"AudienceId": ["42"], "Country": ["NL"]}, userId="ann")

    assert world.read("IDENTIFY_ann")["groupId"] == "42"


def test_rules__of_the_last_example__do_what_is_said_before_it(world: World) -> None:
    put_rules(Caller.build(world.site), "robot")

    world.send(
        world.event("track", event="Viewed order 1"),
        world.event("track", event="Viewed order 2"),
        world.event("track", event="Buy", context={"userAgent": "robot/1.0"}),
    )
    world.identify(traits={"email": "ann@example.com"})

    assert world.goals() == {"SegmentIO track – Viewed order {n}": 2}
    assert world.traits("user-1")["email"].startswith("sha256:")
    assert b"ann@example.com" not in bytes(world.last_message().body)


@pytest.mark.promise("A-12")
def test_hooks__of_the_example__change_and_drop(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "shop_hooks.py").write_text(printed_block("python", "def transform"))
    monkeypatch.syspath_prepend(tmp_path)
    with override_settings(HOOKS="shop_hooks"):
        hooks.load()
        try:
            world.send(
                world.event("track", event="shop_Buy", messageId="m1"),
                world.event("track", event="Test", properties={"is_test": True}),
            )
        finally:
            module = importlib.import_module("shop_hooks")
            hooks.batch_digested.disconnect(module.count)
            hooks.batch_failed.disconnect(module.complain)
            hooks._find_transform.cache_clear()
            del sys.modules["shop_hooks"]

    assert world.goals() == {"SegmentIO track – Buy": 1}
    assert "('m1', 'done'," in capsys.readouterr().out
