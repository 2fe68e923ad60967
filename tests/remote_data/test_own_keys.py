"""Remote data that an operator stores under keys of its own."""

import base64
import json
from collections.abc import Mapping
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import psycopg
import pytest

from api.erasure import erase
from api.http import database
from api.http.database import fetch_all
from api.ingest.provisioning import create_credential, create_site
from api.models import Scope
from cohorts import own_keys, remote_data
from cohorts.models import OwnKey
from tests.support.concurrency import in_threads
from tests.world import CLIENT_ID, SECRET, SITECODE, World


def write(
    world: World,
    maps: Any,
    *,
    secret: str = SECRET,
    client_id: str = CLIENT_ID,
    sitecode: str = SITECODE,
    hours: str | None = None,
) -> httpx.Response:
    """POST to `/map/maps`: bytes unchanged, anything else as JSON."""
    return world.client.post(
        "/map/maps",
        params={"siteCode": sitecode, **({} if hours is None else {"ttlHours": hours})},
        content=maps if isinstance(maps, bytes) else json.dumps(maps).encode(),
        headers=basic(client_id, secret) if secret else {},
    )


def basic(client_id: str, secret: str) -> dict[str, str]:
    return {"authorization": f"Basic {base64.b64encode(f'{client_id}:{secret}'.encode()).decode()}"}


def read_all(world: World, *keys: str) -> dict[str, Any]:
    """GET `/map/maps` without credentials."""
    answer = world.client.get("/map/maps", params={"siteCode": SITECODE, "keys": json.dumps(keys)})
    assert answer.status_code == 200, answer.text
    objects: dict[str, Any] = answer.json()
    return objects


def stored(world: World) -> Mapping[str, Any]:
    return dict(OwnKey.objects.filter(site=world.site).order_by("key").values_list("key", "document"))


def test_own_key__once_written__is_read_with_keys_of_events_by_anybody(world: World) -> None:
    world.identify(traits={"plan": "scale"})
    fields = {"b": [1, {"c": None}], "a": "ü", "n": 123456789012345678901234567890, "f": 0.1}

    answer = write(world, {"prices": fields, " spaced \n": {"x": 1}})

    assert (answer.status_code, answer.content) == (204, b"")
    assert world.read("prices", token=False) == fields
    assert read_all(world, "prices", "IDENTIFY_user-1", "spaced\n", "common", "nothing") == {
        "prices": fields,
        "IDENTIFY_user-1": {"traits": {"plan": "scale"}},
        "spaced\n": {"x": 1},
        "common": {"cohorts": []},
        "nothing": {},
    }


def test_own_key__written_again__is_replaced_and_an_empty_object_deletes_it(world: World) -> None:
    write(world, {"a": {"x": 1, "y": 2}, "b": {"x": 1}})

    write(world, {"a": {"y": 3}, "b": {}, "never": {}})

    assert read_all(world, "a", "b") == {"a": {"y": 3}, "b": {}}
    assert list(stored(world)) == ["a"]


def test_own_key__of_an_access_token__is_written(world: World) -> None:
    token = world.client.post("/oauth/token", auth=(CLIENT_ID, SECRET)).json()["access_token"]
    headers = {"authorization": f"Bearer {token}"}

    answer = world.client.post("/map/maps", params={"siteCode": SITECODE}, json={"a": {"x": 1}}, headers=headers)

    assert answer.status_code == 204
    assert world.read("a") == {"x": 1}


@pytest.mark.parametrize("key", ["common", " common", "IDENTIFY_user-1", "COHORTS_", "SEGMENTS_x", "\nIDENTIFY_x"])
def test_own_key__that_events_fill__is_refused_and_nothing_is_stored(world: World, key: str) -> None:
    answer = write(world, {"mine": {"x": 1}, key: {"plan": "enterprise"}})

    assert (answer.status_code, answer.json()["code"]) == (400, "reserved_key")
    assert "Choose a key" in answer.json()["message"]
    assert not stored(world)


@pytest.mark.parametrize(
    ("body", "parameters", "status", "code"),
    [
        (b"{", {}, 400, "invalid_json"),
        (b"[]", {}, 400, "invalid_json"),
        (b'{"a": 1}', {}, 400, "invalid_json"),
        (b'{"a": {"x": "\xff"}}', {}, 400, "invalid_json"),
        (b"[" * 100_000, {}, 400, "invalid_json"),
        (b'{"a": {"x": 1e400}}', {}, 400, "invalid_json"),
        (b'{" ": {"x": 1}}', {}, 400, "invalid_request"),
        (b'{"a\\u0000": {"x": 1}}', {}, 400, "invalid_request"),
        ({"k" * 101: {"x": 1}}, {}, 400, "invalid_request"),
        ({"a": {"f" * 1_025: 1}}, {}, 400, "invalid_request"),
        ({"a": {"x": 1}}, {"hours": "0"}, 400, "invalid_request"),
        ({"a": {"x": 1}}, {"hours": "8785"}, 400, "invalid_request"),
        ({"a": {"x": 1}}, {"hours": "²"}, 400, "invalid_request"),
        ({"a": {"x": 1}}, {"hours": ""}, 400, "invalid_request"),
        ({"a": {"x": "y" * 1_048_576}}, {}, 413, "too_large"),
        ({"a": {"x": 1}}, {"sitecode": "nosuchsite"}, 404, "unknown_site"),
    ],
)
def test_own_key__that_cannot_be_stored__is_refused_in_words(
    world: World, body: Any, parameters: dict[str, str], status: int, code: str
) -> None:
    answer = write(world, body, **parameters)

    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert not stored(world)


def test_own_key__of_a_sender_who_may_not_write__is_refused(world: World) -> None:
    other = create_site(name="Other")
    for name, sites, scopes in (("reader", [world.site], [Scope.READ]), ("stranger", [other], Scope.values)):
        create_credential(sites, name=name, scopes=scopes, client_id=name, secret=SECRET)

    answers = [
        write(world, {"a": {"x": 1}}, secret=""),
        write(world, {"a": {"x": 1}}, secret="wrong"),
        write(world, {"a": {"x": 1}}, client_id="reader"),
        write(world, {"a": {"x": 1}}, client_id="stranger"),
    ]

    assert [(answer.status_code, answer.json()["code"]) for answer in answers] == [
        (401, "unauthorized"),
        (401, "unauthorized"),
        (403, "insufficient_scope"),
        (403, "forbidden_site"),
    ]
    assert not stored(world)


def test_own_key__of_another_site__is_out_of_reach(world: World) -> None:
    other = create_site(name="Other")
    write(world, {"a": {"x": 1}})

    answer = world.client.get("/map/map", params={"siteCode": other.sitecode, "key": "a"})

    assert answer.json() == {}


def test_own_key__on_a_site_that_demands_a_token__is_read_with_one_only(world: World) -> None:
    world.change_site(requires_token=True)
    write(world, {"a": {"x": 1}})

    assert world.get("a", token=False).status_code == 401
    assert world.read("a") == {"x": 1}


def test_own_key__after_its_hours__is_gone_and_purged(world: World) -> None:
    write(world, {"short": {"x": 1}}, hours="1")
    write(world, {"long": {"x": 1}})
    now = datetime.now(UTC)
    hours = {key.key: (key.expires_at - now) / timedelta(hours=1) for key in OwnKey.objects.all()}
    assert hours == {"short": pytest.approx(1, abs=0.1), "long": pytest.approx(2_208, abs=0.1)}

    OwnKey.objects.filter(key="short").update(expires_at=now - timedelta(seconds=1))
    assert read_all(world, "short", "long") == {"short": {}, "long": {"x": 1}}
    write(world, {"of the other site": {"x": 1}})
    purges = [own_keys.purge_expired(now=now) for _ in range(2)]

    assert purges == [True, False]
    assert list(stored(world)) == ["long", "of the other site"]


def test_own_key__too_large_to_be_read_with_others__is_read_alone(world: World) -> None:
    large = {"text": "é" * 100_000}
    world.identify(traits={"plan": "scale"})
    write(world, {"large": large})

    assert read_all(world, "large", "IDENTIFY_user-1") == {
        "large": large,
        "IDENTIFY_user-1": {"traits": {"plan": "scale"}},
    }
    sought = [remote_data.OwnName("large")]
    rows = fetch_all(remote_data.statement_for(sought), remote_data.parameters(world.site.pk, sought))
    assert rows == [(1, None)]


def test_own_key__among_many__is_read_by_its_index(world: World) -> None:
    now = datetime.now(UTC)
    OwnKey.objects.bulk_create(
        OwnKey(site=world.site, key=f"key-{number}", document="{}", updated_at=now, expires_at=now + timedelta(days=1))
        for number in range(2_000)
    )
    sought: list[remote_data.Sought] = [remote_data.OwnName("key-7"), "ada"]
    with closing(psycopg.connect(**database.connection_parameters(), autocommit=True)) as reader:
        database.configure_reader(reader)
        parameters = remote_data.parameters(world.site.pk, sought)
        plan = str(reader.execute(f"EXPLAIN {remote_data.statement_for(sought)}", parameters).fetchall())

    assert "cohorts_ownkey_key" in plan
    assert "cohorts_ownkey_expiry" not in plan


def test_own_keys__too_large_for_one_answer__are_refused(world: World) -> None:
    keys = [f"large-{number}" for number in range(18)]
    for key in keys:
        assert write(world, {key: {"text": "x" * 1_000_000}}).status_code == 204

    answer = world.client.get("/map/maps", params={"siteCode": SITECODE, "keys": json.dumps(keys)})

    assert (answer.status_code, answer.content) == (400, b"{}")
    assert answer.headers["goalpost-error"].startswith("too_many_keys")


def test_own_keys__written_by_many_at_once__end_as_one_of_the_writes(world: World) -> None:
    keys = [f"key-{number}" for number in range(20)]

    def write_all(thread: int) -> list[int]:
        order = keys if thread % 2 else keys[::-1]
        return [write(world, {key: {"by": thread} for key in order}).status_code for _ in range(10)]

    assert in_threads(8, write_all) == [[204] * 10] * 8
    assert len({json.dumps(value) for value in read_all(world, *keys).values()}) == 1


def test_own_keys__named_after_a_person__are_exported_and_erased_with_it(world: World) -> None:
    world.identify(userId="ann@example.com", traits={"plan": "scale"})
    write(
        world,
        {
            "BASKET_ann@example.com": {"items": 2},
            "ann@example.com": {"x": 1},
            "BASKET_bob": {"sharedWith": ["ann@example.com"], "items": 1},
        },
    )
    receipt = erase.erase(world.site, "ann@example.com", by="ada", now=datetime.now(UTC))
    assert receipt is not None
    while erase.step(receipt, now=datetime.now(UTC)):
        receipt.refresh_from_db()

    left = stored(world)
    assert list(left) == ["BASKET_bob"]
    assert json.loads(left["BASKET_bob"]) == {"sharedWith": [receipt.marker], "items": 1}
