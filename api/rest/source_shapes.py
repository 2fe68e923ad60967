"""Sources as JSON, with their write keys, counts and budgets."""
# ruff: noqa: N815 - the names are the wire's

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from drf_spectacular.utils import extend_schema_serializer
from rest_framework import serializers

from api.http.budgets import BudgetUse
from api.ingest.refusals import RefusalCounts
from api.ingest.source_counts import SourceCounts
from api.models import DuplicateSources, Source, WriteKey
from api.models.budgets import MAX_BUDGET, BudgetSpan
from api.rest.reading import Query

MOST_OVERLAP = 8_760  # hours


@dataclass(frozen=True, slots=True)
class DuplicateOf:
    """A pair of sources that send the same events, as one of the two sees it."""

    pair: DuplicateSources
    other_id: int


@dataclass(frozen=True, slots=True)
class SourceReport:
    """A source with the counts of its events."""

    source: Source
    ever: SourceCounts
    day: SourceCounts
    duplicate_sources: list[DuplicateOf]
    used: Mapping[BudgetSpan, BudgetUse]
    counted: Mapping[str, RefusalCounts]

    @property
    def uses(self) -> list["Use"]:
        """Return the use of each budget."""
        return [Use(span, *self.source.budget.limits(span), self.used[span]) for span in BudgetSpan]

    @property
    def rejected(self) -> list["RejectedFor"]:
        """Return the counts of rejected events by reason."""
        return [RejectedFor(reason, counts) for reason, counts in self.counted.items()]


@dataclass(frozen=True, slots=True)
class RejectedFor:
    """Counts of the events that were rejected for a reason."""

    reason: str
    counts: RefusalCounts


@dataclass(frozen=True, slots=True)
class Use:
    """A budget of a source in a span, and its use."""

    span: BudgetSpan
    most_events: int
    most_bytes: int
    used: BudgetUse


@extend_schema_serializer(component_name="WriteKey")
class WriteKeyShape(serializers.Serializer[WriteKey]):
    """A key that can only write, into one source. It is not secret: pages contain it."""

    key = serializers.CharField()
    dateCreated = serializers.DateTimeField(source="created_at")
    endsAt = serializers.DateTimeField(source="ends_at", allow_null=True, help_text="Refused from this time on.")


@extend_schema_serializer(component_name="DuplicateSource")
class DuplicateShape(serializers.Serializer[DuplicateOf]):
    """Another source that sends the same events of the same visitors, each with a messageId of its own."""

    source = serializers.IntegerField(  # type: ignore[assignment]  # a field's own name, which is no field here
        source="other_id", help_text="The id of the other source. One of the two should not take track events."
    )
    eventName = serializers.CharField(source="pair.event_name", help_text="The event of the latest pair.")
    count = serializers.IntegerField(source="pair.count")
    lastSeenAt = serializers.DateTimeField(source="pair.last_seen_at")


class FiguresShape(serializers.Serializer[SourceCounts]):
    """Counts of received messages."""

    received = serializers.IntegerField(help_text="With duplicates and rejected events.")
    duplicates = serializers.IntegerField()
    rejected = serializers.IntegerField(help_text="Rejected on arrival.")


@extend_schema_serializer(component_name="BudgetUse")
class UseShape(serializers.Serializer[Use]):
    """A budget of a source, and its use now."""

    span = serializers.ChoiceField(choices=[span.value for span in BudgetSpan], help_text="Days are UTC.")
    mostEvents = serializers.IntegerField(source="most_events")
    mostBytes = serializers.IntegerField(source="most_bytes", help_text="Bytes of bodies after decompression.")
    events = serializers.IntegerField(source="used.events", help_text="With duplicates and rejected events.")
    bytes = serializers.IntegerField(source="used.bytes")
    turnedAway = serializers.IntegerField(
        source="used.turned_away",
        help_text="Requests answered 429 because the budget was used up; nothing of them was stored.",
    )


@extend_schema_serializer(component_name="RejectedEvents")
class RejectedShape(serializers.Serializer[RejectedFor]):
    """Counts of the events of a source that were rejected on arrival, as long as such events are kept."""

    reason = serializers.CharField()
    kept = serializers.IntegerField(source="counts.kept", help_text="Stored; they can be read and retried.")
    copies = serializers.IntegerField(source="counts.copies", help_text="Identical to a stored one.")
    notKept = serializers.IntegerField(
        source="counts.not_kept", help_text="Over the daily allowance of a source: counted, not stored."
    )


@extend_schema_serializer(component_name="Source")
class SourceShape(serializers.Serializer[SourceReport]):
    """One sender of events into a site."""

    id = serializers.IntegerField(source="source.pk")
    sitecode = serializers.CharField(source="source.site.sitecode")
    name = serializers.CharField(source="source.name")
    kind = serializers.ChoiceField(source="source.kind", choices=Source.Kind.values)
    isEnabled = serializers.BooleanField(source="source.is_enabled", help_text="False: its events are answered 403.")
    takesTrack = serializers.BooleanField(
        source="source.takes_track",
        help_text="False: its track events have no effect, because another source sends the same ones.",
    )
    dateCreated = serializers.DateTimeField(source="source.created_at")
    writeKeys = WriteKeyShape(source="source.write_keys", many=True)
    lastSeenAt = serializers.DateTimeField(source="ever.last_received_at", allow_null=True)
    received = serializers.IntegerField(source="ever.received", help_text="All time, as the next two.")
    duplicates = serializers.IntegerField(source="ever.duplicates")
    rejected = serializers.IntegerField(source="ever.rejected")
    last24Hours = FiguresShape(source="day", help_text="In whole hours.")
    duplicateSources = DuplicateShape(source="duplicate_sources", many=True)
    eventsPerMinute = serializers.IntegerField(
        source="source.events_per_minute",
        allow_null=True,
        help_text="Its own budget, as the next three; null: the default.",
    )
    bytesPerMinute = serializers.IntegerField(source="source.bytes_per_minute", allow_null=True)
    eventsPerDay = serializers.IntegerField(source="source.events_per_day", allow_null=True)
    bytesPerDay = serializers.IntegerField(source="source.bytes_per_day", allow_null=True)
    budgets = UseShape(source="uses", many=True)
    rejectedByReason = RejectedShape(source="rejected", many=True)


class BudgetField(serializers.IntegerField):
    """A limit of a budget, null for the default."""

    def __init__(self, **options: Any) -> None:
        super().__init__(required=False, allow_null=True, min_value=1, max_value=MAX_BUDGET, **options)


class SourceChange(serializers.Serializer[Any]):
    """Changes of a source. Fields that are left out stay; other fields may be sent unchanged."""

    name = serializers.CharField(max_length=100, required=False)
    isEnabled = serializers.BooleanField(source="is_enabled", required=False)
    takesTrack = serializers.BooleanField(source="takes_track", required=False)
    eventsPerMinute = BudgetField(
        source="events_per_minute", help_text="Beyond it senders get 429. Null: the default of its kind, as below."
    )
    bytesPerMinute = BudgetField(source="bytes_per_minute", help_text="Bytes of bodies after decompression.")
    eventsPerDay = BudgetField(source="events_per_day", help_text="Days are UTC.")
    bytesPerDay = BudgetField(source="bytes_per_day")

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Return the changes. Raises ValidationError for a change that would be ignored."""
        for name in ("id", "sitecode", "kind"):
            if name in self.initial_data and self.initial_data[name] != self.context["source"][name]:
                raise serializers.ValidationError({name: "This cannot be changed."})
        return attrs


class NewSource(serializers.Serializer[Any]):
    """A source to create. Every site has exactly one Segment destination already."""

    sitecode = serializers.CharField(required=False, help_text="The site, if your credential opens several.")
    name = serializers.CharField(max_length=100)
    kind = serializers.ChoiceField(choices=[kind for kind in Source.Kind.values if kind not in Source.SINGLE_KINDS])
    writeKey = serializers.CharField(
        source="write_key",
        required=False,
        max_length=64,
        help_text="A key that its senders already use. Default: a new key.",
    )


class Rotation(serializers.Serializer[Any]):
    """The time for which the old keys of a source still work."""

    overlapHours = serializers.IntegerField(default=24, min_value=0, max_value=MOST_OVERLAP)


class SourceQuery(Query):
    """The filter of the list of sources."""

    site = serializers.CharField(required=False, help_text="A sitecode; all your sites without it.")
