"""A worker whose machine has the wrong time: `python -m tests.flows.worker SECONDS`, until its standard input ends.

It prints its time once it is ready, then digests and tends the queues, as a Celery worker with beat would.
"""

import datetime  # noqa: ICN001 - it is to be replaced
import select
import sys
import time
from datetime import datetime as TrueDatetime  # noqa: N812
from typing import Any

PAUSE = 0.1  # seconds between two turns


def shift_clocks(seconds: float) -> None:
    """Let this process believe it is later, whatever it asks. Before anything else is imported."""
    true_time, shift = time.time, datetime.timedelta(seconds=seconds)

    class Meta(type):
        def __instancecheck__(cls, instance: object) -> bool:  # values from the database have the real type
            return isinstance(instance, TrueDatetime)

    class Shifted(TrueDatetime, metaclass=Meta):
        __slots__ = ()  # of the size that modules in C expect

        @classmethod
        def now(cls, tz: datetime.tzinfo | None = None) -> Any:
            return TrueDatetime.now(tz) + shift

    time.time = lambda: true_time() + seconds
    datetime.datetime = Shifted  # type: ignore[misc]  # for this process


def work() -> None:
    import django

    django.setup()

    from django.utils import timezone

    from api.digest import run
    from api.digest.claims import Claims

    claims = Claims()
    print(timezone.now().timestamp(), flush=True)
    while not select.select([sys.stdin], [], [], PAUSE)[0]:
        run.digest_all(claims, seconds=5)
        run.tend_queues(claims)


if __name__ == "__main__":
    shift_clocks(float(sys.argv[1]))
    work()
