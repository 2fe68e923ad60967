"""Messages of the inbox, the claims of digest workers on them, and loads of files."""

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q

from api.events.reasons import sentence_of
from api.models.sites import Site
from api.models.source import Source
from site_rows import SiteColumn, SiteForeignKey, SiteRow


class Message(SiteRow):
    """One event as received: a row of the inbox, without its body.

    The table's key is (site_id, id), so each statement names the site. `id` alone has no index.
    """

    class Status(models.TextChoices):
        PENDING = "pending", "Queued"
        DEFERRED = "deferred", "Queued (goal limit)"
        DONE = "done", "Processed"
        REJECTED = "rejected", "Rejected"
        FAILED = "failed", "Failed"

    # No database constraints: every insert would lock the one row of its site, and of its source.
    site = models.ForeignKey(Site, on_delete=models.CASCADE, db_constraint=False, db_index=False, related_name="+")
    source = SiteForeignKey(
        Source, on_delete=models.SET_NULL, db_constraint=False, db_index=False, null=True, related_name="+"
    )
    type = models.CharField(max_length=16)
    message_id = models.CharField(max_length=255, null=True)  # noqa: DJ001 - absent is not empty
    position = models.PositiveIntegerField(default=0, help_text="The place in the request that brought it.")
    received_at = models.DateTimeField()
    occurred_at = models.DateTimeField()
    # Claims and lists need it without a visit of the bodies.
    size = models.PositiveIntegerField(default=0, help_text="The bytes of the body.")
    status = models.CharField(max_length=8, choices=Status.choices, default=Status.PENDING)
    reason = models.CharField(max_length=32, blank=True)
    detail = models.TextField(
        blank=True, help_text="More than the sentence of the reason says: the sender's error message, or a traceback."
    )
    warnings = ArrayField(models.CharField(max_length=32), default=list)
    effects = ArrayField(models.CharField(max_length=16), default=list)
    attempts = models.PositiveSmallIntegerField(default=0, help_text="Digests that failed, or whose worker died.")
    waiting_for = models.CharField(max_length=600, blank=True, help_text="The goal name a deferred message waits for.")
    # No foreign key: the goal may be deleted, and its number still says where the conversion went.
    goal_id = models.BigIntegerField(null=True, help_text="The goal it converted.")
    digested_at = models.DateTimeField(null=True)
    has_waited = models.BooleanField(
        default=False,
        db_default=False,
        help_text="It waited for the new-goal limit, or was retried: the time until its digest is no lag.",
    )
    # None: not digested yet, or by a version that knew only the first reading. A default or check would cost a scan.
    reading = models.SmallIntegerField(
        null=True, help_text="The version of the reading of events under which it was digested."
    )

    refusal_key = models.UUIDField(null=True, help_text="A keyed hash that identical refused events share.")
    copies = models.BigIntegerField(null=True, help_text="Identical events that were refused later and not stored.")

    class Meta:
        indexes = [
            # Claims of the digest, site by site; small whatever the size of the table.
            models.Index(fields=["site", "id"], condition=Q(status="pending"), name="api_message_pending"),
            # Pending messages that failed before. Without it, every batch would search all pending messages for them.
            models.Index(
                fields=["site", "id"], condition=Q(status="pending", attempts__gt=0), name="api_message_suspect"
            ),
            # Messages that wait for a goal name.
            models.Index(
                fields=["site", "waiting_for", "id"], condition=Q(status="deferred"), name="api_message_deferred"
            ),
            # The pages list rejected and failed messages of a site, newest first.
            models.Index(
                fields=["site", "status", "-id"],
                condition=Q(status__in=["rejected", "failed"]),
                name="api_message_failures",
            ),
            # Rejected messages by messageId, which have no key.
            models.Index(
                fields=["site", "message_id", "-id"],
                condition=Q(status="rejected", message_id__isnull=False),
                name="api_message_rejected_key",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.type} {self.message_id or self.pk}"

    @property
    def sentence(self) -> str:
        """Return the reason in words."""
        return sentence_of(self.reason, self.site) if self.reason else ""


class MessageBody(models.Model):
    """The body of a message, apart from its status, because each update of a row writes the whole row.

    The table's key is (site_id, id), as that of messages.
    """

    id = models.BigIntegerField(primary_key=True)
    # No database constraint: every insert would lock the one row of its site.
    site = models.ForeignKey(Site, on_delete=models.CASCADE, db_constraint=False, db_index=False, related_name="+")
    body = models.BinaryField(help_text="The bytes as received.")
    content_encoding = models.CharField(
        max_length=40, blank=True, help_text="The Content-Encoding of a refused body that could not be decoded."
    )

    def __str__(self) -> str:
        return f"body of message {self.pk}"


class MessageKey(models.Model):
    """The key by which a message counts once: of its type and messageId, or of a refused event.

    The database's key is (site_id, key). The table is slim, and no update of a message touches it.
    """

    key = models.UUIDField(primary_key=True)
    # No database constraint: every insert would lock the one row of its site.
    site = models.ForeignKey(Site, on_delete=models.CASCADE, db_constraint=False, db_index=False, related_name="+")
    message_number = models.BigIntegerField(db_column="id", help_text="The id of the message.")

    class Meta:
        indexes = [
            # Keys of messages that are pruned, by their ids.
            models.Index(fields=["site", "message_number"], name="api_messagekey_message"),
        ]

    def __str__(self) -> str:
        return f"key of message {self.message_number}"


class Claim(models.Model):
    """The messages that a digest worker is processing, written outside its transaction, so that they outlive it.

    The table's key is (site_id, worker).
    """

    worker = models.BigIntegerField(
        primary_key=True, help_text="The advisory lock that the worker holds while it lives."
    )
    # No database constraint: a note would wait for whoever changes the site.
    site = models.ForeignKey(Site, on_delete=models.CASCADE, db_constraint=False, db_index=False, related_name="+")
    message_ids = ArrayField(models.BigIntegerField())
    claimed_at = models.DateTimeField()
    server_started_at = models.DateTimeField(
        help_text="Start time of the PostgreSQL server that the worker was connected to."
    )

    def __str__(self) -> str:
        return f"{len(self.message_ids)} messages of worker {self.worker}"


class Load(SiteRow):
    """The progress of loading a file of events, written in the transaction of its messages."""

    # No database constraint, because the one of its source is enough.
    site = SiteColumn(Site, on_delete=models.CASCADE, db_constraint=False, db_index=False, related_name="+")
    source = SiteForeignKey(Source, on_delete=models.CASCADE, related_name="loads")
    fingerprint = models.CharField(max_length=64, help_text="Of the file's size, first and last MiB.")
    file_name = models.CharField(max_length=255)
    lines = models.BigIntegerField(default=0, help_text="Lines done, from the beginning of the file.")
    stored = models.BigIntegerField(default=0)
    duplicates = models.BigIntegerField(default=0)
    rejected = models.BigIntegerField(default=0)
    created_at = models.DateTimeField(auto_now_add=True)
    finished_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            # Loading a file again continues after its last stored line.
            models.UniqueConstraint(fields=["site", "source", "fingerprint"], name="api_load_file"),
        ]

    def __str__(self) -> str:
        return self.file_name
