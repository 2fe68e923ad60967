"""Goals with their tags, their conversions and kept totals, and the queue of names that wait for quota."""

from datetime import UTC

from django.core.validators import MinLengthValidator
from django.db import models
from django.db.models import Q
from django.db.models.functions import TruncDate

import goals.experiments.models
import goals.flags.models  # noqa: F401
import names
import zones
from goals import visit_models  # noqa: F401 - Django finds models through this module
from site_rows import SiteColumn, SiteForeignKey, SiteRow

# An event name of 500 characters is stored whole; the rest is for the site's template.
GOAL_NAME_LENGTH = 600
DISPLAY_NAME_LENGTH = 200
SEARCH_KEYS = ("search_key", "display_search_key")  # of goals, for names.search_folded


class Tag(SiteRow):
    site = SiteColumn("api.Site", on_delete=models.CASCADE, related_name="tags")
    name = models.CharField(max_length=100, validators=[MinLengthValidator(1)])
    sort_key = names.sort_column("name")

    class Meta:
        constraints = [
            # Concurrent first goals of a site make one tag.
            models.UniqueConstraint(fields=["site", "name"], name="goals_tag_name"),
        ]
        ordering = ["sort_key", "name"]

    def __str__(self) -> str:
        return self.name


class Goal(SiteRow):
    """A named target. Its name is unique among the live goals of its site; a deleted goal's name is free."""

    class Type(models.TextChoices):
        """Types as Kameleoon's Automation API spells them."""

        CLICK = "CLICK"
        CUSTOM = "CUSTOM"
        SCROLL = "SCROLL"
        PAGE_VIEWS = "PAGE_VIEWS"
        URL = "URL"
        TIME_SPENT = "TIME_SPENT"
        RETENTION_RATE = "RETENTION_RATE"
        WAREHOUSE = "WAREHOUSE"
        RATIO_METRICS = "RATIO_METRICS"

    class Origin(models.TextChoices):
        EVENT = "event", "automatic"
        PERSON = "person", "created manually"
        IMPORT = "import", "imported"
        API = "api", "created through the API"

    site = SiteColumn("api.Site", on_delete=models.CASCADE, related_name="goals")
    name = models.CharField(max_length=GOAL_NAME_LENGTH, validators=[MinLengthValidator(1)])
    search_key = names.search_column("name")
    sort_key = names.sort_column("name")
    # Shown in place of the name. Events are matched without it, and goals may share one.
    display_name = models.CharField(max_length=DISPLAY_NAME_LENGTH, blank=True, default="", db_default="")
    display_search_key = names.search_column("display_name")
    display_sort_key = names.sort_column("display_name")
    type = models.CharField(max_length=16, choices=Type.choices, default=Type.CUSTOM)
    description = models.TextField(blank=True)
    has_multiple_conversions = models.BooleanField(
        default=False, help_text="True if every conversion counts, False if one a visit counts."
    )
    origin = models.CharField(max_length=8, choices=Origin.choices, default=Origin.PERSON)
    is_named_by_event = models.BooleanField(
        default=False,
        help_text="False once a person has chosen the name: only such goals match a bare event name.",
    )
    tags = models.ManyToManyField(Tag, through="GoalTag", blank=True, related_name="goals")
    archived_at = models.DateTimeField(null=True, blank=True)
    deleted_at = models.DateTimeField(null=True, blank=True, editable=False)
    # Only these two columns record a merge. Setting both to NULL undoes it.
    merged_into = SiteForeignKey(
        "self", on_delete=models.SET_NULL, null=True, blank=True, editable=False, db_index=False, related_name="+"
    )
    counts_for = SiteForeignKey(
        "self",
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        editable=False,
        db_index=False,
        related_name="+",
        help_text="The end of the chain of `merged_into`, whose figures hold this goal's too.",
    )
    # The zone of its rows in GoalDay. A trigger copies the site's into a new goal, `goals.day_zones` follows changes.
    day_zone = models.CharField(max_length=64, default=zones.DEFAULT, db_default=zones.DEFAULT, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        constraints = [
            # Serves the lookup of an event's goal; two workers that create one name get one goal.
            models.UniqueConstraint(
                fields=["site", "name"], condition=Q(deleted_at__isnull=True), name="goals_goal_live_name"
            ),
        ]
        indexes = [
            # The purge looks for deleted goals only.
            models.Index(fields=["deleted_at"], condition=Q(deleted_at__isnull=False), name="goals_goal_deleted"),
            # The goals merged into a goal, and the foreign keys when a goal is deleted.
            models.Index(fields=["counts_for"], condition=Q(counts_for__isnull=False), name="goals_goal_counts_for"),
            models.Index(fields=["merged_into"], condition=Q(merged_into__isnull=False), name="goals_goal_merged_into"),
            # Finds goals whose days are not those of their site.
            models.Index(fields=["site", "day_zone"], condition=Q(deleted_at__isnull=True), name="goals_goal_day_zone"),
        ]

    def __str__(self) -> str:
        return self.name


class GoalTag(SiteRow):
    """Assignment of a tag to a goal."""

    site = SiteColumn("api.Site", on_delete=models.CASCADE, db_constraint=False, db_index=False, related_name="+")
    goal = SiteForeignKey(Goal, on_delete=models.CASCADE, related_name="+")
    tag = SiteForeignKey(Tag, on_delete=models.CASCADE, related_name="+")

    class Meta:
        db_table = "goals_goal_tags"
        constraints = [
            # Two people who add a tag at once add it once.
            models.UniqueConstraint(fields=["site", "goal", "tag"], name="goals_goal_tags_key"),
        ]

    def __str__(self) -> str:
        return f"{self.goal_id} has {self.tag_id}"


class GoalBinding(SiteRow):
    """Assignment of an event to a goal by a person, whatever the goal's name is ("keep receiving these events")."""

    site = SiteColumn("api.Site", on_delete=models.CASCADE, related_name="+")
    event_type = models.CharField(max_length=16)
    event_name = models.CharField(max_length=500)
    goal = SiteForeignKey(Goal, on_delete=models.CASCADE, related_name="bindings")

    class Meta:
        constraints = [
            # The first step of the lookup; an event is bound to one goal.
            models.UniqueConstraint(fields=["site", "event_type", "event_name"], name="goals_binding_event"),
        ]

    def __str__(self) -> str:
        return f"{self.event_type} {self.event_name}"


class Conversion(SiteRow):
    """One hit of a goal, kept for ever. A late link re-keys it to the visitor that it counts for (promise K-51)."""

    class KeyedBy(models.IntegerChoices):
        """The rule that gave `visitor_code`. The first that applies wins; the numbers are older than this order."""

        EVENT = 0, "the event's visitor code"
        ANONYMOUS_LINK = 2, "the visitor code first linked to its anonymous id"
        USER_LINK = 1, "the visitor code first linked to its user"
        DEVICE_LINK = 5, "the first visitor code of a device of its user"
        USER = 3, "its user id, unmatched"
        ANONYMOUS = 4, "its anonymous id, unmatched"

    LINKED = (KeyedBy.ANONYMOUS_LINK, KeyedBy.USER_LINK, KeyedBy.DEVICE_LINK)
    UNMATCHED = (KeyedBy.USER, KeyedBy.ANONYMOUS)

    # No database constraint: every insert would lock the one row of its site.
    site = SiteColumn("api.Site", on_delete=models.CASCADE, db_constraint=False, db_index=False, related_name="+")
    goal = SiteForeignKey(Goal, on_delete=models.CASCADE, db_index=False, related_name="conversions")
    visitor_code = models.CharField(max_length=255)
    keyed_by = models.PositiveSmallIntegerField(choices=KeyedBy.choices)
    user_id = models.CharField(max_length=255, null=True)  # noqa: DJ001 - absent is not empty
    anonymous_id = models.CharField(max_length=255, null=True)  # noqa: DJ001
    occurred_at = models.DateTimeField()
    revenue = models.DecimalField(max_digits=20, decimal_places=6, null=True)
    currency = models.CharField(max_length=3, null=True)  # noqa: DJ001
    value = models.DecimalField(max_digits=20, decimal_places=6, null=True)
    properties = models.JSONField(default=dict)
    message_key = models.CharField(max_length=300)
    source_id = models.BigIntegerField(null=True, help_text="Sender of its event; empty in rows of old versions.")

    class Meta:
        constraints = [
            # One message converts once, also after its row in the inbox was pruned.
            models.UniqueConstraint(fields=["site", "message_key"], name="goals_conversion_message"),
        ]
        indexes = [
            # A goal's conversions, newest first, in keyset pages. The visitor code lets an index-only scan count the
            # visits of merged goals.
            models.Index(
                fields=["site", "goal", "occurred_at", "id"],
                include=["visitor_code"],
                name="goals_conversion_goal",
            ),
            # A visitor's conversions, newest first.
            models.Index(fields=["site", "visitor_code", "occurred_at", "id"], name="goals_conversion_visitor"),
            # Conversions of a visitor by a source, for which a segment may ask.
            models.Index(fields=["site", "visitor_code", "source_id"], name="goals_conversion_source"),
            # Re-keying by a user's first visitor code, a batch at a time.
            models.Index(
                fields=["site", "user_id", "id"],
                condition=Q(keyed_by__gte=1, user_id__isnull=False),
                name="goals_conversion_of_user",
            ),
            # Re-keying by an anonymous id's first visitor code, a batch at a time.
            models.Index(
                fields=["site", "anonymous_id", "id"],
                condition=Q(keyed_by__gte=1, anonymous_id__isnull=False),
                name="goals_conversion_of_device",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.goal_id} by {self.visitor_code}"

    @property
    def is_matched(self) -> bool:
        """Return True if it counts for a visitor code, False for a user id or anonymous id in place of one."""
        return self.keyed_by not in self.UNMATCHED


class Cancellation(SiteRow):
    """A conversion that its sender took back. It is no conversion: it counts by itself, and its revenue is subtracted.

    It belongs to a visitor code, or to a user if its sender knew no visitor code (goals.visit_models).
    """

    # No database constraint: every insert would lock the one row of its site.
    site = SiteColumn("api.Site", on_delete=models.CASCADE, db_constraint=False, db_index=False, related_name="+")
    goal = SiteForeignKey(Goal, on_delete=models.CASCADE, db_index=False, related_name="cancellations")
    visitor_code = models.CharField(max_length=255)
    is_user = models.BooleanField()
    occurred_at = models.DateTimeField()
    revenue = models.DecimalField(max_digits=20, decimal_places=6, null=True)
    currency = models.CharField(max_length=3, null=True)  # noqa: DJ001 - absent is not empty
    properties = models.JSONField(default=dict)
    message_key = models.CharField(max_length=300)

    class Meta:
        constraints = [
            # One message cancels once.
            models.UniqueConstraint(fields=["site", "message_key"], name="goals_cancellation_message"),
        ]
        indexes = [
            # The count and the revenue of a goal since a time. Days and totals keep those of whole days.
            models.Index(
                fields=["site", "goal", "occurred_at"], include=["revenue", "currency"], name="goals_cancellation_goal"
            ),
            # A visitor's cancellations, newest first.
            models.Index(fields=["site", "visitor_code", "occurred_at"], name="goals_cancellation_visitor"),
        ]

    def __str__(self) -> str:
        return f"{self.goal_id} cancelled by {self.visitor_code}"


class GoalVisitor(SiteRow):
    """Totals of a visitor on a goal. `goals.totals` writes them with the conversions, as GoalDay and GoalTotal."""

    # Rows are locked in the order of this key.
    pk = models.CompositePrimaryKey("site_id", "goal_id", "visitor_code")
    # No database constraints: each row is written with a conversion, which has one.
    site = SiteColumn("api.Site", on_delete=models.CASCADE, db_constraint=False, db_index=False, related_name="+")
    goal = SiteForeignKey(Goal, on_delete=models.CASCADE, db_constraint=False, db_index=False, related_name="+")
    first_at = models.DateTimeField()
    last_at = models.DateTimeField()
    conversions = models.IntegerField()
    visits = models.IntegerField(help_text="Stretches of conversions with less than 30 minutes between any two.")
    # Of UTC in every zone. No figure shows it: by its index, reports read `last_at` of fewer rows.
    last_day = models.GeneratedField(
        expression=TruncDate("last_at", tzinfo=UTC), output_field=models.DateField(), db_persist=True
    )
    visitor_code = models.CharField(max_length=255)
    revenue = models.JSONField(
        help_text="Of the conversions, by currency, as texts: a float would not be exact. Cancellations subtract none."
    )

    class Meta:
        indexes = [
            # Counts the visitors who converted a goal since a day. An index of `last_at` would be written with each
            # conversion, this one with the first of a day. If the site came first, a planner without statistics would
            # prefer it to the key.
            models.Index(fields=["goal", "last_day", "site"], name="goals_goalvisitor_day"),
        ]

    def __str__(self) -> str:
        return f"{self.goal_id} by {self.visitor_code}: {self.conversions}"


class GoalDay(SiteRow):
    """Part of the totals of a goal and a day of its zone. Each worker adds to a part of its own, so that none waits."""

    pk = models.CompositePrimaryKey("site_id", "goal_id", "day", "part")
    site = SiteColumn("api.Site", on_delete=models.CASCADE, db_constraint=False, db_index=False, related_name="+")
    goal = SiteForeignKey(Goal, on_delete=models.CASCADE, db_constraint=False, db_index=False, related_name="+")
    day = models.DateField()
    part = models.SmallIntegerField()
    conversions = models.IntegerField()
    visits = models.IntegerField(help_text="Visits that began on this day; below 0 if other parts hold too many.")
    # An older worker inserts rows without it during an upgrade.
    cancellations = models.IntegerField(default=0, db_default=0)
    revenue = models.JSONField(help_text="By currency, as texts, without that of cancellations of this day.")

    def __str__(self) -> str:
        return f"{self.goal_id} on {self.day}: {self.conversions}"


class GoalTotal(SiteRow):
    """Part of the totals of a goal since ever."""

    pk = models.CompositePrimaryKey("site_id", "goal_id", "part")
    site = SiteColumn("api.Site", on_delete=models.CASCADE, db_constraint=False, db_index=False, related_name="+")
    goal = SiteForeignKey(Goal, on_delete=models.CASCADE, db_constraint=False, db_index=False, related_name="+")
    part = models.SmallIntegerField()
    conversions = models.BigIntegerField()
    visits = models.BigIntegerField()
    visitors = models.BigIntegerField()
    cancellations = models.BigIntegerField(default=0, db_default=0)
    revenue = models.JSONField(help_text="By currency, as texts, without that of cancellations.")

    def __str__(self) -> str:
        return f"{self.goal_id}: {self.conversions}"


class GoalCreation(SiteRow):
    """Entry of the ledger of goals created by events. The quota counts here; deleting a goal removes no entry."""

    site = SiteColumn("api.Site", on_delete=models.CASCADE, related_name="+")
    created_at = models.DateTimeField()

    class Meta:
        indexes = [
            # Counts the creations of the last 10 seconds and 60 minutes.
            models.Index(fields=["site", "created_at"], name="goals_creation_window"),
        ]

    def __str__(self) -> str:
        return f"{self.site_id} at {self.created_at}"


class WaitingName(SiteRow):
    """A goal name that waits for quota; its messages are `deferred` in the inbox.

    The queue is in the order of `arrival`, then of ids. A name may leave the queue and join it again: its place depends
    on its messages alone.
    """

    site = SiteColumn("api.Site", on_delete=models.CASCADE, related_name="+")
    name = models.CharField(max_length=GOAL_NAME_LENGTH)
    event_type = models.CharField(max_length=16)
    event_name = models.CharField(max_length=500)
    has_goal = models.BooleanField(
        default=False, help_text="Its goal exists now: its messages are released, and it is no longer in the queue."
    )
    arrival = models.BigIntegerField(
        default=0, db_default=0, help_text="The number of the earliest message that waits for it."
    )
    look_again_at = models.DateTimeField(
        null=True,
        help_text="The site's rules changed at this time. Messages that were digested before it are digested once "
        "more, and the name keeps its place until then.",
    )
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            # A name waits once, however many messages wait for it.
            models.UniqueConstraint(fields=["site", "name"], name="goals_waitingname_name"),
        ]
        indexes = [
            # The head of a site's queue.
            models.Index(fields=["site", "arrival", "id"], condition=Q(has_goal=False), name="goals_waitingname_order"),
        ]

    def __str__(self) -> str:
        return self.name
