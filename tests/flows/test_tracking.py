"""The tracking API seen from outside: who may send, what is answered, and what is kept of what is refused."""

import base64
import gzip
import json
from collections.abc import Mapping
from typing import Any

import httpx
import pytest

from api.models import Message, Source, WriteKey
from api.sites import create_source
from tests.world import World

KEY = "test_write_key_0001"


@pytest.fixture
def source(world: World) -> Source:
    return create_source(world.site, name="Web", kind="browser", write_key=KEY)


def basic(key: str = KEY, *, colon: str = ":") -> dict[str, str]:
    return {"authorization": "Basic " + base64.b64encode(f"{key}{colon}".encode()).decode()}


def post(world: World, path: str, body: Any, *, headers: Mapping[str, str] | None = None) -> httpx.Response:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return world.client.post(path, content=content, headers=basic() if headers is None else headers)


EVENTS: dict[str, dict[str, Any]] = {
    "track": {"userId": "u1", "event": "Signed Up"},
    "identify": {"userId": "u1", "traits": {"plan": "gold"}},
    "group": {"userId": "u1", "groupId": "g1", "traits": {"name": "Initech"}},
    "page": {"anonymousId": "a1", "name": "Home"},
    "screen": {"anonymousId": "a1", "name": "Main"},
    "alias": {"userId": "u1", "previousId": "a1"},
}


@pytest.mark.promise("I-27", "I-26", "I-03")
@pytest.mark.parametrize("slash", ["", "/"])
@pytest.mark.parametrize("path", [*EVENTS, *(name[0] for name in EVENTS)])
def test_event__of_each_type_by_its_path__is_taken(world: World, source: Source, path: str, slash: str) -> None:
    type_ = next(name for name in EVENTS if path in {name, name[0]})

    response = post(world, f"/v1/{path}{slash}", EVENTS[type_])

    assert (response.status_code, response.content) == (200, b'{"success":true}')
    message = world.last_message()
    assert (message.type, message.source, message.status) == (type_, source, "pending")
    world.digest()
    assert world.last_message().status == "done"
