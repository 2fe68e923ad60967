"""`manage.py rekey`: once after an upgrade, the conversions of earlier versions count for today's visitors."""

from datetime import UTC, datetime
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from api.digest.rekey import Stage, last_id, step
from api.digest.site_config import SiteConfig
from api.http.database import SessionKind, configure_open_connection
from api.management.progress import progress
from api.models import Backfill


class Command(BaseCommand):
    help = (
        "Re-key stored conversions by the visitor codes of their users' devices, while everything runs. "
        "Run it again after an interruption: it goes on where it was."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--again", action="store_true", help="go through everything, though it was done before")

    def handle(self, *, again: bool, **_: Any) -> None:
        configure_open_connection(SessionKind.UPKEEP)
        backfill = Backfill.objects.order_by("pk").last()
        if backfill is None or backfill.finished_at:
            if not again:
                self.stdout.write("Nothing to do. --again goes through everything once more.")
                return
            backfill = Backfill.objects.create()
        elif backfill.position or backfill.stage:
            self.stdout.write(f"It goes on with {backfill.get_stage_display()} after {backfill.position:,}.")
        config = dict[int, SiteConfig]()
        moved = 0
        try:
            while backfill.stage < Stage.DONE:
                name, total = backfill.get_stage_display(), last_id(backfill)
                with progress(self.stdout, name, total=total) as report:
                    stage = backfill.stage
                    while backfill.stage == stage:
                        moved += step(backfill, config)
                        report(backfill.position, f"{backfill.position:,} of {total:,}, {moved:,} conversions re-keyed")
        except KeyboardInterrupt as error:
            raise CommandError("interrupted; run it again to go on where it was") from error
        backfill.finished_at = datetime.now(UTC)
        backfill.save()
        self.stdout.write(f"Done: {moved:,} conversions count for another visitor now.")
