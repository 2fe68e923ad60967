"""Changes of many goals that a worker applies."""

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q

from api.models.sites import Site
from site_rows import SiteColumn, SiteRow


class GoalsChange(SiteRow):
    """A change of many goals: which ones, as they were when a person asked for it, and how far it has come.

    It is asked for first, shown in figures, then started; what is never started goes after a day.
    """

    class Action(models.TextChoices):
        TAG = "tag", "give the tag"
        UNTAG = "untag", "take the tag away"
        ARCHIVE = "archive", "archive"
        RESTORE = "restore", "restore"
        DELETE = "delete", "delete"

    site = SiteColumn(Site, on_delete=models.CASCADE, related_name="goal_changes")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+")
    action = models.CharField(max_length=8, choices=Action.choices)
    tag = models.CharField(max_length=100, blank=True)
    # Fixed when it is asked for: what a filter finds changes meanwhile, and this must do what its page said.
    goal_ids = ArrayField(models.BigIntegerField())
    created_at = models.DateTimeField(auto_now_add=True)
    started_at = models.DateTimeField(null=True)
    place = models.PositiveIntegerField(default=0, help_text="How many of the goals it has come past.")
    changed = models.PositiveIntegerField(default=0, help_text="How many of these it changed.")
    finished_at = models.DateTimeField(null=True)

    class Meta:
        indexes = [
            # Serves the worker that continues the oldest unfinished change.
            models.Index(
                fields=["id"],
                condition=Q(started_at__isnull=False, finished_at__isnull=True),
                name="api_goalschange_unfinished",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.get_action_display()} {len(self.goal_ids):,} goals"
