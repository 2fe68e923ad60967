"""Sources of events, their write keys, and the counts of what came through them."""

from django.core.validators import MaxValueValidator, MinValueValidator, RegexValidator
from django.db import models
from django.db.models import Q

from api.models.budgets import BUDGET_FIELDS, MAX_BUDGET, Budget, BudgetSpan, resolve_budget
from api.models.sites import Site
from site_rows import SiteColumn, SiteForeignKey, SiteRow

BUDGET_VALIDATORS = [
    MinValueValidator(1, "A budget is at least 1. Switch the source off to refuse all of its events."),
    MaxValueValidator(MAX_BUDGET),
]
URL_SAFE = RegexValidator(r"^[A-Za-z0-9_-]+\Z", "Only letters, digits, _ and -: Segment puts it in a URL unencoded.")


class Source(SiteRow):
    """One sender of events into a site."""

    class Kind(models.TextChoices):
        DESTINATION = "destination", "Segment's Kameleoon destination"
        SERVER = "server", "a server"
        BROWSER = "browser", "a browser"
        IMPORT = "import", "an import"
        ALTIS = "altis", "Altis Analytics"
        SDK = "sdk", "Kameleoon's SDKs"

    # A site has one of each, which Goalpost makes itself.
    SINGLE_KINDS = (Kind.DESTINATION, Kind.SDK)

    site = SiteColumn(Site, on_delete=models.CASCADE, related_name="sources")
    name = models.CharField(max_length=100)
    kind = models.CharField(max_length=16, choices=Kind.choices)
    is_enabled = models.BooleanField(default=True)
    takes_track = models.BooleanField(
        default=True, help_text="Off if another source sends the same track events, or pages that become such events."
    )
    events_per_minute = models.BigIntegerField(
        null=True, blank=True, validators=BUDGET_VALIDATORS, help_text="Empty: the default of its kind."
    )
    bytes_per_minute = models.BigIntegerField(
        null=True, blank=True, validators=BUDGET_VALIDATORS, help_text="Of bodies. Empty: the default of its kind."
    )
    events_per_day = models.BigIntegerField(
        null=True, blank=True, validators=BUDGET_VALIDATORS, help_text="Empty: the default of its kind."
    )
    bytes_per_day = models.BigIntegerField(
        null=True, blank=True, validators=BUDGET_VALIDATORS, help_text="Of bodies. Empty: the default of its kind."
    )
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            # /segmentio finds its source by (site, kind). A site has one Segment destination.
            models.UniqueConstraint(fields=["site"], condition=Q(kind="destination"), name="api_source_destination"),
            # /visit/events finds its source so, and makes it with the first request of a site.
            models.UniqueConstraint(fields=["site"], condition=Q(kind="sdk"), name="api_source_sdk"),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def budget(self) -> Budget:
        """Return the budget, with the defaults of the kind for figures that are not set."""
        return resolve_budget(self.kind, *(getattr(self, name) for name in BUDGET_FIELDS))


class WriteKey(models.Model):
    """A key that may only write, into one source, and that stays readable. A source has several during a rotation."""

    source = models.ForeignKey(Source, on_delete=models.CASCADE, related_name="write_keys")
    key = models.CharField(max_length=64, unique=True, validators=[URL_SAFE])  # every request finds its source by it
    created_at = models.DateTimeField(auto_now_add=True)
    ends_at = models.DateTimeField(null=True, blank=True, help_text="Refused from then on.")
    last_used_at = models.DateTimeField(null=True, editable=False, help_text="To the minute.")

    def __str__(self) -> str:
        return self.key


class SourceCount(SiteRow):
    """The messages that came through a source in an hour."""

    # No database constraints: a source may be deleted while a process still counts for it.
    site = SiteColumn(Site, on_delete=models.CASCADE, db_constraint=False, db_index=False, related_name="+")
    source = SiteForeignKey(Source, on_delete=models.CASCADE, db_constraint=False, db_index=False, related_name="+")
    hour = models.DateTimeField()
    received = models.BigIntegerField(help_text="Messages, duplicates and rejected ones included.")
    duplicates = models.BigIntegerField()
    rejected = models.BigIntegerField(help_text="At ingest.")
    last_received_at = models.DateTimeField()

    class Meta:
        db_table = "api_sourcetally"
        constraints = [
            # Every process adds to one row, and pages sum the rows of a source.
            models.UniqueConstraint(fields=["site", "source", "hour"], name="api_sourcetally_hour"),
        ]

    def __str__(self) -> str:
        return f"{self.received} through {self.source_id} at {self.hour}"


class SourceUse(SiteRow):
    """The use of a source's budget in the last minute and on the last day in which it sent (api.http.budgets)."""

    # No database constraints: a source may be deleted while a process still counts for it.
    site = SiteColumn(Site, on_delete=models.CASCADE, db_constraint=False, db_index=False, related_name="+")
    source = SiteForeignKey(Source, on_delete=models.CASCADE, db_constraint=False, db_index=False, related_name="+")
    span = models.CharField(max_length=6, choices=[(span.value, span.value) for span in BudgetSpan])
    begins_at = models.DateTimeField()
    events = models.BigIntegerField()
    bytes = models.BigIntegerField()
    turned_away = models.BigIntegerField(help_text="Requests that were refused because the budget was used up.")

    class Meta:
        constraints = [
            # Every process adds to one row for each source and span, and reads it back.
            models.UniqueConstraint(fields=["site", "source", "span"], name="api_sourceuse_span"),
        ]

    def __str__(self) -> str:
        return f"{self.events} through {self.source_id} in this {self.span}"


class RefusalCount(SiteRow):
    """The refused events of a source on a day of UTC, by reason (api.ingest.refusals)."""

    # No database constraints: a source may be deleted while a process still counts for it.
    site = SiteColumn(Site, on_delete=models.CASCADE, db_constraint=False, db_index=False, related_name="+")
    source = SiteForeignKey(Source, on_delete=models.CASCADE, db_constraint=False, db_index=False, related_name="+")
    day = models.DateField()
    reason = models.CharField(max_length=32)
    kept = models.BigIntegerField()
    kept_bytes = models.BigIntegerField()
    copies = models.BigIntegerField(help_text="Identical to a kept event.")
    not_kept = models.BigIntegerField(help_text="Over the allowance of the day: counted only.")
    last_at = models.DateTimeField()

    class Meta:
        db_table = "api_refusaltally"
        constraints = [
            # Every process adds to one row for each source, day and reason, and reads it back. Pages read a source's.
            models.UniqueConstraint(fields=["site", "source", "day", "reason"], name="api_refusaltally_day"),
        ]

    def __str__(self) -> str:
        return f"{self.reason} through {self.source_id} on {self.day}"


class DuplicateSources(SiteRow):
    """Two sources that send the same events of the same visitors, each with messageIds of its own."""

    site = SiteColumn(Site, on_delete=models.CASCADE, related_name="duplicate_sources")
    one = SiteForeignKey(Source, on_delete=models.CASCADE, related_name="+")
    other = SiteForeignKey(Source, on_delete=models.CASCADE, related_name="+")
    event_name = models.CharField(max_length=500, help_text="Of the latest pair.")
    count = models.BigIntegerField()
    last_seen_at = models.DateTimeField()

    class Meta:
        db_table = "api_twin"
        constraints = [
            # One row for each pair; `one` is the smaller number.
            models.UniqueConstraint(fields=["site", "one", "other"], name="api_twin_sources"),
        ]

    def __str__(self) -> str:
        return f"{self.one} and {self.other}"
