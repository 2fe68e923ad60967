"""What a person wants done with events."""

from django.db import models

from api.models.sites import Site
from api.models.source import Source


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
        REVENUE_FROM = "revenue_from", "take the revenue from a field where the event has none"
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
