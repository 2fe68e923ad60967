"""Access checks that are remembered for seconds."""

import itertools
import time

from api.http.access import FRESH_SECONDS, AccessCheck
from api.http.credentials import clear_lookups
from tests.support.asgi import wait_for


def test_check__of_the_same_header__is_made_once_until_it_is_forgotten() -> None:
    numbers = itertools.count(1)
    check: AccessCheck[str, int] = AccessCheck(lambda _: next(numbers))

    assert [wait_for(check.find(shown)) for shown in ("a", "a", "b")] == [1, 1, 2]
    clear_lookups()
    assert wait_for(check.find("a")) == 3


def test_check__that_took_long__is_made_again() -> None:
    """Its first look-up may be old, and a revoked key is refused within five seconds."""
    asked: list[str] = []

    def look(shown: str) -> int:
        asked.append(shown)
        time.sleep(FRESH_SECONDS + 0.1)
        return len(asked)

    check = AccessCheck(look)

    assert [wait_for(check.find("a")) for _ in range(2)] == [1, 2]
