"""`manage.py replay`: retries rejected and failed messages, 10,000 messages at a time."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from api.digest.replay import plan_replay, replay
from api.events.reasons import REPLAYABLE
from api.http.database import SessionKind, configure_open_connection
from api.models import Site
from api.models.audit import write_audit


class Command(BaseCommand):
    help = "Retry the newest 10,000 messages that were rejected or failed for a reason."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--site", metavar="SITECODE", required=True)
        parser.add_argument("--reason", choices=sorted(REPLAYABLE), required=True)
        parser.add_argument("--dry-run", action="store_true", help="only say what it would do")

    def handle(self, *, site: str, reason: str, dry_run: bool, **_: Any) -> None:
        configure_open_connection(SessionKind.UPKEEP)
        chosen_site = Site.objects.filter(sitecode=site).first()
        if chosen_site is None:
            raise CommandError(f"there is no site {site}")
        if not dry_run:
            done = replay(chosen_site.pk, reason, who="manage.py")
            what = f"Tried {done.messages:,} messages again that were rejected or failed: {reason}"
            write_audit("manage.py replay", chosen_site, what, {"status": "failed"}, {"status": "pending"})
            self.stdout.write(f"{done.messages} tried again, {done.unreadable} unreadable")
            return
        would = plan_replay(chosen_site, reason, is_worker=True)
        self.stdout.write(f"{would.messages} would be tried again, {would.duplicates} came again and stay")
        if would.forecast:
            seen = would.forecast
            if would.looked_at < would.messages:
                self.stdout.write(f"Of the newest {would.looked_at}, which are as many bytes as are looked into:")
            self.stdout.write(
                f"{seen.conversions_then} conversions, {seen.goals_made_then} new goals, {seen.profiles_changed} "
                f"profiles, {seen.dropped_then} ignored, {seen.rejected_then} rejected again"
            )
