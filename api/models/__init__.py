"""The tables of sites, keys, sources, messages and rules."""

from api.models.alerts import Alert, AlertDelivery, make_signing_secret
from api.models.annotations import Annotation
from api.models.backfills import Backfill
from api.models.erasures import Erasure, Suppression, make_marker
from api.models.goal_changes import GoalsChange
from api.models.goal_views import GoalView
from api.models.keys import (
    Credential,
    ManagementToken,
    RefusedKey,
    Scope,
    TokenScope,
)
from api.models.late_links import LateLink
from api.models.message import Claim, Load, Message, MessageBody, MessageKey
from api.models.profiles import Profile
from api.models.removals import Removal
from api.models.rules import Rule
from api.models.runtime import DatabaseClock, Heartbeat, KeyFingerprint
from api.models.sdk_configuration import SdkConfiguration
from api.models.sites import (
    AuditEntry,
    Membership,
    Role,
    Site,
    Weekday,
    entered_event_names,
    exited_event_names,
    exposure_event_names,
    link_event_names,
    trait_event_names,
    validate_template,
    validate_time_zone,
)
from api.models.source import URL_SAFE, DuplicateSources, RefusalCount, Source, SourceCount, SourceUse, WriteKey
from api.models.stored_answers import StoredAnswer

__all__ = [
    "URL_SAFE",
    "Alert",
    "AlertDelivery",
    "Annotation",
    "AuditEntry",
    "Backfill",
    "Claim",
    "Credential",
    "DatabaseClock",
    "DuplicateSources",
    "Erasure",
    "GoalView",
    "GoalsChange",
    "Heartbeat",
    "KeyFingerprint",
    "LateLink",
    "Load",
    "ManagementToken",
    "Membership",
    "Message",
    "MessageBody",
    "MessageKey",
    "Profile",
    "RefusalCount",
    "RefusedKey",
    "Removal",
    "Role",
    "Rule",
    "Scope",
    "SdkConfiguration",
    "Site",
    "Source",
    "SourceCount",
    "SourceUse",
    "StoredAnswer",
    "Suppression",
    "TokenScope",
    "Weekday",
    "WriteKey",
    "entered_event_names",
    "exited_event_names",
    "exposure_event_names",
    "link_event_names",
    "make_marker",
    "make_signing_secret",
    "trait_event_names",
    "validate_template",
    "validate_time_zone",
]
