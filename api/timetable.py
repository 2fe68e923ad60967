"""Celery beat's timetable, kept in memory by a clock that nobody can set."""

import time
from typing import Any, Final

from celery.beat import Scheduler

from api.http.heartbeats import Role, heart
from api.ingest import nudge

SHORTEST_PAUSE: Final = 0.1  # seconds, also while a queue is full


class Timetable(Scheduler):
    """A scheduler that plans by monotonic time and keeps no file.

    Celery's own schedulers plan by wall-clock time. A clock that was three days ahead for a moment leaves them with
    last runs in the future, and nothing is due for three days. Here everything is due once at the start, which does
    no harm: each task only looks for work.
    """

    clock = staticmethod(time.monotonic)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.due_at: dict[str, float] = {}
        super().__init__(*args, **kwargs)

    def tick(self, *_: Any, **__: Any) -> float:
        """Send what is due and return the seconds until something is due again.

        A full queue gets nothing, and a task that found its queue full goes first when there is room again.
        """
        now = self.clock()
        entries: list[Any] = list(self.schedule.values())
        for entry in sorted(entries, key=self._due_at):
            if self._due_at(entry) <= now and nudge.has_room(entry.options["queue"]):
                self.apply_entry(entry, producer=self.producer)
                self.due_at[entry.name] = now + entry.schedule.run_every.total_seconds()  # all are periodic
        heart(Role.BEAT).beat()  # after sending: whoever waits for the broker in vain gives no sign of life
        pause = min((self._due_at(entry) - now for entry in entries), default=float(SHORTEST_PAUSE))
        return max(pause, SHORTEST_PAUSE)

    def _due_at(self, entry: Any) -> float:
        return self.due_at.get(entry.name, 0.0)
