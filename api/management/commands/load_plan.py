"""`manage.py load_plan`: the goals of a tracking plan, ahead of the first event."""

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from api.management.progress import progress
from api.models import Site
from api.models.audit import write_audit
from goals.tracking_plan import UnreadablePlanError, create_goals, read_plan


class Command(BaseCommand):
    help = (
        "Make the goals of a tracking plan: CSV with the columns type,name, or Segment's JSON. What exists is left "
        "alone, and the quota of new goals is not touched. Run it again to go on after an interruption."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", type=Path)
        parser.add_argument("--site", metavar="SITECODE", help="may be left out when there is only one")

    def handle(self, *, file: Path, site: str | None, **_: Any) -> None:
        chosen_site = find_site(site)
        try:
            plan = read_plan(file.read_bytes())
        except (OSError, UnreadablePlanError) as error:
            raise CommandError(f"{file} cannot be loaded: {error}") from error
        made = done = 0
        with progress(self.stdout, file.name, total=len(plan.events)) as report:
            for chunk in create_goals(
                chosen_site.pk, plan.events, template=chosen_site.goal_name_template, tag=chosen_site.auto_tag
            ):
                made += chunk.made
                done += chunk.made + chunk.existed
                report(done, f"{made:,} made")
        for refusal in plan.refused:
            self.stderr.write(refusal)
        ignored = "".join(f", {count:,} of {type_} ignored" for type_, count in sorted(plan.ignored.items()))
        if made:
            write_audit(
                "manage.py load_plan", chosen_site, f"Created {made:,} goals of a plan", None, {"file": file.name}
            )
        existed = len(plan.events) - made  # also those that the file holds twice
        self.stdout.write(f"{made:,} made, {existed:,} existed, {len(plan.refused):,} refused{ignored}")
        if plan.refused:
            raise CommandError("what was refused is named above; correct it and load the plan again")


def find_site(sitecode: str | None) -> Site:
    """Return the site with this code, or the only one. Raises CommandError."""
    sites = Site.objects.filter(sitecode=sitecode) if sitecode else Site.objects.all()
    match list(sites[:2]):
        case [site]:
            return site
        case []:
            raise CommandError(f"there is no site {sitecode}" if sitecode else "there is no site")
        case _:
            raise CommandError("there are several sites; name one with --site SITECODE")
