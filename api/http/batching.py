"""Batches of concurrent requests: one SQL statement and one commit serve all requests that are waiting.

A thread takes the calls that wait and serves them at once; a lone call does not wait for others. Without batches each
thread of a process would talk to PostgreSQL by itself and spend most of its time waiting for the other threads.
"""

import contextlib
import queue
import threading
import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Final, Generic, TypeVar

import structlog

from api.http.database import DatabaseDownError

Argument = TypeVar("Argument")
Result = TypeVar("Result")

# Seconds that a request waits for an overdue result: only a network or a disk that hangs takes as long.
OVERDUE_SECONDS: Final = 1.0

log = structlog.get_logger(__name__)


class PendingCall(Generic[Argument, Result]):
    """A call of one request, and its wait for the result.

    Each call of a batch wakes the next one. If all were woken at once, they would compete for the interpreter lock,
    which took a third of a request's time. A concurrent.futures.Future cannot do this.
    """

    __slots__ = (
        "_error",
        "_is_woken",
        "_lock",
        "_next_call",
        "_result",
        "_wakeup",
        "argument",
        "deadline",
        "is_abandoned",
        "size",
    )

    def __init__(self, argument: Argument, *, timeout: float, size: int = 1) -> None:
        self.argument = argument
        self.size = size
        self.deadline = time.monotonic() + timeout  # when the request gives up
        self.is_abandoned = False
        self._result: Result | None = None
        self._error: Exception | None = DatabaseDownError()
        self._next_call: PendingCall[Argument, Result] | None = None
        self._wakeup = threading.Lock()  # held until the request is woken
        self._wakeup.acquire()
        self._is_woken = False
        self._lock = threading.Lock()  # guards the deadline: a request is either woken or abandoned, never both

    def extend_deadline(self, seconds: float) -> bool:
        """Have the request wait for at least this long from now. Return False if it has given up."""
        with self._lock:
            self.deadline = max(self.deadline, time.monotonic() + seconds)
            return not self.is_abandoned

    def resolve(self, result: Result) -> None:
        """Set the result, which the request gets when it is woken."""
        self._result, self._error = result, None

    def reject(self, error: Exception) -> None:
        """Let the request raise this error when it is woken."""
        self._result, self._error = None, error

    def wait(self) -> Result:
        """Return the result. Raises the error of a rejection, and DatabaseDownError when the request gives up."""
        while not self._wakeup.acquire(timeout=max(0.0, self.deadline - time.monotonic())):
            if self._give_up():
                raise DatabaseDownError
        if self._next_call is not None:
            self._next_call.wake()
        if self._error is not None:
            raise self._error
        return self._result  # type: ignore[return-value]  # it is set if there is no error

    def wake(self) -> None:
        """Wake the request, or the first one after it that has not given up."""
        call: PendingCall[Argument, Result] | None = self
        while call is not None and not call._try_to_wake():  # noqa: SLF001 - another instance of this class
            call = call._next_call  # noqa: SLF001

    def _give_up(self) -> bool:
        """Abandon the call, unless the request was woken or its deadline was extended."""
        with self._lock:
            self.is_abandoned = not self._is_woken and time.monotonic() >= self.deadline
            return self.is_abandoned

    def _try_to_wake(self) -> bool:
        with self._lock:
            if self.is_abandoned:
                return False
            self._is_woken = True
            self._wakeup.release()
            return True

    @staticmethod
    def wake_all(calls: "Sequence[PendingCall[Argument, Result]]") -> None:
        """Wake the requests of a batch that is done."""
        for call, next_call in pairwise(calls):
            call._next_call = next_call  # noqa: SLF001
        calls[0].wake()


class RequestBatcher(Generic[Argument, Result]):
    """Threads that serve the calls of all requests of a process in batches.

    `serve` gets the calls of a batch and resolves or rejects each. Calls that it leaves, or that an exception of it
    affects, are rejected with DatabaseDownError. A batch ends with the call that brings its `size` to `max_size`.

    With `max_seconds`, the time that `serve` takes at most, no request gives up while its call is served, because a
    rejected call must not take effect later. A call with less time left is rejected before it is served.
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
        self._calls: queue.SimpleQueue[PendingCall[Argument, Result]] = queue.SimpleQueue()
        for _ in range(threads):
            threading.Thread(target=self._work, name=name, daemon=True).start()

    def call(self, argument: Argument, *, timeout: float) -> Result:
        """Return the result. Raises the error of a rejection, and DatabaseDownError after `timeout` seconds."""
        call: PendingCall[Argument, Result] = PendingCall(argument, timeout=timeout, size=self._size(argument))
        self._calls.put(call)
        return call.wait()

    def _work(self) -> None:
        while True:
            calls = self._take_batch()
            late = [call for call in calls if call.deadline - time.monotonic() < self._max_seconds]
            if late:
                calls = [call for call in calls if call not in late]
                PendingCall.wake_all(late)
            # The sender of an abandoned call was answered 503 and sends again: storing it now would store it twice.
            seconds = self._max_seconds + OVERDUE_SECONDS if self._max_seconds else 0
            calls = [call for call in calls if call.extend_deadline(seconds)]
            if calls:
                try:
                    with contextlib.suppress(DatabaseDownError):
                        self._serve(calls)
                except Exception:  # the thread must outlive any defect, because no later call is served without it
                    log.exception("request_batcher.failed", name=self._name)
                PendingCall.wake_all(calls)

    def _take_batch(self) -> list[PendingCall[Argument, Result]]:
        """Wait for a call, and return it with those that wait behind it."""
        calls = [self._calls.get()]
        size = calls[0].size
        with contextlib.suppress(queue.Empty):
            while size < self._max_size:
                calls.append(self._calls.get_nowait())
                size += calls[-1].size
        return calls
