"""Feature flags as JSON."""
# ruff: noqa: N815 - the names are the wire's

from typing import Any

from drf_spectacular.utils import extend_schema_serializer
from rest_framework import serializers

from goals.flags.models import FeatureFlag
from goals.flags.problems import Problem


@extend_schema_serializer(component_name="FeatureFlag")
class FlagShape(serializers.Serializer[FeatureFlag]):
    """A feature flag: its document in the form of the SDKs' file, and the environments in which it is on."""

    id = serializers.IntegerField()
    key = serializers.CharField()
    version = serializers.IntegerField(help_text="Counts the changes of the document, from 1.")
    enabledIn = serializers.ListField(source="enabled_in", child=serializers.CharField())
    document = serializers.DictField()
    dateModified = serializers.DateTimeField(source="updated_at")


@extend_schema_serializer(component_name="FlagSwitch")
class FlagSwitch(serializers.Serializer[Any]):
    """The state of a flag in one environment."""

    environment = serializers.CharField(max_length=64, default="production")
    isEnabled = serializers.BooleanField()


@extend_schema_serializer(component_name="FlagFile")
class FlagFileShape(serializers.Serializer[Any]):
    """A configuration file of Kameleoon's SDKs, as `GET /v3/{sitecode}` answers it. Other sections are ignored."""

    sitecode = serializers.CharField(required=False, help_text="Needed if your credential opens several sites.")
    environment = serializers.CharField(
        max_length=64, default="production", help_text="The environment in which `environmentEnabled` switches flags."
    )
    isTry = serializers.BooleanField(default=False, help_text="True: check the file and save nothing.")
    featureFlags = serializers.ListField(child=serializers.DictField())
    segments = serializers.ListField(child=serializers.DictField(), default=list)
    customData = serializers.ListField(child=serializers.DictField(), default=list)


@extend_schema_serializer(component_name="FlagProblem")
class ProblemShape(serializers.Serializer[Problem]):
    """A value that an SDK would refuse or read differently from the others."""

    place = serializers.CharField(help_text="A path such as `featureFlags[0].rules[1].id`.")
    sentence = serializers.CharField()


@extend_schema_serializer(component_name="FlagImport")
class ImportShape(serializers.Serializer[Any]):
    """The result of an import. With a problem nothing is saved."""

    problems = ProblemShape(many=True)
    created = serializers.ListField(child=serializers.CharField(), help_text="Keys of flags.")
    changed = serializers.ListField(child=serializers.CharField(), help_text="Keys of flags.")
    unchanged = serializers.ListField(child=serializers.CharField(), help_text="Keys of flags.")
    segments = serializers.ListField(child=serializers.IntegerField(), help_text="Ids of segments that changed.")
    customData = serializers.ListField(child=serializers.IntegerField(), help_text="Indexes that were new.")
    keptCustomData = serializers.ListField(
        child=serializers.IntegerField(), help_text="Indexes that the site defines otherwise, which stay."
    )
