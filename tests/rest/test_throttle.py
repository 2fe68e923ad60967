"""Limit of requests per minute and credential, which applies while Redis can count them."""

import socket
import time
from collections.abc import Iterator

import pytest
from django.core.cache import cache
from django.test import override_settings

from api.rest.throttle import count_request
from tests.support.management_api import Caller, message, refusal
from tests.world import World

LIMIT = 3


@pytest.fixture
def closed_port() -> Iterator[int]:
    """Yield a port without a listener, reserved so that no process can listen on it."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


@override_settings(API_REQUESTS_PER_MINUTE=LIMIT)
def test_throttle__more_than_the_limit__is_429_until_the_minute_turns(world: World, teammate: Caller) -> None:
    # The requests touch at most two minutes, so one of these gets more than the limit.
    refused = [
        response for _ in range(2 * LIMIT + 1) if (response := teammate.ask("GET", "/api/goals")).status_code != 200
    ]

    assert refused
    for response in refused:
        assert refusal(response) == (429, "throttled")
        assert 1 <= int(response["Retry-After"]) <= 60
        assert f"{response['Retry-After']} s" in message(response)


@override_settings(API_REQUESTS_PER_MINUTE=LIMIT)
def test_throttle__of_one_credential__is_no_others(world: World, teammate: Caller, outsider: Caller) -> None:
    for _ in range(2 * LIMIT + 1):
        teammate.ask("GET", "/api/goals")

    assert outsider.ask("GET", "/api/goals").status_code == 200


def test_count__next_minute__begins_anew() -> None:
    cache.clear()

    assert [count_request("credential-1", now=at) for at in (60, 60.5, 119.9, 120, 121)] == [1, 2, 3, 1, 2]


@override_settings(API_REQUESTS_PER_MINUTE=LIMIT)
def test_throttle__without_redis__lets_everybody_in(world: World, teammate: Caller, closed_port: int) -> None:
    caches = {
        "default": {
            "BACKEND": "django.core.cache.backends.redis.RedisCache",
            "LOCATION": f"redis://127.0.0.1:{closed_port}/0",
        }
    }
    with override_settings(CACHES=caches):
        started = time.monotonic()
        statuses = {teammate.ask("GET", "/api/goals").status_code for _ in range(2 * LIMIT + 1)}

    assert statuses == {200}
    assert time.monotonic() - started < 5
