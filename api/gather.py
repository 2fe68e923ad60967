"""Calls of concurrent requests answered together: one statement, and one commit, for all that wait at a moment.

A thread takes whatever calls wait and answers them; a lone call does not wait for company. Without it each of a
process's threads would talk to PostgreSQL by itself, and spend most of its time waiting for the others' turns.
"""

import contextlib
import queue
import threading
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Generic, TypeVar

import structlog

from api.database import DatabaseDownError

Asked = TypeVar("Asked")
Told = TypeVar("Told")

log = structlog.get_logger(__name__)


class Call(Generic[Asked, Told]):
    """What a request asks, and its wait for the answer.

    The calls of a batch are woken in a row, each by the one before: all at once they would fight for the interpreter,
    which took a third of a request's time. Hence no concurrent.futures.Future.
    """

    __slots__ = ("_told", "_trouble", "asked", "behind", "gone", "woken")

    def __init__(self, asked: Asked) -> None:
        self.asked = asked
        self._told: Told | None = None
        self._trouble: Exception | None = DatabaseDownError()
        self.behind: Call[Asked, Told] | None = None
        self.woken = threading.Lock()  # held until somebody wakes the request
        self.woken.acquire()
        self.gone = threading.Lock()  # whoever takes it first decides: the request leaves, or is woken

    @property
    def is_given_up(self) -> bool:
        """Whether the request ran out of patience."""
        return self.gone.locked()

    def tell(self, told: Told) -> None:
        """Answer, to be heard when the batch is done."""
        self._told, self._trouble = told, None

    def refuse(self, trouble: Exception) -> None:
        """Let the request raise this."""
        self._told, self._trouble = None, trouble

    def wait(self, patience: float) -> Told:
        """The answer. Raises what was refused with, and DatabaseDownError after `patience` seconds."""
        if not self.woken.acquire(timeout=patience) and self.gone.acquire(blocking=False):
            raise DatabaseDownError
        if self.behind is not None:
            self.behind.wake()
        if self._trouble is not None:
            raise self._trouble
        return self._told  # type: ignore[return-value]  # it was told

    def wake(self) -> None:
        """Wake the request, or where it has left, the first behind it that has not."""
        call: Call[Asked, Told] | None = self
        while call is not None and not call.gone.acquire(blocking=False):
            call = call.behind
        if call is not None:
            call.woken.release()

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
    """

    def __init__(
        self,
        answer: Callable[[Sequence[Call[Asked, Told]]], None],
        *,
        name: str,
        most: int,
        size: Callable[[Asked], int],
        threads: int = 1,
    ) -> None:
        self._answer = answer
        self._name = name
        self._most = most
        self._size = size
        self._calls: queue.SimpleQueue[Call[Asked, Told]] = queue.SimpleQueue()
        for _ in range(threads):
            threading.Thread(target=self._work, name=name, daemon=True).start()

    def ask(self, asked: Asked, *, patience: float) -> Told:
        """The answer. Raises what `answer` refused with, and DatabaseDownError after `patience` seconds."""
        call: Call[Asked, Told] = Call(asked)
        self._calls.put(call)
        return call.wait(patience)

    def _work(self) -> None:
        while True:
            calls = [self._calls.get()]
            size = self._size(calls[0].asked)
            with contextlib.suppress(queue.Empty):
                while size < self._most:
                    calls.append(self._calls.get_nowait())
                    size += self._size(calls[-1].asked)
            # Whoever ran out of patience was told so, and sends again: storing it now would store it twice.
            calls = [call for call in calls if not call.is_given_up]
            if calls:
                try:
                    with contextlib.suppress(DatabaseDownError):
                        self._answer(calls)
                except Exception:  # the thread must outlive any defect: without it nobody is answered again
                    log.exception("gather.failed", who=self._name)
                Call.wake_all(calls)
