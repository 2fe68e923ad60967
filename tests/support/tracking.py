"""Requests of the tracking API."""

import base64
import json
from collections.abc import Mapping
from typing import Any

import httpx

from tests.world import World

KEY = "test_write_key_0001"


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
