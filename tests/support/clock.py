"""Clock of the new-goal limit that a test moves."""

from dataclasses import dataclass
from datetime import datetime, timedelta


@dataclass
class Clock:
    """Clock of the database that moves only when a test moves it."""

    now: datetime

    def forward(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)
