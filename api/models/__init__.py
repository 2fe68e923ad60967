"""The tables of the door: who may come in, what came in, and what people want done with it."""

from api.models.alerts import Alert, AlertDelivery, make_signing_secret
from api.models.backfills import Backfill
from api.models.erasures import Erasure, Suppression, make_marker
from api.models.goal_changes import GoalsChange
from api.models.inbox import Claim, Load, Message, Twin
from api.models.keys import (
    URL_SAFE,
    Credential,
    ManagementToken,
    RefusalTally,
    RefusedKey,
    Scope,
    Source,
    SourceTally,
    SourceUse,
    WriteKey,
)
from api.models.late_links import LateLink
from api.models.removals import Removal
from api.models.rules import Rule
from api.models.runtime import DatabaseClock, Heartbeat, KeyFingerprint
from api.models.sites import (
    AuditEntry,
    Membership,
    Site,
    entered_event_names,
    exited_event_names,
    link_event_names,
    trait_event_names,
    validate_template,
)

__all__ = [
    "URL_SAFE",
    "Alert",
    "AlertDelivery",
    "AuditEntry",
    "Backfill",
    "Claim",
    "Credential",
    "DatabaseClock",
    "Erasure",
    "GoalsChange",
    "Heartbeat",
    "KeyFingerprint",
    "LateLink",
    "Load",
    "ManagementToken",
    "Membership",
    "Message",
    "RefusalTally",
    "RefusedKey",
    "Removal",
    "Rule",
    "Scope",
    "Site",
    "Source",
    "SourceTally",
    "SourceUse",
    "Suppression",
    "Twin",
    "WriteKey",
    "entered_event_names",
    "exited_event_names",
    "link_event_names",
    "make_marker",
    "make_signing_secret",
    "trait_event_names",
    "validate_template",
]
