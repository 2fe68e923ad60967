"""Loading of event files into the inbox, each line exactly once, also after an interruption."""

import codecs
import gzip
import hashlib
import io
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import IO, Any, Final, cast

import psycopg
import structlog
from django.conf import settings

from api.events.encodings import UTF_16_MARKS
from api.events.envelope import IncomingEvent
from api.http.credentials import SOURCE_COLUMNS_OF_SITE, SourceAccess, read_source
from api.http.database import SessionKind
from api.ingest import nudge, source_counts
from api.ingest.accept import EVENT_BYTES, KEPT_BYTES, apply_source_rules, make_refused, too_large
from api.ingest.erased import strip_erased
from api.ingest.inbox import insert
from api.ingest.new_message import NewMessage
from api.ingest.parsed_event import parse_event
from api.models import Load

MIB: Final = 2**20
CHUNK_ROWS: Final = 5_000  # a transaction
CHUNK_BYTES: Final = 4 * MIB
RECOUNT_ROWS: Final = 100_000  # after these, pending messages are counted again, because live senders add some
POLL_SECONDS: Final = 1.0  # seconds between two counts while too many messages are pending

log = structlog.get_logger(__name__)


class LoadLostError(Exception):
    """Raised if another process has continued this load, or its source was deleted."""


@dataclass(frozen=True, slots=True)
class FileLine:
    """One line of a file, or the beginning of a line that is too large."""

    number: int  # from 0
    body: bytes
    is_too_large: bool


def fingerprint(path: Path) -> str:
    """Return the fingerprint of a file: SHA-256 of its size, its first and its last MiB on the disk."""
    size = path.stat().st_size
    digest = hashlib.sha256(f"{size}\n".encode())
    with path.open("rb") as file:
        digest.update(file.read(MIB))
        file.seek(max(0, size - MIB))
        digest.update(file.read(MIB))
    return digest.hexdigest()


@contextmanager
def open_contents(path: Path) -> Iterator[tuple[IO[bytes], IO[bytes]]]:
    """Yield the contents of a file, gunzipped if it is gzip, and the file itself, which knows its position."""
    with path.open("rb") as file:
        if file.peek(2)[:2] == b"\x1f\x8b":
            with gzip.open(file) as contents:
                yield decode_lines(cast("IO[bytes]", contents)), file
        else:
            yield decode_lines(file), file


def decode_lines(file: IO[bytes]) -> IO[bytes]:
    """Return a file with lines in UTF-8, also for a file with the byte order mark of UTF-16 (PowerShell's `>`)."""
    if cast("io.BufferedReader", file).peek(2)[:2] not in UTF_16_MARKS:
        return file
    return cast("IO[bytes]", Utf8Lines(io.TextIOWrapper(cast("io.BufferedReader", file), "utf-16", newline="\n")))


@dataclass(frozen=True, slots=True)
class Utf8Lines:
    """A text file whose lines are read as UTF-8."""

    file: io.TextIOWrapper

    def readline(self, most: int) -> bytes:
        """Return the next line, or its first `most` characters."""
        return self.file.readline(most).encode()


def load_lines(file: IO[bytes], load: Load) -> Iterator[int]:
    """Load the lines of a file that `load` has not read yet, each chunk in one transaction with `load`.

    Yields 0 after each chunk. Waits while more than half of the limit of the site, or of all sites, is pending, because
    live senders would soon be refused. It then yields the number of pending messages every second. An unsaved `load` is
    only counted. Holds one chunk in memory. Raises LoadLostError, psycopg.Error, and errors of reading. Chunks that
    were yielded stay.
    """
    half, half_of_site = settings.INBOX_LIMIT // 2, settings.SITE_INBOX_LIMIT // 2
    lines = islice(read_lines(file), load.lines, None)
    site_id = load.source.site_id
    room = 0
    with closing(nudge.connect_without_scans(SessionKind.LOAD)) as connection:
        while chunk := take_chunk(lines, rows=min(CHUNK_ROWS, half // 2 + 1, half_of_site // 2 + 1)):
            while room < len(chunk):
                backlog = nudge.count_pending(connection, limit=half + 1)
                pending, own = sum(backlog.messages.values()), backlog.messages.get(site_id, 0)
                is_heavy = backlog.bytes.get(site_id, 0) > nudge.SITE_BYTES // 2
                if pending <= half and own <= half_of_site and not is_heavy:
                    room = max(len(chunk), min(half - pending, half_of_site - own, RECOUNT_ROWS))
                else:
                    yield min(pending, half + 1) if pending > half else own
                    nudge.nudge()
                    time.sleep(POLL_SECONDS)
            while not _try_to_store(connection, load, chunk):
                time.sleep(POLL_SECONDS)
            room -= len(chunk)
            nudge.nudge()
            yield 0
        connection.execute("UPDATE api_load SET finished_at = now() WHERE site_id = %s AND id = %s", [site_id, load.pk])


def _try_to_store(connection: psycopg.Connection[Any], load: Load, chunk: Sequence[FileLine]) -> bool:
    """Store lines as `store_chunk` does. Return False if another session held one of their rows for too long."""
    try:
        store_chunk(connection, load, chunk)
    except psycopg.errors.LockNotAvailable:
        log.warning("load.held", lines=load.lines)  # `manage.py doctor` names the session
        return False
    return True


def store_chunk(connection: psycopg.Connection[Any], load: Load, chunk: Sequence[FileLine]) -> None:
    """Store lines and, in the same transaction, the progress of the load. Four statements."""
    now = datetime.now(UTC)
    source = load_import_source(connection, load.source.site_id, load.source_id)
    read = [(source.site_id, source.id, read_line(line, source, received_at=now)) for line in chunk if line.body]
    rows = [NewMessage(*row) for row in strip_erased(read)]
    with connection.transaction():
        is_new = [bool(number) for number in insert(connection, rows)]
        source_counts.write_counts(connection, source_counts.count_messages(rows, is_new))
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
                 WHERE site_id = %(site)s AND id = %(id)s AND lines = %(before)s AND finished_at IS NULL
                """,
                {**counts, "site": source.site_id, "id": load.pk, "before": load.lines},
            )
            if not updated.rowcount:
                raise LoadLostError
    for name, count in counts.items():
        setattr(load, name, count)


def read_line(line: FileLine, source: SourceAccess, *, received_at: datetime) -> IncomingEvent:
    """Return a line as `/v1/import` would store it, or as a rejected message if that would refuse it."""
    if line.is_too_large:
        refusal = too_large(f"The line is longer than {EVENT_BYTES:,} bytes.")
        event = make_refused(line.body, refusal, position=line.number, received_at=received_at)
    else:
        event, _ = parse_event(source, line.body, position=line.number, received_at=received_at)
    return apply_source_rules(source, event)


def load_import_source(connection: psycopg.Connection[Any], site_id: int, source_id: int) -> SourceAccess:
    """Return the current source with its rules, as one that imports, so that events keep their times. One query."""
    columns = f"d.site_id, {SOURCE_COLUMNS_OF_SITE}"
    statement = f"SELECT {columns} FROM api_source d WHERE d.site_id = %(site)s AND d.id = %(source)s"
    row = connection.execute(statement, {"site": site_id, "source": source_id}).fetchone()
    source = read_source(*row) if row else None
    if source is None:
        raise LoadLostError
    return replace(source, kind="import")


def read_lines(file: IO[bytes]) -> Iterator[FileLine]:
    """Yield the lines of a file without white space and byte order marks. Holds one line at most in memory."""
    number = 0
    while line := file.readline(EVENT_BYTES + 2):  # with its line end
        is_whole = len(line) < EVENT_BYTES + 2 or line.endswith(b"\n")
        body = line.removeprefix(codecs.BOM_UTF8).strip(b" \t\r\n")  # in any line, because files may have been joined
        is_too_large = not is_whole or len(body) > EVENT_BYTES
        yield FileLine(number, body[:KEPT_BYTES] if is_too_large else body, is_too_large)
        number += 1
        while not is_whole:
            rest = file.readline(EVENT_BYTES)
            is_whole = not rest or rest.endswith(b"\n")


def take_chunk(lines: Iterable[FileLine], *, rows: int) -> list[FileLine]:
    """Return the next lines for one transaction."""
    chunk, size = [], 0
    for line in lines:
        chunk.append(line)
        size += len(line.body)
        if len(chunk) >= rows or size >= CHUNK_BYTES:
            break
    return chunk
