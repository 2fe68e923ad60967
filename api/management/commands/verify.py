"""`manage.py verify`: names each row that was lost, doubled or invented."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from api.checks.run import CheckReport, verify
from api.models import Site


class Command(BaseCommand):
    help = "Recount messages, conversions, people and quota, also while workers run; name every row that differs."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--site", metavar="SITECODE", help="one site only")

    def handle(self, *, site: str | None, **_: Any) -> None:
        site_id = Site.objects.filter(sitecode=site).values_list("pk", flat=True).first()
        if site is not None and site_id is None:
            raise CommandError(f"there is no site {site}")
        broken = []
        for report in verify(site_id):
            self.tell(report)
            if report.found:
                broken.append(report.check)
        if broken:
            raise CommandError(f"differences: {', '.join(broken)}")

    def tell(self, report: CheckReport) -> None:
        self.stdout.write(f"{'FAIL' if report.found else 'ok':4}  {report.check:11}  {report.line}")
        for meaning, rows in report.found.items():
            self.stdout.write(f"{'':19}-> {rows.count}: {meaning}")
            for example in rows.examples:
                self.stdout.write(f"{'':22}{example}")
            if rows.count > len(rows.examples):
                self.stdout.write(f"{'':22}and {rows.count - len(rows.examples)} more")
