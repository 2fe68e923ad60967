"""Calls of concurrent requests answered together: one statement, and one commit, for all that wait at a moment.

A thread takes whatever calls wait and answers them; a lone call does not wait for company. Without it each of a
process's threads would talk to PostgreSQL by itself, and spend most of its time waiting for the others' turns.
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

Asked = TypeVar("Asked")
Told = TypeVar("Told")

# Seconds that a request waits for an overdue answer: only a network or a disk that hangs takes as long.
KEPT: Final = 1.0

log = structlog.get_logger(__name__)


class Call(Generic[Asked, Told]):
    """What a request asks, and its wait for the answer.

    The calls of a batch are woken in a row, each by the one before: all at once they would fight for the interpreter,
    which took a third of a request's time. Hence no concurrent.futures.Future.
    """

    __slots__ = ("_told", "_trouble", "asked", "behind", "deadline", "is_gone", "is_woken", "lock", "size", "woken")

    def __init__(self, asked: Asked, *, patience: float, size: int = 1) -> None:
        self.asked = asked
        self.size = size
        self._told: Told | None = None
        self._trouble: Exception | None = DatabaseDownError()
        self.behind: Call[Asked, Told] | None = None
        self.deadline = time.monotonic() + patience  # when the request leaves
        self.woken = threading.Lock()  # held until somebody wakes the request
        self.woken.acquire()
        self.lock = threading.Lock()  # over the next two and the deadline: the request leaves, or is woken
        self.is_gone = False
        self.is_woken = False

    def keep(self, seconds: float) -> bool:
        """Have the request wait for at least this long from now. Return False if it has left."""
        with self.lock:
            self.deadline = max(self.deadline, time.monotonic() + seconds)
            return not self.is_gone

    def tell(self, told: Told) -> None:
        """Answer, to be heard when the batch is done."""
        self._told, self._trouble = told, None

    def refuse(self, trouble: Exception) -> None:
        """Let the request raise this."""
        self._told, self._trouble = None, trouble

    def wait(self) -> Told:
        """Return the answer. Raises the error of a refusal, and DatabaseDownError when the request gives up."""
        while not self.woken.acquire(timeout=max(0.0, self.deadline - time.monotonic())):
            if self._leave():
                raise DatabaseDownError
        if self.behind is not None:
            self.behind.wake()
        if self._trouble is not None:
            raise self._trouble
        return self._told  # type: ignore[return-value]  # it was told

    def wake(self) -> None:
        """Wake the request, or where it has left, the first behind it that has not."""
        call: Call[Asked, Told] | None = self
        while call is not None and not call._rouse():  # noqa: SLF001 - another one of its own
            call = call.behind

    def _leave(self) -> bool:
        """Give up, unless the request was woken or is to wait longer by now."""
        with self.lock:
            self.is_gone = not self.is_woken and time.monotonic() >= self.deadline
            return self.is_gone

    def _rouse(self) -> bool:
        with self.lock:
            if self.is_gone:
                return False
            self.is_woken = True
            self.woken.release()
            return True

    @staticmethod
    def wake_all(calls: "Sequence[Call[Asked, Told]]") -> None:
        """Wake the requests of a batch, which is done."""
        for call, behind in pairwise(calls):
            call.behind = behind
        calls[0].wake()


class Gatherer(Generic[Asked, Told]):
    """The threads that answer for all requests of a process.

    `answer` gets the calls of a batch, and tells or refuses each; those it leaves, or lets down by an exception, are
    refused with DatabaseDownError. A batch ends with the call that brings it to `most`, by the `size` of what is asked.

    With `takes`, the seconds that an answer takes at most, no request leaves while it is being answered: what was
    refused must not happen later. A call that has less time left is refused before it is begun.
    """

    def __init__(
        self,
        answer: Callable[[Sequence[Call[Asked, Told]]], None],
        *,
        name: str,
        most: int,
        size: Callable[[Asked], int],
        threads: int = 1,
        takes: float = 0,
    ) -> None:
        self._answer = answer
        self._takes = takes
        self._name = name
        self._most = most
        self._size = size
        self._calls: queue.SimpleQueue[Call[Asked, Told]] = queue.SimpleQueue()
        for _ in range(threads):
            threading.Thread(target=self._work, name=name, daemon=True).start()

    def ask(self, asked: Asked, *, patience: float) -> Told:
        """The answer. Raises what `answer` refused with, and DatabaseDownError after `patience` seconds."""
        call: Call[Asked, Told] = Call(asked, patience=patience, size=self._size(asked))
        self._calls.put(call)
        return call.wait()

    def _work(self) -> None:
        while True:
            calls = [self._calls.get()]
            size = calls[0].size
            with contextlib.suppress(queue.Empty):
                while size < self._most:
                    calls.append(self._calls.get_nowait())
                    size += calls[-1].size
            late = [call for call in calls if call.deadline - time.monotonic() < self._takes]
            if late:
                calls = [call for call in calls if call not in late]
                Call.wake_all(late)
            # Whoever ran out of patience was told so, and sends again: storing it now would store it twice.
            kept = self._takes + KEPT if self._takes else 0
            calls = [call for call in calls if call.keep(kept)]
            if calls:
                try:
                    with contextlib.suppress(DatabaseDownError):
                        self._answer(calls)
                except Exception:  # the thread must outlive any defect: without it nobody is answered again
                    log.exception("gather.failed", who=self._name)
                Call.wake_all(calls)
