"""People who were erased."""

import secrets

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q

from api.models.sites import Site
from site_rows import SiteColumn, SiteForeignKey, SiteRow


def make_marker() -> str:
    return f"erased:{secrets.token_hex(8)}"


class Erasure(SiteRow):
    """A person who was erased: the receipt, and how far the sweep has come. Of their ids only hashes stay."""

    class Stage(models.IntegerChoices):
        """The table that is swept, in this order: what events leave elsewhere comes after events."""

        MESSAGES = 0, "events"
        CONVERSIONS = 1, "conversions"
        IDENTITIES = 2, "identifiers of people, with traits and links"
        GROUPS = 3, "groups"
        PERSONAS = 4, "personas"
        PERSONA_FACTS = 5, "history of personas"
        USERNAMES = 6, "usernames"
        GOALS = 7, "goals"
        BINDINGS = 8, "events bound to goals"
        WAITING_NAMES = 9, "goal names that wait"
        TAGS = 10, "tags"
        RULES = 11, "rules"
        TWINS = 12, "pairs of sources that send the same"
        SOURCES = 13, "sources"
        LOADS = 14, "loaded files"
        REMOVALS = 15, "removed personas and groups"
        GOAL_CHANGES = 16, "changes of many goals"
        STORED_ANSWERS = 17, "answers kept for repeated requests"
        OWN_KEYS = 18, "own keys of remote data"
        VISIT_FACTS = 19, "facts of visits"
        CANCELLATIONS = 20, "cancelled conversions"
        EXPERIMENTS = 21, "names of experiments"
        VARIATIONS = 22, "names of variations"
        DONE = 23, "done"

    site = SiteColumn(Site, on_delete=models.CASCADE, related_name="erasures")
    erased_by = models.CharField(max_length=150)
    created_at = models.DateTimeField()
    marker = models.CharField(
        max_length=32, default=make_marker, help_text="The text in place of the person in rows of others."
    )
    hashes = ArrayField(models.CharField(max_length=64), help_text="Keyed hashes of the ids.")
    sought = ArrayField(models.CharField(max_length=255), help_text="The ids; emptied when it is finished.")
    identities = models.PositiveIntegerField(default=0)
    usernames = models.PositiveIntegerField(default=0)
    conversions = models.PositiveIntegerField(default=0)
    messages = models.PositiveIntegerField(default=0)
    removed_at = models.DateTimeField(null=True, help_text="When all that indexes find was gone.")
    waits_for = models.DateTimeField(null=True, help_text="Transactions that began before may not know of it yet.")
    stage = models.PositiveSmallIntegerField(choices=Stage.choices, default=Stage.MESSAGES)
    position = models.BigIntegerField(default=0, help_text="The last id of that table that was looked at.")
    until = models.BigIntegerField(null=True, help_text="And the last that is to be.")
    replaced = models.JSONField(
        null=True,
        default=dict,
        help_text="Rows of other people with a pseudonym in place of an id, by stage. Empty for older receipts.",
    )
    finished_at = models.DateTimeField(null=True)
    is_allowed_again = models.BooleanField(default=False)

    class Meta:
        indexes = [
            # The worker asks every few seconds whether one is left.
            models.Index(fields=["id"], condition=Q(finished_at__isnull=True), name="api_erasure_unfinished"),
        ]

    def __str__(self) -> str:
        return f"erasure {self.pk}"

    @property
    def stage_name(self) -> str:
        """The table that is swept now."""
        return self.Stage(self.stage).label if self.removed_at and not self.finished_at else ""

    @property
    def percent(self) -> int:
        """The progress of the sweep in percent."""
        of_stage = min(self.position / self.until, 1) if self.until else 0
        return 100 if self.finished_at else int(100 * (self.stage + of_stage) / self.Stage.DONE)


class Suppression(SiteRow):
    """An id whose person was erased: events that name it are dropped."""

    site = SiteColumn(Site, on_delete=models.CASCADE, db_index=False, related_name="+")
    erasure = SiteForeignKey(Erasure, on_delete=models.CASCADE, related_name="suppressions")
    hash = models.CharField(max_length=64)

    class Meta:
        constraints = [
            # Every batch asks for the hashes of its ids.
            models.UniqueConstraint(fields=["site", "hash"], name="api_suppression_hash"),
        ]

    def __str__(self) -> str:
        return self.hash
