"""Check of the new-goal limit: the ledger of goal creations never exceeded it, and is complete."""

from collections.abc import Iterator

from api.checks.base import Counts, Difference
from api.checks.changes import last_change
from api.models import Site
from goals import quota
from goals.models import Goal, GoalCreation


def check_quota(site_id: int | None, counts: Counts) -> Iterator[Difference]:
    """Yield windows of a site's ledger that exceed its limits, and goals of events that the ledger lacks.

    Limits count since they were changed last.
    """
    sites = Site.objects.order_by("id")
    for site in sites.filter(pk=site_id) if site_id is not None else sites:
        yield from _check_windows(site)
        made = Goal.objects.filter(site=site, origin=Goal.Origin.EVENT).count()
        recorded = GoalCreation.objects.filter(site=site).count()
        counts["made"] += made
        counts["creations"] += recorded
        if made > recorded:
            meaning = (
                "Events made more goals than the ledger holds, so some did not count against the limit. Rows of "
                "goals_goalcreation were deleted by hand, or goals inserted."
            )
            yield Difference(meaning, f"site {site.sitecode}: {made} goals, {recorded} creations")


def _check_windows(site: Site) -> Iterator[Difference]:
    since = last_change(site.pk, ("goals_per_10_seconds", "goals_per_hour"))
    ledger = GoalCreation.objects.filter(site=site, **({"created_at__gt": since} if since else {}))
    for window in quota.build_windows(per_10_seconds=site.goals_per_10_seconds, per_hour=site.goals_per_hour):
        times = ledger.order_by("created_at").values_list("created_at", flat=True)
        most, begin = quota.find_peak(times.iterator(chunk_size=2_000), window.span)
        if most > window.limit:
            meaning = (
                "Events made more goals than the site's present limits allow. Either a limit was lowered outside the "
                "admin, or this is a defect: please report it."
            )
            seconds = window.span.total_seconds()
            row = f"site {site.sitecode}: {most} goals instead of {window.limit} in the {seconds:.0f} s from {begin}"
            yield Difference(meaning, row)
