"""Goals as JSON, with the names of Kameleoon's Automation API (promise W13) and a few more."""
# ruff: noqa: N815 - the names are the wire's

from typing import Any, Final, Literal, cast

from drf_spectacular.utils import extend_schema_serializer
from rest_framework import serializers

from api.rest.reading import PageQuery
from goals.list_order import ORDERINGS
from goals.models import DISPLAY_NAME_LENGTH, GOAL_NAME_LENGTH, Goal, GoalBinding

TAGS_LIMIT = 100

TYPES: Final = Goal.Type.values


class TagNames(serializers.ListField):
    """Names of tags, without surrounding white space; case-sensitive."""

    child = serializers.CharField(max_length=100)


class Event(serializers.Serializer[GoalBinding]):
    """An event by its type (track, page, screen) and its name."""

    type = serializers.CharField(source="event_type")
    name = serializers.CharField(source="event_name")


@extend_schema_serializer(component_name="Goal")
class GoalShape(serializers.Serializer[Goal]):
    """A named target."""  # made from a row of goals.queries.live_goals

    id = serializers.IntegerField()
    name = serializers.CharField()
    displayName = serializers.CharField(source="display_name", help_text="Shown in place of the name; often empty.")
    siteId = serializers.IntegerField(source="site_id")
    sitecode = serializers.CharField(source="site.sitecode")
    type = serializers.ChoiceField(choices=TYPES)
    status = serializers.SerializerMethodField(help_text="INACTIVE once archived.")
    description = serializers.CharField()
    hasMultipleConversions = serializers.BooleanField(
        source="has_multiple_conversions", help_text="True: every conversion counts. False: one per visit."
    )
    tags = serializers.SerializerMethodField()
    isArchived = serializers.SerializerMethodField(help_text="An archived goal still counts conversions.")
    origin = serializers.ChoiceField(choices=Goal.Origin.values, help_text="How the goal was created.")
    autoMade = serializers.SerializerMethodField(help_text="True if an event created the goal.")
    dateCreated = serializers.DateTimeField(source="created_at")
    dateModified = serializers.DateTimeField(source="updated_at")
    lastConversion = serializers.DateTimeField(
        source="last_conversion_at", allow_null=True, help_text="The time of the latest conversion."
    )
    boundEvents = Event(
        source="bindings", many=True, help_text="Events that convert the goal under any name (`keepReceiving`)."
    )

    mergedInto = serializers.SerializerMethodField(
        help_text="The id of this goal, if the goal asked for was merged into it."
    )

    def get_mergedInto(self, _goal: Goal) -> int | None:  # noqa: N802
        return cast("int | None", self.context.get("merged_into"))

    def get_status(self, goal: Goal) -> Literal["ACTIVE", "INACTIVE"]:
        return "INACTIVE" if goal.archived_at else "ACTIVE"

    def get_tags(self, goal: Goal) -> list[str]:
        return sorted(tag.name for tag in goal.tags.all())

    def get_isArchived(self, goal: Goal) -> bool:  # noqa: N802
        return goal.archived_at is not None

    def get_autoMade(self, goal: Goal) -> bool:  # noqa: N802
        return goal.origin == Goal.Origin.EVENT


class GoalFields(serializers.Serializer[Any]):
    """The editable fields of a goal."""

    name = serializers.CharField(
        max_length=GOAL_NAME_LENGTH, trim_whitespace=False, help_text="Unique in the site; stored byte for byte."
    )
    displayName = serializers.CharField(
        source="display_name",
        max_length=DISPLAY_NAME_LENGTH,
        required=False,
        allow_blank=True,
        help_text="Pages show it in place of the name. It matches no event, so changing it changes no count.",
    )
    type = serializers.ChoiceField(choices=TYPES, required=False)
    description = serializers.CharField(required=False, allow_blank=True, trim_whitespace=False)
    hasMultipleConversions = serializers.BooleanField(source="has_multiple_conversions", required=False)
    tags = TagNames(required=False, max_length=TAGS_LIMIT)


class NewGoal(GoalFields):
    """A goal to create. It does not count towards the new-goal limit."""

    sitecode = serializers.CharField(
        required=False, help_text="The site. Send this, `siteId`, or neither if your credential opens one site."
    )
    siteId = serializers.IntegerField(source="site_id", required=False, min_value=1, max_value=2**63 - 1)


class GoalChange(GoalFields):
    """Changes of a goal. Fields that are left out stay; other fields may be sent unchanged."""

    keepReceiving = serializers.BooleanField(
        source="keeps_receiving",
        required=False,
        help_text="With a new name: the events that convert the goal today continue to. "
        "Without it, the next such event creates another goal under the old name.",
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Return the changes. Raises ValidationError for a change that would be ignored."""
        goal = self.context["goal"]
        given = self.initial_data
        for name in ("id", "siteId", "sitecode", "origin", "autoMade"):
            if name in given and given[name] != goal[name]:
                raise serializers.ValidationError({name: "This cannot be changed."})
        for name in ("status", "isArchived"):
            if name in given and given[name] != goal[name]:
                way = f"POST /api/goals/{goal['id']}/{'restore' if goal['isArchived'] else 'archive'}"
                raise serializers.ValidationError({name: f"Change this by {way}."})
        return attrs


class GoalQuery(PageQuery):
    """The filters, the order and the page of a list of goals."""

    tag = serializers.ListField(
        child=serializers.CharField(trim_whitespace=False), required=False, help_text="Repeat it for several tags."
    )
    tagsMode = serializers.ChoiceField(
        choices=["any", "all"], default="any", help_text="A goal must have any of the tags, or all of them."
    )
    status = serializers.ChoiceField(choices=["ACTIVE", "INACTIVE"], required=False, help_text="INACTIVE: archived.")
    autoMade = serializers.BooleanField(required=False, help_text="True: only goals that an event created.")
    site = serializers.CharField(required=False, help_text="A sitecode.")
    search = serializers.CharField(
        required=False,
        allow_blank=True,
        trim_whitespace=False,
        help_text="Words of the name or of the display name, in any order; case, accents, dashes and Unicode forms do "
        "not matter.",
    )
    ordering = serializers.ChoiceField(
        choices=[f"{sign}{key}" for key in ORDERINGS for sign in ("", "-")],
        default="name",
        help_text="With `-` descending. Goals of equal rank are in the order of their ids. Goals without a last "
        "conversion, or without revenue in the currency, are always last.",
    )
    currency = serializers.CharField(
        required=False,
        max_length=3,
        help_text="The currency of the order `revenue`. Default: the currency of most goals.",
    )
