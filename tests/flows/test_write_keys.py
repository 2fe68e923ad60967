"""Source of a request: one valid key anywhere is enough. Otherwise each event's own key counts for it."""

import base64
import json
from collections.abc import Mapping
from typing import Any

import httpx
import pytest

from api.http.bodies import STRANGERS
from api.http.credentials import clear_lookups
from api.ingest.provisioning import create_site, create_source
from api.ingest.write_keys import MAX_KEYS
from api.models import Message, Source
from tests.support.asgi import ask, full
from tests.support.messages import body_of
from tests.support.rules import add_rule
from tests.world import CLIENT_ID, SECRET, World

MINE, OTHERS, FOREIGN = "test_write_key_0001", "test_write_key_0002", "the-old-source"
EVENT = {"type": "track", "userId": "u1", "event": "Signed Up"}


@pytest.fixture
def mine(world: World) -> Source:
    return create_source(world.site, name="Shop", kind="server", write_key=MINE)


@pytest.fixture
def others(world: World, mine: Source) -> Source:
    """Return a source of another site."""
    return create_source(create_site(name="Other"), name="Theirs", kind="server", write_key=OTHERS)


def basic(key: str) -> dict[str, str]:
    return {"authorization": "Basic " + base64.b64encode(f"{key}:".encode()).decode()}


def bearer(world: World) -> dict[str, str]:
    form = {"grant_type": "client_credentials", "client_id": CLIENT_ID, "client_secret": SECRET}
    return {"authorization": f"Bearer {world.client.post('/oauth/token', data=form).json()['access_token']}"}


def post(world: World, path: str, body: Any, headers: Mapping[str, str] | None = None) -> httpx.Response:
    return world.client.post(path, content=json.dumps(body).encode(), headers=headers or {})


def batch(*keys: str | None, **fields: Any) -> dict[str, Any]:
    """Events that bear these keys, each with a messageId of its place."""
    events = [
        {**EVENT, "messageId": f"m{place}", **({} if key is None else {"writeKey": key})}
        for place, key in enumerate(keys)
    ]
    return {"batch": events, **fields}


def stored(**of: Any) -> list[tuple[str | None, int]]:
    """(messageId, source) of what is in the inbox."""
    messages = Message.objects.filter(**of).order_by("position")
    return [(each.message_id, each.source_id or 0) for each in messages]


@pytest.mark.parametrize("wrong", [FOREIGN, "", "no key at all", None, 7, {"a": 1}])
@pytest.mark.parametrize(
    ("headers", "query", "top"),
    [
        (basic(MINE), "", None),
        (basic(MINE), "?writeKey=unknown", "unknown"),
        (basic(MINE), f"?writeKey={OTHERS}", OTHERS),
        ({}, f"?writeKey={MINE}", None),
        ({}, f"?writeKey={MINE}", OTHERS),
        (basic("unknown"), f"?writeKey={MINE}", None),
        ({"authorization": "Digest x"}, f"?writeKey={MINE}", None),
        ({"authorization": "Basic !!!"}, f"?writeKey={MINE}", None),
        ({}, "", MINE),
        (basic("staging"), "", MINE),  # of the proxy in front
        (basic("unknown"), "?writeKey=unknown", MINE),
        ({"authorization": "Negotiate x"}, "?other=1", MINE),
    ],
)
def test_key__valid_for_the_request__makes_those_in_the_events_mean_nothing(
    world: World, mine: Source, others: Source, *, headers: dict[str, str], query: str, top: str | None, wrong: Any
) -> None:
    events = batch(None, MINE, OTHERS, **({} if top is None else {"writeKey": top}))
    events["batch"][1]["writeKey"] = wrong

    answer = post(world, f"/v1/batch{query}", events, headers)

    assert (answer.status_code, answer.json()["accepted"]) == (200, 3)
    assert stored() == [(f"m{place}", mine.pk) for place in range(3)]


@pytest.mark.parametrize("path", ["/v1/track", "/v1/batch", "/v1/import", "/v1/b"])
def test_key__in_the_header_of_an_event_that_bears_a_foreign_one__opens_its_source(
    world: World, mine: Source, path: str
) -> None:
    event = {**EVENT, "writeKey": FOREIGN}

    answer = post(world, path, event if path == "/v1/track" else {"batch": [event], "writeKey": FOREIGN}, basic(MINE))

    assert answer.status_code == 200
    assert stored() == [(None, mine.pk)]


@pytest.mark.parametrize("headers", [{}, basic("unknown")])
@pytest.mark.parametrize("top", [None, FOREIGN])
def test_keys__of_several_sources_in_the_events__each_counts_for_its_own(
    world: World, mine: Source, others: Source, headers: dict[str, str], top: str | None
) -> None:
    keys = (MINE, OTHERS, FOREIGN, None, MINE)

    answer = post(world, "/v1/batch", batch(*keys, **({} if top is None else {"writeKey": top})), headers)

    assert answer.status_code == 200
    told = answer.json()
    assert (told["success"], told["accepted"], told["duplicates"]) == (True, 3, 0)
    assert [(each["index"], each["code"]) for each in told["rejected"]] == [(2, "unauthorized"), (3, "unauthorized")]
    assert all("not stored" in each["message"] for each in told["rejected"])
    assert stored() == [("m0", mine.pk), ("m1", others.pk), ("m4", mine.pk)]
    assert stored(site=others.site) == [("m1", others.pk)]
    again = post(world, "/v1/batch", batch(*keys), headers).json()
    assert (again["accepted"], again["duplicates"], len(again["rejected"])) == (0, 3, 2)


def test_keys__of_several_sources__refuse_each_event_as_its_source_does(
    world: World, mine: Source, others: Source
) -> None:
    Source.objects.filter(pk=others.pk).update(is_enabled=False)
    clear_lookups()
    events = batch(MINE, OTHERS, MINE)
    del events["batch"][2]["event"]

    told = post(world, "/v1/batch", events).json()

    assert told["accepted"] == 1
    assert [(each["index"], each["code"]) for each in told["rejected"]] == [(1, "source_off"), (2, "missing_name")]
    assert stored(status="rejected", site=others.site) == [("m1", others.pk)]
    assert stored(status="rejected", site=world.site) == [("m2", mine.pk)]


def test_keys__of_several_sources__keep_the_rules_of_each(world: World, mine: Source, others: Source) -> None:
    add_rule(world, "drop_field", "properties.secret")
    events = batch(MINE, OTHERS)
    for event in events["batch"]:
        event["properties"] = {"secret": 1}

    assert post(world, "/v1/batch", events).json()["accepted"] == 2

    kept = {each.site_id: json.loads(body_of(each))["properties"] for each in Message.objects.all()}
    assert kept == {world.site.pk: {}, others.site_id: {"secret": 1}}


def test_keys__of_several_sources_over_a_limit__leave_each_a_refusal_without_a_body(
    world: World, mine: Source, others: Source
) -> None:
    """The first event of the request may belong to another site."""
    events = batch(MINE, OTHERS)
    events["batch"] += [EVENT] * 4_000

    answer = post(world, "/v1/batch", events)

    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")
    kept = Message.objects.order_by("source_id")
    assert [(each.source_id, each.reason, body_of(each)) for each in kept] == [
        (mine.pk, "too_large", b""),
        (others.pk, "too_large", b""),
    ]


@pytest.mark.parametrize("spoiled", [b"NaN", b'"\\ud800"', b"\xff", b"nonsense"])
@pytest.mark.parametrize("place", ["top", "events"])
def test_keys__beside_what_is_no_json__open_their_sources(
    world: World, mine: Source, others: Source, *, place: str, spoiled: bytes
) -> None:
    keys = (MINE, OTHERS) if place == "events" else (None, None)
    events = batch(*keys, **({"writeKey": MINE} if place == "top" else {}))
    events["batch"].append({**events["batch"][0], "messageId": "m2", "properties": {"x": "SPOILED"}})
    content = json.dumps(events).encode().replace(b'"SPOILED"', spoiled)

    answer = world.client.post("/v1/batch", content=content)

    assert (answer.status_code, answer.json()["accepted"] >= 2) == (200, True)
    assert stored(message_id__in=["m0", "m1"]) == [("m0", mine.pk), ("m1", (others if place == "events" else mine).pk)]
    assert Message.objects.filter(source=mine, position=2).exists()  # refused or not


def test_key__the_only_one_in_the_events__counts_for_those_without(world: World, mine: Source) -> None:
    assert post(world, "/v1/batch", batch(None, MINE, None)).json()["accepted"] == 3
    assert {source for _, source in stored()} == {mine.pk}


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/batch", batch(FOREIGN)),
        ("/v1/batch", batch(FOREIGN, "another")),
        ("/v1/batch", batch(None, None)),
        ("/v1/batch", batch(None, writeKey=FOREIGN)),
        ("/v1/batch?writeKey=unknown", batch(None)),
        ("/v1/track", {**EVENT, "writeKey": FOREIGN}),
        ("/v1/track", {**EVENT, "batch": [{"writeKey": MINE}, {"writeKey": OTHERS}]}),
        ("/v1/track?writeKey=", EVENT),
        ("/v1/track?writeKey=%00", EVENT),
    ],
)
@pytest.mark.parametrize("headers", [{}, basic("unknown"), {"authorization": "Digest x"}])
def test_request__without_a_valid_key__is_401(
    world: World, mine: Source, others: Source, *, path: str, body: Any, headers: dict[str, str]
) -> None:
    answer = post(world, path, body, headers)

    assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized")
    assert "www-authenticate" in answer.headers
    assert stored() == []


def test_keys__more_than_anybody_has__are_refused_without_being_looked_up(
    world: World, mine: Source, others: Source
) -> None:
    keys = [f"key-{number}" for number in range(MAX_KEYS)]

    assert post(world, "/v1/batch", batch(MINE, *keys[1:])).json()["accepted"] == 1
    refused = post(world, "/v1/batch", batch(MINE, *keys))
    assert (refused.status_code, refused.json()["code"]) == (413, "too_large")


def test_token__beside_keys_in_the_events__counts_for_the_sites_that_it_opens(
    world: World, mine: Source, others: Source
) -> None:
    headers = bearer(world)

    told = post(world, "/v1/batch", batch(MINE, OTHERS), headers).json()

    assert (told["accepted"], [each["index"] for each in told["rejected"]]) == (1, [1])
    assert stored() == [("m0", mine.pk)]
    for path, body in (
        (f"/v1/batch?writeKey={OTHERS}", batch(None)),
        ("/v1/batch", batch(OTHERS)),
        ("/v1/track", EVENT),
    ):
        assert post(world, path, body, headers).status_code == 401
    assert post(world, f"/v1/batch?writeKey={MINE}", batch(OTHERS, None), headers).json()["accepted"] == 1


def test_key__in_the_query__has_its_body_read_while_strangers_wait(world: World, mine: Source) -> None:
    with full(STRANGERS):
        for key, status in ((MINE, 200), ("unknown", 503)):
            body = json.dumps(EVENT).encode()
            assert ask("POST", "/v1/track", query=f"writeKey={key}".encode(), body=body) == status
