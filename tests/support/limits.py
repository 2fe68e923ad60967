"""Places of requests that Django answers, counted and taken by a test."""

from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager

import pytest

from api.http.concurrency import ConcurrencyLimit, LimitReachedError
from api.http.django_requests import EXPORT_LIMIT, PAGES, SIGN_INS
from tests.support.asgi import Exchange, wait_for
from tests.support.concurrency import wait_until

LIMITS = (PAGES.limit, SIGN_INS.limit, EXPORT_LIMIT)


def with_short_waits(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Shorten the waits during a test, and require that every place is free after it."""
    for limit in LIMITS:
        monkeypatch.setattr(limit, "patience", min(limit.patience, 0.02))
    yield
    wait_until(lambda: [free_places(limit) for limit in LIMITS] == [limit.running for limit in LIMITS])


def free_places(limit: ConcurrencyLimit) -> int:
    """Return how many more may run, by taking them."""

    async def take_all() -> int:
        taken = 0
        async with AsyncExitStack() as stack:
            try:
                while True:
                    await stack.enter_async_context(limit.place())
                    taken += 1
            except LimitReachedError:
                return taken

    return wait_for(take_all())


@contextmanager
def full(limit: ConcurrencyLimit) -> Iterator[None]:
    """Have others hold every place."""
    stack = AsyncExitStack()

    async def take_all() -> None:
        for _ in range(limit.running):
            await stack.enter_async_context(limit.place())

    wait_for(take_all())
    try:
        yield
    finally:
        wait_for(stack.aclose())


def get(target: str) -> Exchange:
    """Begin a GET without a body."""
    begun = Exchange("GET", target, headers=[(b"host", b"localhost")])
    begun.give(b"")
    return begun


def take_first(begun: Exchange) -> bytes:
    """Take status, headers and the first piece of a response."""
    head, body = begun.take(), begun.take()
    assert head is not None
    assert body is not None
    assert head["status"] == 200
    return bytes(body["body"])
