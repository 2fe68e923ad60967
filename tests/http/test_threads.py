"""Work that leaves the event loop: what may be refused because it takes long, and what may not."""

import time

import pytest

from api.events.refusal import Refusal
from api.http import threads
from api.http.threads import compute, compute_to_the_end
from tests.support.asgi import wait_for


def slowly(value: int) -> int:
    time.sleep(0.2)
    return value


def test_computation__that_takes_too_long__is_refused_with_503(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "COMPUTE_SECONDS", 0.01)

    with pytest.raises(Refusal) as refused:
        wait_for(compute(slowly, 7))

    assert (refused.value.status, refused.value.code) == (503, "unavailable")


def test_computation__after_the_commit__is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sender that was answered 503 sends again, and its events without messageIds would be stored twice."""
    monkeypatch.setattr(threads, "COMPUTE_SECONDS", 0.01)

    assert wait_for(compute_to_the_end(slowly, 7)) == 7
