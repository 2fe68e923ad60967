"""Limit of requests per minute and credential or token, counted in Redis; without Redis there is no limit."""

import time
from typing import TYPE_CHECKING, Final

import structlog
from django.conf import settings
from django.core.cache import cache
from redis.exceptions import RedisError
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle

from api.rest.access import caller_of

if TYPE_CHECKING:  # it reads the settings, which name this module
    from rest_framework.views import APIView

log = structlog.get_logger(__name__)

SPAN: Final = 60


class CredentialThrottle(BaseThrottle):
    """A limit of requests per minute over all processes; around the turn of a minute up to twice as many pass."""

    def allow_request(self, request: Request, _view: "APIView") -> bool:
        requests = count_request(caller_of(request).key, now=time.time())
        return requests <= int(settings.API_REQUESTS_PER_MINUTE)

    def wait(self) -> float:
        return SPAN - time.time() % SPAN


def count_request(caller: str, *, now: float) -> int:
    """Return the number of this request in its minute, 0 without Redis. Three round trips to Redis."""
    key = f"requests:{caller}:{now // SPAN:.0f}"
    try:
        cache.add(key, 0, timeout=2 * SPAN)
        return cache.incr(key)
    except RedisError as error:
        log.warning("throttle.unavailable", error=type(error).__name__)
        return 0
    except ValueError:  # evicted between the two
        return 1
