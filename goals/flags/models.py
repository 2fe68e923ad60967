"""Tables of feature flags: the documents that SDKs read, their versions, environments and imported segments."""

from django.contrib.postgres.fields import ArrayField
from django.core.validators import RegexValidator
from django.db import models

from site_rows import SiteColumn, SiteForeignKey, SiteRow

ENVIRONMENT_NAME = r"[a-z0-9][a-z0-9_-]{0,63}"  # clients repeat it in a header


class FeatureFlag(SiteRow):
    """A feature flag as a document in the form of Kameleoon's configuration file."""

    site = SiteColumn("api.Site", on_delete=models.CASCADE, db_index=False, related_name="+")
    key = models.CharField(max_length=255)
    document = models.JSONField(help_text="As every SDK reads it (goals.flags.file).")
    version = models.PositiveIntegerField(default=1)
    enabled_in = ArrayField(
        models.CharField(max_length=64),
        default=list,
        blank=True,
        help_text="Names of the environments in which it is on.",
    )
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        constraints = [
            # Code names a flag by its key. The list in its order.
            models.UniqueConstraint(fields=["site", "key"], name="goals_featureflag_key"),
        ]
        ordering = ["key"]

    def __str__(self) -> str:
        return self.key


class FlagVersion(SiteRow):
    """A document that a flag had. Each change of the document adds one."""

    site = SiteColumn("api.Site", on_delete=models.CASCADE, db_index=False, related_name="+")
    flag = SiteForeignKey(FeatureFlag, on_delete=models.CASCADE, db_index=False, related_name="versions")
    number = models.PositiveIntegerField()
    document = models.JSONField()
    saved_by = models.CharField(max_length=150)
    saved_at = models.DateTimeField()

    class Meta:
        constraints = [
            # The versions of a flag in their order.
            models.UniqueConstraint(fields=["site", "flag", "number"], name="goals_flagversion_number"),
        ]
        ordering = ["-number"]

    def __str__(self) -> str:
        return f"version {self.number} of {self.flag_id}"


class Environment(SiteRow):
    """A named environment of a site, such as staging, in which flags are on or off."""

    site = SiteColumn("api.Site", on_delete=models.CASCADE, db_index=False, related_name="+")
    name = models.CharField(
        max_length=64,
        validators=[
            RegexValidator(rf"^{ENVIRONMENT_NAME}\Z", "Use lower-case letters, digits, hyphens and underscores.")
        ],
    )
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            # SDKs ask for an environment by its name.
            models.UniqueConstraint(fields=["site", "name"], name="goals_environment_name"),
        ]
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name


class ImportedSegment(SiteRow):
    """A segment that a file brought with its flags. SDKs evaluate it, Goalpost does not."""

    site = SiteColumn("api.Site", on_delete=models.CASCADE, db_index=False, related_name="+")
    number = models.BigIntegerField(help_text="Its id in the file, by which rules and other segments name it.")
    document = models.JSONField(default=dict, help_text="As every SDK reads it (goals.flags.segment_checks).")
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        constraints = [
            # SDKs name a segment by its number.
            models.UniqueConstraint(fields=["site", "number"], name="goals_importedsegment_number"),
        ]
        ordering = ["number"]

    def __str__(self) -> str:
        return str(self.document.get("name", self.number))
