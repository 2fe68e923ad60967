"""A site, who belongs to it, and what people changed there."""

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.core.exceptions import ValidationError
from django.core.serializers.json import DjangoJSONEncoder
from django.core.validators import MaxValueValidator, MinValueValidator, RegexValidator
from django.db import models


def validate_template(template: str) -> None:
    """A goal name template holds {type} and {name} once each; raises ValidationError."""
    if template.count("{type}") != 1 or template.count("{name}") != 1:
        raise ValidationError("The template must contain {type} and {name} once each.")


def entered_event_names() -> list[str]:
    return ["Audience Entered"]


def exited_event_names() -> list[str]:
    return ["Audience Exited"]


def link_event_names() -> list[str]:
    return ["Kameleoon identifier"]


def trait_event_names() -> list[str]:
    return ["Trait Computed"]


class Site(models.Model):
    """One project, known to the world by its sitecode, and how its events are read."""

    sitecode = models.CharField(
        max_length=10,
        unique=True,  # every request names its site by it
        validators=[RegexValidator(r"^[a-z0-9]{10}\Z", "Exactly 10 lower-case letters and digits.")],
    )
    name = models.CharField(max_length=100)
    public_traits = ArrayField(
        models.CharField(max_length=255),
        default=list,
        blank=True,
        help_text="Traits that a reader without a token gets; all others need one.",
    )
    requires_token = models.BooleanField(default=False, help_text="Remote data is served to nobody without a token.")
    goal_name_template = models.CharField(
        max_length=90, default="SegmentIO {type} – {name}", validators=[validate_template]
    )
    auto_tag = models.CharField(max_length=100, default="segment.io", help_text="The tag of goals made by events.")
    default_currency = models.CharField(
        max_length=3, default="USD", validators=[RegexValidator(r"^[A-Z]{3}\Z", "Three capital letters (ISO 4217).")]
    )
    user_id_is_visitor_code = models.BooleanField(
        default=False, help_text="The user id doubles as the visitor code of events that carry none."
    )
    company_is_group = models.BooleanField(
        default=False, help_text="The id of the trait `company` is the group of people of whom no group call tells."
    )
    audience_events_make_goals = models.BooleanField(default=False)
    names_pages_by_title = models.BooleanField(
        "a goal for each page title",
        default=False,
        db_default=False,
        help_text="A page or screen without a name is called by its title; otherwise all of them count for the one "
        "goal Unnamed page or Unnamed screen. Scripts in browsers send a title with every page.",
    )
    entered_event_names = ArrayField(models.CharField(max_length=500), default=entered_event_names, blank=True)
    exited_event_names = ArrayField(models.CharField(max_length=500), default=exited_event_names, blank=True)
    link_event_names = ArrayField(models.CharField(max_length=500), default=link_event_names, blank=True)
    trait_event_names = ArrayField(models.CharField(max_length=500), default=trait_event_names, blank=True)
    goals_per_10_seconds = models.PositiveIntegerField(default=50, validators=[MinValueValidator(1)])
    goals_per_hour = models.PositiveIntegerField(default=1000, validators=[MinValueValidator(1)])
    max_waiting_names = models.PositiveIntegerField(default=20_000)
    keeps_done_days = models.PositiveSmallIntegerField(
        "days that events are kept",
        null=True,
        blank=True,
        validators=[MinValueValidator(7), MaxValueValidator(3_650)],
        help_text="Counted from when an event was done. Then its body and its trace are deleted; goals, conversions "
        "and people stay. What was rejected goes as many days after it came, what failed after 90 at the earliest; "
        "what waits stays. At least 7; empty: as this installation keeps them (GOALPOST_KEEP_DONE_DAYS, 30).",
    )
    rules_changed_at = models.DateTimeField(
        null=True, editable=False, help_text="When its rules, or what its sources take, were changed last."
    )
    created_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return f"{self.name} ({self.sitecode})"


class Role(models.TextChoices):
    """Rights in a site. Each role includes those before it."""

    VIEWER = "viewer", "viewer"
    EDITOR = "editor", "editor"
    OWNER = "owner", "owner"

    def includes(self, role: "Role") -> bool:
        order = list(Role)
        return order.index(self) >= order.index(role)


class Membership(models.Model):
    """A person's role in a site."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="memberships")
    site = models.ForeignKey(Site, on_delete=models.CASCADE, related_name="memberships")
    role = models.CharField(max_length=8, choices=Role.choices, default=Role.VIEWER)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            # A person has one role in a site; serves the look at whose page it is.
            models.UniqueConstraint(fields=["user", "site"], name="api_membership_person"),
        ]

    def __str__(self) -> str:
        return f"{self.user} as {self.role} of {self.site}"


class AuditEntry(models.Model):
    """One change that a person made. The database refuses to change or delete it (migration 0009)."""

    # None: of the installation, its users for example. The entries of a site that was removed stay, with its number.
    site = models.ForeignKey(
        Site,
        on_delete=models.DO_NOTHING,
        null=True,
        db_constraint=False,
        db_index=False,
        related_name="audit_entries",
    )
    # A person may be deleted; what they did stays, under the name they had. None: a key of theirs, or a command.
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.DO_NOTHING,
        null=True,
        db_constraint=False,
        db_index=False,
        related_name="+",
    )
    who = models.CharField(max_length=150)
    at = models.DateTimeField()
    what = models.TextField()
    before = models.JSONField(null=True, encoder=DjangoJSONEncoder)
    after = models.JSONField(null=True, encoder=DjangoJSONEncoder)

    class Meta:
        verbose_name_plural = "audit entries"
        indexes = [
            # A site's log, newest first.
            models.Index(fields=["site", "-id"], name="api_auditentry_site"),
        ]

    def __str__(self) -> str:
        return f"{self.who}: {self.what}"
