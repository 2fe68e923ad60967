"""Threads for work that would hold up the event loop: look-ups that miss their cache, large bodies, health checks.

Everything else of the wire endpoints runs on the loop itself (api.asgi).
"""

import asyncio
import math
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Callable, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from http import HTTPStatus
from typing import Final, ParamSpec, TypeVar

from api.events.refusal import Refusal
from api.http.database import DatabaseDownError

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")
Item = TypeVar("Item")

# Bytes of bodies that the loop itself parses. A thousand events of 1 kB take some 60 ms, and all others would wait.
LIGHT_BYTES: Final = 16_384
LIGHT_ROWS: Final = 50  # events, or events times rules, that the loop itself looks at
TURN_ROWS: Final = 200  # rows of which the loop notes a few fields at once, in about half a millisecond
LOOKUPS: Final = ThreadPoolExecutor(4, "lookups")  # half of the connections of the pool (api.http.database)
LOOKUP_SECONDS: Final = 5.0  # of waiting for a thread and for the database: Segment hangs up after 10
COMPUTE_SECONDS: Final = 8.0  # of waiting for a thread and for its result
MOST_WAITING: Final = 16  # computations of a sender


class Turns:
    """Threads that senders use in turns, each sender one at a time. Use it on the event loop only.

    Two threads of one sender would not be faster, because they share the interpreter.
    """

    def __init__(self, threads: int, name: str) -> None:
        self._threads = ThreadPoolExecutor(threads, name)
        self._free = threads
        self._at_work: set[Hashable] = set()
        self._waiting: OrderedDict[Hashable, deque[asyncio.Future[None]]] = OrderedDict()

    async def run(self, sender: Hashable, work: Callable[[], Result], *, most_waiting: float) -> Result:
        """Return the result of work once the sender has its turn. Raises Refusal (503) if too much of it waits."""
        if not self._free or sender in self._at_work:
            await self._wait(sender, most_waiting)
        else:
            self._take(sender)
        loop = asyncio.get_running_loop()
        result = self._threads.submit(work)
        # The turn ends with the work, which goes on if the request gives up.
        result.add_done_callback(lambda _: loop.call_soon_threadsafe(self._end, sender))
        return await asyncio.wrap_future(result)

    async def _wait(self, sender: Hashable, most: float) -> None:
        turns = self._waiting.setdefault(sender, deque())
        if len(turns) >= most:
            raise too_much_work()
        turn = asyncio.get_running_loop().create_future()
        turns.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.cancelled():
                with suppress(ValueError):  # a thread became free meanwhile, and _hand_out passed it over
                    turns.remove(turn)
            else:
                self._end(sender)
            raise

    def _take(self, sender: Hashable) -> None:
        self._free -= 1
        self._at_work.add(sender)

    def _end(self, sender: Hashable) -> None:
        self._free += 1
        self._at_work.remove(sender)
        self._hand_out()

    def _hand_out(self) -> None:
        """Give free threads to the senders that wait, the next one first."""
        for sender in list(self._waiting):
            if not self._free:
                return
            if sender in self._at_work:
                continue
            turns = self._waiting.pop(sender)
            while turns and (turn := turns.popleft()):
                if not turn.done():
                    self._take(sender)
                    turn.set_result(None)
                    break
            if turns:
                self._waiting[sender] = turns  # behind the others


# Each computing thread takes the interpreter from the loop for half a millisecond. One alone would let a batch under
# slow rules hold up the batches of all other sites.
COMPUTATIONS: Final = Turns(2, "computations")


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


async def compute_for(
    sender: Hashable, function: Callable[Parameters, Result], *args: Parameters.args, **kwargs: Parameters.kwargs
) -> Result:
    """Return the result of a function that needs the processor for longer than a millisecond.

    `sender` is a site, a source or an address. Raises Refusal (503) after COMPUTE_SECONDS, and at once if MOST_WAITING
    computations of the sender wait.
    """
    work = partial(function, *args, **kwargs)
    try:
        async with asyncio.timeout(COMPUTE_SECONDS):
            return await COMPUTATIONS.run(sender, work, most_waiting=MOST_WAITING)
    except TimeoutError as error:
        raise too_much_work() from error


async def compute_to_the_end(
    sender: Hashable, function: Callable[Parameters, Result], *args: Parameters.args, **kwargs: Parameters.kwargs
) -> Result:
    """Return the result of a function as `compute_for` does, but never refuse: what is stored must not get 503."""
    return await COMPUTATIONS.run(sender, partial(function, *args, **kwargs), most_waiting=math.inf)


async def take_turns(items: Sequence[Item], number: int = TURN_ROWS) -> AsyncIterator[Sequence[Item]]:
    """Yield the items in parts, and let the event loop serve others between them.

    It is for work that only the loop may do; `compute_for` is for other work.
    """
    for start in range(0, len(items), number):
        if start:
            await asyncio.sleep(0)
        yield items[start : start + number]


def too_much_work() -> Refusal:
    """Return 503 for a request whose work did not get its turn."""
    return Refusal(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "unavailable",
        "Too many large requests are being worked on just now. Nothing was changed. Send the same again.",
        (("Retry-After", "10"),),
    )
