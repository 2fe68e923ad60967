"""People, personas, groups and receipts of erasures as JSON."""
# ruff: noqa: N815 - the names are the wire's

from typing import Any

from drf_spectacular.utils import extend_schema_serializer
from rest_framework import serializers

import times
from api.insight.people import Fact, Identifier, Person
from api.insight.person_rows import PersonRow
from api.models import Erasure
from cohorts.members import Member


@extend_schema_serializer(component_name="Fact")
class FactShape(serializers.Serializer[Fact]):
    """A fact from an event."""

    value = serializers.JSONField()
    at = serializers.DateTimeField(help_text="The time of the event.")
    messageId = serializers.CharField(source="message_id", help_text="The messageId of the event.")
    saidOf = serializers.CharField(source="said_of", help_text="The identifier that the event named.")


@extend_schema_serializer(component_name="NamedFact")
class NamedFactShape(FactShape):
    """A trait, a persona or a link, by its name."""

    name = serializers.CharField()


@extend_schema_serializer(component_name="Identifier")
class IdentifierShape(serializers.Serializer[Identifier]):
    """An id of a person."""

    kind = serializers.CharField(source="identity.get_kind_display", help_text="`user`, `anonymous` or `visitor`.")
    value = serializers.CharField(source="identity.value")
    owners = NamedFactShape(many=True, help_text="The ids that it points at.")
    firstVisitor = FactShape(
        source="first_visitor", allow_null=True, help_text="The visitor code of its conversions without one."
    )
    dateCreated = serializers.DateTimeField(source="identity.created_at")
    dateModified = serializers.DateTimeField(source="identity.updated_at")


@extend_schema_serializer(component_name="Person")
class PersonShape(serializers.Serializer[Person]):
    """Everything known through an identifier, joined over all identifiers that are linked to it."""

    identifiers = IdentifierShape(many=True, help_text="Users first.")
    usernames = serializers.ListField(child=serializers.CharField())
    traits = NamedFactShape(many=True)
    group = FactShape(allow_null=True)
    personas = NamedFactShape(many=True, help_text="The value is true for a member, false for one who left.")
    isCutOff = serializers.BooleanField(source="is_cut_off", help_text="True if more identifiers point at this person.")


@extend_schema_serializer(component_name="FoundPerson")
class FoundPersonShape(serializers.Serializer[PersonRow]):
    """A person by the identifier that all others lead to, with what lists show. Texts are empty if unknown."""

    kind = serializers.CharField(source="kind.label", help_text="`user`, `anonymous` or `visitor`.")
    value = serializers.CharField()
    name = serializers.CharField()
    email = serializers.CharField()
    username = serializers.CharField()
    group = serializers.CharField()
    personas = serializers.ListField(child=serializers.CharField(), help_text="That the person is in, by name.")
    lastSeen = serializers.DateTimeField(source="last_seen", allow_null=True)
    conversions = serializers.IntegerField(help_text="Of each visitor code 1,000 are counted at most.")
    isLarge = serializers.BooleanField(
        source="is_large", help_text="True if more than 200 identifiers are linked: only kind and value are given."
    )


@extend_schema_serializer(component_name="Member")
class MemberShape(serializers.Serializer[Member]):
    """A person who is in a persona or group, by the identifier that all others lead to."""

    kind = serializers.SerializerMethodField(help_text="`user`, `anonymous` or `visitor`.")
    value = serializers.CharField()
    since = serializers.SerializerMethodField(help_text="The time of the event that entered.")

    def get_kind(self, member: Member) -> str:
        return str(member.kind.label)

    def get_since(self, member: Member) -> str:
        return times.of_stamp(member.since).isoformat().replace("+00:00", "Z")


class MemberPageShape(serializers.Serializer[Any]):
    results = MemberShape(many=True, help_text="A page may be short or empty although more follow.")
    next = serializers.CharField(allow_null=True, help_text="The `cursor` of the next page; null on the last.")


@extend_schema_serializer(component_name="Persona")
class PersonaShape(serializers.Serializer[Any]):
    """A named audience that a person is or was in, said by events."""

    name = serializers.CharField()
    members = serializers.IntegerField(help_text="The number of persons, a lower bound unless `isComplete`.")
    isComplete = serializers.BooleanField(source="is_complete")
    enteredIn28Days = serializers.IntegerField(source="changes.entered", help_text="Identifiers, not persons.")
    leftIn28Days = serializers.IntegerField(source="changes.left", help_text="Identifiers, not persons.")
    areChangesComplete = serializers.BooleanField(
        source="changes.is_complete", help_text="False if more than 200 events of the 28 days are about it."
    )
    firstEvent = serializers.DateTimeField(source="first_event")
    lastEvent = serializers.DateTimeField(source="last_event", allow_null=True)


@extend_schema_serializer(component_name="Group")
class GroupShape(serializers.Serializer[Any]):
    """A group of people, such as a company."""

    id = serializers.CharField()
    traits = serializers.IntegerField(help_text="The number of its traits, with removed ones.")
    members = serializers.IntegerField(help_text="The number of persons, a lower bound unless `isComplete`.")
    isComplete = serializers.BooleanField(source="is_complete")


@extend_schema_serializer(component_name="GroupTraits")
class GroupTraitsShape(serializers.Serializer[Any]):
    """A group with all of its traits that are not removed."""

    id = serializers.CharField()
    traits = NamedFactShape(many=True)


@extend_schema_serializer(component_name="Erasure")
class ErasureShape(serializers.Serializer[Erasure]):
    """The receipt of an erased person. Of their ids only hashes stay."""

    id = serializers.IntegerField()
    erasedBy = serializers.CharField(source="erased_by")
    dateCreated = serializers.DateTimeField(source="created_at")
    percent = serializers.IntegerField(help_text="The progress of the search through all tables.")
    stage = serializers.CharField(source="stage_name", help_text="The table that is searched now, otherwise empty.")
    identifiers = serializers.IntegerField(source="identities", help_text="Deleted so far, as the next three.")
    usernames = serializers.IntegerField()
    conversions = serializers.IntegerField()
    messages = serializers.IntegerField()
    finishedAt = serializers.DateTimeField(source="finished_at", allow_null=True)
    isAllowedAgain = serializers.BooleanField(
        source="is_allowed_again", help_text="False: events that name the person are dropped."
    )


class PersonToErase(serializers.Serializer[Any]):
    """The person whose data is deleted, by an identifier."""

    id = serializers.CharField(max_length=255, trim_whitespace=False, help_text="Any identifier of the person.")
