"""Threads for work that would hold up the event loop: look-ups that miss their cache, large bodies, health checks.

Everything else of the wire endpoints runs on the loop itself (api.asgi).
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final, ParamSpec, TypeVar

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")

# Bytes of bodies that the loop itself parses. A thousand events of 1 kB take some 60 ms, and all others would wait.
LIGHT_BYTES: Final = 16_384
# They mostly wait for PostgreSQL, as many as the pool has connections (api.http.database).
LOOKUPS: Final = ThreadPoolExecutor(8, "lookups")
# Every computing thread takes the interpreter from the loop, so a second one would delay each event twice as long.
COMPUTATIONS: Final = ThreadPoolExecutor(1, "computations")


async def look_up(
    function: Callable[Parameters, Result], *args: Parameters.args, **kwargs: Parameters.kwargs
) -> Result:
    """Return the result of a function that asks the database or waits otherwise."""
    return await asyncio.get_running_loop().run_in_executor(LOOKUPS, partial(function, *args, **kwargs))


async def compute(
    function: Callable[Parameters, Result], *args: Parameters.args, **kwargs: Parameters.kwargs
) -> Result:
    """Return the result of a function that needs the processor for longer than a millisecond."""
    return await asyncio.get_running_loop().run_in_executor(COMPUTATIONS, partial(function, *args, **kwargs))
