"""When each key was used last: noted in memory, written beside the requests, at most once a minute and process.

A process that ends leaves the uses of its last minute unwritten.
"""

import threading
import time
from datetime import UTC, datetime
from enum import Enum
from typing import Final

import psycopg
import structlog

from api.http.database import connect, once

INTERVAL_SECONDS: Final = 60.0  # seconds; the first use is written at once

log = structlog.get_logger(__name__)


class UsedKey(Enum):
    """What may be used, and the statement that says when it was."""

    CREDENTIAL = "UPDATE api_credential SET last_used_at = %(at)s WHERE id = %(key)s"
    WRITE_KEY = "UPDATE api_writekey SET last_used_at = %(at)s WHERE key = %(key)s"
    TOKEN = "UPDATE api_managementtoken SET last_used_at = %(at)s WHERE id = %(key)s"  # noqa: S105 - a statement


UNLESS_NEWER: Final = " AND (last_used_at IS NULL OR last_used_at < %(at)s)"  # another process may have been faster


def record_use(kind: UsedKey, key: int | str) -> None:
    """Say that a key, which must be a valid one, is used now. Returns at once."""
    key_usage_writer().note(kind, key)


class KeyUsageWriter:
    """What a process has noted, and the thread that writes it."""

    def __init__(self) -> None:
        self._at: dict[tuple[UsedKey, int | str], float] = {}
        self._wanted = threading.Event()
        threading.Thread(target=self._work, name="last-uses", daemon=True).start()

    def note(self, kind: UsedKey, key: int | str) -> None:
        self._at[kind, key] = time.time()
        if not self._wanted.is_set():
            self._wanted.set()

    def _work(self) -> None:
        while True:
            self._wanted.wait()
            self._wanted.clear()
            try:
                self._write()
            except psycopg.Error as error:
                log.warning("last_uses.unwritten", error=type(error).__name__)  # a later use of the key will be
            time.sleep(INTERVAL_SECONDS)

    def _write(self) -> None:
        """One short statement and commit a key: there are few, and no two are locked at once."""
        with connect() as connection:
            while self._at:
                (kind, key), at = self._at.popitem()
                connection.execute(kind.value + UNLESS_NEWER, {"key": key, "at": datetime.fromtimestamp(at, UTC)})


@once
def key_usage_writer() -> KeyUsageWriter:
    """This process's, started with the first use of a key."""
    return KeyUsageWriter()
