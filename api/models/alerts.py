"""Alerts of a site and the notifications that they sent or are about to send."""

import secrets
from datetime import datetime

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q

from api.models.sites import Site
from api.models.source import Source
from site_rows import SiteColumn, SiteForeignKey, SiteRow


def make_signing_secret() -> str:
    return secrets.token_urlsafe(32)


class Alert(SiteRow):
    """A condition that the worker checks (api.alerts), and the addresses that it notifies when that changes."""

    class Condition(models.TextChoices):
        SUCCESS = "success", "success rate under"
        LAG = "lag", "lag over"
        SILENCE = "silence", "source silent for"
        QUOTA = "quota", "new-goal limit reached"

    site = SiteColumn(Site, on_delete=models.CASCADE, related_name="alerts")
    name = models.CharField(max_length=100)
    condition = models.CharField("when", max_length=8, choices=Condition.choices)
    threshold = models.FloatField(
        null=True,
        blank=True,
        help_text="Percent of the success rate, seconds of lag, minutes of silence. Empty for the goal limit.",
    )
    source = SiteForeignKey(
        Source,
        on_delete=models.CASCADE,
        related_name="+",
        null=True,
        blank=True,
        help_text="For the success rate and for silence. Empty: all sources. Silence then means any of them.",
    )
    # A column for the addresses of each channel (api.alerts.channels).
    emails = ArrayField(models.EmailField(), verbose_name="e-mail addresses", default=list, blank=True)
    webhook_url = models.CharField(
        "webhook URL",
        max_length=500,
        blank=True,
        help_text="A public address with https:// or http://. Requests are signed.",
    )
    secret = models.CharField(
        max_length=64, default=make_signing_secret, editable=False, help_text="The key that signs webhook requests."
    )
    is_enabled = models.BooleanField("enabled", default=True)
    checked_at = models.DateTimeField(null=True, editable=False)
    firing_since = models.DateTimeField(null=True, editable=False)
    held_at = models.DateTimeField(null=True, editable=False, help_text="The last check that found the condition true.")
    notified_at = models.DateTimeField(
        null=True, editable=False, db_column="told_at", help_text="The last notification that the alert fires."
    )
    acknowledged_at = models.DateTimeField(
        null=True, editable=False, help_text="A person takes care of it: a reminder every three days only."
    )
    snoozed_until = models.DateTimeField(
        null=True, editable=False, help_text="No reminders before this time, and one then if it still fires."
    )
    finding = models.TextField(
        blank=True,
        editable=False,
        help_text="The result of the last check. While the alert fires, the last result that held.",
    )
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["name", "id"]

    def __str__(self) -> str:
        return self.name

    def is_quiet(self, now: datetime) -> bool:
        """Return True if a person has acknowledged the alert, or snoozed it beyond now."""
        return self.acknowledged_at is not None or (self.snoozed_until is not None and self.snoozed_until > now)


class AlertDelivery(SiteRow):
    """A notification to one address of an alert. The rows are the queue of the worker and the history on the page."""

    class Event(models.TextChoices):
        FIRED = "fired", "firing"
        REMINDER = "reminder", "still firing"
        RESOLVED = "resolved", "resolved"
        TEST = "test", "test"

    class Channel(models.TextChoices):
        EMAIL = "email", "e-mail"
        WEBHOOK = "webhook", "webhook"

    class Outcome(models.TextChoices):
        WAITING = "waiting", "queued"
        SENT = "sent", "sent"
        FAILED = "failed", "failed"

    site = SiteColumn(Site, on_delete=models.CASCADE, db_index=False, related_name="+")
    alert = SiteForeignKey(Alert, on_delete=models.CASCADE, related_name="deliveries")
    event = models.CharField(max_length=8, choices=Event.choices)
    channel = models.CharField(max_length=7, choices=Channel.choices, db_column="way")
    address = models.CharField(max_length=254, blank=True, help_text="Empty if only the alert may hold the address.")
    finding = models.TextField()
    firing_since = models.DateTimeField(null=True)
    at = models.DateTimeField(help_text="The time of the event.")
    outcome = models.CharField(max_length=7, choices=Outcome.choices, default=Outcome.WAITING)
    attempts = models.PositiveSmallIntegerField(default=0)
    next_try_at = models.DateTimeField()
    detail = models.CharField(max_length=500, blank=True, help_text="The result of the last attempt.")

    class Meta:
        verbose_name_plural = "alert deliveries"
        indexes = [
            # A site's history, newest first.
            models.Index(fields=["site", "-id"], name="api_alertdelivery_site"),
            # The worker asks every half minute what is due.
            models.Index(fields=["next_try_at"], condition=Q(outcome="waiting"), name="api_alertdelivery_waiting"),
            # Pruning by age.
            models.Index(fields=["at"], name="api_alertdelivery_at"),
        ]

    def __str__(self) -> str:
        return f"{self.event} of alert {self.alert_id} by {self.channel}"
