"""Sites, their members with roles, and the audit log."""

from datetime import tzinfo

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.core.exceptions import ValidationError
from django.core.serializers.json import DjangoJSONEncoder
from django.core.validators import MaxValueValidator, MinValueValidator, RegexValidator
from django.db import DataError, connection, models, transaction

import zones
from site_rows import SiteColumn, SiteRow


def validate_template(template: str) -> None:
    """Raise ValidationError unless a goal name template holds {type} and {name} once each."""
    if template.count("{type}") != 1 or template.count("{name}") != 1:
        raise ValidationError("The template must contain {type} and {name} once each.")


def validate_time_zone(name: str) -> None:
    """Raise ValidationError unless a text names a time zone, here and in PostgreSQL, which counts days in it."""
    if name not in zones.list_zones() or not is_zone_of_database(name):
        raise ValidationError("Not a time zone. Write one as Europe/Zurich, or UTC.")


def is_zone_of_database(name: str) -> bool:
    """Return True if PostgreSQL knows a time zone. One query."""
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SELECT now() AT TIME ZONE %s", [name])
    except DataError:
        return False
    return True


def entered_event_names() -> list[str]:
    return ["Audience Entered"]


def exited_event_names() -> list[str]:
    return ["Audience Exited"]


def link_event_names() -> list[str]:
    return ["Kameleoon identifier"]


def trait_event_names() -> list[str]:
    return ["Trait Computed"]


def exposure_event_names() -> list[str]:
    return ["Experiment Viewed"]


class Weekday(models.IntegerChoices):
    """The first day of a week, as Python counts them."""

    MONDAY = 0, "Monday"
    SATURDAY = 5, "Saturday"
    SUNDAY = 6, "Sunday"


class Site(models.Model):
    """One project, with the settings that decide how its events are interpreted. Its public name is the sitecode."""

    sitecode = models.CharField(
        max_length=10,
        unique=True,  # every request names its site by it
        validators=[RegexValidator(r"^[a-z0-9]{10}\Z", "Exactly 10 lower-case letters and digits.")],
    )
    name = models.CharField(max_length=100)
    time_zone = models.CharField(
        max_length=64,
        default=zones.DEFAULT,
        db_default=zones.DEFAULT,
        validators=[validate_time_zone],
        help_text="Days and weeks of figures are in this zone. A change counts them again in the background. Times on "
        "pages are in it, too, unless a person chose another one.",
    )
    first_weekday = models.PositiveSmallIntegerField(
        "weeks begin on", choices=Weekday.choices, default=Weekday.MONDAY, db_default=Weekday.MONDAY
    )
    public_traits = ArrayField(
        models.CharField(max_length=255),
        default=list,
        blank=True,
        help_text="Readers without a token get these traits only.",
    )
    requires_token = models.BooleanField("require a token to read remote data", default=False)
    visits_require_token = models.BooleanField(
        "require a token to read visits",
        default=False,
        db_default=False,
        help_text="Otherwise web pages read the visits of a visitor code, with custom data and conversions.",
    )
    identified_visits_require_token = models.BooleanField(
        "require a token to read visits by a unique identifier",
        default=True,
        db_default=True,
        help_text="Otherwise whoever knows a user id or an e-mail address that SDKs send reads that user's visits.",
    )
    goal_name_template = models.CharField(
        max_length=90, default="SegmentIO {type} – {name}", validators=[validate_template]
    )
    auto_tag = models.CharField("tag for automatic goals", max_length=100, default="segment.io")
    default_currency = models.CharField(
        max_length=3, default="USD", validators=[RegexValidator(r"^[A-Z]{3}\Z", "Three capital letters (ISO 4217).")]
    )
    # No foreign key: goals point at their site, and a base goal that was deleted counts as none (api.insight.rates).
    base_goal_id = models.BigIntegerField(
        "base goal for rates",
        null=True,
        blank=True,
        validators=[MinValueValidator(1)],
        help_text="Rates are converting visitors over those of this goal. Empty: over all visitors seen.",
    )
    user_id_is_visitor_code = models.BooleanField(
        default=False, help_text="If an event has no visitor code, its user id is used."
    )
    company_is_group = models.BooleanField(
        default=False, help_text="Use the `company` trait's id as the group if no group call is sent."
    )
    audience_events_make_goals = models.BooleanField(default=False)
    names_pages_by_title = models.BooleanField(
        "a goal for each page title",
        default=False,
        db_default=False,
        help_text="For pages and screens without a name, which otherwise count for one goal.",
    )
    entered_event_names = ArrayField(
        models.CharField(max_length=500), verbose_name="persona entered", default=entered_event_names, blank=True
    )
    exited_event_names = ArrayField(
        models.CharField(max_length=500), verbose_name="persona left", default=exited_event_names, blank=True
    )
    link_event_names = ArrayField(
        models.CharField(max_length=500), verbose_name="identifiers linked", default=link_event_names, blank=True
    )
    trait_event_names = ArrayField(
        models.CharField(max_length=500), verbose_name="trait computed", default=trait_event_names, blank=True
    )
    exposure_event_names = ArrayField(
        models.CharField(max_length=500),
        verbose_name="variation seen",
        default=exposure_event_names,
        db_default=["Experiment Viewed"],
        blank=True,
    )
    goals_per_10_seconds = models.PositiveIntegerField(
        "new goals per 10 seconds", default=50, validators=[MinValueValidator(1)]
    )
    goals_per_hour = models.PositiveIntegerField("new goals per hour", default=1000, validators=[MinValueValidator(1)])
    max_waiting_names = models.PositiveIntegerField("queue size for new goals", default=20_000)
    keeps_done_days = models.PositiveSmallIntegerField(
        "event retention (days)",
        null=True,
        blank=True,
        validators=[MinValueValidator(7), MaxValueValidator(3_650)],
        help_text="Processed and rejected events are deleted then, failed ones after 90 days at the earliest. "
        "Goals, conversions and people stay. At least 7. Empty: the default of this installation.",
    )
    rules_changed_at = models.DateTimeField(
        null=True,
        editable=False,
        help_text="The last change of its rules, its settings or the events that its sources count.",
    )
    created_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return f"{self.name} ({self.sitecode})"

    @property
    def zone(self) -> tzinfo:
        """The zone of this site: of times on its pages and in its e-mails."""
        return zones.find_zone(self.time_zone)


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
            # A person has one role in a site. Serves the access check of every page.
            models.UniqueConstraint(fields=["user", "site"], name="api_membership_person"),
        ]

    def __str__(self) -> str:
        return f"{self.user} as {self.role} of {self.site}"


class AuditEntry(SiteRow):
    """One change by a person, a key or a command. A trigger rejects updates and deletions (migration 0009)."""

    # None: a change of the installation, such as of its users. Entries of a removed site stay, with its number.
    site = SiteColumn(
        Site,
        on_delete=models.DO_NOTHING,
        null=True,
        db_constraint=False,
        db_index=False,
        related_name="audit_entries",
    )
    # Entries of a deleted user stay, under the name that the user had. None: a change by a key or a command.
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
