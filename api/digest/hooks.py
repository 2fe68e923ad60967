"""What an operator's own module may do, named by GOALPOST_HOOKS: change or drop events at digest, hear of batches.

    # shop_hooks.py
    def transform(event): ...            # the event or another in its place; None drops it

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
from api.events.types import TYPES

SECONDS: Final = 5.0  # that a hook may take for an event, or for a batch's outcomes

# After a batch was committed: `site_id`, and what became of each message as `messages`, a list of MessageOutcome.
batch_digested = Signal()
# A batch was rolled back and its messages will be tried one by one, or later: `site_id`, `message_ids`, `error`.
batch_failed = Signal()

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class MessageOutcome:
    """What became of one message."""

    id: int
    type: str
    message_id: str | None
    status: str
    reason: str
    effects: frozenset[str]
    goal_id: int | None


class TransactionLostError(Exception):
    """The hook's SQL failed in the transaction that it runs in: nothing of it can be kept."""


class HookTimeoutError(BaseException):
    """Not an Exception, which the hook might swallow."""


def load() -> None:
    """Import the operator's module, if there is one. Raises ImproperlyConfigured."""
    _find_transform(settings.HOOKS)


def transform(event: Event) -> Event | None:
    """The event as the operator's hook returns it; None when it drops it.

    Raises TransformError, and TransactionLostError, upon which the caller must roll back.
    """
    function = _find_transform(settings.HOOKS)
    if function is None:
        return event
    try:
        with time_limit(SECONDS):
            changed = function(event)
        if changed is not None and (not isinstance(changed, dict) or changed.get("type") not in TYPES):
            raise TypeError(f"transform must return None or an event whose type is one of {', '.join(TYPES)}")
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
    """Whether SQL of a hook failed, or was cut short, in the transaction around it. No query."""
    link = connection.connection
    if link is None or not connection.in_atomic_block:
        return False
    if link.info.transaction_status == TransactionStatus.ACTIVE:  # the time limit ended a query in the middle
        link.cancel_safe(timeout=SECONDS)
        while link.pgconn.get_result() is not None:
            pass
    return bool(link.info.transaction_status == TransactionStatus.INERROR)


def send_signal(hook: Signal, **what: Any) -> None:
    """Call the receivers of a signal; what they raise is logged and hurts nobody."""
    if not hook.receivers:
        return
    try:
        with time_limit(SECONDS):
            answers: Sequence[tuple[Any, Any]] = hook.send_robust(sender=None, **what)
    except HookTimeoutError:
        log.warning("hook.too_slow", seconds=SECONDS)
        return
    for receiver, answer in answers:
        if isinstance(answer, Exception):
            log.error("hook.failed", hook=getattr(receiver, "__name__", "?"), exc_info=answer)


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise HookTimeoutError in the block after that many seconds: in a worker, whose tasks run in its main thread.

    Elsewhere, in a web server's threads, nothing can end a hook.
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
    """The function `transform` of a module; None where the module, or its name, is missing."""
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
