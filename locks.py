"""Names of the locks that transactions wait for, and the error for a lock that another session holds too long."""

from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum

from django.db import OperationalError
from psycopg.errors import LockNotAvailable


class Lock(StrEnum):
    """A kind of lock for which a transaction may wait in vain."""

    IDENTITY = "identity"  # of a person, with its links, names and conversions
    GROUP = "group"
    PERSONA = "persona"
    USERNAME = "username"
    NEW_GOALS = "new goals"  # of a site: its names, its tag, its queue
    GOAL = "goal"
    FIGURES = "figures"  # of a visitor of a goal
    OTHER = "other"


class HeldError(OperationalError):
    """Another session held a lock for longer than `lock_timeout`: roll back to the last savepoint."""

    def __init__(self, lock: Lock) -> None:
        super().__init__(f"another session holds the {lock}")
        self.lock = lock


@contextmanager
def waits_for(lock: Lock) -> Iterator[None]:
    """Raise HeldError with this lock if a statement of the block waits for a lock in vain."""
    try:
        yield
    except HeldError:
        raise
    except OperationalError as error:
        if isinstance(error.__cause__, LockNotAvailable):
            raise HeldError(lock) from error.__cause__
        raise
