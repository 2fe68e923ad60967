"""The limit of concurrent requests: some run, some wait, the rest is refused."""

import threading

import pytest

from api.http.concurrency import ConcurrencyLimit, LimitReachedError


def test_limit__full__refuses_at_once_or_after_patience() -> None:
    limit = ConcurrencyLimit(running=1, waiting=1, patience=0.01)
    limit.enter()

    with pytest.raises(LimitReachedError):
        limit.enter()  # waits for its whole timeout
    waiter = threading.Thread(target=lambda: ConcurrencyLimit.enter(patient))
    patient = ConcurrencyLimit(running=1, waiting=1, patience=30)
    patient.enter()
    waiter.start()
    while patient._entered._value:
        pass
    with pytest.raises(LimitReachedError):
        patient.enter()  # fails immediately; its timeout is 30 s
    patient.leave()
    waiter.join(10)
    assert not waiter.is_alive()


def test_limit__left__has_every_place_again() -> None:
    limit = ConcurrencyLimit(running=2, waiting=1, patience=0.01)
    for _ in range(5):
        limit.enter()
        with limit.place(), pytest.raises(LimitReachedError):
            limit.enter()
        with pytest.raises(KeyError), limit.place():
            raise KeyError
        limit.leave()
    with limit.place(), limit.place():
        pass


def test_limit__left_once_too_often__fails_loudly() -> None:
    limit = ConcurrencyLimit(running=1)

    with pytest.raises(ValueError, match="released too many times"):
        limit.leave()
