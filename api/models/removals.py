"""Personas, groups and sites that a person removed."""

from django.db import models
from django.db.models import Q

from api.models.sites import Site
from site_rows import SiteColumn, SiteRow


class Removal(SiteRow):
    """A site, group, persona or segment that a worker removes (api.erasure.removal), with its progress."""

    class Of(models.TextChoices):
        PERSONA = "persona", "persona"
        GROUP = "group", "group"
        SITE = "site", "site"
        SEGMENT = "segment", "segment"

    site = SiteColumn(Site, on_delete=models.CASCADE, related_name="removals")
    of = models.CharField(max_length=7, choices=Of.choices)
    name = models.CharField(max_length=255)
    number = models.BigIntegerField(default=0, help_text="Of the row that is gone: its history is found by it.")
    removed_by = models.CharField(max_length=150)
    created_at = models.DateTimeField()
    position = models.BigIntegerField(default=0, help_text="The last identity that was looked at.")
    until = models.BigIntegerField(default=0, help_text="And the last that is to be.")
    rows = models.BigIntegerField(default=0, help_text="Rows removed so far.")
    finished_at = models.DateTimeField(null=True)

    class Meta:
        indexes = [
            # The worker asks every few seconds whether one is left.
            models.Index(fields=["id"], condition=Q(finished_at__isnull=True), name="api_removal_unfinished"),
        ]

    def __str__(self) -> str:
        return f"removal of {self.of} {self.number}"
