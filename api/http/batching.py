"""Batches of concurrent requests: one SQL statement and one commit serve all requests that are waiting.

Requests wait for futures on the event loop. A thread serves the calls that wait at the moment at which it is free; a
lone call does not wait for others.
"""

import asyncio
import queue
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Final, Generic, TypeVar

import structlog

from api.http.database import DatabaseDownError

Argument = TypeVar("Argument")
Result = TypeVar("Result")

# Seconds that a request waits for an overdue result: only a network or a disk that hangs takes as long.
OVERDUE_SECONDS: Final = 1.0

log = structlog.get_logger(__name__)


class PendingCall(Generic[Argument, Result]):
    """A call of one request. The thread that serves it sets its result or its error."""

    __slots__ = ("argument", "deadline", "error", "future", "result", "size")

    def __init__(self, argument: Argument, future: "asyncio.Future[Result]", *, timeout: float, size: int) -> None:
        self.argument = argument
        self.future = future
        self.size = size
        self.deadline = time.monotonic() + timeout  # when the request gives up
        self.result: Result | None = None
        self.error: Exception | None = DatabaseDownError()

    @property
    def is_abandoned(self) -> bool:
        """Return True if the request has given up."""
        return self.future.done()

    def resolve(self, result: Result) -> None:
        """Set the result of the call."""
        self.result, self.error = result, None

    def reject(self, error: Exception) -> None:
        """Have the request raise this error."""
        self.result, self.error = None, error

    def settle(self) -> None:
        """Give the request its result or its error, unless it has given up. Call it on the event loop."""
        if self.future.done():
            return
        if self.error is None:
            self.future.set_result(self.result)  # type: ignore[arg-type]  # it is set if there is no error
        else:
            self.future.set_exception(self.error)

    def expire(self) -> None:
        """Have the request give up at its deadline, which may have been extended. Call it on the event loop."""
        if not self.future.done():
            left = self.deadline - time.monotonic()
            if left > 0:
                self.future.get_loop().call_later(left, self.expire)
            else:
                self.settle()  # with the result if the batch has just ended


class RequestBatcher(Generic[Argument, Result]):
    """Threads that serve the calls of all requests of a process in batches.

    `serve` gets the calls of a batch and resolves or rejects each. Calls that it leaves, or that an exception of it
    affects, are rejected with DatabaseDownError. A batch ends with the call that brings its `size` to `max_size`.

    With `max_seconds`, the time that `serve` takes at most, no request gives up while its call is served, because a
    rejected call must not take effect later. A call with less time left is rejected before it is served.

    All requests of a process run on one event loop. Only that loop calls these methods.
    """

    def __init__(
        self,
        serve: Callable[[Sequence[PendingCall[Argument, Result]]], None],
        *,
        name: str,
        max_size: int,
        size: Callable[[Argument], int],
        threads: int = 1,
        max_seconds: float = 0,
    ) -> None:
        self._serve = serve
        self._max_seconds = max_seconds
        self._name = name
        self._max_size = max_size
        self._size = size
        self._waiting: OrderedDict[PendingCall[Argument, Result], None] = OrderedDict()
        self._free_threads = threads
        self._is_scheduled = False
        self._loop = asyncio.get_running_loop()
        self._batches: queue.SimpleQueue[list[PendingCall[Argument, Result]]] = queue.SimpleQueue()
        for _ in range(threads):
            threading.Thread(target=self._work, name=name, daemon=True).start()

    async def call(self, argument: Argument, *, timeout: float) -> Result:  # noqa: ASYNC109 - of every call, in one place
        """Return the result. Raises the error of a rejection, and DatabaseDownError after `timeout` seconds."""
        future: asyncio.Future[Result] = self._loop.create_future()
        call = PendingCall(argument, future, timeout=timeout, size=self._size(argument))
        self._waiting[call] = None
        if self._free_threads and not self._is_scheduled:
            # Requests that the loop reads in this turn share the batch.
            self._is_scheduled = True
            self._loop.call_soon(self._hand_out)
        timer = self._loop.call_later(timeout, call.expire)
        try:
            return await future
        finally:
            timer.cancel()
            self._waiting.pop(call, None)  # its rows must not stay in memory while the threads hang

    def _hand_out(self) -> None:
        """Give free threads the calls that wait."""
        self._is_scheduled = False
        while self._free_threads and (calls := self._take_batch()):
            self._free_threads -= 1
            self._batches.put(calls)

    def _take_batch(self) -> list[PendingCall[Argument, Result]]:
        """Take the calls that wait, up to a full batch, without those that gave up or have too little time left."""
        calls: list[PendingCall[Argument, Result]] = []
        size = 0
        latest = time.monotonic() + self._max_seconds
        while self._waiting and size < self._max_size:
            call, _ = self._waiting.popitem(last=False)
            # The sender of an abandoned call was answered 503 and sends again: storing it now would store it twice.
            if call.is_abandoned:
                continue
            if call.deadline < latest:
                call.settle()
                continue
            if self._max_seconds:
                call.deadline = max(call.deadline, latest + OVERDUE_SECONDS)
            calls.append(call)
            size += call.size
        return calls

    def _work(self) -> None:
        while True:
            calls = self._batches.get()
            try:
                self._serve(calls)
            except DatabaseDownError:
                pass
            except Exception:  # the thread must outlive any defect, because no later call is served without it
                log.exception("request_batcher.failed", name=self._name)
            self._loop.call_soon_threadsafe(self._finish, calls)

    def _finish(self, calls: Sequence[PendingCall[Argument, Result]]) -> None:
        self._free_threads += 1
        self._hand_out()  # before the requests go on, so that the thread works at the same time
        for call in calls:
            call.settle()
