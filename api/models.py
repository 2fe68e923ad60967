"""Who may come in (sites, credentials, sources) and what came in (messages)."""

import secrets

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.core.exceptions import ValidationError
from django.core.serializers.json import DjangoJSONEncoder
from django.core.validators import MaxValueValidator, MinValueValidator, RegexValidator
from django.db import models
from django.db.models import Q

from api.reasons import REASONS

URL_SAFE = RegexValidator(r"^[A-Za-z0-9_-]+\Z", "Only letters, digits, _ and -: Segment puts it in a URL unencoded.")


def validate_template(template: str) -> None:
    """A goal name template holds {type} and {name} once each; raises ValidationError."""
    if template.count("{type}") != 1 or template.count("{name}") != 1:
        raise ValidationError("The template must contain {type} and {name} once each.")


def entered_event_names() -> list[str]:
    return ["Audience Entered"]


def exited_event_names() -> list[str]:
    return ["Audience Exited"]


def link_event_names() -> list[str]:
    return ["Kameleoon identifier"]


def trait_event_names() -> list[str]:
    return ["Trait Computed"]


class Site(models.Model):
    """One project, known to the world by its sitecode, and how its events are read."""

    sitecode = models.CharField(
        max_length=10,
        unique=True,  # every request names its site by it
        validators=[RegexValidator(r"^[a-z0-9]{10}\Z", "Exactly 10 lower-case letters and digits.")],
    )
    name = models.CharField(max_length=100)
    public_traits = ArrayField(
        models.CharField(max_length=255),
        default=list,
        blank=True,
        help_text="Traits that a reader without a token gets; all others need one.",
    )
    requires_token = models.BooleanField(default=False, help_text="Remote data is served to nobody without a token.")
    goal_name_template = models.CharField(
        max_length=90, default="SegmentIO {type} – {name}", validators=[validate_template]
    )
    auto_tag = models.CharField(max_length=100, default="segment.io", help_text="The tag of goals made by events.")
    default_currency = models.CharField(
        max_length=3, default="USD", validators=[RegexValidator(r"^[A-Z]{3}\Z", "Three capital letters (ISO 4217).")]
    )
    user_id_is_visitor_code = models.BooleanField(
        default=False, help_text="The user id doubles as the visitor code of events that carry none."
    )
    company_is_group = models.BooleanField(
        default=False, help_text="The id of the trait `company` is the group of people of whom no group call tells."
    )
    audience_events_make_goals = models.BooleanField(default=False)
    entered_event_names = ArrayField(models.CharField(max_length=500), default=entered_event_names, blank=True)
    exited_event_names = ArrayField(models.CharField(max_length=500), default=exited_event_names, blank=True)
    link_event_names = ArrayField(models.CharField(max_length=500), default=link_event_names, blank=True)
    trait_event_names = ArrayField(models.CharField(max_length=500), default=trait_event_names, blank=True)
    goals_per_10_seconds = models.PositiveIntegerField(default=50, validators=[MinValueValidator(1)])
    goals_per_hour = models.PositiveIntegerField(default=1000, validators=[MinValueValidator(1)])
    max_waiting_names = models.PositiveIntegerField(default=20_000)
    keeps_done_days = models.PositiveSmallIntegerField(
        "days that events are kept",
        null=True,
        blank=True,
        validators=[MinValueValidator(7), MaxValueValidator(3_650)],
        help_text="Counted from when an event was done. Then its body and its trace are deleted; goals, conversions "
        "and people stay. What was refused, is dead or waits stays until a person deals with it. At least 7; empty: as "
        "this installation keeps them (GOALPOST_KEEP_DONE_DAYS, 30).",
    )
    rules_changed_at = models.DateTimeField(
        null=True, editable=False, help_text="When its rules, or what its sources take, were changed last."
    )
    created_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return f"{self.name} ({self.sitecode})"


class Membership(models.Model):
    """A person's place in a site."""

    class Role(models.TextChoices):
        VIEWER = "viewer", "viewer"
        EDITOR = "editor", "editor"
        OWNER = "owner", "owner"

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="memberships")
    site = models.ForeignKey(Site, on_delete=models.CASCADE, related_name="memberships")
    role = models.CharField(max_length=8, choices=Role.choices, default=Role.VIEWER)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            # A person has one role in a site; serves the look at whose page it is.
            models.UniqueConstraint(fields=["user", "site"], name="api_membership_person"),
        ]

    def __str__(self) -> str:
        return f"{self.user} as {self.role} of {self.site}"


class AuditEntry(models.Model):
    """One change that a person made. The database refuses to change or delete it (migration 0009)."""

    site = models.ForeignKey(
        Site, on_delete=models.PROTECT, null=True, db_index=False, related_name="audit_entries"
    )  # none: of the installation, its users for example
    # A person may be deleted; what they did stays, under the name they had. None: a key of theirs, or a command.
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.DO_NOTHING,
        null=True,
        db_constraint=False,
        db_index=False,
        related_name="+",
    )
    who = models.CharField(max_length=150)
    at = models.DateTimeField()
    what = models.TextField()
    before = models.JSONField(null=True, encoder=DjangoJSONEncoder)
    after = models.JSONField(null=True, encoder=DjangoJSONEncoder)

    class Meta:
        verbose_name_plural = "audit entries"
        indexes = [
            # A site's log, newest first.
            models.Index(fields=["site", "-id"], name="api_auditentry_site"),
        ]

    def __str__(self) -> str:
        return f"{self.who}: {self.what}"


class Credential(models.Model):
    """A client id and secret: writes through the destination, reads and administers its sites. The secret is hashed."""

    client_id = models.CharField(max_length=64, unique=True, validators=[URL_SAFE])
    secret_hash = models.CharField(max_length=64, editable=False)
    name = models.CharField(max_length=100, blank=True)
    sites = models.ManyToManyField(Site, related_name="credentials", blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    last_used_at = models.DateTimeField(null=True, editable=False, help_text="To the minute (api.last_uses).")
    old_secret_hash = models.CharField(max_length=64, blank=True, db_default="", editable=False)
    old_secret_ends_at = models.DateTimeField(
        null=True, editable=False, help_text="The one before is taken until then."
    )

    def __str__(self) -> str:
        return self.name or self.client_id


class ManagementToken(models.Model):
    """A key of a program to the management API, with a role in its sites. It is hashed, and shown once."""

    token_hash = models.CharField(max_length=64, unique=True, editable=False)  # every request finds its token by it
    description = models.CharField(max_length=100)
    role = models.CharField(max_length=8, choices=Membership.Role.choices, default=Membership.Role.VIEWER)
    sites = models.ManyToManyField(Site, related_name="management_tokens")
    made_by = models.CharField(max_length=150)
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField(null=True, blank=True, help_text="Empty: never.")
    revoked_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, editable=False, help_text="To the minute (api.last_uses).")

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
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            # /segmentio finds its source by (site, kind); there is one Segment destination a site.
            models.UniqueConstraint(fields=["site"], condition=Q(kind="destination"), name="api_source_destination"),
        ]

    def __str__(self) -> str:
        return self.name


class WriteKey(models.Model):
    """A key that may only write, into one source, and is shown. A source has several while one takes over."""

    source = models.ForeignKey(Source, on_delete=models.CASCADE, related_name="write_keys")
    key = models.CharField(max_length=64, unique=True, validators=[URL_SAFE])  # every request finds its source by it
    created_at = models.DateTimeField(auto_now_add=True)
    ends_at = models.DateTimeField(null=True, blank=True, help_text="Refused from then on.")
    last_used_at = models.DateTimeField(null=True, editable=False, help_text="To the minute (api.last_uses).")

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


class Rule(models.Model):
    """What a person wants done with some events before they mean anything. Those of a site and of one source stand in
    one order, by position.
    """

    class NameTest(models.TextChoices):
        EQUALS = "equals", "is"
        PREFIX = "prefix", "begins with"
        PATTERN = "pattern", "has the pattern"

    class PathTest(models.TextChoices):
        EXISTS = "exists", "exists"
        EQUALS = "equals", "is"

    class Action(models.TextChoices):
        DROP = "drop", "ignore the event"
        NO_GOAL = "no_goal", "make no goal and no conversion"
        RENAME = "rename", "rename the event"
        PAGE_TO_TRACK = "page_to_track", "take the page for a track event"
        PATTERN_GOAL = "pattern_goal", "group names of one pattern under one goal"
        GROUP_FROM = "group_from", "take the group from a field"
        DROP_FIELD = "drop_field", "remove a field before the event is stored"
        HASH_FIELD = "hash_field", "hash a field before the event is stored"

    site = models.ForeignKey(Site, on_delete=models.CASCADE, related_name="rules")
    source = models.ForeignKey(Source, on_delete=models.CASCADE, related_name="rules", null=True, blank=True)
    position = models.IntegerField(default=0)
    name = models.CharField(max_length=100, blank=True)
    is_enabled = models.BooleanField(default=True)
    event_type = models.CharField(max_length=16, blank=True, help_text="Empty: any.")
    name_test = models.CharField(max_length=8, choices=NameTest.choices, blank=True)
    name_value = models.CharField(max_length=500, blank=True)
    path = models.CharField(max_length=500, blank=True, help_text="A field such as properties.plan or traits.tags.0")
    path_test = models.CharField(max_length=8, choices=PathTest.choices, blank=True)
    path_value = models.CharField(max_length=500, blank=True)
    action = models.CharField(max_length=16, choices=Action.choices)
    argument = models.CharField(
        max_length=500, blank=True, help_text="The reason to ignore it, the template, the pattern, or the field."
    )
    group_traits = models.JSONField(default=dict, blank=True, help_text="Traits of the group, each with its field.")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["position", "id"]

    def __str__(self) -> str:
        return self.name or f"{self.get_action_display()} {self.argument}".strip()


def make_signing_secret() -> str:
    return secrets.token_urlsafe(32)


class Alert(models.Model):
    """What a site's people want to be told of when it begins to hold, and when it is over (api.alerts)."""

    class Condition(models.TextChoices):
        SUCCESS = "success", "success rate under"
        LAG = "lag", "lag over"
        SILENCE = "silence", "source silent for"
        QUOTA = "quota", "goal quota exhausted"

    site = models.ForeignKey(Site, on_delete=models.CASCADE, related_name="alerts")
    name = models.CharField(max_length=100)
    condition = models.CharField(max_length=8, choices=Condition.choices)
    threshold = models.FloatField(null=True, blank=True, help_text="Per cent, seconds or minutes; nothing for quota.")
    source = models.ForeignKey(Source, on_delete=models.CASCADE, related_name="+", null=True, blank=True)
    emails = ArrayField(models.EmailField(), default=list, blank=True)
    webhook_url = models.CharField(max_length=500, blank=True)
    secret = models.CharField(
        max_length=64, default=make_signing_secret, editable=False, help_text="Signs what the webhook gets."
    )
    is_enabled = models.BooleanField(default=True)
    checked_at = models.DateTimeField(null=True, editable=False)
    firing_since = models.DateTimeField(null=True, editable=False)
    held_at = models.DateTimeField(null=True, editable=False, help_text="When it was last seen to hold.")
    told_at = models.DateTimeField(null=True, editable=False, help_text="When it was last told that it holds.")
    finding = models.TextField(blank=True, editable=False, help_text="What was found when it was looked at last.")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["name", "id"]

    def __str__(self) -> str:
        return self.name


class AlertDelivery(models.Model):
    """Something told, or to be told, to one address of an alert: the log, and the queue of what is to be sent."""

    class Event(models.TextChoices):
        FIRED = "fired", "begins to hold"
        REMINDER = "reminder", "still holds"
        RESOLVED = "resolved", "is over"
        TEST = "test", "test"

    class Way(models.TextChoices):
        EMAIL = "email", "e-mail"
        WEBHOOK = "webhook", "webhook"

    class Outcome(models.TextChoices):
        WAITING = "waiting", "is to be sent"
        SENT = "sent", "sent"
        FAILED = "failed", "failed"

    site = models.ForeignKey(Site, on_delete=models.CASCADE, db_index=False, related_name="+")
    alert = models.ForeignKey(Alert, on_delete=models.CASCADE, related_name="deliveries")
    event = models.CharField(max_length=8, choices=Event.choices)
    way = models.CharField(max_length=7, choices=Way.choices)
    address = models.CharField(max_length=254, blank=True, help_text="Of an e-mail; a webhook is the alert's.")
    finding = models.TextField()
    firing_since = models.DateTimeField(null=True)
    at = models.DateTimeField(help_text="When it happened.")
    outcome = models.CharField(max_length=7, choices=Outcome.choices, default=Outcome.WAITING)
    attempts = models.PositiveSmallIntegerField(default=0)
    next_try_at = models.DateTimeField()
    detail = models.CharField(max_length=500, blank=True, help_text="What came of the last try.")

    class Meta:
        verbose_name_plural = "alert deliveries"
        indexes = [
            # A site's log, newest first.
            models.Index(fields=["site", "-id"], name="api_alertdelivery_site"),
            # The worker asks every half minute what is due.
            models.Index(fields=["next_try_at"], condition=Q(outcome="waiting"), name="api_alertdelivery_waiting"),
            # Pruning by age.
            models.Index(fields=["at"], name="api_alertdelivery_at"),
        ]

    def __str__(self) -> str:
        return f"{self.event} of alert {self.alert_id} by {self.way}"


class Twin(models.Model):
    """Two sources that send the same events of the same visitors, each with messageIds of its own."""

    site = models.ForeignKey(Site, on_delete=models.CASCADE, related_name="twins")
    one = models.ForeignKey(Source, on_delete=models.CASCADE, related_name="+")
    other = models.ForeignKey(Source, on_delete=models.CASCADE, related_name="+")
    event_name = models.CharField(max_length=500, help_text="Of the latest pair.")
    count = models.BigIntegerField()
    last_seen_at = models.DateTimeField()

    class Meta:
        constraints = [
            # One row a pair; `one` is the smaller number.
            models.UniqueConstraint(fields=["one", "other"], name="api_twin_pair"),
        ]

    def __str__(self) -> str:
        return f"{self.one} and {self.other}"


class Load(models.Model):
    """How far a file of events was loaded, written with the messages themselves."""

    source = models.ForeignKey(Source, on_delete=models.CASCADE, related_name="loads")
    fingerprint = models.CharField(max_length=64, help_text="Of the file's size, its first and its last MiB.")
    file_name = models.CharField(max_length=255)
    lines = models.BigIntegerField(default=0, help_text="Lines done, from the file's beginning.")
    stored = models.BigIntegerField(default=0)
    duplicates = models.BigIntegerField(default=0)
    rejected = models.BigIntegerField(default=0)
    created_at = models.DateTimeField(auto_now_add=True)
    finished_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            # A file that is loaded again goes on where it was.
            models.UniqueConstraint(fields=["source", "fingerprint"], name="api_load_file"),
        ]

    def __str__(self) -> str:
        return self.file_name


class Message(models.Model):
    """One event as it was received: a row of the inbox."""

    class Status(models.TextChoices):
        PENDING = "pending", "waits for the digest"
        DEFERRED = "deferred", "waits for goal quota"
        DONE = "done", "done"
        REJECTED = "rejected", "the sender must change something"
        DEAD = "dead", "a person must look"

    # No database constraints: every insert would lock the one row of its site, and of its source.
    site = models.ForeignKey(Site, on_delete=models.CASCADE, db_constraint=False, db_index=False, related_name="+")
    source = models.ForeignKey(
        Source, on_delete=models.SET_NULL, db_constraint=False, db_index=False, null=True, related_name="+"
    )
    type = models.CharField(max_length=16)
    message_id = models.CharField(max_length=255, null=True)  # noqa: DJ001 - absent is not empty
    position = models.PositiveIntegerField(default=0, help_text="Its place in the request that brought it.")
    received_at = models.DateTimeField()
    occurred_at = models.DateTimeField()
    body = models.BinaryField(help_text="The bytes as received.")
    status = models.CharField(max_length=8, choices=Status.choices, default=Status.PENDING)
    reason = models.CharField(max_length=32, blank=True)
    detail = models.TextField(blank=True, help_text="What the reason's sentence cannot say, a traceback for example.")
    warnings = ArrayField(models.CharField(max_length=32), default=list)
    effects = ArrayField(models.CharField(max_length=16), default=list)
    attempts = models.PositiveSmallIntegerField(default=0, help_text="Digests that failed or died with their worker.")
    waiting_for = models.CharField(max_length=600, blank=True, help_text="The goal name a deferred message waits for.")
    # No foreign key: the goal may be deleted, and then this tells where the conversion went.
    goal_id = models.BigIntegerField(null=True, help_text="The goal it converted.")
    digested_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            # Deduplication; a resend of something once rejected gets a new chance.
            models.UniqueConstraint(
                fields=["site", "type", "message_id"],
                condition=Q(message_id__isnull=False) & ~Q(status="rejected"),
                name="api_message_key",
            ),
        ]
        indexes = [
            # The digest's claim, site by site; small whatever the size of the table.
            models.Index(fields=["site", "id"], condition=Q(status="pending"), name="api_message_pending"),
            # Those of them that failed before; without it every batch would look for some in all that is pending.
            models.Index(
                fields=["site", "id"], condition=Q(status="pending", attempts__gt=0), name="api_message_suspect"
            ),
            # The messages that wait for a goal name.
            models.Index(
                fields=["site", "waiting_for", "id"], condition=Q(status="deferred"), name="api_message_deferred"
            ),
            # Pruning a site's done messages by age; ascending receipt keeps it cheap to maintain.
            models.Index(fields=["site", "digested_at"], condition=Q(status="done"), name="api_message_old"),
            # What a person must look at, newest first.
            models.Index(
                fields=["site", "status", "-id"],
                condition=Q(status__in=["rejected", "dead"]),
                name="api_message_failed",
            ),
            # What came last, as people read it: a page at a time, and the newest some thousand for figures.
            models.Index(fields=["site", "-id"], name="api_message_newest"),
        ]

    def __str__(self) -> str:
        return f"{self.type} {self.message_id or self.pk}"

    @property
    def sentence(self) -> str:
        """The reason in words."""
        return REASONS.get(self.reason, self.reason)


def make_marker() -> str:
    return f"erased:{secrets.token_hex(8)}"


class Erasure(models.Model):
    """A person who was erased: the receipt, and how far the sweep has come. Of their ids only hashes stay."""

    class Stage(models.IntegerChoices):
        """The table that is swept."""

        CONVERSIONS = 0, "conversions"
        IDENTITIES = 1, "identities"
        MESSAGES = 2, "messages"
        DONE = 3, "done"

    site = models.ForeignKey(Site, on_delete=models.CASCADE, related_name="erasures")
    erased_by = models.CharField(max_length=150)
    created_at = models.DateTimeField()
    marker = models.CharField(max_length=32, default=make_marker, help_text="Stands for the person in conversions.")
    hashes = ArrayField(models.CharField(max_length=64), help_text="Of the ids (api.digest.suppression).")
    sought = ArrayField(models.CharField(max_length=255), help_text="The ids; emptied when it is finished.")
    identities = models.PositiveIntegerField(default=0)
    usernames = models.PositiveIntegerField(default=0)
    conversions = models.PositiveIntegerField(default=0)
    messages = models.PositiveIntegerField(default=0)
    removed_at = models.DateTimeField(null=True, help_text="When all that indexes find was gone.")
    waits_for = models.DateTimeField(null=True, help_text="Transactions that began before may not know of it yet.")
    stage = models.PositiveSmallIntegerField(choices=Stage.choices, default=Stage.CONVERSIONS)
    position = models.BigIntegerField(default=0, help_text="The last id of that table that was looked at.")
    until = models.BigIntegerField(null=True, help_text="And the last that is to be.")
    finished_at = models.DateTimeField(null=True)
    is_allowed_again = models.BooleanField(default=False)

    class Meta:
        indexes = [
            # The worker asks every few seconds whether one is left.
            models.Index(fields=["id"], condition=Q(finished_at__isnull=True), name="api_erasure_unfinished"),
        ]

    def __str__(self) -> str:
        return f"erasure {self.pk}"

    @property
    def percent(self) -> int:
        """How far the sweep has come."""
        of_stage = min(self.position / self.until, 1) if self.until else 0
        return 100 if self.finished_at else int(100 * (self.stage + of_stage) / self.Stage.DONE)


class Suppression(models.Model):
    """An id whose person was erased: events that name it are dropped."""

    site = models.ForeignKey(Site, on_delete=models.CASCADE, db_index=False, related_name="+")
    erasure = models.ForeignKey(Erasure, on_delete=models.CASCADE, related_name="suppressions")
    hash = models.CharField(max_length=64)

    class Meta:
        constraints = [
            # Every batch asks for the hashes of its ids.
            models.UniqueConstraint(fields=["site", "hash"], name="api_suppression_hash"),
        ]

    def __str__(self) -> str:
        return self.hash


class Claim(models.Model):
    """The messages that a digest worker has in hand, noted outside its transaction: what it leaves when it dies."""

    worker = models.BigIntegerField(primary_key=True, help_text="The advisory lock the worker holds while it lives.")
    message_ids = ArrayField(models.BigIntegerField())
    claimed_at = models.DateTimeField()
    server_started_at = models.DateTimeField(help_text="When the PostgreSQL started that the worker was connected to.")

    def __str__(self) -> str:
        return f"{len(self.message_ids)} messages of worker {self.worker}"
