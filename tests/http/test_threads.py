"""Work that leaves the event loop: what may be refused because it takes long, and what may not."""

import asyncio
import time
from collections.abc import Awaitable
from functools import partial
from typing import Any

import pytest

from api.events.refusal import Refusal
from api.http import threads
from api.http.threads import Turns, compute_for, compute_to_the_end, take_turns
from tests.support.asgi import wait_for


def slowly(value: int) -> int:
    time.sleep(0.2)
    return value


def test_computation__that_takes_too_long__is_refused_with_503(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "COMPUTE_SECONDS", 0.01)

    with pytest.raises(Refusal) as refused:
        wait_for(compute_for("sender", slowly, 7))

    assert (refused.value.status, refused.value.code) == (503, "unavailable")


def test_computation__after_the_commit__is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sender that was answered 503 sends again, and its events without messageIds would be stored twice."""
    monkeypatch.setattr(threads, "COMPUTE_SECONDS", 0.01)

    assert wait_for(compute_to_the_end("sender", slowly, 7)) == 7


def run_together(*computations: Awaitable[object]) -> list[Any]:
    """Await computations that begin in this order, and return their results or their refusals."""

    async def run() -> list[Any]:
        return await asyncio.gather(*computations, return_exceptions=True)

    return wait_for(run())


def test_computations__of_one_sender__go_one_at_a_time_and_leave_a_thread_to_others() -> None:
    done: list[str] = []

    def work(name: str) -> None:
        time.sleep(0.05)
        done.append(name)

    turns = Turns(2, "test")
    flood = [turns.run("flood", partial(work, f"flood {number}"), most_waiting=99) for number in range(5)]
    others = [turns.run(name, partial(work, name), most_waiting=99) for name in ("a", "b")]
    run_together(*flood, *others)

    assert done.index("a") <= 2
    assert done.index("b") <= 4
    assert [name for name in done if name.startswith("flood")] == [f"flood {number}" for number in range(5)]


def test_computations__of_one_sender_beyond_its_limit__are_refused_and_those_of_others_are_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(threads, "MOST_WAITING", 2)
    results = run_together(
        *(compute_for("flood", slowly, number) for number in range(5)), compute_for("other", slowly, 7)
    )

    assert [result for result in results if not isinstance(result, Refusal)] == [0, 1, 2, 7]
    assert {(result.status, result.code) for result in results if isinstance(result, Refusal)} == {(503, "unavailable")}


def test_computations__that_were_given_up__keep_no_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "COMPUTE_SECONDS", 0.05)
    for sender in ("a", "b"):
        refused = run_together(*(compute_for(sender, slowly, number) for number in range(3)))
        assert all(isinstance(result, Refusal) for result in refused)
    monkeypatch.setattr(threads, "COMPUTE_SECONDS", 60)

    assert run_together(*(compute_for(sender, slowly, 7) for sender in ("a", "b", "c"))) == [7, 7, 7]
    assert not threads.COMPUTATIONS._waiting


def test_computation__given_up_just_as_a_thread_becomes_free__is_only_cancelled() -> None:
    """The free thread takes it off the list before it can do so itself. A ValueError would be answered by 500."""

    async def run() -> list[Any]:
        turns = Turns(1, "test")
        turns._take("a")
        waiting = asyncio.ensure_future(turns.run("b", partial(slowly, 1), most_waiting=9))
        await asyncio.sleep(0)
        waiting.cancel()
        turns._end("a")
        results = await asyncio.gather(waiting, return_exceptions=True)
        return [*results, await turns.run("c", partial(slowly, 7), most_waiting=9)]

    cancelled, result = wait_for(run())

    assert isinstance(cancelled, asyncio.CancelledError)
    assert result == 7


def test_items__in_turns__come_in_order_and_let_others_run_between_them() -> None:
    seen: list[int | str] = []

    async def note_turn() -> None:
        seen.append("other")

    async def take() -> None:
        other = asyncio.create_task(note_turn())
        async for part in take_turns(range(5), 2):
            seen.extend(part)
        await other

    wait_for(take())

    assert seen == [0, 1, "other", 2, 3, 4]
