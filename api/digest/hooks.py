"""Hooks of an operator's module, named by GOALPOST_HOOKS: change or drop events, receive signals of batches.

    # shop_hooks.py
    def transform(event): ...            # return the event or another one; None drops it

    @receiver(batch_digested)
    def note(sender, site_id, messages, **kwargs): ...

The module is loaded when a process starts, and a process whose hooks cannot be loaded does not start.
"""

import importlib
import signal
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, cast

import structlog
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import connection
from django.dispatch import Signal
from psycopg.pq import TransactionStatus

from api.digest.derivation import Event, TransformError
from api.events.body import clean_value
from api.events.types import ALL_TYPES

SECONDS: Final = 5.0  # for an event, or for the outcomes of a batch

# Sent after a batch was committed, with `site_id` and `messages`, a list of MessageOutcome.
batch_digested = Signal()
# Sent after a batch was rolled back, whose messages are tried one by one, or later: `site_id`, `message_ids`, `error`.
batch_failed = Signal()

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class MessageOutcome:
    """Outcome of one message, for receivers of `batch_digested`."""

    id: int
    type: str
    message_id: str | None
    status: str
    reason: str
    effects: frozenset[str]
    goal_id: int | None


class TransactionLostError(Exception):
    """The hook's SQL failed in the digest's transaction, which must be rolled back."""


class HookTimeoutError(BaseException):
    """Not an Exception, which the hook might swallow."""


def load() -> None:
    """Import the operator's module, if there is one. Raises ImproperlyConfigured."""
    _find_transform(settings.HOOKS)


def transform(event: Event) -> Event | None:
    """Return the event as the operator's hook returns it, None if it drops it.

    Raises TransformError, and TransactionLostError: then the caller must roll back.
    """
    function = _find_transform(settings.HOOKS)
    if function is None:
        return event
    try:
        with time_limit(SECONDS):
            changed = function(event)
        if changed is not None and (not isinstance(changed, dict) or changed.get("type") not in ALL_TYPES):
            raise TypeError(f"transform must return None or an event whose type is one of {', '.join(ALL_TYPES)}")
        if changed is not None:
            changed = cast("Event", clean_value(changed))
    except (Exception, HookTimeoutError) as error:
        text = "".join(traceback.format_exception(error))
        if is_transaction_lost():
            raise TransactionLostError(text) from None
        raise TransformError(text) from error
    if is_transaction_lost():
        raise TransactionLostError("the hook went on after an error of the database")
    return cast("Event | None", changed)


def is_transaction_lost() -> bool:
    """Return True if SQL of a hook failed or was cancelled in the surrounding transaction. No query."""
    session = connection.connection
    if session is None or not connection.in_atomic_block:
        return False
    if session.info.transaction_status == TransactionStatus.ACTIVE:  # the time limit ended a query in the middle
        session.cancel_safe(timeout=SECONDS)
        while session.pgconn.get_result() is not None:
            pass
    return bool(session.info.transaction_status == TransactionStatus.INERROR)


def send_signal(hook: Signal, **values: Any) -> None:
    """Call the receivers of a signal, and log what they raise."""
    if not hook.receivers:
        return
    try:
        with time_limit(SECONDS):
            answers: Sequence[tuple[Any, Any]] = hook.send_robust(sender=None, **values)
    except HookTimeoutError:
        log.warning("hook.too_slow", seconds=SECONDS)
        return
    for receiver, answer in answers:
        if isinstance(answer, Exception):
            log.error("hook.failed", hook=getattr(receiver, "__name__", "?"), exc_info=answer)


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise HookTimeoutError in the block after that many seconds.

    This works in a worker, whose tasks run in its main thread. In a web server's threads nothing can end a hook.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def give_up(*_: Any) -> None:
        raise HookTimeoutError(f"the hook took more than {seconds} s")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@lru_cache(maxsize=4)
def _find_transform(module_name: str) -> Callable[[Event], Any] | None:
    """Return the function `transform` of a module; None if no module is named, or it has no such function."""
    if not module_name:
        return None
    try:
        module = importlib.import_module(module_name)
    except Exception as error:
        raise ImproperlyConfigured(f"GOALPOST_HOOKS: {module_name} cannot be imported: {error}") from error
    function: Callable[[Event], Any] | None = getattr(module, "transform", None)
    if function is not None and not callable(function):
        raise ImproperlyConfigured(f"GOALPOST_HOOKS: {module_name}.transform is no function")
    return function
