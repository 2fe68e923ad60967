"""The paths below /api/, each with and without a final slash, because a redirect loses the body of a POST."""

from collections.abc import Callable
from typing import Any

from django.http import HttpResponseBase
from django.urls import URLPattern, path, register_converter
from drf_spectacular.views import SpectacularSwaggerSplitView

from api.rest.alerts import Alerts
from api.rest.annotations import Annotations
from api.rest.audit_log import AuditLog
from api.rest.automation.custom_datas import AutomationCustomDatas
from api.rest.automation.goals import AutomationGoals
from api.rest.automation.segments import AutomationSegments
from api.rest.automation.sites import AutomationSites
from api.rest.conversions import GoalConversions, VisitorConversions
from api.rest.credentials import Credentials
from api.rest.experiment_results import ExperimentResults
from api.rest.experiments import Experiments
from api.rest.exposures import Exposures
from api.rest.flags import Flags
from api.rest.goal_breakdowns import GoalBreakdown
from api.rest.goal_figures import FiguresOfGoal
from api.rest.goals import Goals
from api.rest.members import Invitations, SiteMembers
from api.rest.messages import TraceOfMessage, TraceOfMessageId, WhyNot
from api.rest.own_keys import OwnKeys
from api.rest.people import Erasures, OnePerson, People, PersonExport
from api.rest.personas import GroupMembers, Groups, GroupTraits, PersonaMembers, Personas
from api.rest.rules import SiteRules, WhatIf
from api.rest.schema import Schema
from api.rest.segments import (
    PersonSegments,
    SegmentEntries,
    SegmentHistory,
    SegmentMembers,
    SegmentPreview,
    Segments,
)
from api.rest.sites import Sites
from api.rest.sources import Sources, WriteKeys
from api.rest.tokens import Tokens


class Number:
    """An id; a longer number is none."""

    regex = "[0-9]{1,18}"

    def to_python(self, value: str) -> int:
        return int(value)

    def to_url(self, value: int) -> str:
        return str(value)


class Anything:
    """A visitor code or a name: any characters, slashes and line ends too. `a%2Fb` arrives here as `a/b`."""

    regex = r"[\s\S]+"

    def to_python(self, value: str) -> str:
        """Return the text as it is stored. Raises ValueError, which is 404, for a lone surrogate."""
        value.encode()
        return value.replace("\0", "\ufffd")

    def to_url(self, value: str) -> str:
        return value


register_converter(Number, "number")
register_converter(Anything, "anything")

PATHS: dict[str, Callable[..., HttpResponseBase]] = {
    "goals": Goals.as_view({"get": "list", "post": "create"}),
    "goals/<number:goal_id>": Goals.as_view({"get": "retrieve", "patch": "partial_update", "delete": "destroy"}),
    "goals/<number:goal_id>/archive": Goals.as_view({"post": "archive"}),
    "goals/<number:goal_id>/restore": Goals.as_view({"post": "restore"}),
    "goals/<number:goal_id>/breakdown": GoalBreakdown.as_view(),
    "goals/<number:goal_id>/figures": FiguresOfGoal.as_view(),
    "goals/<number:goal_id>/conversions": GoalConversions.as_view(),
    "flags": Flags.as_view({"get": "list", "post": "create"}),
    "flags/<number:flag_id>": Flags.as_view({"get": "retrieve", "patch": "partial_update", "delete": "destroy"}),
    "segments": Segments.as_view({"get": "list", "post": "create"}),
    "segments/preview": SegmentPreview.as_view(),
    "segments/<number:segment_id>": Segments.as_view(
        {"get": "retrieve", "patch": "partial_update", "delete": "destroy"}
    ),
    "segments/<number:segment_id>/entries": SegmentEntries.as_view(),
    "segments/<number:segment_id>/history": SegmentHistory.as_view(),
    "segments/<number:segment_id>/members": SegmentMembers.as_view(),
    "messages/<number:number>/trace": TraceOfMessage.as_view(),
    "trace": TraceOfMessageId.as_view(),
    "why-not": WhyNot.as_view(),
    "sources": Sources.as_view({"get": "list", "post": "create"}),
    "sources/<number:source_id>": Sources.as_view({"get": "retrieve", "patch": "partial_update"}),
    "sources/<number:source_id>/write-keys": WriteKeys.as_view({"post": "rotate"}),
    "sources/<number:source_id>/write-keys/<slug:key>": WriteKeys.as_view({"delete": "revoke"}),
    "sites": Sites.as_view({"get": "list", "post": "create"}),
    "sites/<slug:sitecode>": Sites.as_view({"get": "retrieve", "patch": "partial_update"}),
    "sites/<slug:sitecode>/alerts": Alerts.as_view({"get": "list", "post": "create"}),
    "sites/<slug:sitecode>/alerts/<number:alert_id>": Alerts.as_view(
        {"get": "retrieve", "patch": "partial_update", "delete": "destroy"}
    ),
    "sites/<slug:sitecode>/alerts/<number:alert_id>/test": Alerts.as_view({"post": "test"}),
    "sites/<slug:sitecode>/annotations": Annotations.as_view({"get": "list", "post": "create"}),
    "sites/<slug:sitecode>/annotations/<number:annotation_id>": Annotations.as_view(
        {"get": "retrieve", "patch": "partial_update", "delete": "destroy"}
    ),
    "sites/<slug:sitecode>/audit-log": AuditLog.as_view(),
    "sites/<slug:sitecode>/credentials": Credentials.as_view({"get": "list", "post": "create"}),
    "sites/<slug:sitecode>/credentials/<number:credential_id>": Credentials.as_view(
        {"patch": "partial_update", "delete": "destroy"}
    ),
    "sites/<slug:sitecode>/credentials/<number:credential_id>/secret": Credentials.as_view({"post": "rotate"}),
    "sites/<slug:sitecode>/erasures": Erasures.as_view({"get": "list", "post": "create"}),
    "sites/<slug:sitecode>/erasures/<number:erasure_id>": Erasures.as_view({"get": "retrieve"}),
    "sites/<slug:sitecode>/erasures/<number:erasure_id>/allow": Erasures.as_view({"post": "allow"}),
    "sites/<slug:sitecode>/experiments": Experiments.as_view({"get": "list", "post": "create"}),
    "sites/<slug:sitecode>/experiments/<number:experiment_id>": Experiments.as_view(
        {"get": "retrieve", "patch": "partial_update"}
    ),
    "sites/<slug:sitecode>/experiments/<number:experiment_id>/results": ExperimentResults.as_view(),
    "sites/<slug:sitecode>/exposures": Exposures.as_view(),
    "sites/<slug:sitecode>/groups": Groups.as_view(),
    "sites/<slug:sitecode>/groups/<anything:group_id>/members": GroupMembers.as_view(),
    "sites/<slug:sitecode>/groups/<anything:group_id>/traits": GroupTraits.as_view(),
    "sites/<slug:sitecode>/invitations": Invitations.as_view(),
    "sites/<slug:sitecode>/members": SiteMembers.as_view({"get": "list"}),
    "sites/<slug:sitecode>/members/<number:member_id>": SiteMembers.as_view(
        {"patch": "partial_update", "delete": "destroy"}
    ),
    "sites/<slug:sitecode>/people": People.as_view(),
    "sites/<slug:sitecode>/person": OnePerson.as_view(),
    "sites/<slug:sitecode>/person/export": PersonExport.as_view(),
    "sites/<slug:sitecode>/person/segments": PersonSegments.as_view(),
    "sites/<slug:sitecode>/personas": Personas.as_view(),
    "sites/<slug:sitecode>/personas/<anything:name>/members": PersonaMembers.as_view(),
    "sites/<slug:sitecode>/remote-data": OwnKeys.as_view({"get": "list"}),
    "sites/<slug:sitecode>/remote-data/<anything:own_key>": OwnKeys.as_view({"get": "retrieve", "delete": "destroy"}),
    "sites/<slug:sitecode>/rules": SiteRules.as_view(),
    "sites/<slug:sitecode>/rules/what-if": WhatIf.as_view(),
    "sites/<slug:sitecode>/tokens": Tokens.as_view({"get": "list", "post": "create"}),
    "sites/<slug:sitecode>/tokens/<number:token_id>": Tokens.as_view({"delete": "destroy"}),
    "sites/<slug:sitecode>/tokens/<number:token_id>/take-over": Tokens.as_view({"post": "take_over"}),
    "visitors/<anything:code>/conversions": VisitorConversions.as_view(),
    "docs": SpectacularSwaggerSplitView.as_view(
        url="/api/schema", url_self="/api/docs", authentication_classes=(), throttle_classes=()
    ),
    "schema": Schema.as_view(),
}

# Of Kameleoon's Automation API, which its users ask at the root of the host `api.`.
AUTOMATION_PATHS: dict[str, Callable[..., HttpResponseBase]] = {
    "goals": AutomationGoals.as_view({"get": "list", "post": "create"}),
    "goals/<number:goal_id>": AutomationGoals.as_view(
        {"get": "retrieve", "put": "update", "patch": "partial_update", "delete": "destroy"}
    ),
    "custom-datas": AutomationCustomDatas.as_view({"get": "list", "post": "create"}),
    "custom-datas/<number:custom_data_id>": AutomationCustomDatas.as_view(
        {"get": "retrieve", "put": "update", "patch": "partial_update", "delete": "destroy"}
    ),
    "segments": AutomationSegments.as_view({"get": "list", "post": "create"}),
    "segments/<number:segment_id>": AutomationSegments.as_view(
        {"get": "retrieve", "put": "update", "patch": "partial_update", "delete": "destroy"}
    ),
    "sites": AutomationSites.as_view({"get": "list"}),
    "sites/<number:site_id>": AutomationSites.as_view({"get": "retrieve"}),
}


def both_spellings(paths: dict[str, Callable[..., Any]]) -> list[URLPattern]:
    return [path(f"{route}{end}", view) for route, view in paths.items() for end in ("", "/")]


urlpatterns = both_spellings(PATHS)
automation_urlpatterns = both_spellings(AUTOMATION_PATHS)
