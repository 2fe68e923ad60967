"""Facts of a trace: the record of a message, and the result of deriving it again under today's rules."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import msgspec

from api.digest.derivation import Derivation, StoredMessage
from api.digest.mapping import derive
from api.digest.readings import NEWEST_READING
from api.digest.site_config import SiteConfig, load_site_config, rule_of
from api.events.body import UnreadableBodyError, read_body
from api.events.reasons import UNSAFE_TO_DERIVE
from api.models import Message, Rule, Site, Source
from api.models.message_rows import find_by_keys
from api.rules.actions import REDACTIONS
from api.rules.rule import matches_event, name_event
from cohorts import changes
from cohorts.models import Identity
from goals import recording, waiting
from goals.matching import KnownGoal, LookupResult, LookupStep, look_up
from goals.models import Conversion, Goal, WaitingName
from goals.naming import name_goal

Kind = Identity.Kind
Status = Message.Status


@dataclass(frozen=True, slots=True)
class GoalFacts:
    """The goal that an event leads to today, and the conversion that it made."""

    hit: recording.Hit
    lookup: Sequence[LookupStep]
    new_name: str  # the name that a new goal would have
    names_ahead: int | None  # goal names before it in the queue; None if it is not queued
    conversion: Conversion | None
    has_goal: bool  # the goal that the message converted exists, though its conversion does not

    @property
    def match(self) -> KnownGoal | None:
        """Return the goal that the event's name leads to, or None if it would be created."""
        last = self.lookup[-1]
        return last.goal if last.result == LookupResult.MATCH else None


@dataclass(frozen=True, slots=True)
class TraceFacts:
    """Everything that the steps of a trace tell."""

    site: Site
    message: Message
    stored: StoredMessage
    source: Source | None
    rules: Mapping[int, Rule]  # of the site, by id
    redactions: Sequence[Rule] | None  # that act on it before it is stored; None if rejected on arrival or unreadable
    accepted_id: int | None = None  # the message that was accepted with the key of this rejected one
    derived: Derivation | None = None  # under its own reading; None if it is unsafe to derive or deriving raised
    derived_now: Derivation | None = None  # the same under the newest reading
    error: str = ""  # raised while deriving
    visitors: changes.Visitors | None = None
    goal: GoalFacts | None = None

    @property
    def is_rejected_on_arrival(self) -> bool:
        return self.message.status == Status.REJECTED and self.message.digested_at is None


def gather_facts(site: Site, message: Message, body: bytes) -> TraceFacts:
    """Read the facts of a site's message. At most nine queries, all by keys."""
    config, stored = load_site_config(site), StoredMessage.of_message(message, body)
    rules = {rule.pk: rule for rule in site.rules.all()}
    is_rejected_on_arrival = message.status == Status.REJECTED and message.digested_at is None
    facts = TraceFacts(
        site,
        message,
        stored,
        next((source for source in site.sources.all() if source.pk == message.source_id), None),
        rules,
        None if is_rejected_on_arrival else _find_redactions(site, stored, rules.values()),  # may parse 4 MiB
        find_accepted(site.pk, message) if message.status == Status.REJECTED and message.message_id else None,
    )
    if is_rejected_on_arrival or message.reason in UNSAFE_TO_DERIVE:
        return facts
    try:
        derived = derive(stored, config.for_message(stored))
        derived_now = derive(msgspec.structs.replace(stored, reading=NEWEST_READING), config.for_message(stored))
    except Exception as error:  # noqa: BLE001 - whatever failed in the digest
        return replace(facts, error=f"{type(error).__name__}: {error}")
    facts = replace(facts, derived=derived, derived_now=derived_now)
    if derived.change is None:
        return facts
    visitors = _load_visitors(site.pk, derived.change)
    goal = _gather_goal(facts, config, derived.goal.keyed(visitors)) if derived.goal else None
    return replace(facts, visitors=visitors, goal=goal)


def find_accepted(site_id: int, message: Message) -> int | None:
    """Return the id of the message that was accepted with the type and messageId of a rejected one. One query."""
    name = (message.type, message.message_id or "")
    return find_by_keys(site_id, [name]).get(name)


def _find_redactions(site: Site, message: StoredMessage, rules: Iterable[Rule]) -> Sequence[Rule] | None:
    try:
        fields = read_body(message.body, set())
    except UnreadableBodyError:
        return None
    name = name_event(message.type, fields, set(), by_title=site.names_pages_by_title)
    return [
        rule
        for rule in rules
        if rule.is_enabled
        and rule.source_id in {None, message.source_id}
        and rule.action in REDACTIONS
        and matches_event(rule_of(rule), message.type, name, message.type, fields)
    ]


def _load_visitors(site_id: int, change: changes.Change) -> changes.Visitors:
    """Return the visitor codes that the ids of an event lead to. One query."""
    keys = [(int(Kind.USER), change.user), (int(Kind.ANONYMOUS), change.anonymous)]
    values = [value for _, value in keys if value is not None]
    identities = Identity.objects.filter(site_id=site_id, kind__in=[Kind.USER, Kind.ANONYMOUS], value__in=values)
    registers = {(identity.kind, identity.value): identity.registers for identity in identities}
    return changes.visitors_of({key: value for key, value in registers.items() if key in keys})


def _gather_goal(facts: TraceFacts, config: SiteConfig, hit: recording.Hit) -> GoalFacts:
    """Look the goal up as the digest does, and read the conversion. At most five queries."""
    site_id, message, template = facts.site.pk, facts.message, config.policy.template
    bindings, goals = recording.find_candidates(site_id, [hit.event], template=template)
    names_ahead = None
    if message.status == Status.DEFERRED:
        name = WaitingName.objects.filter(site_id=site_id, name=message.waiting_for).first()
        if name and not name.has_goal:
            names_ahead = waiting.count_before(name, most=facts.site.max_waiting_names)
    conversion = (
        Conversion.objects.filter(site_id=site_id, message_key=facts.stored.key, goal__deleted_at=None)
        .defer("properties")
        .select_related("goal")
        .first()
    )
    is_open = message.status in {Status.PENDING, Status.DEFERRED}
    goal_id = None if conversion or is_open else message.goal_id
    return GoalFacts(
        hit,
        tuple(look_up(hit.event, bindings=bindings, goals=goals, template=template)),
        name_goal(hit.event.type, hit.event.name, template=template),
        names_ahead,
        conversion,
        goal_id is not None and Goal.objects.filter(site_id=site_id, pk=goal_id, deleted_at=None).exists(),
    )
