"""`manage.py load`: files of events into the inbox."""

import sys
import time
import zlib
from datetime import UTC
from pathlib import Path
from typing import IO, Any

import psycopg
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db.models import Q

from api.ingest.file_load import LoadLostError, decode_lines, fingerprint, load_lines, open_contents
from api.management.progress import progress
from api.models import Load, Source
from api.models.audit import write_audit

BLANK = {"lines": 0, "stored": 0, "duplicates": 0, "rejected": 0, "finished_at": None}


class Command(BaseCommand):
    help = (
        "Load newline-delimited JSON events, as Segment spells them, at full speed and with the times they have. "
        "Run it again after an interruption: each line is loaded once."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("files", nargs="+", metavar="FILE", help=".jsonl or .jsonl.gz; - reads standard input")
        parser.add_argument("--source", required=True, metavar="NAME_OR_WRITE_KEY")
        parser.add_argument("--site", metavar="SITECODE", help="of the source, if several have one of this name")
        parser.add_argument("--again", action="store_true", help="load a file that was loaded to its end once more")

    def handle(self, *, files: list[str], source: str, site: str | None, again: bool, **_: Any) -> None:
        chosen_source = find_source(source, site)
        for name in files:
            if name != "-" and not Path(name).is_file():
                raise CommandError(f"{name} is not a file; a pipe is read by `-`")
        for name in files:
            if name == "-":
                self.load(
                    decode_lines(sys.stdin.buffer),
                    sys.stdin.buffer,
                    Load(site=chosen_source.site, source=chosen_source, file_name="-"),
                    size=None,
                )
            else:
                self.load_file(Path(name), chosen_source, again=again)

    def load_file(self, path: Path, source: Source, *, again: bool) -> None:
        load, _ = Load.objects.get_or_create(
            site=source.site, source=source, fingerprint=fingerprint(path), defaults={"file_name": path.name}
        )
        if load.finished_at and not again:
            when = load.finished_at.astimezone(UTC)
            self.stdout.write(f"{path.name} was loaded on {when:%Y-%m-%d %H:%M} UTC; --again loads it again")
            return
        if load.finished_at:
            Load.objects.filter(site=source.site, pk=load.pk).update(**BLANK)
            load.refresh_from_db()
        elif load.lines:
            self.stdout.write(f"{path.name} goes on at line {load.lines + 1:,}")
        with open_contents(path) as (lines, file):
            self.load(lines, file, load, size=path.stat().st_size)

    def load(self, lines: IO[bytes], file: IO[bytes], load: Load, *, size: int | None) -> None:
        begun, before = time.monotonic(), load.lines
        what = f"Loaded events through the source {load.source_id}, from the line {before + 1:,}"
        write_audit("manage.py load", load.source.site, what, None, {"file": load.file_name})
        is_waiting = False
        try:
            with progress(self.stdout, load.file_name, total=size) as report:
                for pending in load_lines(lines, load):
                    begins_to_wait = pending and not is_waiting
                    news = f"more than {pending - 1:,} messages wait for the digest; so does the load"
                    report(file.tell() if size else 0, f"{load.lines:,} lines", news if begins_to_wait else "")
                    is_waiting = bool(pending)
        except LoadLostError as error:
            raise CommandError(f"another process loads {load.file_name}, or its source was deleted") from error
        except (psycopg.Error, EOFError, OSError, zlib.error, UnicodeDecodeError, KeyboardInterrupt) as error:
            what = str(error).strip() or type(error).__name__
            how = f"run it again to go on at line {load.lines + 1:,}" if load.pk else f"{load.lines:,} lines are loaded"
            raise CommandError(f"{load.file_name}: {what}; {how}") from error
        seconds = max(time.monotonic() - begun, 0.001)
        self.stdout.write(
            f"{load.file_name}: {load.lines:,} lines: {load.stored:,} stored, {load.duplicates:,} duplicates, "
            f"{load.rejected:,} rejected; {(load.lines - before) / seconds:,.0f} lines/s"
        )


def find_source(name_or_key: str, sitecode: str | None) -> Source:
    """Return the one source of this name or write key. Raises CommandError."""
    sources = Source.objects.filter(Q(name=name_or_key) | Q(write_keys__key=name_or_key)).distinct()
    if sitecode is not None:
        sources = sources.filter(site__sitecode=sitecode)
    match list(sources[:2]):
        case [Source(is_enabled=True) as source]:
            return source
        case [_]:
            raise CommandError("this source is switched off; switch it on under Settings, Sources")
        case []:
            raise CommandError("no source has this name or write key; make one under Settings, Sources: an import")
        case _:
            raise CommandError("several sources have this name; name one by its write key, or its site with --site")
