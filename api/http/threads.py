"""Threads for work that would hold up the event loop: look-ups that miss their cache, large bodies, health checks.

Everything else of the wire endpoints runs on the loop itself (api.asgi).
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from http import HTTPStatus
from typing import Final, ParamSpec, TypeVar

from api.events.refusal import Refusal
from api.http.database import DatabaseDownError

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")

# Bytes of bodies that the loop itself parses. A thousand events of 1 kB take some 60 ms, and all others would wait.
LIGHT_BYTES: Final = 16_384
LIGHT_ROWS: Final = 50  # events, or events times rules, that the loop itself looks at
LOOKUPS: Final = ThreadPoolExecutor(4, "lookups")  # half of the connections of the pool (api.http.database)
LOOKUP_SECONDS: Final = 5.0  # of waiting for a thread and for the database: Segment hangs up after 10
# Each computing thread takes the interpreter from the loop for half a millisecond. One alone would let a batch under
# slow rules hold up the batches of all other sites.
COMPUTATIONS: Final = ThreadPoolExecutor(2, "computations")
COMPUTE_SECONDS: Final = 8.0  # of waiting for a thread and for its result


async def look_up(
    function: Callable[Parameters, Result], *args: Parameters.args, **kwargs: Parameters.kwargs
) -> Result:
    """Return the result of a function that asks the database. Raises DatabaseDownError after LOOKUP_SECONDS."""
    work = asyncio.get_running_loop().run_in_executor(LOOKUPS, partial(function, *args, **kwargs))
    try:
        async with asyncio.timeout(LOOKUP_SECONDS):
            return await work
    except TimeoutError as error:
        raise DatabaseDownError from error


async def compute(
    function: Callable[Parameters, Result], *args: Parameters.args, **kwargs: Parameters.kwargs
) -> Result:
    """Return the result of a function that needs the processor for longer than a millisecond.

    Raises Refusal (503) after COMPUTE_SECONDS.
    """
    try:
        async with asyncio.timeout(COMPUTE_SECONDS):
            return await compute_to_the_end(function, *args, **kwargs)
    except TimeoutError as error:
        raise Refusal(
            HTTPStatus.SERVICE_UNAVAILABLE,
            "unavailable",
            "Too many large requests are being worked on just now. Nothing was changed. Send the same again.",
            (("Retry-After", "10"),),
        ) from error


async def compute_to_the_end(
    function: Callable[Parameters, Result], *args: Parameters.args, **kwargs: Parameters.kwargs
) -> Result:
    """Return the result of a function as `compute` does, however long it takes: what is stored must not get 503."""
    return await asyncio.get_running_loop().run_in_executor(COMPUTATIONS, partial(function, *args, **kwargs))
