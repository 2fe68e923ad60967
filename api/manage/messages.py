"""`/api/messages/{id}/trace`, `/api/trace` and `/api/why-not`: what happened to a message, and why a visitor did not
convert a goal (promise N-04). The sentences are those of the pages, from the same code.
"""
# ruff: noqa: N815 - the names are the wire's

from typing import Any, Final

from django.db.models import QuerySet, prefetch_related_objects
from drf_spectacular.utils import extend_schema, extend_schema_serializer
from rest_framework import serializers
from rest_framework.exceptions import NotFound
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from api.ingest.wire import TYPES
from api.insight.trace import Line, State, Step, trace
from api.insight.why_not import Answer, Sentence, why_not
from api.manage.access import caller_of, open_site, visible_sites
from api.manage.goals import find_goal
from api.manage.reading import Query
from api.manage.schema import answers
from api.models import Message

MOODS: Final = {"good": "good", "warn": "warning", "bad": "bad", "": "plain"}


@extend_schema_serializer(component_name="TraceLine")
class LineShape(serializers.Serializer[Line]):
    """A detail of a step."""

    label = serializers.CharField()  # type: ignore[assignment]  # a field's own name, which is no field here
    text = serializers.CharField()
    goalId = serializers.IntegerField(source="goal_id", allow_null=True)
    message = serializers.IntegerField(source="message_id", allow_null=True, help_text="The id of another message.")
    person = serializers.CharField(help_text="An identifier of somebody; empty where it names nobody.")


@extend_schema_serializer(component_name="TraceStep")
class StepShape(serializers.Serializer[Step]):
    """One step, with its reason and its time."""

    title = serializers.CharField()
    state = serializers.ChoiceField(choices=[state.value for state in State])
    text = serializers.CharField(help_text="What happened, and why.")
    at = serializers.DateTimeField(allow_null=True)
    lines = LineShape(many=True)


@extend_schema_serializer(component_name="Trace")
class TraceShape(serializers.Serializer[Any]):
    """A message, and what happened to it from the door to the profile."""

    id = serializers.IntegerField(source="message.pk")
    messageId = serializers.CharField(source="message.message_id", allow_null=True, help_text="The sender's.")
    sitecode = serializers.CharField(source="message.site.sitecode")
    type = serializers.CharField(source="message.type")
    status = serializers.ChoiceField(source="message.status", choices=Message.Status.values)
    reason = serializers.CharField(source="message.reason", help_text="A code; empty where all went well.")
    sentence = serializers.CharField(source="message.sentence", help_text="The reason in words.")
    effects = serializers.ListField(source="message.effects", child=serializers.CharField())
    warnings = serializers.ListField(source="message.warnings", child=serializers.CharField())
    goalId = serializers.IntegerField(source="message.goal_id", allow_null=True)
    receivedAt = serializers.DateTimeField(source="message.received_at")
    occurredAt = serializers.DateTimeField(source="message.occurred_at")
    digestedAt = serializers.DateTimeField(source="message.digested_at", allow_null=True)
    reading = serializers.IntegerField(
        source="trace.reading",
        help_text="The version of what events mean that it was read under; the newest where it is still to be read.",
    )
    steps = StepShape(source="trace.steps", many=True)
    differences = serializers.ListField(
        source="trace.differences", child=serializers.CharField(), help_text="What would be different today."
    )


@extend_schema_serializer(component_name="Sentence")
class SentenceShape(serializers.Serializer[Sentence]):
    """A part of the answer."""

    code = serializers.CharField(help_text="What it says, for programs: `kept_away`, `deferred`, `nearly_the_name`…")
    text = serializers.CharField()
    mood = serializers.SerializerMethodField(help_text="good, warning, bad or plain.")
    messages = serializers.ListField(child=serializers.IntegerField(), help_text="Ids of messages it is about.")

    def get_mood(self, sentence: Sentence) -> str:
        return MOODS[sentence.mood]


@extend_schema_serializer(component_name="WhyNot")
class WhyNotShape(serializers.Serializer[Answer]):
    """Why there is, or is not, a conversion."""

    hasConverted = serializers.BooleanField(source="has_converted")
    sentences = SentenceShape(many=True)


class TraceQuery(Query):
    messageId = serializers.CharField(max_length=255, trim_whitespace=False, help_text="As its sender called it.")
    type = serializers.ChoiceField(choices=TYPES, required=False, help_text="Where messages of several have this id.")
    site = serializers.CharField(required=False, help_text="A sitecode; all your sites without it.")


class WhyNotQuery(Query):
    visitor = serializers.CharField(
        max_length=255, trim_whitespace=False, help_text="Any identifier: a visitor code, a user id, an anonymous id."
    )
    goal = serializers.IntegerField(min_value=1, max_value=2**63 - 1, help_text="The id of a goal.")
    site = serializers.CharField(required=False, help_text="The sitecode of the goal, if you like: it is not needed.")


class TraceOfMessage(APIView):
    @extend_schema(operation_id="readTrace", tags=["messages"], responses=answers(200, TraceShape, 404))
    def get(self, request: Request, number: int) -> Response:
        """What happened to a message, step by step, each with its reason and time; by its number."""
        return Response(shape(Message.objects.filter(pk=number, site__in=caller_of(request).site_ids)))


class TraceOfMessageId(APIView):
    @extend_schema(
        operation_id="findTrace",
        tags=["messages"],
        parameters=[TraceQuery],
        responses=answers(200, TraceShape, 400, 404),
    )
    def get(self, request: Request) -> Response:
        """The same of the message that was taken with a messageId: where `/segmentio` points to in its answers."""
        query = TraceQuery.read(request)
        types = [query["type"]] if "type" in query else TYPES
        sites = visible_sites(request, query.get("site", ""))
        # By the index of the deduplication, which lacks what was rejected.
        taken = Message.objects.filter(site__in=sites, type__in=types, message_id=query["messageId"])
        return Response(shape(taken.exclude(status=Message.Status.REJECTED)))


class WhyNot(APIView):
    @extend_schema(
        operation_id="readWhyNot",
        tags=["messages"],
        parameters=[WhyNotQuery],
        responses=answers(200, WhyNotShape, 400, 404),
    )
    def get(self, request: Request) -> Response:
        """Why there is, or is not, a conversion of a goal by a visitor. Looks at the newest 10,000 messages."""
        query = WhyNotQuery.read(request)
        goal = find_goal(request, query["goal"], follows_merge=True)
        site = open_site(request, sitecode=query.get("site"), site_id=goal.site_id)
        visitor = query["visitor"].replace("\0", "\ufffd")  # as it is stored
        return Response(WhyNotShape(why_not(site, visitor, goal)).data)


def shape(messages: QuerySet[Message]) -> Any:
    """The trace of the newest of some messages as JSON. Raises NotFound. At most 14 queries."""
    message = messages.select_related("site").order_by("-pk").first()
    if message is None:
        raise NotFound
    prefetch_related_objects([message.site], "sources", "rules")
    return TraceShape({"message": message, "trace": trace(message.site, message)}).data
