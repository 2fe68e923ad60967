"""Values of a derivation: a message and its source's configuration lead to goal hits and facts about people."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, Self

import msgspec

from api.digest.readings import NEWEST_READING, READING, reading_of
from api.rules.rule import EventRule
from cohorts.changes import ANONYMOUS, USER, Change, Visitors
from goals.cancelling import NewCancellation
from goals.matching import EventName
from goals.recording import Hit, KeyedBy
from goals.visit_facts import NewExposure, NewFact

if TYPE_CHECKING:
    from api.models import Message

# The columns for `StoredMessage.of_row`, and the tables that have them. A condition names site and range of `m`, too.
# The range keeps other partitions out of the plan, because a join by hashes would read all bodies of the site.
COLUMNS: Final = f"id, type, message_id, position, occurred_at, source_id, {READING}"  # without the body, the last one
MESSAGE_COLUMNS: Final = (
    f"m.id, m.type, m.message_id, m.position, m.occurred_at, m.source_id, {READING}, coalesce(b.body, '')"
)
MESSAGE_TABLES: Final = """
    api_message m
    LEFT JOIN api_messagebody b ON b.site_id = %(site)s AND b.id = m.id AND b.id BETWEEN %(first)s AND %(last)s
"""
THESE: Final = "m.site_id = %(site)s AND m.id = ANY(%(ids)b::bigint[]) AND m.id BETWEEN %(first)s AND %(last)s"
Event = dict[str, Any]


def choose_messages(site_id: int, ids: Sequence[int]) -> dict[str, Any]:
    """Return the parameters of MESSAGE_TABLES and THESE for some messages of a site, one at least."""
    return {"site": site_id, "ids": list(ids), "first": min(ids), "last": max(ids)}


@dataclass(frozen=True, slots=True)
class SourceConfig:
    """Settings and rules by which the events of a source are read."""

    default_currency: str = "USD"
    user_id_is_visitor_code: bool = False
    audience_events_make_goals: bool = False
    entered_event_names: frozenset[str] = frozenset({"Audience Entered"})
    exited_event_names: frozenset[str] = frozenset({"Audience Exited"})
    link_event_names: frozenset[str] = frozenset({"Kameleoon identifier"})
    trait_event_names: frozenset[str] = frozenset({"Trait Computed"})
    exposure_event_names: frozenset[str] = frozenset({"Experiment Viewed"})
    takes_track: bool = True
    heeds_integrations: bool = True
    names_pages_by_title: bool = False
    rules: tuple[EventRule, ...] = ()
    transform: Callable[[Event], Event | None] = lambda event: event  # of an operator's hook; raises TransformError


class StoredMessage(msgspec.Struct, frozen=True):
    """A stored message, as far as a derivation needs it."""

    id: int
    type: str
    message_id: str | None
    position: int
    occurred_at: datetime
    body: bytes
    source_id: int | None = None
    reading: int = NEWEST_READING  # the version of what events mean under which it is derived

    @classmethod
    def of_row(cls, row: Sequence[Any]) -> Self:
        """Return the message of a row that begins with the columns MESSAGE_COLUMNS."""
        id_, type_, message_id, position, occurred_at, source_id, reading, body = row[:8]
        return cls(id_, type_, message_id, position, occurred_at, bytes(body), source_id, reading)

    @classmethod
    def of_message(cls, message: "Message", body: bytes) -> Self:
        """Return the message of a row that Django read."""
        is_digested = message.status != "pending" and message.digested_at is not None
        return cls(
            message.pk or 0,
            message.type,
            message.message_id,
            message.position,
            message.occurred_at,
            body,
            message.source_id,
            reading_of(message.reading, is_digested=is_digested),
        )

    @property
    def key(self) -> str:
        """Return the key that keeps its conversion unique, also after the message was pruned."""
        return f"{self.type}:{self.message_id}" if self.message_id is not None else f"#{self.id}"


@dataclass(frozen=True, slots=True)
class Derivation:
    """Meaning of a message. The hit lacks its visitor until the links are known."""

    change: Change | None = None
    goal: "GoalHit | None" = None
    rejected: str = ""  # a reason code; then there is neither change nor hit
    failed: str = ""  # a reason code if the transform hook failed
    idle_reason: str = ""  # a reason code, used if the message has no effect
    detail: str = ""  # of the reason or a warning, for people
    warnings: tuple[str, ...] = ()
    fired: tuple[int, ...] = ()  # the rules that acted, in their order
    visitor_field: str = ""  # the path of the visitor code
    cancellation: NewCancellation | None = None
    visit_fact: NewFact | None = None
    exposure: NewExposure | None = None


class GoalHit(msgspec.Struct, frozen=True):
    """A hit of a goal, before its visitor is known."""

    event: EventName
    message_key: str
    occurred_at: datetime
    user_id: str | None
    anonymous_id: str | None
    visitor_code: str | None
    revenue: Any
    currency: str | None
    value: Any
    properties: str
    arrival: int
    source_id: int | None = None

    def keyed(self, visitors: Visitors) -> Hit:
        """Return the hit of the visitor that it counts for (promise K-51).

        The first of these that exists:

        - the event's own visitor code
        - the code first linked to its anonymous id, because a device is nearer than a person
        - the code first linked to its user
        - the first code of any device that was ever linked to that user
        - the id itself
        """
        keyed_by, code = KeyedBy.EVENT, self.visitor_code
        if code is None:
            keyed_by, code = find_linked_code(visitors, user=self.user_id, anonymous=self.anonymous_id)
        return Hit(
            event=self.event,
            message_key=self.message_key,
            occurred_at=self.occurred_at,
            visitor_code=code,
            keyed_by=keyed_by,
            user_id=self.user_id,
            anonymous_id=self.anonymous_id,
            revenue=self.revenue,
            currency=self.currency,
            value=self.value,
            properties=self.properties,
            arrival=self.arrival,
            source_id=self.source_id,
        )


def find_linked_code(visitors: Visitors, *, user: str | None, anonymous: str | None) -> tuple[KeyedBy, str]:
    """Return for whom an event without a visitor code counts, and the rule that says so. One of the ids is there."""
    codes = {
        KeyedBy.EVENT: None,
        KeyedBy.ANONYMOUS_LINK: visitors.first.get((ANONYMOUS, anonymous or "")),
        KeyedBy.USER_LINK: visitors.first.get((USER, user or "")),
        KeyedBy.DEVICE_LINK: visitors.device.get(user or ""),
        KeyedBy.USER: user,
        KeyedBy.ANONYMOUS: anonymous,
    }
    return next((rule, code) for rule in KeyedBy if (code := codes[rule]) is not None)


class RejectedError(Exception):
    """The sender must change something; the argument is a reason code."""


class TransformError(Exception):
    """The transform hook raised, took too long, or returned no event; the text is the traceback."""
