"""Segments as JSON: definitions, members, entries and exits, and the reasons for one person."""
# ruff: noqa: N815 - the names are the wire's

from typing import Any, Final, cast

from drf_spectacular.utils import OpenApiExample, extend_schema_field, extend_schema_serializer
from rest_framework import serializers

from api.insight.segments import SegmentReason, SegmentReport, SegmentState
from cohorts.segment_tables import DESCRIPTION_LENGTH, NAME_LENGTH
from cohorts.segments.conditions import write_condition
from cohorts.segments.listing import ChangesOfDay, EntryOrExit, ListedMember

EXAMPLE: Final = [
    [{"on": "trait", "path": ["plan"], "test": {"type": "text", "texts": ["pro", "team"]}}],
    [
        {"on": "goal", "goal": 1001, "times": 2, "days": 30},
        {"on": "persona", "name": "vip"},
    ],
    [{"on": "seen", "which": "last", "test": {"type": "date", "how": "longer_ago", "days": 7}, "negated": True}],
]
CONDITIONS_HELP: Final = (
    "Groups of conditions. A person is in the segment if in each group at least one condition holds. `on` is `trait` "
    "or `groupTrait` (with `path` and `test`), `group` (`ids`), `persona` (`name`), `customData` (`index`, `test`), "
    "`goal` (`goal`, and `times`, `days`, `revenue` with `currency`), `seen` (`which`: first or last, `test`), "
    "`visits` (`test`, `days`), `source` (`source`) or `segment` (`segment`), each also with `negated`. "
    "`seen` is any event or the beginning of a visit. `visits` takes a `number` test and up to 365 `days`. "
    "A `test` has a `type`: `any`, `text` (`texts`, `how`: equals, contains, begins, ends), `number` (`how`: equals, "
    "above, at_least, below, at_most, between; `number`, `most`), `boolean` (`isTrue`), `date` (`how`: before, since "
    "with `date`; within, longer_ago, in_next with `days`) or `list` (`texts`, `how`: any, all)."
)


@extend_schema_field({"type": "array", "items": {"type": "array", "items": {"type": "object"}}})
class ConditionsField(serializers.JSONField):
    """Conditions of a segment, which cohorts.segments.validation checks."""


class SegmentFields(serializers.Serializer[Any]):
    """The editable fields of a segment."""

    name = serializers.CharField(max_length=NAME_LENGTH, help_text="Unique in the site: its key in remote data.")
    description = serializers.CharField(required=False, allow_blank=True, max_length=DESCRIPTION_LENGTH)
    conditions = ConditionsField(help_text=CONDITIONS_HELP)


class NamedSegment(serializers.Serializer[Any]):
    id = serializers.IntegerField(source="pk")
    name = serializers.CharField()


@extend_schema_serializer(
    component_name="Segment",
    examples=[
        OpenApiExample(
            "A segment",
            value={
                "id": 7,
                "name": "Paying and active",
                "description": "",
                "siteId": 1,
                "sitecode": "1q2w3e4r5t",
                "conditions": EXAMPLE,
                "version": 2,
                "state": "ready",
                "percent": 100,
                "members": 1_204,
                "isCounted": True,
                "dependents": [{"id": 9, "name": "Win back"}],
                "customData": [4],
                "withheldBecause": "SDKs know only that a goal was converted: neither how often, nor when.",
                "dateCreated": "2026-11-22T08:30:00Z",
                "dateModified": "2026-11-23T08:30:00Z",
            },
            response_only=True,
        )
    ],
)
class SegmentShape(serializers.Serializer[SegmentReport]):
    """A named audience that conditions decide."""

    id = serializers.IntegerField(source="segment.pk")
    name = serializers.CharField(source="segment.name")
    description = serializers.CharField(source="segment.description")
    siteId = serializers.IntegerField(source="segment.site_id")
    sitecode = serializers.CharField(source="segment.site.sitecode")
    conditions = ConditionsField(source="segment.conditions", help_text="Groups of conditions, as they were sent.")
    version = serializers.IntegerField(source="segment.version", help_text="Counts changes of the conditions, from 1.")
    state = serializers.ChoiceField(
        choices=[each.value for each in SegmentState],
        help_text="`filling`: a worker looks for its members, and remote data has only those found so far.",
    )
    percent = serializers.IntegerField(help_text="The share of people that were looked at.")
    members = serializers.SerializerMethodField(
        help_text="The number of persons, a lower bound unless `isCounted`. Null without the scope `read:personal`."
    )
    isCounted = serializers.BooleanField(source="is_counted")
    dependents = NamedSegment(many=True, help_text="The segments that name it, also through others.")
    customData = serializers.ListField(
        source="custom_data", child=serializers.IntegerField(), help_text="Indexes of custom data filled from it."
    )
    withheldBecause = serializers.SerializerMethodField(
        help_text="Why Kameleoon's SDKs do not get it in their configuration; null if they do."
    )
    dateCreated = serializers.DateTimeField(source="segment.created_at")
    dateModified = serializers.DateTimeField(source="segment.updated_at")

    def get_members(self, reported: SegmentReport) -> int | None:
        return reported.members if self.context["shows_members"] else None

    def get_withheldBecause(self, reported: SegmentReport) -> str | None:  # noqa: N802
        return cast("str | None", self.context["withheld"].get(reported.segment.pk))


@extend_schema_serializer(
    component_name="NewSegment",
    examples=[
        OpenApiExample(
            "A new segment",
            value={"name": "Paying and active", "conditions": EXAMPLE, "sitecode": "1q2w3e4r5t"},
            request_only=True,
        )
    ],
)
class NewSegment(SegmentFields):
    """A segment to create. A worker looks for its members."""

    sitecode = serializers.CharField(required=False, help_text="Needed if your credential opens several sites.")


@extend_schema_serializer(component_name="SegmentChange")
class ChangedSegment(SegmentFields):
    """Changes of a segment. Fields that are left out stay."""


@extend_schema_serializer(
    component_name="SegmentToTry",
    examples=[OpenApiExample("A draft", value={"conditions": EXAMPLE, "segmentId": 7}, request_only=True)],
)
class SegmentToTry(serializers.Serializer[Any]):
    """Conditions to try, as a new segment or in place of those of a segment."""

    conditions = ConditionsField(help_text="As those of a segment.")
    segmentId = serializers.IntegerField(
        source="segment_id", required=False, min_value=1, max_value=2**63 - 1, help_text="The segment to edit."
    )
    sitecode = serializers.CharField(required=False, help_text="Needed if your credential opens several sites.")


@extend_schema_serializer(component_name="PersonKey")
class PersonKeyShape(serializers.Serializer[Any]):
    """A person by the identifier that all others lead to."""

    kind = serializers.CharField(help_text="`user`, `anonymous` or `visitor`.")
    value = serializers.CharField()


@extend_schema_serializer(component_name="SegmentPreview")
class PreviewShape(serializers.Serializer[Any]):
    """The members that conditions would give, among the people that were looked at."""

    people = serializers.IntegerField(help_text="The number of people that were looked at.")
    isComplete = serializers.BooleanField(source="is_complete", help_text="True: these are all people of the site.")
    members = serializers.IntegerField()
    entering = serializers.IntegerField(help_text="Those who are not in the segment now.")
    leaving = serializers.IntegerField(help_text="Those who are in the segment now, and would no longer be.")
    sample = PersonKeyShape(many=True, help_text="Ten members at most.")
    enteringSample = PersonKeyShape(source="entering_sample", many=True)
    leavingSample = PersonKeyShape(source="leaving_sample", many=True)


@extend_schema_serializer(component_name="SegmentMember")
class SegmentMemberShape(serializers.Serializer[ListedMember]):
    """A person who is in a segment, by the identifier that all others lead to."""

    kind = serializers.CharField(source="kind.label", help_text="`user`, `anonymous` or `visitor`.")
    value = serializers.CharField()
    since = serializers.DateTimeField()
    until = serializers.DateTimeField(allow_null=True, help_text="When time alone ends it; null if never.")


@extend_schema_serializer(component_name="SegmentMemberPage")
class SegmentMembersShape(serializers.Serializer[Any]):
    results = SegmentMemberShape(many=True, help_text="A page may be short or empty although more follow.")
    next = serializers.IntegerField(allow_null=True, help_text="The `cursor` of the next page; null on the last.")


@extend_schema_serializer(component_name="SegmentDay")
class SegmentDayShape(serializers.Serializer[ChangesOfDay]):
    """Entries and exits on a day of the site's time zone. A change of the conditions counts as neither."""

    day = serializers.DateField()
    entered = serializers.IntegerField()
    left = serializers.IntegerField()


@extend_schema_serializer(component_name="SegmentEntry")
class SegmentEntryShape(serializers.Serializer[EntryOrExit]):
    """An entry of a person into a segment, or an exit."""

    at = serializers.DateTimeField()
    hasEntered = serializers.BooleanField(source="has_entered", help_text="False: the person left.")
    kind = serializers.CharField(source="kind.label", help_text="`user`, `anonymous` or `visitor`.")
    value = serializers.CharField()


@extend_schema_serializer(component_name="SegmentEntryPage")
class SegmentEntriesShape(serializers.Serializer[Any]):
    results = SegmentEntryShape(many=True)
    next = serializers.CharField(allow_null=True, help_text="The `cursor` of the next page; null on the last.")


@extend_schema_serializer(component_name="ConditionReason")
class ConditionReasonShape(serializers.Serializer[Any]):
    """A condition and its result for a person."""

    condition = serializers.SerializerMethodField()
    holds = serializers.BooleanField()
    until = serializers.DateTimeField(allow_null=True, help_text="When time alone turns it; null if never.")

    def get_condition(self, reason: Any) -> dict[str, Any]:
        return write_condition(reason.condition)


@extend_schema_serializer(component_name="SegmentReason")
class SegmentReasonShape(serializers.Serializer[SegmentReason]):
    """The result of a segment for a person, with that of each condition."""

    id = serializers.IntegerField(source="segment.pk")
    name = serializers.CharField(source="segment.name")
    isMember = serializers.BooleanField(source="is_member", help_text="By the facts that are known now.")
    since = serializers.DateTimeField(allow_null=True, help_text="Null if it was never otherwise, or is not known.")
    until = serializers.DateTimeField(allow_null=True, help_text="When time alone turns it; null if never.")
    isServed = serializers.BooleanField(
        source="is_served", allow_null=True, help_text="As remote data has it; null while the segment is filling."
    )
    groups = serializers.ListField(
        child=ConditionReasonShape(many=True), help_text="In each group at least one condition must hold."
    )
