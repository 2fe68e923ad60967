"""Limits of the requests of a kind that run at a time in a process, each with a short queue, on the event loop."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class LimitReachedError(Exception):
    """Raised if too many requests run and wait already, or if the request waited too long: refuse it."""


class ConcurrencyLimit:
    """A limit of running and waiting requests. None waits for more than `patience` seconds."""

    def __init__(self, *, running: int, waiting: int = 0, patience: float = 0.0) -> None:
        self.patience = patience
        self.running = running
        self._room = running + waiting
        self._running = asyncio.Semaphore(running)

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """Hold a place during the block, or wait for one. Raises LimitReachedError."""
        if not self._room:
            raise LimitReachedError
        self._room -= 1
        try:
            try:
                async with asyncio.timeout(self.patience):
                    await self._running.acquire()
            except TimeoutError as error:
                raise LimitReachedError from error
            try:
                yield
            finally:
                self._running.release()
        finally:
            self._room += 1

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Hold a place during the block, for work that has begun and must not be refused any more."""
        async with self._running:
            yield
