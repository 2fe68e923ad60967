"""Tables of visits: facts that SDKs send, activity between them, and exposures to variations.

A row belongs to a visitor code, or to a user if its sender knew no visitor code. The user's visitor code is found when
the row is read, so that rows never move. Exposures also say for which visitor they count.
"""

from django.db import models
from django.db.models import Q

from site_rows import SiteColumn, SiteRow


class VisitFact(SiteRow):
    """A fact of a visit at a moment. Rows are only added, in any order. Visits are computed when they are read."""

    class Type(models.IntegerChoices):
        """Types of facts; the names are those of messages."""

        PAGE_VIEW = 1, "page view"
        STATIC_DATA = 2, "static data"
        GEOLOCATION = 3, "geolocation"
        CUSTOM_DATA = 4, "custom data"

    # No database constraint: every insert would lock the one row of its site.
    site = SiteColumn("api.Site", on_delete=models.CASCADE, db_constraint=False, db_index=False, related_name="+")
    visitor_code = models.CharField(max_length=255)
    is_user = models.BooleanField(help_text="True if the visitor code is the id of a user.")
    type = models.PositiveSmallIntegerField(choices=Type.choices)
    occurred_at = models.DateTimeField()
    position = models.PositiveIntegerField(help_text="The place in the request that brought it.")
    message_id = models.CharField(max_length=255)
    fact = models.JSONField()

    class Meta:
        constraints = [
            # A message adds its fact once. Serves the latest facts of a visitor, type by type.
            models.UniqueConstraint(
                fields=["site", "visitor_code", "is_user", "type", "occurred_at", "position", "message_id"],
                name="goals_visitfact_event",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.get_type_display()} of {self.visitor_code}"


class VisitActivity(SiteRow):
    """A stretch of time in which a visitor was active, without 30 minutes of silence.

    Web processes write it a few seconds later, and rows of two processes may overlap.
    """

    site = SiteColumn("api.Site", on_delete=models.CASCADE, db_constraint=False, db_index=False, related_name="+")
    visitor_code = models.CharField(max_length=255)
    is_user = models.BooleanField()
    started_at = models.DateTimeField()
    last_at = models.DateTimeField()

    class Meta:
        constraints = [
            # The latest stretch of a visitor, which each sign of activity extends.
            models.UniqueConstraint(
                fields=["site", "visitor_code", "is_user", "started_at"], name="goals_visitactivity_start"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.visitor_code} since {self.started_at}"


class Exposure(SiteRow):
    """The first time that a visitor saw a variation of an experiment.

    The key is what the sender knew: a visitor code, or in place of it the user, the anonymous id, or both. It stays. A
    late link only sets `linked_code`, the visitor for which the exposure counts (promise K-51).
    """

    site = SiteColumn("api.Site", on_delete=models.CASCADE, db_constraint=False, db_index=False, related_name="+")
    visitor_code = models.CharField(max_length=255)
    is_user = models.BooleanField()
    experiment_id = models.BigIntegerField()
    variation_id = models.BigIntegerField()
    first_at = models.DateTimeField()
    # Beside the user, or alone: `visitor_code` is empty then. Empty if the event had a visitor code.
    anonymous_id = models.CharField(max_length=255, default="", db_default="")
    linked_code = models.CharField(max_length=255, null=True)  # noqa: DJ001 - absent is not empty
    linked_by = models.PositiveSmallIntegerField(null=True, help_text="The rule of the link: Conversion.KeyedBy.")

    class Meta:
        constraints = [
            # SDKs send a line at each evaluation, and the set keeps the first.
            models.UniqueConstraint(
                fields=["site", "visitor_code", "is_user", "experiment_id", "variation_id", "anonymous_id"],
                name="goals_exposure_key",
            ),
        ]
        indexes = [
            # Re-keying by the first visitor code of a user or of an anonymous id, a batch at a time.
            models.Index(
                fields=["site", "visitor_code", "id"], condition=Q(is_user=True), name="goals_exposure_of_user"
            ),
            models.Index(
                fields=["site", "anonymous_id", "id"],
                condition=~Q(anonymous_id=""),
                name="goals_exposure_of_device",
            ),
            # Erasure finds exposures that count for a visitor code.
            models.Index(
                fields=["site", "linked_code"], condition=Q(linked_code__isnull=False), name="goals_exposure_linked"
            ),
            # Pages of the exposures of an experiment, newest first.
            models.Index(fields=["site", "experiment_id", "first_at", "id"], name="goals_exposure_experiment"),
        ]

    def __str__(self) -> str:
        return f"{self.counts_for} saw {self.variation_id} of {self.experiment_id}"

    @property
    def counts_for(self) -> str:
        """Return the visitor for which results count it, as conversions of the same ids do."""
        return self.linked_code or self.visitor_code or self.anonymous_id
