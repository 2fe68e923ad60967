"""Annotations of charts that people and programs write."""

from django.core.validators import MinLengthValidator
from django.db import models
from django.utils import timezone

from api.models.sites import Site
from goals.models import Goal
from site_rows import SiteColumn, SiteForeignKey, SiteRow

ANNOTATION_LENGTH = 200


class Annotation(SiteRow):
    """A text at a time in the charts of a goal, or of all goals of a site."""

    site = SiteColumn(Site, on_delete=models.CASCADE, db_index=False, related_name="annotations")
    goal = SiteForeignKey(
        Goal, on_delete=models.CASCADE, related_name="+", null=True, help_text="Null: in the charts of all goals."
    )
    at = models.DateTimeField()
    text = models.CharField(max_length=ANNOTATION_LENGTH, validators=[MinLengthValidator(1)])
    who = models.CharField(max_length=150, help_text="The author as the audit log names them.")
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        indexes = [
            # Serves the annotations of a chart's period, and the list of the API.
            models.Index(fields=["site", "-at", "-id"], name="api_annotation_at"),
        ]

    def __str__(self) -> str:
        return self.text
