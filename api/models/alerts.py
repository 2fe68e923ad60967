"""What somebody wants to be told, and what they were told."""

import secrets

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q

from api.models.keys import Source
from api.models.sites import Site


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
    finding = models.TextField(
        blank=True, editable=False, help_text="What was found at the last look; while it fires, when it last held."
    )
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
