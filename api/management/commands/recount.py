"""`manage.py recount`: count the figures of goals again from their conversions."""

import time
from typing import Any, Final

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import OperationalError

from api.http.database import SessionKind, configure_open_connection
from api.management.progress import progress
from api.models import Site
from goals import totals
from goals.models import Goal

TRIES: Final = 20  # of a goal, after a deadlock with a digest, or if a session holds what is to be locked
PAUSE: Final = 1.0  # seconds: digests of the goal wait behind a recount


class Command(BaseCommand):
    help = (
        "Count conversions, visits, visitors and revenue of every goal again from its conversions, goal by goal, "
        "while everything runs. Only figures that rows changed by hand have made wrong need it; `verify` names them. "
        "It may be interrupted and run again."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--site", metavar="SITECODE", help="one site only")

    def handle(self, *, site: str | None, **_: Any) -> None:
        configure_open_connection(SessionKind.UPKEEP)
        goals = Goal.objects.filter(deleted_at=None)
        if site is not None:
            chosen_site = Site.objects.filter(sitecode=site).first()
            if chosen_site is None:
                raise CommandError(f"there is no site {site}")
            goals = goals.filter(site=chosen_site)
        ids = list(goals.order_by("pk").values_list("site_id", "pk"))
        conversions = 0
        with progress(self.stdout, "recount", total=len(ids) or None) as report:
            for done, (site_id, goal_id) in enumerate(ids, start=1):
                conversions += recount(site_id, goal_id)
                report(done, f"{done:,} goals, {conversions:,} conversions")
        self.stdout.write(f"{len(ids):,} goals recounted, {conversions:,} conversions")


def recount(site_id: int, goal_id: int) -> int:
    """Recount a goal, again after a deadlock or a wait in vain."""
    for attempt in range(1, TRIES + 1):
        try:
            return totals.recount_goal(site_id, goal_id)
        except OperationalError as error:
            if attempt == TRIES or getattr(error.__cause__, "sqlstate", None) not in {"40P01", "55P03"}:
                raise
            time.sleep(PAUSE)
    raise AssertionError
