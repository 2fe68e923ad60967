"""Batches of concurrent calls: each call gets its own result or error."""

import threading
from collections.abc import Sequence
from contextlib import suppress

import pytest

from api.http.batching import PendingCall, RequestBatcher
from api.http.database import DatabaseDownError
from tests.support.concurrency import in_threads, wait_until

Calls = Sequence[PendingCall[int, int]]


def test_calls__of_many_threads__share_batches_and_get_their_own_results() -> None:
    batches: list[int] = []

    def double(calls: Calls) -> None:
        batches.append(len(calls))
        for call in calls:
            call.resolve(2 * call.argument)

    batcher = RequestBatcher(double, name="test", max_size=10, size=lambda _: 1, threads=2)

    results = in_threads(16, lambda thread: [batcher.call(100 * thread + turn, timeout=60) for turn in range(100)])

    assert results == [[2 * (100 * thread + turn) for turn in range(100)] for thread in range(16)]
    assert max(batches) <= 10
    assert sum(batches) == 1600


def test_calls__behind_an_abandoned_one__are_served(monkeypatch: pytest.MonkeyPatch) -> None:
    """The batcher must skip the abandoned call, because it would not wake the next one."""
    is_busy, is_open = threading.Event(), threading.Event()
    served: list[int] = []

    def serve(calls: Calls) -> None:
        is_busy.set()
        is_open.wait(60)
        for call in calls:
            served.append(call.argument)
            call.resolve(call.argument)

    batcher = RequestBatcher(serve, name="test", max_size=10, size=lambda _: 1)

    results: dict[int, int | None] = {}

    def ask(number: int) -> None:
        results[number] = None
        with suppress(DatabaseDownError):
            results[number] = batcher.call(number, timeout=0.2 if number in {2, 3} else 60)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(6)]
    threads[0].start()
    is_busy.wait(60)
    for number, thread in enumerate(threads[1:], start=1):
        thread.start()
        wait_until(lambda: batcher._calls.qsize() == number)  # noqa: B023 - called within this iteration
    for number in (2, 3):
        threads[number].join(60)
    is_open.set()
    for thread in threads:
        thread.join(60)

    assert results == {0: 0, 1: 1, 2: None, 3: None, 4: 4, 5: 5}
    assert served == [0, 1, 4, 5]


def test_calls__abandoned_while_served__wake_the_next_ones() -> None:
    calls: list[PendingCall[int, int]] = [PendingCall(number, timeout=60 if number % 2 else 0) for number in range(4)]
    for call in calls:
        call.resolve(call.argument)
    for number in (0, 2):
        with pytest.raises(DatabaseDownError):
            calls[number].wait()

    PendingCall.wake_all(calls)

    assert in_threads(2, lambda number: calls[2 * number + 1].wait()) == [1, 3]


def test_calls__that_failed__are_rejected_and_the_next_are_served() -> None:
    def serve(calls: Calls) -> None:
        calls[0].resolve(1 // calls[0].argument)

    batcher = RequestBatcher(serve, name="test", max_size=10, size=lambda _: 1)

    with pytest.raises(DatabaseDownError):
        batcher.call(0, timeout=60)
    assert batcher.call(1, timeout=60) == 1
