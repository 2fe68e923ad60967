"""Lists of exposures: who saw which variation of an experiment, and when first."""

from datetime import datetime

from django.db.models import BooleanField
from django.db.models.expressions import RawSQL

from goals.visit_models import Exposure


def list_exposures(
    site_id: int,
    experiment_id: int,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    after: tuple[datetime, int] | None = None,
    limit: int,
) -> list[Exposure]:
    """Return a page of the exposures to an experiment, newest first. One query, however deep the page.

    `since` is the first time of the list, `until` the first one after it, and `after` the end of the page before.
    """
    exposures = Exposure.objects.filter(site_id=site_id, experiment_id=experiment_id).order_by("-first_at", "-id")
    if since is not None:
        exposures = exposures.filter(first_at__gte=since)
    if until is not None:
        exposures = exposures.filter(first_at__lt=until)
    if after is not None:
        # The index answers this comparison of rows. The same with OR would read every row of one time again.
        older = RawSQL(
            "(goals_exposure.first_at, goals_exposure.id) < (%s, %s)", list(after), output_field=BooleanField()
        )
        exposures = exposures.filter(older)
    return list(exposures[:limit])
