"""Limits of how many requests of a kind run at a time, each with a short queue that refuses.

One limit holds the requests of one kind in one web process. It knows nothing of HTTP. Call `enter` before the work
and `leave` after it, from the same thread or another one.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class LimitReachedError(Exception):
    """As many requests run and wait as may, or a request waited as long as it may: refuse it."""


class ConcurrencyLimit:
    """So many requests at a time, so many more that wait, and none longer than `patience` seconds."""

    def __init__(self, *, running: int, waiting: int = 0, patience: float = 0.0) -> None:
        self.patience = patience
        self.running = running
        self.threads = running + waiting  # that requests of this kind can hold at most
        self._entered = threading.BoundedSemaphore(running + waiting)
        self._running = threading.BoundedSemaphore(running)

    def enter(self) -> None:
        """Take a place, or wait for one. Raises FullError."""
        if not self._entered.acquire(blocking=False):
            raise LimitReachedError
        if not self._running.acquire(timeout=self.patience):
            self._entered.release()
            raise LimitReachedError

    def leave(self) -> None:
        """Give the place back."""
        self._running.release()
        self._entered.release()

    @contextmanager
    def place(self) -> Iterator[None]:
        """Hold a place during the block. Raises FullError."""
        self.enter()
        try:
            yield
        finally:
            self.leave()

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Hold a place during the block, for work that has begun elsewhere and must not be refused any more."""
        with self._running:
            yield
