"""When alerts are looked at and told. What is done is elsewhere."""

from datetime import UTC, datetime
from typing import Any

from celery import Celery

from api.alerts import evaluate, outbox
from api.celery import app

SECONDS_A_RUN = 5.0  # then the next task has its turn
EVERY = {
    "alerts": ("api.alerts.tasks.watch", 30.0),
    "prune-alerts": ("api.alerts.tasks.prune", 3600.0),
}


@app.on_after_finalize.connect
def schedule(sender: Celery, **_: Any) -> None:
    """Beat's timetable; a task that waited until the next one is due is stale."""
    for name, (task, seconds) in EVERY.items():
        sender.add_periodic_task(seconds, app.tasks[task].s(), name=name, expires=seconds, queue="goalpost-seldom")


@app.task
def watch() -> None:
    """Look at every alert, and send what is due."""
    evaluate.evaluate(now=datetime.now(UTC))
    outbox.send_due(now=datetime.now(UTC), seconds=SECONDS_A_RUN)


@app.task
def prune() -> None:
    """Remove what was told long ago."""
    outbox.prune(before=datetime.now(UTC) - outbox.KEEP, seconds=SECONDS_A_RUN)
