"""Tables of experiments: what they are, their variations, goals and phases. Exposures are in `goals.visit_models`."""

from django.contrib.postgres.fields import ArrayField
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models

from site_rows import SiteColumn, SiteForeignKey, SiteRow

KEY_LENGTH = 255
NAME_LENGTH = 255
REASON_LENGTH = 500
HYPOTHESIS_LENGTH = 10_000
DECISION_LENGTH = 5_000  # of its reason
OWNER_LENGTH = 150
MOST_WINDOW_DAYS = 90


class Experiment(SiteRow):
    """An experiment. The first exposure makes it, or a person does. Exposures name it by `number`.

    What events say is in `event_name`, `named_at` and `tags`, which end alike in any order of events.
    """

    class Origin(models.TextChoices):
        EVENT = "event", "automatic"
        PERSON = "person", "created manually"
        API = "api", "created through the API"

    class Decision(models.TextChoices):
        NONE = "", "none yet"
        SHIP = "ship", "ship a variation"
        KEEP = "keep", "keep the reference"
        REPEAT = "repeat", "test again"

    site = SiteColumn("api.Site", on_delete=models.CASCADE, db_index=False, related_name="+")
    number = models.BigIntegerField(help_text="The id in exposures: that of the SDKs, or one that its key gives.")
    key = models.CharField(max_length=KEY_LENGTH, help_text="As exposures name it.")
    name = models.CharField(max_length=NAME_LENGTH, blank=True, help_text="Chosen by a person.")
    event_name = models.CharField(
        max_length=NAME_LENGTH, blank=True, help_text="From the earliest event that names it.", editable=False
    )
    named_at = models.DateTimeField(null=True, editable=False)
    tags = ArrayField(
        models.CharField(max_length=100),
        default=list,
        blank=True,
        help_text="Kinds of senders, sorted.",
        editable=False,
    )
    origin = models.CharField(max_length=8, choices=Origin.choices, default=Origin.PERSON, editable=False)
    hypothesis = models.TextField(blank=True)
    owner = models.CharField(max_length=OWNER_LENGTH, blank=True)
    window_days = models.PositiveSmallIntegerField(
        default=7,
        validators=[MinValueValidator(1), MaxValueValidator(MOST_WINDOW_DAYS)],
        help_text="Days after the first exposure in which conversions count.",
    )
    started_at = models.DateTimeField(null=True, blank=True, help_text="Empty: with its first exposure.")
    stopped_at = models.DateTimeField(null=True, blank=True)
    decision = models.CharField(max_length=8, choices=Decision.choices, blank=True, default=Decision.NONE)
    decided_for = models.BigIntegerField(null=True, blank=True, help_text="The number of the variation to ship.")
    decision_reason = models.TextField(blank=True)
    decided_at = models.DateTimeField(null=True, blank=True)
    archived_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        constraints = [
            # Exposures find their experiment, and two workers make it once.
            models.UniqueConstraint(fields=["site", "number"], name="goals_experiment_number"),
        ]

    def __str__(self) -> str:
        return self.name or self.event_name or self.key


class Variation(SiteRow):
    """A variation of an experiment. Exposures name it by `number`."""

    site = SiteColumn("api.Site", on_delete=models.CASCADE, db_constraint=False, db_index=False, related_name="+")
    experiment = SiteForeignKey(Experiment, on_delete=models.CASCADE, db_index=False, related_name="variations")
    number = models.BigIntegerField()
    key = models.CharField(max_length=KEY_LENGTH)
    name = models.CharField(max_length=NAME_LENGTH, blank=True, help_text="Chosen by a person.")
    event_name = models.CharField(max_length=NAME_LENGTH, blank=True, editable=False)
    named_at = models.DateTimeField(null=True, editable=False)
    share = models.DecimalField(
        max_digits=9,
        decimal_places=8,
        null=True,
        blank=True,
        validators=[MinValueValidator(0), MaxValueValidator(1)],
        help_text="Of the exposed visitors. Empty: all variations alike.",
    )
    is_reference = models.BooleanField(default=False, help_text="The others are compared with it.")

    class Meta:
        constraints = [
            # The variations of an experiment, each once.
            models.UniqueConstraint(fields=["site", "experiment", "number"], name="goals_variation_number"),
        ]
        ordering = ["number"]

    def __str__(self) -> str:
        return self.name or self.event_name or self.key


class ExperimentGoal(SiteRow):
    """A goal by which an experiment is judged, in one of three roles."""

    class Role(models.TextChoices):
        PRIMARY = "primary", "primary"
        SECONDARY = "secondary", "secondary"
        GUARDRAIL = "guardrail", "guardrail"

    site = SiteColumn("api.Site", on_delete=models.CASCADE, db_constraint=False, db_index=False, related_name="+")
    experiment = SiteForeignKey(Experiment, on_delete=models.CASCADE, db_index=False, related_name="goals")
    goal = SiteForeignKey("goals.Goal", on_delete=models.CASCADE, related_name="+")
    role = models.CharField(max_length=9, choices=Role.choices)

    class Meta:
        constraints = [
            # The goals of an experiment, each in one role.
            models.UniqueConstraint(fields=["site", "experiment", "goal"], name="goals_experimentgoal_goal"),
            models.UniqueConstraint(
                fields=["site", "experiment"],
                condition=models.Q(role="primary"),
                name="goals_experimentgoal_primary",
                violation_error_message="An experiment has one primary goal.",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.get_role_display()} goal {self.goal_id} of {self.experiment_id}"


class ExperimentPhase(SiteRow):
    """A time in which the shares of an experiment stay. Visitors count for the phase of their first exposure."""

    site = SiteColumn("api.Site", on_delete=models.CASCADE, db_constraint=False, db_index=False, related_name="+")
    experiment = SiteForeignKey(Experiment, on_delete=models.CASCADE, db_index=False, related_name="phases")
    started_at = models.DateTimeField()
    reason = models.CharField(max_length=REASON_LENGTH)
    shares = models.JSONField(default=dict, help_text="By the number of the variation, as texts.")
    made_by = models.CharField(max_length=150)

    class Meta:
        constraints = [
            # The phases of an experiment in their order.
            models.UniqueConstraint(fields=["site", "experiment", "started_at"], name="goals_experimentphase_start"),
        ]
        ordering = ["started_at"]

    def __str__(self) -> str:
        return f"phase of {self.experiment_id} from {self.started_at}"
