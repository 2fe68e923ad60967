"""Files of events into the inbox, as fast as PostgreSQL takes them, each line exactly once whatever interrupts it."""

import gzip
import hashlib
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import IO, Any, Final, cast

import psycopg
from django.conf import settings
from django.utils import timezone

from api.database import connect
from api.door import Refusal
from api.ingest import nudge
from api.ingest.inbox import Row, insert
from api.ingest.wire import Incoming, describe_event, open_event, read_type
from api.models import Load

MIB: Final = 2**20
LINE_LIMIT: Final = 1_048_576  # bytes of an event, as at the door
KEPT_START: Final = 4_096  # bytes of a longer one
CHUNK_ROWS: Final = 5_000  # a transaction
CHUNK_BYTES: Final = 4 * MIB
COUNTED_ROWS: Final = 100_000  # after so many, what is pending is counted again: live senders add to it
WAIT: Final = 1.0  # seconds between two looks while too much is pending


class LoadTakenError(Exception):
    """Another process loads this file."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a file; of one that is too large only the start."""

    number: int  # from 0
    body: bytes
    is_too_large: bool


def fingerprint(path: Path) -> str:
    """What tells a file from others, as it lies on the disk: SHA-256 of its size, its first and its last MiB."""
    size = path.stat().st_size
    digest = hashlib.sha256(f"{size}\n".encode())
    with path.open("rb") as file:
        digest.update(file.read(MIB))
        file.seek(max(0, size - MIB))
        digest.update(file.read(MIB))
    return digest.hexdigest()


@contextmanager
def opened(path: Path) -> Iterator[tuple[IO[bytes], IO[bytes]]]:
    """(the contents of a file, gunzipped where it begins as gzip does, the file itself, which knows its place)."""
    with path.open("rb") as file:
        if file.peek(2)[:2] == b"\x1f\x8b":
            with gzip.open(file) as contents:
                yield cast("IO[bytes]", contents), file
        else:
            yield file, file


def load_lines(file: IO[bytes], load: Load) -> Iterator[int]:
    """Load the lines of a file from where `load` stands, a chunk a step, each in one transaction with `load` itself.

    Yields 0 after each chunk, and while it waits for the digest, every second, how many messages are pending: more
    than half of GOALPOST_INBOX_LIMIT would soon have live senders refused. An unsaved `load` is only counted up. Holds
    one chunk in memory. Raises LoadTakenError, psycopg.Error, and what reading raises; what was yielded stays.
    """
    half = settings.INBOX_LIMIT // 2
    lines = islice(read_lines(file), load.lines, None)
    room = 0
    with closing(connect()) as connection:
        while chunk := take_chunk(lines, rows=min(CHUNK_ROWS, half // 2 + 1)):
            while room < len(chunk):
                pending = count_pending(connection, limit=half + 1)
                if pending <= half:
                    room = max(len(chunk), min(half - pending, COUNTED_ROWS))
                else:
                    yield pending
                    nudge.nudge()
                    time.sleep(WAIT)
            store_chunk(connection, load, chunk)
            room -= len(chunk)
            nudge.nudge()
            yield 0
    if load.pk:
        load.finished_at = timezone.now()
        load.save(update_fields=["finished_at"])


def store_chunk(connection: psycopg.Connection[Any], load: Load, chunk: Sequence[Line]) -> None:
    """Store lines and, in the same transaction, how far the load has come. Two statements."""
    now = datetime.now(UTC)
    source = load.source
    rows = [Row(source.site_id, source.pk, read_line(line, received_at=now)) for line in chunk if line.body]
    with connection.transaction():
        is_new = insert(connection, rows)
        rejected = sum(bool(row.event.reason) for row in rows)
        counts = {
            "lines": load.lines + len(chunk),
            "stored": load.stored + sum(is_new) - rejected,
            "duplicates": load.duplicates + len(rows) - sum(is_new),
            "rejected": load.rejected + rejected,
        }
        if load.pk:
            updated = connection.execute(
                """
                UPDATE api_load
                   SET lines = %(lines)s, stored = %(stored)s, duplicates = %(duplicates)s, rejected = %(rejected)s
                 WHERE id = %(id)s AND lines = %(before)s AND finished_at IS NULL
                """,
                {**counts, "id": load.pk, "before": load.lines},
            )
            if not updated.rowcount:
                raise LoadTakenError
    for name, count in counts.items():
        setattr(load, name, count)


def read_line(line: Line, *, received_at: datetime) -> Incoming:
    """A line as `/v1/import` would store it; what would be refused there is a rejected message here."""
    try:
        if line.is_too_large:
            reason = "too_large"
        else:
            if not line.body.isascii():
                line.body.decode()  # msgspec does not look inside the values it skips
            envelope = open_event(line.body, position=line.number)
            return describe_event(
                envelope,
                line.body,
                type_=read_type(envelope),
                sent_at=None,  # times of the past stand
                position=line.number,
                received_at=received_at,
            )
    except UnicodeDecodeError:
        reason = "invalid_json"
    except Refusal as refusal:
        reason = refusal.code
    return Incoming("", None, line.number, received_at, received_at, line.body, reason=reason)


def read_lines(file: IO[bytes]) -> Iterator[Line]:
    """The lines of a file, without white space around them; no more than the limit of a line is held."""
    number = 0
    while line := file.readline(LINE_LIMIT + 2):  # with room for its end
        is_whole = len(line) < LINE_LIMIT + 2 or line.endswith(b"\n")
        body = line.removeprefix(b"\xef\xbb\xbf").strip(b" \t\r\n") if number == 0 else line.strip(b" \t\r\n")
        is_too_large = not is_whole or len(body) > LINE_LIMIT
        yield Line(number, body[:KEPT_START] if is_too_large else body, is_too_large)
        number += 1
        while not is_whole:
            rest = file.readline(LINE_LIMIT)
            is_whole = not rest or rest.endswith(b"\n")


def take_chunk(lines: Iterable[Line], *, rows: int) -> list[Line]:
    """The next lines, as many as a transaction takes."""
    chunk, size = [], 0
    for line in lines:
        chunk.append(line)
        size += len(line.body)
        if len(chunk) >= rows or size >= CHUNK_BYTES:
            break
    return chunk


def count_pending(connection: psycopg.Connection[Any], *, limit: int) -> int:
    """How many messages wait for the digest, counted up to a limit. One query."""
    row = connection.execute(
        "SELECT count(*) FROM (SELECT 1 FROM api_message WHERE status = 'pending' LIMIT %s) AS pending", [limit]
    ).fetchone()
    return int(row[0]) if row else 0
