"""Sites as JSON. The settings are derived from the fields of the model, so that a new one needs nothing here."""
# ruff: noqa: N815 - the names are the wire's

import re
from typing import Any, Final

from drf_spectacular.utils import extend_schema_serializer
from rest_framework import serializers

from api.ingest.provisioning import SITE_SETTINGS
from api.models import Site, validate_time_zone
from api.rest.reading import Query
from goals.models import Goal


class _Settings(serializers.ModelSerializer[Site]):
    class Meta:
        model = Site
        fields = SITE_SETTINGS


def spell(name: str) -> str:
    """Return a field's name as JSON spells it: `public_traits` as `publicTraits`."""
    return re.sub("_([a-z0-9])", lambda match: match[1].upper(), name)


def setting_fields() -> dict[str, serializers.Field[Any, Any, Any, Any]]:
    """Return a field for each setting, with the limits of the model. None of them is required."""
    made: dict[str, serializers.Field[Any, Any, Any, Any]] = {}
    for name in SITE_SETTINGS:
        column: Any = Site._meta.get_field(name)  # noqa: SLF001 - documented
        kind, options = _Settings().build_standard_field(name, column)
        options |= {"required": False, "help_text": column.help_text or str(column.verbose_name).capitalize()}
        options |= {"source": name} if spell(name) != name else {}
        options.pop("label", None)
        made[spell(name)] = kind(**options)
    return made


SETTINGS: Final = type("SiteSettings", (serializers.Serializer,), setting_fields())


@extend_schema_serializer(component_name="Site")
class SiteShape(SETTINGS):  # type: ignore[misc,valid-type]  # made while the program runs
    """One project, with its settings."""

    id = serializers.IntegerField()
    sitecode = serializers.CharField()
    dateCreated = serializers.DateTimeField(source="created_at")


@extend_schema_serializer(component_name="NewSite")
class NewSite(serializers.Serializer[Any]):
    """A site to create, with a Segment destination and the settings of a new site."""

    name = serializers.CharField(max_length=100)
    sitecode = serializers.RegexField(
        r"^[a-z0-9]{10}\Z", required=False, help_text="Ten lower-case letters and digits. Default: a new one."
    )
    timeZone = serializers.CharField(
        source="time_zone",
        required=False,
        validators=[validate_time_zone],
        help_text="Name of the time zone in which days of figures begin, such as Europe/Zurich. Default: UTC.",
    )


@extend_schema_serializer(component_name="SiteChange")
class SiteChange(SETTINGS):  # type: ignore[misc,valid-type]  # made while the program runs
    """Changes of a site's settings. Fields that are left out stay; other fields may be sent unchanged."""

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Return the changes. Raises ValidationError for a change that would be ignored."""
        given = self.initial_data
        for name in ("id", "sitecode"):
            if name in given and given[name] != self.context["site"][name]:
                raise serializers.ValidationError({name: "This cannot be changed."})
        base = attrs.get("base_goal_id")
        if base is not None:
            goals = Goal.objects.filter(site_id=self.context["site"]["id"], pk=base, deleted_at=None)
            if base != self.context["site"]["baseGoalId"] and not goals.exists():
                raise serializers.ValidationError({"baseGoalId": "The site has no goal with this id."})
        return attrs


class SiteQuery(Query):
    """The list of sites has no filter."""
