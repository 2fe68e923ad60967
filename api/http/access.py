"""Results of access checks, remembered for seconds by what the request showed, for the event loop."""

import time
from collections.abc import Callable, Hashable
from typing import Final, Generic, TypeVar

from cachetools import TTLCache

from api.http.credentials import CACHE_ENTRIES, CACHE_SECONDS, CACHES
from api.http.threads import look_up

Shown = TypeVar("Shown", bound=Hashable)
Result = TypeVar("Result")

FRESH_SECONDS: Final = 1.0
MOST_SHOWN: Final = 4_096  # characters that are remembered: a client can send a header of 64 kB


class AccessCheck(Generic[Shown, Result]):
    """One kind of check. A header that was right is not read again for some seconds.

    Together with the cache of look-ups (api.http.credentials), a revoked credential is refused within 5 s. A refusal
    is not remembered, because each of them is counted.
    """

    def __init__(self, check: Callable[[Shown], Result]) -> None:
        self._check = check
        self._results: TTLCache[Shown, Result] = TTLCache(CACHE_ENTRIES, CACHE_SECONDS)
        CACHES.append(self._results.clear)

    async def find(self, shown: Shown) -> Result:
        """Return the result of the check, by a thread if it is not remembered. Raises the check's Refusal."""
        try:
            return self._results[shown]
        except KeyError:
            pass
        begun = time.monotonic()
        result = await look_up(self._check, shown)
        is_fresh = time.monotonic() - begun < FRESH_SECONDS  # otherwise a revoked key would live longer
        if is_fresh and len(str(shown)) <= MOST_SHOWN:
            self._results[shown] = result
        return result
