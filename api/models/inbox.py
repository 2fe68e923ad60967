"""What came in, and who has it in hand."""

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q

from api.events.reasons import sentence_of
from api.models.keys import Source
from api.models.sites import Site


class Message(models.Model):
    """One event as it was received: a row of the inbox."""

    class Status(models.TextChoices):
        PENDING = "pending", "Queued"
        DEFERRED = "deferred", "Queued (goal limit)"
        DONE = "done", "Processed"
        REJECTED = "rejected", "Rejected"
        FAILED = "failed", "Failed"

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
    content_encoding = models.CharField(
        max_length=40,
        blank=True,
        default="",
        db_default="",  # a web process of the version before writes none
        help_text="What the body of a refused request still bears, because it could not be taken off.",
    )
    status = models.CharField(max_length=8, choices=Status.choices, default=Status.PENDING)
    reason = models.CharField(max_length=32, blank=True)
    detail = models.TextField(
        blank=True, help_text="What the reason's sentence cannot say: what the sender was told, a traceback."
    )
    warnings = ArrayField(models.CharField(max_length=32), default=list)
    effects = ArrayField(models.CharField(max_length=16), default=list)
    attempts = models.PositiveSmallIntegerField(default=0, help_text="Digests that failed or died with their worker.")
    waiting_for = models.CharField(max_length=600, blank=True, help_text="The goal name a deferred message waits for.")
    # No foreign key: the goal may be deleted, and then this tells where the conversion went.
    goal_id = models.BigIntegerField(null=True, help_text="The goal it converted.")
    digested_at = models.DateTimeField(null=True)
    has_waited = models.BooleanField(
        default=False,
        db_default=False,
        help_text="It waited for the limit on new goals, or was retried: the time until its digest is no lag.",
    )
    # None: not digested yet, or by a version that knew only the first. Without a default or a check, which cost a scan.
    reading = models.SmallIntegerField(
        null=True, help_text="The version of what events mean under which it was digested."
    )

    refusal_key = models.UUIDField(null=True, help_text="What identical refused events share: a keyed hash.")
    copies = models.BigIntegerField(null=True, help_text="Identical ones that were refused after it, and not stored.")

    class Meta:
        constraints = [
            # Deduplication; a resend of something once rejected gets a new chance.
            models.UniqueConstraint(
                fields=["site", "type", "message_id"],
                condition=Q(message_id__isnull=False) & ~Q(status="rejected"),
                name="api_message_key",
            ),
            # A refused event is stored once; what is tried again makes room for another one.
            models.UniqueConstraint(
                fields=["site", "refusal_key"],
                condition=Q(status="rejected", refusal_key__isnull=False),
                name="api_message_refusal",
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
            # The pages list rejected and failed messages of a site, newest first.
            models.Index(
                fields=["site", "status", "-id"],
                condition=Q(status__in=["rejected", "failed"]),
                name="api_message_failures",
            ),
            # What was rejected, by the messageId that its sender knows: the deduplication's index lacks it.
            models.Index(
                fields=["site", "message_id", "-id"],
                condition=Q(status="rejected", message_id__isnull=False),
                name="api_message_rejected_key",
            ),
            # What came last, as people read it: a page at a time, and the newest some thousand for figures.
            models.Index(fields=["site", "-id"], name="api_message_newest"),
        ]

    def __str__(self) -> str:
        return f"{self.type} {self.message_id or self.pk}"

    @property
    def sentence(self) -> str:
        """The reason in words."""
        return sentence_of(self.reason, self.site) if self.reason else ""


class Claim(models.Model):
    """The messages that a digest worker has in hand, noted outside its transaction: what it leaves when it dies."""

    worker = models.BigIntegerField(primary_key=True, help_text="The advisory lock the worker holds while it lives.")
    message_ids = ArrayField(models.BigIntegerField())
    claimed_at = models.DateTimeField()
    server_started_at = models.DateTimeField(help_text="When the PostgreSQL started that the worker was connected to.")

    def __str__(self) -> str:
        return f"{len(self.message_ids)} messages of worker {self.worker}"


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
