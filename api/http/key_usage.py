"""Last use of each key, collected in memory and written by a thread, at most once a minute and process."""

import time
from datetime import UTC, datetime
from enum import Enum
from typing import Final

from api.http.background_writer import BackgroundWriter
from api.http.database import connect, once


class UsedKey(Enum):
    """A kind of key, and the statement that writes its last use."""

    CREDENTIAL = "UPDATE api_credential SET last_used_at = %(at)s WHERE id = %(key)s"
    WRITE_KEY = "UPDATE api_writekey SET last_used_at = %(at)s WHERE key = %(key)s"
    TOKEN = "UPDATE api_managementtoken SET last_used_at = %(at)s WHERE id = %(key)s"  # noqa: S105 - a statement


UNLESS_NEWER: Final = (
    " AND (last_used_at IS NULL OR last_used_at < %(at)s)"  # another process may have written a newer use
)


def record_use(kind: UsedKey, key: int | str) -> None:
    """Record the use of a valid key. Returns at once."""
    key_usage_writer().note(kind, key)


class KeyUsageWriter(BackgroundWriter):
    """The uses that a process has recorded, and the thread that writes them."""

    name = "key-usage"

    def __init__(self) -> None:
        self._at: dict[tuple[UsedKey, int | str], float] = {}
        super().__init__()

    def note(self, kind: UsedKey, key: int | str) -> None:
        self._at[kind, key] = time.time()
        self.request_write()

    def write(self) -> None:
        """Write with one short statement and commit for each key, so that no two rows are locked at once."""
        with connect() as connection:
            while self._at:
                (kind, key), at = self._at.popitem()
                connection.execute(kind.value + UNLESS_NEWER, {"key": key, "at": datetime.fromtimestamp(at, UTC)})


@once
def key_usage_writer() -> KeyUsageWriter:
    """Return the writer of this process, started with the first use of a key."""
    return KeyUsageWriter()
