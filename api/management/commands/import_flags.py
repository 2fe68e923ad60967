"""`manage.py import_flags`: feature flags with their segments and custom data from a file of Kameleoon's SDKs."""

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from api.management.commands.load_plan import find_site
from api.remote_data.flag_import import import_file
from goals.flags.saving import PRODUCTION


class Command(BaseCommand):
    help = (
        "Import the feature flags of a file in the form of GET /v3/SITECODE, with its segments and custom data. Flags "
        "that it does not have stay. Nothing is imported if one of the SDKs would refuse a part of the file or read it "
        "differently."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("sitecode", metavar="SITECODE")
        parser.add_argument("file", metavar="FILE", type=Path)
        parser.add_argument("--environment", default=PRODUCTION, help="in which `environmentEnabled` switches flags")
        parser.add_argument("--dry-run", action="store_true", help="check the file and say what an import would do")

    def handle(self, *, sitecode: str, file: Path, environment: str, dry_run: bool, **_: Any) -> None:
        site = find_site(sitecode)
        try:
            text = file.read_bytes()
        except OSError as error:
            raise CommandError(f"{file} cannot be read: {error.strerror}") from error
        result = import_file(
            site, text, environment=environment, actor="manage.py import_flags", now=timezone.now(), is_try=dry_run
        )
        for problem in result.problems:
            self.stderr.write(str(problem))
        if result.saved is None:
            raise CommandError(f"{len(result.problems)} problems: nothing was imported; correct the file")
        saved = result.saved
        self.stdout.write(
            f"{'would import' if dry_run else 'imported'}: {len(saved.created)} flags created, {len(saved.changed)} "
            f"changed, {len(saved.unchanged)} unchanged; {len(saved.segments)} segments; "
            f"{len(result.custom_data)} custom data"
        )
        for index in result.kept:
            self.stdout.write(f"custom data {index}: the site defines it otherwise, and keeps its definition")
