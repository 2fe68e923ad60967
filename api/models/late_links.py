"""Links that are followed step by step."""

from django.db import models
from django.db.models.functions import Now

from api.models.sites import Site
from site_rows import SiteColumn, SiteRow


class LateLink(SiteRow):
    """An id whose first visitor code changed, and which has too many conversions or users for one batch (api.digest).

    A worker goes on from where it says, a step at a time. Whoever writes a row has its identity locked.
    """

    # No database constraint: every insert would lock the one row of its site.
    site = SiteColumn(Site, on_delete=models.CASCADE, db_constraint=False, db_index=False, related_name="+")
    kind = models.PositiveSmallIntegerField()  # as an identity's
    value = models.CharField(max_length=255)
    conversions_after = models.BigIntegerField(
        null=True, help_text="The last conversion that was re-keyed; empty if none is left."
    )
    users_after = models.CharField(  # noqa: DJ001 - no user yet is not the end
        max_length=255, null=True, help_text="The last user that has its code; no value if none is left."
    )
    stepped_at = models.DateTimeField(db_default=Now())
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [
            # A link that comes meanwhile starts the same row again.
            models.UniqueConstraint(fields=["site", "kind", "value"], name="api_latelink_id"),
        ]
        indexes = [
            # The worker takes the one that waits longest: none has to wait for all steps of another.
            models.Index(fields=["stepped_at", "id"], name="api_latelink_turn"),
        ]

    def __str__(self) -> str:
        return f"late link {self.pk}"
