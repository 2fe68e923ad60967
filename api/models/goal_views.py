"""Saved views of the goal list."""

from django.conf import settings
from django.db import models

from api.models.sites import Site
from site_rows import SiteColumn, SiteRow


class GoalView(SiteRow):
    """A name for a query string of the goal list: its filters, order, columns and range."""

    site = SiteColumn(Site, on_delete=models.CASCADE, related_name="goal_views")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    name = models.CharField(max_length=100)
    query = models.CharField(max_length=2_000, blank=True)
    is_shared = models.BooleanField(default=False, help_text="True if every member of the site sees it.")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            # Saving a view again under its name replaces it; serves the list of a person's own.
            models.UniqueConstraint(fields=["site", "user", "name"], name="api_goalview_name"),
        ]

    def __str__(self) -> str:
        return self.name
