"""A clock for the quota that a test moves by hand."""

from dataclasses import dataclass
from datetime import datetime, timedelta

import pytest

from goals import quota
from tests.world import START


@dataclass
class Clock:
    """The database's, standing still until somebody moves it."""

    now: datetime

    def forward(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """What creations are stamped with, so that nothing depends on how long a test takes."""
    clock, lock = Clock(START), quota.lock_names

    def lock_names(site_id: int) -> datetime:
        lock(site_id)
        return clock.now

    monkeypatch.setattr(quota, "lock_names", lock_names)
    return clock
