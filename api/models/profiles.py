"""Choices of the people who sign in, for all pages."""

from django.conf import settings
from django.db import models

import zones


class Profile(models.Model):
    """A person's choices for pages. Who chose nothing has no row."""

    user = models.OneToOneField(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, primary_key=True, related_name="+")
    time_zone = models.CharField(
        max_length=64, blank=True, default="", db_default="", help_text="Of times on pages. Empty: the site's zone."
    )

    def __str__(self) -> str:
        return f"{self.user_id}: {self.time_zone or zones.DEFAULT}"
