"""Rules of a site about its events."""

from django.db import models

from api.models.sites import Site
from api.models.source import Source
from api.rules.actions import RuleAction, describe_action, list_action_choices
from site_rows import SiteColumn, SiteForeignKey, SiteRow


class Rule(SiteRow):
    """A rule about events of a site, or of one of its sources. All rules of a site have one order, by position."""

    class NameTest(models.TextChoices):
        EQUALS = "equals", "is"
        PREFIX = "prefix", "begins with"
        PATTERN = "pattern", "has the pattern"

    class PathTest(models.TextChoices):
        EXISTS = "exists", "exists"
        EQUALS = "equals", "is"

    Action = RuleAction

    site = SiteColumn(Site, on_delete=models.CASCADE, related_name="rules")
    source = SiteForeignKey(Source, on_delete=models.CASCADE, related_name="rules", null=True, blank=True)
    position = models.IntegerField(default=0)
    name = models.CharField(max_length=100, blank=True)
    is_enabled = models.BooleanField(default=True)
    event_type = models.CharField(max_length=16, blank=True, help_text="Empty: any.")
    name_test = models.CharField(max_length=8, choices=NameTest.choices, blank=True)
    name_value = models.CharField(max_length=500, blank=True)
    path = models.CharField(max_length=500, blank=True, help_text="A field such as properties.plan or traits.tags.0")
    path_test = models.CharField(max_length=8, choices=PathTest.choices, blank=True)
    path_value = models.CharField(max_length=500, blank=True)
    action = models.CharField(max_length=16, choices=list_action_choices)
    argument = models.CharField(
        max_length=500, blank=True, help_text="The reason of a drop, the template, the pattern, or the field."
    )
    group_traits = models.JSONField(default=dict, blank=True, help_text="Traits of the group, each with its field.")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["position", "id"]

    def __str__(self) -> str:
        return self.name or describe_action(self.action, self.argument)
