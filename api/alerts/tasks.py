"""When alerts are looked at and told. What is done is elsewhere."""

import threading
from datetime import UTC, datetime
from typing import Any, Final

import structlog
from celery import Celery
from django.db import connections

from api.alerts import evaluate, outbox
from api.celery import app
from api.http.heartbeats import steady_time

SECONDS_A_RUN = 5.0  # then the next task has its turn
SECONDS_OF_SENDING = 25.0  # in a thread of its own; the next look is 30 s after this one
THREAD: Final = "alerts"
EVERY = {
    "alerts": ("api.alerts.tasks.watch", 30.0),
    "prune-alerts": ("api.alerts.tasks.prune", 3600.0),
}

log = structlog.get_logger(__name__)


@app.on_after_finalize.connect
def schedule(sender: Celery, **_: Any) -> None:
    """Beat's timetable."""
    for name, (task, seconds) in EVERY.items():
        sender.add_periodic_task(seconds, app.tasks[task].s(), name=name, queue="goalpost-seldom")


@app.task
def watch() -> None:
    """Look at every alert, and send what is due, beside the tasks: no webhook may keep the digest waiting.

    Returns at once. One thread a process; what it leaves undone when the process ends, the next look does.
    """
    if THREAD not in {thread.name for thread in threading.enumerate()}:
        threading.Thread(target=look_and_send, name=THREAD, daemon=True).start()


def look_and_send() -> None:
    """In a thread of its own, with a connection of its own."""
    try:
        evaluate.evaluate(now=datetime.now(UTC))
        outbox.send_due(now=datetime.now(UTC), seconds=SECONDS_OF_SENDING)
    except Exception:  # nobody else would hear of it
        log.exception("alerts.failed")
    finally:
        connections.close_all()


@app.task
def prune() -> None:
    """Remove what was told long ago."""
    now = steady_time()
    if now is not None:
        outbox.prune(before=now - outbox.KEEP, seconds=SECONDS_A_RUN)
