"""Celery's side of the digest: when things run. What runs is elsewhere."""

import gc
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cache
from typing import Any, Final

import structlog
from celery import Celery
from celery.signals import beat_init, worker_init, worker_process_init
from django.db import OperationalError, connections

from api.celery import app
from api.digest import goal_changes, late, run
from api.digest.claims import Claims
from api.digest.prune import prune_old
from api.erasure import erase as erasure
from api.erasure import removal
from api.http.database import Kind, become, is_held
from api.http.heartbeats import Role, heart, steady_time
from api.http.secret_key import refuse_other_key
from api.ingest import nudge
from goals.catalogue import purge_deleted

SECONDS_A_RUN = 5.0  # then the next task has its turn
# Senders cause as many late links as they like, and with one worker everybody's events wait for a run.
SECONDS_OF_LINKS = 0.5
REST: Final = 10.0  # seconds
EVERY = {
    "digest": ("api.digest.tasks.digest", 1.0, "goalpost"),
    "tend-queues": ("api.digest.tasks.tend_queues", 1.0, "goalpost"),
    "prune": ("api.digest.tasks.prune", 60.0, "goalpost-seldom"),
    "purge": ("api.digest.tasks.purge", 60.0, "goalpost-seldom"),
    "erase": ("api.digest.tasks.erase", 5.0, "goalpost-seldom"),
    "remove": ("api.digest.tasks.remove", 5.0, "goalpost-seldom"),
    "follow-links": ("api.digest.tasks.follow_links", 1.0, "goalpost-seldom"),
    "change-goals": ("api.digest.tasks.change_goals", 1.0, "goalpost-seldom"),
}

log = structlog.get_logger(__name__)


worker_init.connect(refuse_other_key)
beat_init.connect(refuse_other_key)


@worker_process_init.connect
def keep_connections(**_: Any) -> None:
    """A worker's process digests many times a second: it keeps its connection, and looks whether it still works."""
    become(Kind.WORKER)
    connections["default"].settings_dict |= {"CONN_MAX_AGE": None, "CONN_HEALTH_CHECKS": True}


@beat_init.connect
def name_beat(**_: Any) -> None:
    become(Kind.BEAT)


@worker_process_init.connect
def collect_less_garbage(**_: Any) -> None:
    """A batch makes thousands of objects and no cycles: looking for some took a tenth of its time."""
    gc.freeze()  # what is loaded by now stays
    gc.set_threshold(20_000, 20, 20)


@cache
def rests() -> dict[str, float]:
    """Return when each task of this process that waited in vain for a lock goes on, by its name."""
    return {}


@contextmanager
def unless_held(task: str, *, seconds: float = SECONDS_A_RUN) -> Iterator[float]:
    """Give the time at which a run ends. A task that waits in vain for a lock rests: the digest is behind it.

    The time of a task that rests is over.
    """
    now = time.monotonic()
    try:
        yield now + seconds if now >= rests().get(task, 0) else now
    except OperationalError as error:
        if not is_held(error):
            raise
        rests()[task] = time.monotonic() + REST
        log.warning("task.held", task=task)  # `manage.py doctor` names the session


@cache
def claims() -> Claims:
    """The notes of this worker's process."""
    return Claims()


@app.on_after_finalize.connect
def schedule(sender: Celery, **_: Any) -> None:
    """Beat's timetable."""
    for name, (task, seconds, queue) in EVERY.items():
        sender.add_periodic_task(seconds, app.tasks[task].s(), name=name, queue=queue)


@app.task
def digest() -> None:
    """Digest what is pending."""
    heart(Role.WORKER).beat()
    nudge.hear()
    if run.digest_all(claims(), seconds=SECONDS_A_RUN):
        digest.apply_async(retry=False)


@app.task
def tend_queues() -> None:
    """Recover from dead workers, and let deferred messages go on."""
    heart(Role.WORKER).beat()
    if run.tend_queues(claims()):
        run.digest_all(claims(), seconds=SECONDS_A_RUN)


@app.task
def prune() -> None:
    """Remove done messages that are old enough, as many as a run's time allows."""
    with unless_held("prune") as until:
        now = steady_time()
        if now is not None:
            prune_old(now=now, seconds=until - time.monotonic())
            goal_changes.prune(now=now)


@app.task
def purge() -> None:
    """Remove the rows of deleted goals, as many as a run's time allows."""
    with unless_held("purge") as until:
        while time.monotonic() < until and purge_deleted():
            pass


@app.task
def erase() -> None:
    """Go on erasing people, as far as a run's time allows."""
    with unless_held("erase") as until:
        while time.monotonic() < until and erasure.sweep(now=datetime.now(UTC)):
            pass


@app.task
def remove() -> None:
    """Go on removing personas, groups and sites, as far as a run's time allows."""
    with unless_held("remove") as until:
        while time.monotonic() < until and removal.sweep(now=datetime.now(UTC)):
            pass


@app.task
def follow_links() -> None:
    """Go on with links of ids that were too many for a batch, as far as a short run's time allows."""
    with unless_held("follow_links", seconds=SECONDS_OF_LINKS) as until:
        while time.monotonic() < until and late.step_any():
            pass


@app.task
def change_goals() -> None:
    """Go on with changes of many goals, as far as a run's time allows."""
    with unless_held("change_goals") as until:
        while time.monotonic() < until and goal_changes.step_any(now=datetime.now(UTC)):
            pass
