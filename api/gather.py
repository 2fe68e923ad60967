"""Calls of concurrent requests answered together: one statement, and one commit, for all that wait at a moment.

A thread takes whatever calls wait and answers them; a lone call does not wait for company. Without it each of a
process's threads would talk to PostgreSQL by itself, and spend most of its time waiting for the others' turns.
"""

import contextlib
import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import structlog

from api.database import DatabaseDownError

Asked = TypeVar("Asked")
Told = TypeVar("Told")

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Call(Generic[Asked, Told]):
    """What a request asks, and its wait for the answer."""

    asked: Asked
    fate: Future[Told] = field(default_factory=Future)


class Gatherer(Generic[Asked, Told]):
    """The threads that answer for all requests of a process.

    `answer` gets the calls of a batch and sets the fate of each; what it raises becomes the fate of those it left.
    A batch ends with the call that brings it to `most`, by the `size` of what is asked.
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
        """The answer. Raises DatabaseDownError when there is none within `patience` seconds, or what `answer` set."""
        call: Call[Asked, Told] = Call(asked)
        self._calls.put(call)
        try:
            return call.fate.result(timeout=patience)
        except TimeoutError as error:
            call.fate.cancel()
            raise DatabaseDownError from error

    def _work(self) -> None:
        while True:
            calls = [self._calls.get()]
            size = self._size(calls[0].asked)
            with contextlib.suppress(queue.Empty):
                while size < self._most:
                    calls.append(self._calls.get_nowait())
                    size += self._size(calls[-1].asked)
            # Whoever ran out of patience was told so, and sends again: storing it now would store it twice.
            calls = [call for call in calls if call.fate.set_running_or_notify_cancel()]
            if not calls:
                continue
            trouble = DatabaseDownError()
            try:
                self._answer(calls)
            except DatabaseDownError as error:
                trouble = error
            except Exception:  # the thread must outlive any defect: without it nobody is answered again
                log.exception("gather.failed", who=self._name)
            for call in calls:
                if not call.fate.done():
                    call.fate.set_exception(trouble)
