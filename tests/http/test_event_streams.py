"""Streams of a process: who is roused, when, and at what pace."""

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from api.http.database import DatabaseDownError
from api.http.event_streams import Protocol, Stream, Streams

TURN = 0.02


def run(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    async def bounded() -> None:
        await asyncio.wait_for(work(), 30)

    asyncio.run(bounded())


def test_streams__of_one_site__are_roused_one_after_the_other_and_others_are_not() -> None:
    versions = {1: 0, 2: 0}
    gap = 0.05

    async def work() -> None:
        streams = Streams(lambda ids: {id_: versions[id_] for id_ in ids}, TURN, gap_seconds=gap)
        mine = [streams.open(1, ("a",), 0) for _ in range(3)]
        other = streams.open(2, ("b",), 0)
        versions[1] = 1
        begun = time.monotonic()
        roused = await asyncio.gather(*(stream.wait(10) for stream in mine))
        assert roused == [True] * 3
        assert time.monotonic() - begun >= 2 * gap
        assert not await other.wait(2 * TURN)
        assert {stream.version for stream in mine} == {1}
        assert streams.by_share == {"a": 3, "b": 1}
        for stream in (*mine, other):
            streams.close(stream)
        assert (streams.count, dict(streams.by_share), streams.by_site) == (0, {}, {})

    run(work)


def test_streams__after_a_change__are_roused_once_more() -> None:
    """A commit that was overtaken shows only then."""
    versions = {1: 0}

    async def work() -> None:
        streams = Streams(lambda _: dict(versions), TURN, again_after=0.2)
        stream = streams.open(1, (), 0)
        versions[1] = 1
        assert await stream.wait(10)
        begun = time.monotonic()
        assert await stream.wait(10)
        assert time.monotonic() - begun >= 0.1
        assert not await stream.wait(0.4)

    run(work)


@pytest.mark.parametrize("error", [DatabaseDownError(), ValueError()])
def test_streams__if_a_read_fails__go_on(error: Exception) -> None:
    answers: list[Exception | dict[int, int]] = [error, {1: 1}]

    def read(_: list[int]) -> dict[int, int]:
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def work() -> None:
        stream = Streams(read, TURN).open(1, (), 0)
        assert await stream.wait(10)

    run(work)


def test_stream__opened_after_the_end__is_gone_at_once() -> None:
    async def work() -> None:
        streams: Streams[int] = Streams(lambda _: {1: 0}, TURN)
        streams.end()
        stream = streams.open(1, ("a",), 0)
        sent = []

        async def receive() -> dict[str, Any]:
            await asyncio.Event().wait()
            return {}

        async def send(message: Any) -> None:
            sent.append(message)

        async def go_on(_: Stream[int]) -> bool:
            return True

        await streams.run(stream, Protocol(lambda _: b"event", b"quiet", 10, go_on), [], receive, send)
        assert [message.get("body") for message in sent] == [None, b""]
        assert streams.count == 0

    run(work)


def test_streams__without_any__read_nothing() -> None:
    reads = 0

    def read(_: list[int]) -> dict[int, int]:
        nonlocal reads
        reads += 1
        return {1: 0}

    async def work() -> None:
        streams = Streams(read, TURN)
        for _ in range(2):  # the task that reads ends, and begins again
            before = reads
            stream: Stream[int] = streams.open(1, (), 0)
            await asyncio.sleep(10 * TURN)
            streams.close(stream)
            await asyncio.sleep(2 * TURN)
            after = reads
            assert after > before
            await asyncio.sleep(5 * TURN)
            assert reads == after

    run(work)
