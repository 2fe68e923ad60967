"""The moment at which a web process is asked to stop, which the server tells an application too late.

granian and uvicorn send `lifespan.shutdown` when all responses have ended, and a stream would not end before.
"""

import asyncio
import signal
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import Any, Final

STOP_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


Handler = Callable[[int, FrameType | None], None]


def call_at_stop(function: Callable[[], None]) -> None:
    """Have the event loop call a function at a signal to stop, before the server's own handler.

    Call it on the loop when the server has set its handlers, as in `lifespan.startup`. In a thread that cannot have
    signals it does nothing.
    """
    loop = asyncio.get_running_loop()
    for number in STOP_SIGNALS:
        with suppress(ValueError):  # not the main thread
            signal.signal(number, _followed_by(signal.getsignal(number), loop, function))


def _followed_by(handler: Any, loop: asyncio.AbstractEventLoop, function: Callable[[], None]) -> Handler:
    def handle(number: int, frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(function)
        if callable(handler):
            handler(number, frame)

    return handle
