"""Who may come in: credentials, tokens, and sources with their write keys."""

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.core.validators import MaxValueValidator, MinValueValidator, RegexValidator
from django.db import models
from django.db.models import Q

from api.models.budgets import BUDGET_FIELDS, MAX_BUDGET, Budget, BudgetSpan, resolve_budget
from api.models.sites import Membership, Site

OF_BUDGET = [
    MinValueValidator(1, "A budget is at least 1. Switch the source off if nothing may come through it."),
    MaxValueValidator(MAX_BUDGET),
]
URL_SAFE = RegexValidator(r"^[A-Za-z0-9_-]+\Z", "Only letters, digits, _ and -: Segment puts it in a URL unencoded.")


class Scope(models.TextChoices):
    """A permission of a credential in its sites."""

    SEND = "send", "send events"
    READ = "read", "read remote data, private traits included"
    MANAGE = "manage", "use the management API as an owner"


def least_scopes() -> list[str]:
    """Return what a credential may do unless more is asked for."""
    return [Scope.SEND]


class Credential(models.Model):
    """A client id and secret, which open sites to a sender, to a reader or to a program. The secret is hashed."""

    Scope = Scope

    client_id = models.CharField(max_length=64, unique=True, validators=[URL_SAFE])
    secret_hash = models.CharField(max_length=64, editable=False)
    name = models.CharField(max_length=100, blank=True)
    sites = models.ManyToManyField(Site, related_name="credentials", blank=True)
    # A row of the version before names none: it may do what it could.
    scopes = ArrayField(
        models.CharField(max_length=8, choices=Scope.choices), default=least_scopes, db_default=Scope.values
    )
    revoked_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    last_used_at = models.DateTimeField(null=True, editable=False, help_text="To the minute.")
    old_secret_hash = models.CharField(max_length=64, blank=True, db_default="", editable=False)
    old_secret_ends_at = models.DateTimeField(
        null=True, editable=False, help_text="The one before is taken until then."
    )

    def __str__(self) -> str:
        return self.name or self.client_id

    @property
    def scopes_in_words(self) -> str:
        """Return what it may do, in words after “may”."""
        *most, last = [scope.label for scope in Scope if scope in self.scopes] or ["do nothing"]
        return f"{', '.join(most)} and {last}" if most else last


class ManagementToken(models.Model):
    """A key of a program to the management API, with a role in its sites. It is hashed, and shown once."""

    token_hash = models.CharField(max_length=64, unique=True, editable=False)  # every request finds its token by it
    description = models.CharField(max_length=100)
    role = models.CharField(max_length=8, choices=Membership.Role.choices, default=Membership.Role.VIEWER)
    sites = models.ManyToManyField(Site, related_name="management_tokens")
    made_by = models.CharField(max_length=150)  # a name, which stays when its user is deleted
    # Whose it is: it opens the sites of this user only (api.http.tokens). None: of somebody who was deleted.
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.SET_NULL,
        null=True,
        editable=False,
        related_name="management_tokens",  # indexed: whoever removes a member sees their tokens
    )
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField(null=True, blank=True, help_text="Empty: never.")
    revoked_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, editable=False, help_text="To the minute.")

    def __str__(self) -> str:
        return self.description


class Source(models.Model):
    """One sender of events into a site."""

    class Kind(models.TextChoices):
        DESTINATION = "destination", "Segment's Kameleoon destination"
        SERVER = "server", "a server"
        BROWSER = "browser", "a browser"
        IMPORT = "import", "an import"
        ALTIS = "altis", "Altis Analytics"

    site = models.ForeignKey(Site, on_delete=models.CASCADE, related_name="sources")
    name = models.CharField(max_length=100)
    kind = models.CharField(max_length=16, choices=Kind.choices)
    is_enabled = models.BooleanField(default=True)
    takes_track = models.BooleanField(
        default=True, help_text="Off where another source sends the same track events, or pages that become some."
    )
    events_per_minute = models.BigIntegerField(
        null=True, blank=True, validators=OF_BUDGET, help_text="Empty: the default of its kind."
    )
    bytes_per_minute = models.BigIntegerField(
        null=True, blank=True, validators=OF_BUDGET, help_text="Of bodies. Empty: the default of its kind."
    )
    events_per_day = models.BigIntegerField(
        null=True, blank=True, validators=OF_BUDGET, help_text="Empty: the default of its kind."
    )
    bytes_per_day = models.BigIntegerField(
        null=True, blank=True, validators=OF_BUDGET, help_text="Of bodies. Empty: the default of its kind."
    )
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            # /segmentio finds its source by (site, kind); there is one Segment destination a site.
            models.UniqueConstraint(fields=["site"], condition=Q(kind="destination"), name="api_source_destination"),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def budget(self) -> Budget:
        """Return its budget, with the defaults of its kind where it has no figure of its own."""
        return resolve_budget(self.kind, *(getattr(self, name) for name in BUDGET_FIELDS))


class WriteKey(models.Model):
    """A key that may only write, into one source, and is shown. A source has several while one takes over."""

    source = models.ForeignKey(Source, on_delete=models.CASCADE, related_name="write_keys")
    key = models.CharField(max_length=64, unique=True, validators=[URL_SAFE])  # every request finds its source by it
    created_at = models.DateTimeField(auto_now_add=True)
    ends_at = models.DateTimeField(null=True, blank=True, help_text="Refused from then on.")
    last_used_at = models.DateTimeField(null=True, editable=False, help_text="To the minute.")

    def __str__(self) -> str:
        return self.key


class SourceTally(models.Model):
    """What came in through a source in an hour."""

    # No database constraint: a source may be deleted while a process still counts for it.
    source = models.ForeignKey(Source, on_delete=models.CASCADE, db_constraint=False, db_index=False, related_name="+")
    hour = models.DateTimeField()
    received = models.BigIntegerField(help_text="Messages, duplicates and rejected ones among them.")
    duplicates = models.BigIntegerField()
    rejected = models.BigIntegerField(help_text="At the door.")
    last_received_at = models.DateTimeField()

    class Meta:
        constraints = [
            # The figures of a source; every process adds to one row.
            models.UniqueConstraint(fields=["source", "hour"], name="api_sourcetally_hour"),
        ]

    def __str__(self) -> str:
        return f"{self.received} through {self.source_id} at {self.hour}"


class SourceUse(models.Model):
    """The use of a source's budget in the minute and on the day in which it sent last (api.http.budgets)."""

    # No database constraint: a source may be deleted while a process still counts for it.
    source = models.ForeignKey(Source, on_delete=models.CASCADE, db_constraint=False, db_index=False, related_name="+")
    span = models.CharField(max_length=6, choices=[(span.value, span.value) for span in BudgetSpan])
    begins_at = models.DateTimeField()
    events = models.BigIntegerField()
    bytes = models.BigIntegerField()
    turned_away = models.BigIntegerField(help_text="Requests that were refused because the budget was used up.")

    class Meta:
        constraints = [
            # Every process adds to one row a source and span, and reads it back.
            models.UniqueConstraint(fields=["source", "span"], name="api_sourceuse_span"),
        ]

    def __str__(self) -> str:
        return f"{self.events} through {self.source_id} in this {self.span}"


class RefusalTally(models.Model):
    """Counts of the refused events of a source on a day of UTC, by reason (api.ingest.refusals)."""

    # No database constraint: a source may be deleted while a process still counts for it.
    source = models.ForeignKey(Source, on_delete=models.CASCADE, db_constraint=False, db_index=False, related_name="+")
    day = models.DateField()
    reason = models.CharField(max_length=32)
    kept = models.BigIntegerField()
    kept_bytes = models.BigIntegerField()
    copies = models.BigIntegerField(help_text="Identical to one that is kept.")
    not_kept = models.BigIntegerField(help_text="Over the allowance of the day: counted only.")
    last_at = models.DateTimeField()

    class Meta:
        constraints = [
            # Every process adds to one row a source, day and reason, and reads it back; of a source all are read.
            models.UniqueConstraint(fields=["source", "day", "reason"], name="api_refusaltally_day"),
        ]

    def __str__(self) -> str:
        return f"{self.reason} through {self.source_id} on {self.day}"


class RefusedKey(models.Model):
    """How many requests showed a key in an hour that opens nothing, and how it begins (api.http.refused_keys)."""

    # Whose the key once was; none where no site knows it. No database constraint: a site may be removed meanwhile.
    site = models.ForeignKey(
        Site, on_delete=models.CASCADE, null=True, db_constraint=False, db_index=False, related_name="+"
    )
    hour = models.DateTimeField()
    reason = models.CharField(max_length=16)
    hint = models.CharField(max_length=8, blank=True)
    count = models.BigIntegerField()
    last_at = models.DateTimeField()

    class Meta:
        constraints = [
            # Every process adds to one row; serves the look at a site's last hours, and at those of no site.
            models.UniqueConstraint(
                fields=["site", "hour", "reason", "hint"], name="api_refusedkey_hint", nulls_distinct=False
            ),
        ]

    def __str__(self) -> str:
        return f"{self.count} times {self.reason} {self.hint}… at {self.hour}"
