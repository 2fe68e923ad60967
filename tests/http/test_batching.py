"""Batches of concurrent calls: each call gets its own result or error."""

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

import pytest

from api.http import batching
from api.http.batching import PendingCall, RequestBatcher
from api.http.database import DatabaseDownError
from tests.support.asgi import wait_for

Calls = Sequence[PendingCall[int, int]]
Batcher = RequestBatcher[int, int]


class Gate:
    """A batch that the test holds: it is served when the test lets it, and notes what was served."""

    def __init__(self) -> None:
        self.is_busy, self._is_open = threading.Event(), threading.Event()
        self.batches: list[list[int]] = []

    def serve(self, calls: Calls) -> None:
        self.batches.append([call.argument for call in calls])
        self.is_busy.set()
        self._is_open.wait(60)
        for call in calls:
            call.resolve(2 * call.argument)

    def open(self) -> None:
        self._is_open.set()

    async def until_busy(self) -> None:
        await asyncio.get_running_loop().run_in_executor(None, self.is_busy.wait, 60)


async def give_up(call: Awaitable[int]) -> None:
    with pytest.raises(DatabaseDownError):
        await call


def with_batcher(
    serve: Callable[[Calls], None], work: Callable[[Batcher], Awaitable[None]], *, threads: int = 1, most: int = 10
) -> None:
    """Await what a test does with a batcher of calls that each have the size 1."""

    async def run() -> None:
        await work(RequestBatcher(serve, name="test", max_size=most, size=lambda _: 1, threads=threads))

    wait_for(run())


def test_calls__of_many_requests__share_batches_and_get_their_own_results() -> None:
    batches: list[int] = []

    def double(calls: Calls) -> None:
        batches.append(len(calls))
        for call in calls:
            call.resolve(2 * call.argument)

    async def ask(batcher: Batcher) -> None:
        async def turns(request: int) -> list[int]:
            return [await batcher.call(100 * request + turn, timeout=60) for turn in range(100)]

        results = await asyncio.gather(*map(turns, range(16)))
        assert results == [[2 * (100 * request + turn) for turn in range(100)] for request in range(16)]

    with_batcher(double, ask, threads=2)

    assert max(batches) <= 10
    assert sum(batches) == 1600
    assert len(batches) < 800  # of two calls and more


def test_calls__of_one_turn_of_the_loop__share_a_batch() -> None:
    gate = Gate()
    gate.open()

    async def ask(batcher: Batcher) -> None:
        results = await asyncio.gather(*(batcher.call(number, timeout=60) for number in range(7)))
        assert results == [0, 2, 4, 6, 8, 10, 12]

    with_batcher(gate.serve, ask)

    assert gate.batches == [[0, 1, 2, 3, 4, 5, 6]]


def test_call__alone__does_not_wait_for_others() -> None:
    gate = Gate()
    gate.open()

    async def ask(batcher: Batcher) -> None:
        begun = time.monotonic()
        for number in range(50):
            assert await batcher.call(number, timeout=60) == 2 * number
        assert time.monotonic() - begun < 5

    with_batcher(gate.serve, ask)

    assert gate.batches == [[number] for number in range(50)]


def test_calls__that_come_while_a_batch_is_served__share_the_next_up_to_its_size() -> None:
    gate = Gate()

    async def ask(batcher: Batcher) -> None:
        first = asyncio.create_task(batcher.call(0, timeout=60))
        await gate.until_busy()
        others = [asyncio.create_task(batcher.call(number, timeout=60)) for number in range(1, 8)]
        await asyncio.sleep(0.05)
        gate.open()
        assert await asyncio.gather(first, *others) == [0, 2, 4, 6, 8, 10, 12, 14]

    with_batcher(gate.serve, ask, most=5)

    assert gate.batches == [[0], [1, 2, 3, 4, 5], [6, 7]]


def test_batches__of_two_threads__are_served_at_the_same_time() -> None:
    both = threading.Barrier(2)

    def serve(calls: Calls) -> None:
        both.wait(60)
        for call in calls:
            call.resolve(call.argument)

    async def ask(batcher: Batcher) -> None:
        first = asyncio.create_task(batcher.call(1, timeout=60))
        await asyncio.sleep(0.05)
        assert list(await asyncio.gather(first, batcher.call(2, timeout=60))) == [1, 2]

    with_batcher(serve, ask, threads=2)


def test_calls__that_gave_up__are_not_served_and_hold_up_no_other() -> None:
    gate = Gate()
    results: dict[int, int | None] = {}

    async def ask(batcher: Batcher) -> None:
        async def one(number: int) -> None:
            results[number] = None
            with suppress(DatabaseDownError):
                results[number] = await batcher.call(number, timeout=0.2 if number in {2, 3} else 60)

        tasks = [asyncio.create_task(one(number)) for number in range(6)]
        await gate.until_busy()
        await asyncio.wait(tasks[2:4])
        gate.open()
        await asyncio.wait(tasks)

    with_batcher(gate.serve, ask, most=1)

    assert results == {0: 0, 1: 2, 2: None, 3: None, 4: 8, 5: 10}
    assert gate.batches == [[0], [1], [4], [5]]


def test_call__of_a_request_that_was_cancelled__is_not_served() -> None:
    gate = Gate()

    async def ask(batcher: Batcher) -> None:
        first = asyncio.create_task(batcher.call(0, timeout=60))
        await gate.until_busy()
        second, third = (asyncio.create_task(batcher.call(number, timeout=60)) for number in (1, 2))
        await asyncio.sleep(0.05)
        second.cancel()
        await asyncio.wait([second])
        gate.open()
        assert list(await asyncio.gather(first, third)) == [0, 4]

    with_batcher(gate.serve, ask)

    assert gate.batches == [[0], [2]]


def test_calls__abandoned_while_served__do_not_disturb_the_others() -> None:
    gate = Gate()

    async def ask(batcher: Batcher) -> None:
        calls = [asyncio.create_task(batcher.call(number, timeout=60 if number % 2 else 0.1)) for number in range(4)]
        await give_up(calls[0])
        await give_up(calls[2])
        gate.open()
        assert list(await asyncio.gather(calls[1], calls[3])) == [2, 6]
        assert await batcher.call(5, timeout=60) == 10

    with_batcher(gate.serve, ask)

    assert gate.batches == [[0, 1, 2, 3], [5]]


def test_call__being_served__waits_beyond_its_patience_because_it_may_take_effect(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With `max_seconds`, a request that was refused must not be stored later."""
    monkeypatch.setattr(batching, "OVERDUE_SECONDS", 5.0)
    gate = Gate()

    async def ask() -> None:
        batcher = RequestBatcher(gate.serve, name="test", max_size=10, size=lambda _: 1, max_seconds=0.3)
        served = asyncio.create_task(batcher.call(1, timeout=0.4))
        await gate.until_busy()
        late = asyncio.create_task(batcher.call(2, timeout=0.4))
        await asyncio.sleep(0.8)
        assert not served.done()
        await give_up(late)
        gate.open()
        assert await served == 2
        await give_up(batcher.call(3, timeout=0.2))  # it has less time than a batch may take

    wait_for(ask())

    assert gate.batches == [[1]]


def test_call__whose_batch_hangs__gives_up_when_it_is_overdue(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batching, "OVERDUE_SECONDS", 0.1)
    gate = Gate()

    async def ask() -> None:
        batcher = RequestBatcher(gate.serve, name="test", max_size=10, size=lambda _: 1, max_seconds=0.2)
        begun = time.monotonic()
        await give_up(batcher.call(1, timeout=0.25))
        assert 0.25 < time.monotonic() - begun < 5
        gate.open()

    wait_for(ask())


def test_calls__that_failed__are_rejected_and_the_next_are_served() -> None:
    def serve(calls: Calls) -> None:
        calls[0].resolve(1 // calls[0].argument)

    async def ask(batcher: Batcher) -> None:
        await give_up(batcher.call(0, timeout=60))
        assert await batcher.call(1, timeout=60) == 1

    with_batcher(serve, ask)


def test_call__rejected_with_an_error__raises_it() -> None:
    def serve(calls: Calls) -> None:
        for call in calls:
            call.reject(KeyError(call.argument))

    async def ask(batcher: Batcher) -> None:
        with pytest.raises(KeyError, match="7"):
            await batcher.call(7, timeout=60)

    with_batcher(serve, ask)


def test_call__whose_result_is_there_at_its_deadline__gets_it() -> None:
    """A loop that was blocked looks at the deadline first. The event is stored, so 503 would have it stored twice."""

    async def ask() -> int:
        call: PendingCall[int, int] = PendingCall(1, asyncio.get_running_loop().create_future(), timeout=0, size=1)
        call.resolve(7)
        call.expire()
        return await call.future

    assert asyncio.run(ask()) == 7


def test_call__that_gave_up_while_the_thread_hangs__leaves_nothing_in_memory() -> None:
    gate = Gate()

    async def ask(batcher: Batcher) -> None:
        first = asyncio.create_task(batcher.call(0, timeout=60))
        await gate.until_busy()
        await asyncio.gather(*(give_up(batcher.call(number, timeout=0.01)) for number in range(1, 100)))
        assert not batcher._waiting
        gate.open()
        assert await first == 0

    with_batcher(gate.serve, ask)
