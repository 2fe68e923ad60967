"""A clock for the quota that a test moves by hand."""

from dataclasses import dataclass
from datetime import datetime, timedelta

import pytest

from goals import quota
from tests.world import START


@dataclass
class Clock:
    """Clock of the database that moves only when a test moves it."""

    now: datetime

    def forward(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Control the time of goal creations, so that no result depends on the duration of a test."""
    clock, lock = Clock(START), quota.lock_names

    def lock_names(site_id: int) -> datetime:
        lock(site_id)
        return clock.now

    monkeypatch.setattr(quota, "lock_names", lock_names)
    return clock
