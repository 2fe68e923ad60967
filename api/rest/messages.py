"""`/api/messages/{id}/trace`, `/api/trace` and `/api/why-not` (promise N-04), in the sentences of the pages."""
# ruff: noqa: N815 - the names are the wire's

from collections.abc import Collection
from itertools import product
from typing import Any, Final

from django.db.models import prefetch_related_objects
from drf_spectacular.utils import extend_schema, extend_schema_serializer
from rest_framework import serializers
from rest_framework.exceptions import NotFound
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from api.events.effects import Effect
from api.events.envelope import read_message_id
from api.events.reasons import REASONS
from api.events.types import ALL_TYPES
from api.insight.trace import trace
from api.insight.trace_steps import StepState, TraceLine, TraceStep
from api.insight.why_not import Sentence, WhyNotAnswer, why_not
from api.models import Message, TokenScope
from api.models.message_rows import find_by_keys
from api.rest.access import audit_reading, find_in_sites, open_site, visible_sites
from api.rest.goals import find_goal
from api.rest.reading import Query
from api.rest.schema import answers

MOST_FOUND: Final = 100  # a sender may resend a rejected event as often as it likes
REASON_HELP: Final = f"A code; empty if there was no problem. One of {', '.join(REASONS)}."
MOODS: Final = {"good": "good", "warn": "warning", "bad": "bad", "": "plain"}


@extend_schema_serializer(component_name="TraceLine")
class LineShape(serializers.Serializer[TraceLine]):
    """A detail of a step."""

    label = serializers.CharField()  # type: ignore[assignment]  # a field's own name, which is no field here
    text = serializers.CharField()
    goalId = serializers.IntegerField(source="goal_id", allow_null=True)
    message = serializers.IntegerField(source="message_id", allow_null=True, help_text="The id of another message.")
    person = serializers.CharField(help_text="An identifier of a person; empty if the line names no one.")


@extend_schema_serializer(component_name="TraceStep")
class StepShape(serializers.Serializer[TraceStep]):
    """A step with its reason and time."""

    title = serializers.CharField()
    state = serializers.ChoiceField(choices=[state.value for state in StepState])
    text = serializers.CharField(help_text="What happened, and why.")
    at = serializers.DateTimeField(allow_null=True)
    lines = LineShape(many=True)


@extend_schema_serializer(component_name="Trace")
class TraceShape(serializers.Serializer[Any]):
    """A message and its way from the request to the profile."""

    id = serializers.IntegerField(source="message.pk")
    messageId = serializers.CharField(source="message.message_id", allow_null=True, help_text="The sender's.")
    sitecode = serializers.CharField(source="message.site.sitecode")
    type = serializers.CharField(source="message.type")
    status = serializers.ChoiceField(source="message.status", choices=Message.Status.values)
    reason = serializers.CharField(source="message.reason", help_text=REASON_HELP)
    sentence = serializers.CharField(source="message.sentence", help_text="The reason in words.")
    effects = serializers.ListField(
        source="message.effects", child=serializers.ChoiceField(choices=[effect.value for effect in Effect])
    )
    warnings = serializers.ListField(source="message.warnings", child=serializers.CharField())
    goalId = serializers.IntegerField(source="message.goal_id", allow_null=True)
    receivedAt = serializers.DateTimeField(source="message.received_at")
    occurredAt = serializers.DateTimeField(source="message.occurred_at")
    digestedAt = serializers.DateTimeField(source="message.digested_at", allow_null=True)
    reading = serializers.IntegerField(
        source="trace.reading",
        help_text="The version of what events mean under which it was processed, or else the newest.",
    )
    verdict = serializers.CharField(source="trace.verdict.sentence", help_text="How the message ended, in a sentence.")
    steps = StepShape(source="trace.steps", many=True)
    differences = serializers.ListField(
        source="trace.differences", child=serializers.CharField(), help_text="Results that would be different today."
    )


@extend_schema_serializer(component_name="FoundMessage")
class FoundShape(serializers.Serializer[Message]):
    """A message with the messageId asked for."""

    id = serializers.IntegerField(source="pk")
    sitecode = serializers.CharField(source="site.sitecode")
    type = serializers.CharField(help_text="Empty if it was rejected before its type was known.")
    status = serializers.ChoiceField(choices=Message.Status.values)
    reason = serializers.CharField(help_text=REASON_HELP)
    sentence = serializers.CharField(help_text="The reason in words.")
    receivedAt = serializers.DateTimeField(source="received_at")
    trace = serializers.SerializerMethodField(help_text="The path of its trace.")

    def get_trace(self, message: Message) -> str:
        return f"/api/messages/{message.pk}/trace"


@extend_schema_serializer(component_name="FoundTrace")
class FoundTraceShape(TraceShape):
    """The newest message with a messageId, and all others with it."""

    messages = FoundShape(many=True, help_text=f"All messages with the messageId, newest first; {MOST_FOUND} at most.")


@extend_schema_serializer(component_name="Sentence")
class SentenceShape(serializers.Serializer[Sentence]):
    """A sentence of the answer."""

    code = serializers.CharField(help_text="The sentence for programs: `kept_away`, `deferred`, `nearly_the_name`…")
    text = serializers.CharField()
    mood = serializers.SerializerMethodField(help_text="good, warning, bad or plain.")
    messages = serializers.ListField(
        child=serializers.IntegerField(), help_text="Ids of the messages that it is about."
    )

    def get_mood(self, sentence: Sentence) -> str:
        return MOODS[sentence.mood]


@extend_schema_serializer(component_name="WhyNot")
class WhyNotShape(serializers.Serializer[WhyNotAnswer]):
    """The reasons why there is, or is not, a conversion."""

    hasConverted = serializers.BooleanField(source="has_converted")
    sentences = SentenceShape(many=True)


class TraceQuery(Query):
    messageId = serializers.CharField(max_length=10_000, trim_whitespace=False, help_text="The sender's messageId.")
    type = serializers.ChoiceField(
        choices=ALL_TYPES, required=False, help_text="If messages of several types have this id."
    )
    site = serializers.CharField(required=False, help_text="A sitecode; all your sites without it.")


class WhyNotQuery(Query):
    visitor = serializers.CharField(
        max_length=255, trim_whitespace=False, help_text="Any identifier: a visitor code, a user id, an anonymous id."
    )
    goal = serializers.IntegerField(min_value=1, max_value=2**63 - 1, help_text="The id of a goal.")
    site = serializers.CharField(required=False, help_text="The sitecode of the goal; optional.")


class TraceOfMessage(APIView):
    reads_need = TokenScope.READ_PERSONAL

    @extend_schema(operation_id="readTrace", tags=["messages"], responses=answers(200, TraceShape, 404))
    def get(self, request: Request, number: int) -> Response:
        """Show what happened to a message, step by step, each with its reason and time."""
        message = find_in_sites(request, Message.objects.select_related("site"), number)
        audit_reading(request, {message.site_id})
        return Response(TraceShape(with_trace(message)).data)


class TraceOfMessageId(APIView):
    reads_need = TokenScope.READ_PERSONAL

    @extend_schema(
        operation_id="findTrace",
        tags=["messages"],
        parameters=[TraceQuery],
        responses=answers(200, FoundTraceShape, 400, 404),
    )
    def get(self, request: Request) -> Response:
        """Show what happened to the newest message with a messageId, and list all others with it.

        Answers of `/segmentio` point here. A rejected event that was sent again has several messages.
        """
        query = TraceQuery.read(request)
        sites = visible_sites(request, query.get("site", ""))
        messages = find_by_message_id(sites, query["messageId"], type_=query.get("type", ""))
        if not messages:
            raise NotFound
        audit_reading(request, {message.site_id for message in messages})
        return Response(FoundTraceShape({**with_trace(messages[0]), "messages": messages}).data)


class WhyNot(APIView):
    reads_need = TokenScope.READ_PERSONAL

    @extend_schema(
        operation_id="readWhyNot",
        tags=["messages"],
        parameters=[WhyNotQuery],
        responses=answers(200, WhyNotShape, 400, 404),
    )
    def get(self, request: Request) -> Response:
        """Explain why there is, or is not, a conversion of a goal by a visitor, from the newest 10,000 messages."""
        query = WhyNotQuery.read(request)
        goal = find_goal(request, query["goal"], follows_merge=True)
        site = open_site(request, sitecode=query.get("site"), site_id=goal.site_id)
        audit_reading(request, {site.pk})
        return Response(WhyNotShape(why_not(site, query["visitor"], goal)).data)


def with_trace(message: Message) -> dict[str, Any]:
    """Return a message and its trace, as TraceShape takes them. At most 13 queries."""
    prefetch_related_objects([message.site], "sources", "rules")
    return {"message": message, "trace": trace(message.site, message)}


def find_by_message_id(site_ids: Collection[int], message_id: str, *, type_: str) -> list[Message]:
    """Return the messages with this messageId, newest first, MOST_FOUND at most. Three queries a site.

    Rejected messages have an index of their own, because they have no key.
    """
    stored_as, _ = read_message_id(message_id)  # a long one is stored as its hash
    names = {message_id, stored_as or message_id}
    found: list[Message] = []
    for site_id in site_ids:
        messages = Message.objects.filter(site_id=site_id).select_related("site").defer("detail")
        taken = find_by_keys(site_id, product([type_] if type_ else ALL_TYPES, names)).values()
        rejected = messages.filter(status=Message.Status.REJECTED, message_id__in=names)
        if type_:
            rejected = rejected.filter(type__in=[type_, ""])  # rejected before its type was known
        found += [*messages.filter(pk__in=taken), *rejected.order_by("-pk")[:MOST_FOUND]]
    return sorted(found, key=lambda message: -message.pk)[:MOST_FOUND]
