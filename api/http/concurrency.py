"""Limits of the requests of a kind that run at a time in a process, each with a short queue.

A limit knows nothing of HTTP. Call `enter` before the work and `leave` after it, from any thread.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class LimitReachedError(Exception):
    """Raised if too many requests run and wait already, or if the request waited too long: refuse it."""


class ConcurrencyLimit:
    """A limit of running and waiting requests. None waits for more than `patience` seconds."""

    def __init__(self, *, running: int, waiting: int = 0, patience: float = 0.0) -> None:
        self.patience = patience
        self.running = running
        self.threads = running + waiting  # the most that requests of this kind can hold
        self._entered = threading.BoundedSemaphore(running + waiting)
        self._running = threading.BoundedSemaphore(running)

    def enter(self) -> None:
        """Take a place, or wait for one. Raises LimitReachedError."""
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
        """Hold a place during the block. Raises LimitReachedError."""
        self.enter()
        try:
            yield
        finally:
            self.leave()

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Hold a place during the block, for work that has begun and must not be refused any more."""
        with self._running:
            yield
