"""Celery's tasks and their schedule. Each task calls one function; beat sends each after its interval."""

import gc
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cache, partial
from typing import Any, Final

import structlog
from celery import Celery
from celery.beat import Scheduler
from celery.signals import beat_init, worker_init, worker_process_init
from django.contrib.sessions.backends.db import SessionStore
from django.db import OperationalError, connections

from api.alerts import evaluate, outbox
from api.celery import app
from api.digest import goal_changes, late_links, recounts, run, segments
from api.digest.claims import Claims
from api.digest.partitions import advance_ids
from api.digest.prune import prune_old
from api.erasure import erase, removal
from api.http.database import SessionKind, is_lock_timeout, refuse_other_key, set_django_session_kind
from api.http.heartbeats import Role, heartbeat_writer, read_steady_time
from api.ingest import nudge
from api.rest import idempotency
from cohorts.own_keys import purge_expired
from goals import visit_pruning
from goals.catalogue import purge_deleted

DIGEST: Final = "goalpost"  # queues: events never wait behind upkeep
UPKEEP: Final = "goalpost-seldom"
# Task, seconds between two runs, queue.
SCHEDULE: Final = (
    ("digest", 1.0, DIGEST),
    ("tend_queues", 1.0, DIGEST),
    ("follow_links", 1.0, UPKEEP),
    ("keep_segments", 1.0, UPKEEP),
    ("change_goals", 1.0, UPKEEP),
    ("recount_days", 5.0, UPKEEP),
    ("erase_people", 5.0, UPKEEP),
    ("remove_sites_and_personas", 5.0, UPKEEP),
    ("evaluate_alerts", 30.0, UPKEEP),
    ("tend_segments", 60.0, UPKEEP),
    ("advance_message_ids", 60.0, UPKEEP),
    ("prune_messages", 60.0, UPKEEP),
    ("purge_goals", 60.0, UPKEEP),
    ("purge_own_keys", 600.0, UPKEEP),
    ("prune_visits", 600.0, UPKEEP),
    ("prune_notifications", 3600.0, UPKEEP),
    ("prune_stored_answers", 3600.0, UPKEEP),
)
RUN_SECONDS: Final = 5.0  # then the next task has its turn
# Senders cause as many late links as they like, and with one worker all events wait for a run.
LINKS_SECONDS: Final = 0.5
NOTIFY_SECONDS: Final = 25.0  # in a thread of its own; the next evaluation is 30 s after this one
REST_SECONDS: Final = 10.0  # of a task that could not get a lock
ALERTS_THREAD: Final = "alerts"

log = structlog.get_logger(__name__)


@app.task
def digest() -> None:
    """Digest pending messages."""
    heartbeat_writer(Role.WORKER).beat()
    nudge.clear_nudge()
    if run.digest_all(claims(), seconds=RUN_SECONDS):
        digest.apply_async(retry=False)


@app.task
def tend_queues() -> None:
    """Recover messages of dead workers and release deferred messages."""
    heartbeat_writer(Role.WORKER).beat()
    if run.tend_queues(claims()):
        run.digest_all(claims(), seconds=RUN_SECONDS)


@app.task
def follow_links() -> None:
    """Continue links of identities that were too many for a batch."""
    with unless_held("follow_links", seconds=LINKS_SECONDS) as until:
        while time.monotonic() < until and late_links.step_any():
            pass


@app.task
def keep_segments() -> None:
    """Turn memberships of segments whose time has come, and continue sweeps."""
    with unless_held("keep_segments") as until:
        segments.run_upkeep(clock=partial(datetime.now, UTC), until=until)


@app.task
def tend_segments() -> None:
    """Sweep segments whose goals were merged or deleted, and delete old entries and exits."""
    with unless_held("tend_segments") as until:
        segments.tend(now=datetime.now(UTC), until=until)


@app.task
def change_goals() -> None:
    """Continue changes of many goals."""
    with unless_held("change_goals") as until:
        while time.monotonic() < until and goal_changes.run_any_step(now=datetime.now(UTC)):
            pass


@app.task
def recount_days() -> None:
    """Continue counting the days of goals in new zones of their sites."""
    with unless_held("recount_days") as until:
        while time.monotonic() < until and recounts.recount_next_of_each():
            pass


@app.task
def erase_people() -> None:
    """Continue erasing people."""
    with unless_held("erase_people") as until:
        while time.monotonic() < until and erase.sweep(now=datetime.now(UTC)):
            pass


@app.task
def remove_sites_and_personas() -> None:
    """Continue removing personas, groups and sites."""
    with unless_held("remove_sites_and_personas") as until:
        while time.monotonic() < until and removal.sweep(now=datetime.now(UTC)):
            pass


@app.task
def evaluate_alerts() -> None:
    """Start a thread that evaluates alerts and sends notifications, because a slow webhook must not block the digest.

    Return at once. A notification that is unsent when the process ends is sent after the next evaluation.
    """
    if ALERTS_THREAD not in {thread.name for thread in threading.enumerate()}:
        threading.Thread(target=evaluate_and_notify, name=ALERTS_THREAD, daemon=True).start()


@app.task
def advance_message_ids() -> None:
    """Draw the ids of messages from the partition of the day."""
    with unless_held("advance_message_ids"):
        advance_ids(now=datetime.now(UTC))


@app.task
def prune_messages() -> None:
    """Delete processed messages that are old enough."""
    with unless_held("prune_messages") as until:
        now = read_steady_time()
        if now is not None:
            prune_old(now=now, seconds=until - time.monotonic())
            goal_changes.prune(now=now)


@app.task
def purge_goals() -> None:
    """Delete the rows of deleted goals."""
    with unless_held("purge_goals") as until:
        while time.monotonic() < until and purge_deleted():
            pass


@app.task
def purge_own_keys() -> None:
    """Delete expired remote data of operators."""
    with unless_held("purge_own_keys") as until:
        now = read_steady_time()
        while now is not None and time.monotonic() < until and purge_expired(now=now):
            pass


@app.task
def prune_visits() -> None:
    """Delete old facts and activity of visits."""
    with unless_held("prune_visits") as until:
        now = read_steady_time()
        if now is not None:
            visit_pruning.prune_visits(now=now, until=until)


@app.task
def prune_notifications() -> None:
    """Delete old notifications."""
    now = read_steady_time()
    if now is not None:
        outbox.prune(before=now - outbox.KEEP, seconds=RUN_SECONDS)


@app.task
def prune_stored_answers() -> None:
    """Delete old answers to requests with an `Idempotency-Key`, and expired sessions of people."""
    now = read_steady_time()
    if now is not None:
        idempotency.prune(now=now)
        SessionStore.clear_expired()


def evaluate_and_notify() -> None:
    """Evaluate all alerts and send due notifications on a database connection of this thread."""
    try:
        evaluate.evaluate(now=datetime.now(UTC))
        outbox.send_due(now=datetime.now(UTC), seconds=NOTIFY_SECONDS)
    except Exception:  # a thread's exception reaches no log otherwise
        log.exception("alerts.failed")
    finally:
        connections.close_all()


@app.on_after_finalize.connect
def schedule_tasks(sender: Celery, **_: Any) -> None:
    """Give beat the schedule."""
    for name, seconds, queue in SCHEDULE:
        sender.add_periodic_task(seconds, app.tasks[f"{__name__}.{name}"].s(), name=name, queue=queue)


class MonotonicScheduler(Scheduler):
    """A beat scheduler that plans by monotonic time and keeps no file.

    Celery's own schedulers plan by wall-clock time. A clock that was three days ahead for a moment leaves them with
    last runs in the future, and nothing is due for three days. Here every task is due once at the start, which does
    no harm, because each task only looks for work.
    """

    clock = staticmethod(time.monotonic)
    shortest_pause: Final = 0.1  # seconds, also while a queue is full

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.due_at: dict[str, float] = {}
        super().__init__(*args, **kwargs)

    def tick(self, *_: Any, **__: Any) -> float:
        """Send due tasks and return the seconds until the next one is due.

        A full queue gets nothing. A task that found its queue full goes first when there is room again.
        """
        now = self.clock()
        entries: list[Any] = list(self.schedule.values())
        for entry in sorted(entries, key=self._due_at):
            if self._due_at(entry) <= now and nudge.has_room(entry.options["queue"]):
                self.apply_entry(entry, producer=self.producer)
                self.due_at[entry.name] = now + entry.schedule.run_every.total_seconds()  # all are periodic
        heartbeat_writer(Role.BEAT).beat()  # after sending, so that a beat that blocks on the broker shows as dead
        pause = min((self._due_at(entry) - now for entry in entries), default=self.shortest_pause)
        return max(pause, self.shortest_pause)

    def _due_at(self, entry: Any) -> float:
        return self.due_at.get(entry.name, 0.0)


@cache
def claims() -> Claims:
    """Return this process's record of claimed messages."""
    return Claims()


@cache
def resting_until() -> dict[str, float]:
    """Return the monotonic time at which each task of this process that could not get a lock runs again."""
    return {}


@contextmanager
def unless_held(task: str, *, seconds: float = RUN_SECONDS) -> Iterator[float]:
    """Yield the monotonic time at which a run must end.

    If the task rests, yield the present time, so that it does nothing. A task rests after it waited in vain for a lock,
    because the digest waits behind it in the same worker.
    """
    now = time.monotonic()
    try:
        yield now + seconds if now >= resting_until().get(task, 0) else now
    except OperationalError as error:
        if not is_lock_timeout(error):
            raise
        resting_until()[task] = time.monotonic() + REST_SECONDS
        log.warning("task.held", task=task)  # `manage.py doctor` names the session


worker_init.connect(refuse_other_key)
beat_init.connect(refuse_other_key)


@beat_init.connect
def name_beat(**_: Any) -> None:
    """Give the sessions of beat the limits and the name of their kind."""
    set_django_session_kind(SessionKind.BEAT)


@worker_process_init.connect
def keep_connections(**_: Any) -> None:
    """Keep a worker's database connection between tasks, which run many times a second, and check its health."""
    set_django_session_kind(SessionKind.WORKER)
    connections["default"].settings_dict |= {"CONN_MAX_AGE": None, "CONN_HEALTH_CHECKS": True}


@worker_process_init.connect
def collect_less_garbage(**_: Any) -> None:
    """Run the garbage collector seldom. A batch makes thousands of objects and no cycles."""
    gc.freeze()  # modules stay loaded
    gc.set_threshold(20_000, 20, 20)
