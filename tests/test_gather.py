"""Batches of concurrent calls: each call gets its own answer or error."""

import threading
from collections.abc import Sequence
from contextlib import suppress

import pytest

from api.http.batching import Call, Gatherer
from api.http.database import DatabaseDownError
from tests.flows.test_resilience import in_threads, wait_until

Calls = Sequence[Call[int, int]]


def test_calls__of_many_threads__are_gathered_and_each_gets_its_own_answer() -> None:
    batches: list[int] = []

    def double(calls: Calls) -> None:
        batches.append(len(calls))
        for call in calls:
            call.tell(2 * call.asked)

    gatherer = Gatherer(double, name="test", most=10, size=lambda _: 1, threads=2)

    answers = in_threads(16, lambda thread: [gatherer.ask(100 * thread + turn, patience=60) for turn in range(100)])

    assert answers == [[2 * (100 * thread + turn) for turn in range(100)] for thread in range(16)]
    assert max(batches) <= 10
    assert sum(batches) == 1600


def test_calls__behind_one_that_was_given_up__are_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    """The batcher must skip the abandoned call, because it would not wake the next one."""
    is_busy, is_open = threading.Event(), threading.Event()
    answered: list[int] = []

    def answer(calls: Calls) -> None:
        is_busy.set()
        is_open.wait(60)
        for call in calls:
            answered.append(call.asked)
            call.tell(call.asked)

    gatherer = Gatherer(answer, name="test", most=10, size=lambda _: 1)

    results: dict[int, int | None] = {}

    def ask(number: int) -> None:
        results[number] = None
        with suppress(DatabaseDownError):
            results[number] = gatherer.ask(number, patience=0.2 if number in {2, 3} else 60)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(6)]
    threads[0].start()
    is_busy.wait(60)
    for number, thread in enumerate(threads[1:], start=1):
        thread.start()
        wait_until(lambda: gatherer._calls.qsize() == number)  # noqa: B023 - called within this iteration
    for number in (2, 3):
        threads[number].join(60)
    is_open.set()
    for thread in threads:
        thread.join(60)

    assert results == {0: 0, 1: 1, 2: None, 3: None, 4: 4, 5: 5}
    assert answered == [0, 1, 4, 5]


def test_calls__given_up_while_being_answered__do_not_keep_those_behind_waiting() -> None:
    calls: list[Call[int, int]] = [Call(number, patience=60 if number % 2 else 0) for number in range(4)]
    for call in calls:
        call.tell(call.asked)
    for number in (0, 2):
        with pytest.raises(DatabaseDownError):
            calls[number].wait()

    Call.wake_all(calls)

    assert in_threads(2, lambda number: calls[2 * number + 1].wait()) == [1, 3]


def test_calls__that_nobody_could_answer__are_refused_and_the_next_are_answered() -> None:
    def answer(calls: Calls) -> None:
        calls[0].tell(1 // calls[0].asked)

    gatherer = Gatherer(answer, name="test", most=10, size=lambda _: 1)

    with pytest.raises(DatabaseDownError):
        gatherer.ask(0, patience=60)
    assert gatherer.ask(1, patience=60) == 1
