"""Goals as the API spells them: the names of Kameleoon's Automation API (promises W13), and a few of ours."""
# ruff: noqa: N815 - the names are the wire's

from typing import Any, Literal, cast

from drf_spectacular.utils import extend_schema_serializer
from rest_framework import serializers

from api.rest.reading import Query
from goals.models import GOAL_NAME_LENGTH, Goal, GoalBinding
from goals.ordering import ORDERINGS

TAGS_LIMIT = 100
PAGE_LIMIT = 200


class TagNames(serializers.ListField):
    """Names of tags, without white space around them; case counts."""

    child = serializers.CharField(max_length=100)


class Event(serializers.Serializer[GoalBinding]):
    """What an event is called: its type (track, page, screen) and its name."""

    type = serializers.CharField(source="event_type")
    name = serializers.CharField(source="event_name")


@extend_schema_serializer(component_name="Goal")
class GoalShape(serializers.Serializer[Goal]):
    """A named target."""  # made from a row of goals.finding.live_goals

    id = serializers.IntegerField()
    name = serializers.CharField()
    siteId = serializers.IntegerField(source="site_id")
    sitecode = serializers.CharField(source="site.sitecode")
    type = serializers.ChoiceField(choices=Goal.Type.values)
    status = serializers.SerializerMethodField(help_text="INACTIVE once archived.")
    description = serializers.CharField()
    hasMultipleConversions = serializers.BooleanField(
        source="has_multiple_conversions", help_text="Whether every conversion counts, or one a visit."
    )
    tags = serializers.SerializerMethodField()
    isArchived = serializers.SerializerMethodField(help_text="An archived goal still converts.")
    origin = serializers.ChoiceField(choices=Goal.Origin.values, help_text="Who made it.")
    autoMade = serializers.SerializerMethodField(help_text="Whether an event made it.")
    dateCreated = serializers.DateTimeField(source="created_at")
    dateModified = serializers.DateTimeField(source="updated_at")
    lastConversion = serializers.DateTimeField(
        source="last_conversion_at", allow_null=True, help_text="The latest time at which an event converted it."
    )
    boundEvents = Event(
        source="bindings", many=True, help_text="The events that convert it whatever it is called (`keepReceiving`)."
    )

    mergedInto = serializers.SerializerMethodField(
        help_text="The id of this goal, where another one was asked for that is merged into it."
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
    """What a person decides about a goal."""

    name = serializers.CharField(
        max_length=GOAL_NAME_LENGTH, trim_whitespace=False, help_text="Unique among the site's goals; kept to the byte."
    )
    type = serializers.ChoiceField(choices=Goal.Type.values, required=False)
    description = serializers.CharField(required=False, allow_blank=True, trim_whitespace=False)
    hasMultipleConversions = serializers.BooleanField(source="has_multiple_conversions", required=False)
    tags = TagNames(required=False, max_length=TAGS_LIMIT)


class NewGoal(GoalFields):
    """A goal to be made. It consumes nothing of the quota that events have."""

    sitecode = serializers.CharField(required=False, help_text="Which site; or `siteId`, or neither if it is clear.")
    siteId = serializers.IntegerField(source="site_id", required=False, min_value=1, max_value=2**63 - 1)


class GoalChange(GoalFields):
    """What to change of a goal; what is left out stays. Other fields of a goal may be sent along as they are."""

    keepReceiving = serializers.BooleanField(
        source="keeps_receiving",
        required=False,
        help_text="With a new name: the events that convert the goal today go on doing so. "
        "Otherwise a goal that an event made is not found again under a new name, and the next event makes another.",
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Refuse a change that would be ignored."""
        goal = self.context["goal"]
        given = self.initial_data
        for name in ("id", "siteId", "sitecode", "origin", "autoMade"):
            if name in given and given[name] != goal[name]:
                raise serializers.ValidationError({name: "This cannot be changed."})
        for name in ("status", "isArchived"):
            if name in given and given[name] != goal[name]:
                way = f"POST /api/goals/{goal['id']}/{'restore' if goal['isArchived'] else 'archive'}"
                raise serializers.ValidationError({name: f"This is changed by {way}."})
        return attrs


class GoalQuery(Query):
    """Which goals are wanted, and which page of them."""

    tag = serializers.ListField(
        child=serializers.CharField(trim_whitespace=False), required=False, help_text="Repeat it for several."
    )
    tagsMode = serializers.ChoiceField(
        choices=["any", "all"], default="any", help_text="Whether a goal needs any of the tags, or all of them."
    )
    status = serializers.ChoiceField(choices=["ACTIVE", "INACTIVE"], required=False, help_text="INACTIVE: archived.")
    autoMade = serializers.BooleanField(required=False, help_text="Whether an event made the goal.")
    site = serializers.CharField(required=False, help_text="A sitecode.")
    search = serializers.CharField(
        required=False,
        allow_blank=True,
        trim_whitespace=False,
        help_text="Words of the name, in any order; case, accents, dashes and Unicode forms do not matter.",
    )
    ordering = serializers.ChoiceField(
        choices=[f"{sign}{key}" for key in ORDERINGS for sign in ("", "-")],
        default="name",
        help_text="With `-` backwards. Goals of one rank stand in the order of their ids; those without a last "
        "conversion, or without revenue in the currency, stand last either way.",
    )
    currency = serializers.CharField(
        required=False,
        max_length=3,
        help_text="Whose revenue `revenue` orders by; without it, that of the currency in which most goals have some.",
    )
    page = serializers.IntegerField(default=1, min_value=1, help_text="From 1. A page beyond the last is empty.")
    perPage = serializers.IntegerField(default=50, min_value=1, max_value=PAGE_LIMIT)
