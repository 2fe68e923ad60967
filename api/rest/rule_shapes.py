"""Rules as JSON, and the forecast of what they would change."""
# ruff: noqa: N815 - the names are the wire's

from typing import Any

from drf_spectacular.utils import extend_schema_serializer
from rest_framework import serializers

from api.digest.forecast import MOST_MESSAGES, Forecast, GoalForecast, ProfileForecast
from api.digest.site_config import rule_of
from api.events.types import ALL_TYPES
from api.models import Rule
from api.rest.reading import EventTypeField
from api.rules.actions import list_action_choices
from api.rules.validation import MAX_REDACTIONS, MAX_RULES, explain_too_many, find_problems


class Text(serializers.CharField):
    """Any text, byte for byte; empty by default."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"default": "", "allow_blank": True, "trim_whitespace": False, "max_length": 500, **options})


class Fields(serializers.DictField):
    """Names, each with a field of the event."""

    child = serializers.CharField(max_length=500, trim_whitespace=False)

    def to_internal_value(self, data: Any) -> dict[Any, Any]:
        """Return the fields. Raises ValidationError for a name as for a field."""
        fields = super().to_internal_value(data)
        for name in fields:
            self.child.run_validators(name)
        return fields


@extend_schema_serializer(component_name="Rule")
class RuleShape(serializers.Serializer[Rule]):
    """A condition, all parts of which must hold (an empty part always does), and an action."""

    source = serializers.IntegerField(  # type: ignore[assignment]  # a field's own name, which is no field here
        source="source_id",
        default=None,
        allow_null=True,
        min_value=1,
        max_value=2**63 - 1,
        help_text="The id of the source whose events it applies to; null for all sources of the site.",
    )
    name = Text(max_length=100)
    isEnabled = serializers.BooleanField(source="is_enabled", default=True)
    eventType = EventTypeField(source="event_type", choices=ALL_TYPES, allow_blank=True, default="")
    nameTest = serializers.ChoiceField(
        source="name_test", choices=Rule.NameTest.values, allow_blank=True, default="", help_text="With `nameValue`."
    )
    nameValue = Text(source="name_value")
    path = Text(help_text="A field such as `properties.plan` or `traits.tags.0`; with `pathTest`.")
    pathTest = serializers.ChoiceField(source="path_test", choices=Rule.PathTest.values, allow_blank=True, default="")
    pathValue = Text(source="path_value", help_text="With `equals`.")
    action = serializers.ChoiceField(choices=list_action_choices())
    argument = Text(help_text="The reason to ignore an event, the template, the pattern, or the field.")
    groupTraits = Fields(
        source="group_traits", default=dict, help_text="With `group_from`: traits of the group, each with its field."
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Return the rule. Raises ValidationError, each message under the field's JSON name."""
        names = {str(field.source): name for name, field in self.fields.items()}
        wrong = {names[name]: message for name, message in find_problems(rule_of(Rule(**attrs))).items()}
        if attrs["source_id"] is not None and attrs["source_id"] not in self.context["source_ids"]:
            wrong["source"] = "The site has no such source."
        if wrong:
            raise serializers.ValidationError(wrong)
        return attrs


@extend_schema_serializer(component_name="Rules")
class RulesShape(serializers.Serializer[Any]):
    """All rules of a site, in the order in which they run."""

    rules = serializers.ListField(
        child=RuleShape(),
        help_text=f"{MAX_RULES} at most, {MAX_REDACTIONS} of them `drop_field` or `hash_field`, or as many as now.",
    )

    def validate_rules(self, rules: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return the rules. Raises ValidationError for more than a site may have."""
        wrong = explain_too_many([rule["action"] for rule in rules], before=self.context["actions"])
        if wrong:
            raise serializers.ValidationError(wrong)
        return rules


@extend_schema_serializer(component_name="RulesToTry")
class Draft(RulesShape):
    """Rules for a forecast."""

    last = serializers.IntegerField(
        default=1_000, min_value=1, max_value=MOST_MESSAGES, help_text="The number of messages, the latest of the site."
    )


@extend_schema_serializer(component_name="GoalForecast")
class GoalForecastShape(serializers.Serializer[GoalForecast]):
    """A goal that the messages convert, under the present rules or under those tried."""

    name = serializers.CharField()
    isMade = serializers.BooleanField(source="is_made", help_text="True if the goal does not exist yet.")
    conversionsNow = serializers.IntegerField(source="conversions_now")
    conversionsThen = serializers.IntegerField(source="conversions_then")


@extend_schema_serializer(component_name="ProfileForecast")
class ProfileForecastShape(serializers.Serializer[ProfileForecast]):
    """The facts of one identity from these messages alone, under the present rules and under those tried."""

    kind = serializers.CharField(help_text="`user`, `anonymous` or `visitor`.")
    value = serializers.CharField()
    now = serializers.DictField()
    then = serializers.DictField()


@extend_schema_serializer(component_name="Forecast")
class ForecastShape(serializers.Serializer[Forecast]):
    """The differences. Each message counts once; the new-goal limit and earlier conversions are ignored."""

    messages = serializers.IntegerField(help_text="The number of messages examined.")
    goals = GoalForecastShape(many=True)
    goalsMadeNow = serializers.IntegerField(source="goals_made_now")
    goalsMadeThen = serializers.IntegerField(source="goals_made_then")
    conversionsNow = serializers.IntegerField(source="conversions_now")
    conversionsThen = serializers.IntegerField(source="conversions_then")
    droppedNow = serializers.IntegerField(source="dropped_now")
    droppedThen = serializers.IntegerField(source="dropped_then")
    rejectedNow = serializers.IntegerField(source="rejected_now")
    rejectedThen = serializers.IntegerField(source="rejected_then")
    revenueNow = serializers.DictField(
        source="revenue_now", child=serializers.DecimalField(20, 6), help_text="By currency, as are the conversions."
    )
    revenueThen = serializers.DictField(source="revenue_then", child=serializers.DecimalField(20, 6))
    profilesChanged = serializers.IntegerField(source="profiles_changed")
    profiles = ProfileForecastShape(many=True, help_text="The first few that change.")
