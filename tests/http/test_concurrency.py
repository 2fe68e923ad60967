"""The limit of concurrent requests: some run, some wait, the rest is refused."""

import asyncio
from contextlib import AsyncExitStack

import pytest

from api.http.concurrency import ConcurrencyLimit, LimitReachedError


def test_limit__full__refuses_at_once_or_after_patience() -> None:
    async def fill() -> None:
        limit = ConcurrencyLimit(running=1, waiting=1, patience=0.01)
        async with limit.place():
            with pytest.raises(LimitReachedError):  # waits for its whole timeout
                await hold(limit)
        patient = ConcurrencyLimit(running=1, waiting=1, patience=30)
        async with patient.place():
            waiter = asyncio.create_task(hold(patient))
            await asyncio.sleep(0)
            async with asyncio.timeout(10):
                with pytest.raises(LimitReachedError):  # fails immediately; its patience is 30 s
                    await hold(patient)
            assert not waiter.done()
        await asyncio.wait_for(waiter, 10)

    asyncio.run(fill())


def test_limit__left__has_every_place_again() -> None:
    async def fill() -> None:
        limit = ConcurrencyLimit(running=2, waiting=1, patience=0.01)
        for _ in range(5):
            async with limit.place():
                async with limit.place():
                    with pytest.raises(LimitReachedError):
                        await hold(limit)
                with pytest.raises(KeyError):
                    async with limit.place():
                        raise KeyError
        async with limit.place(), limit.place():
            pass

    asyncio.run(fill())


def test_limit__with_requests_that_give_up_while_they_wait_or_run__has_every_place_again() -> None:
    async def fill() -> None:
        limit = ConcurrencyLimit(running=2, waiting=2, patience=30)
        for _ in range(5):
            tasks = [asyncio.create_task(hold(limit, seconds=30)) for _ in range(4)]
            await asyncio.sleep(0)
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
        async with asyncio.timeout(10), limit.place(), limit.place():
            pass

    asyncio.run(fill())


def test_turn__beside_a_full_limit__waits_and_is_never_refused() -> None:
    async def take_turn(limit: ConcurrencyLimit) -> None:
        async with limit.turn():
            pass

    async def fill() -> None:
        limit = ConcurrencyLimit(running=1, waiting=0, patience=0.0)
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(limit.place())
            turns = [asyncio.create_task(take_turn(limit)) for _ in range(5)]
            await asyncio.sleep(0.05)
            assert not any(turn.done() for turn in turns)
        await asyncio.wait_for(asyncio.gather(*turns), 10)
        await hold(limit)

    asyncio.run(fill())


async def hold(limit: ConcurrencyLimit, *, seconds: float = 0) -> None:
    async with limit.place():
        await asyncio.sleep(seconds)
