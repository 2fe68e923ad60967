"""Forecast of unsaved rules: what they would make of the newest messages (promise N-08).

It calls the `derive` of the digest under the saved rules and under the unsaved ones. Nothing is written.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any, Final

import msgspec
from django.db import connection

from api.digest.derivation import MESSAGE_COLUMNS, MESSAGE_TABLES, THESE, Derivation, StoredMessage, choose_messages
from api.digest.mapping import derive
from api.digest.site_config import SiteConfig, load_site_config
from api.events.body import UnreadableBodyError, read_body
from api.events.reasons import DROPS
from api.http.chunks import iter_chunks
from api.http.credentials import derive_redaction_key
from api.http.wording import shorten
from api.models import Site
from api.rules.actions import REDACTIONS
from api.rules.redaction import redact
from api.rules.rule import EventRule
from cohorts import changes, merge
from cohorts.models import Identity
from goals import recording
from goals.matching import EventName
from goals.naming import name_goal

MOST_MESSAGES: Final = 10_000
MOST_BYTES: Final = 16_777_216  # of bodies, because their facts about people are held until all are read
SAMPLES: Final = 10  # profiles that change
MOST_KEYS: Final = 100  # of the traits and personas of such a profile
KEY_LENGTH: Final = 200
VALUE_LENGTH: Final = 1_000  # characters of a value as JSON

DraftRules = Sequence[tuple[int | None, EventRule]]  # each with its source, None for a rule of the site


@dataclass(frozen=True, slots=True)
class GoalForecast:
    """A goal that the messages hit under the saved rules or the unsaved ones."""

    name: str
    is_made: bool  # it would be new
    conversions_now: int
    conversions_then: int


@dataclass(frozen=True, slots=True)
class ProfileForecast:
    """Facts of the messages alone about one identity: `{"traits", "group", "personas", "owner"}`."""

    kind: str
    value: str
    now: dict[str, Any]
    then: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Forecast:
    """Difference between the saved rules and the unsaved ones."""

    messages: int
    goals: list[GoalForecast]  # by name
    goals_made_now: int
    goals_made_then: int
    conversions_now: int
    conversions_then: int
    dropped_now: int
    dropped_then: int
    rejected_now: int
    rejected_then: int
    revenue_now: dict[str, Decimal]  # by currency
    revenue_then: dict[str, Decimal]
    profiles_changed: int
    profiles: list[ProfileForecast]  # the first few of them

    @property
    def changed_goals(self) -> list[GoalForecast]:
        """The goals whose conversions change."""
        return [goal for goal in self.goals if goal.conversions_now != goal.conversions_then]


def forecast_rules(site: Site, rules: DraftRules, *, last: int = 1_000, only: int | None = None) -> Forecast:
    """Return what a site's last messages, or the one with the id `only`, would do under these rules.

    Each message converts once; the quota and earlier conversions of a message do not count. Two queries and one for
    each 500 messages; it reads 10,000 of them and MOST_BYTES at most.
    """
    config = load_site_config(site)
    now, then = _Side(), _Side()
    key = derive_redaction_key(site.pk)
    messages = 0
    for message in _last_messages(site.pk, min(last, MOST_MESSAGES), only):
        messages += 1
        now.add(derive(message, config.for_message(message)))
        mine = tuple(rule for source, rule in rules if source in {None, message.source_id})
        redactions = [rule for rule in mine if rule.action in REDACTIONS]
        changed = _redacted(message, redactions, key, by_title=site.names_pages_by_title) if redactions else message
        then.add(derive(changed, replace(config.for_message(message), rules=mine)))
    return _compare(site, config, now, then, messages=messages)


def forecast_messages(site: Site, messages: Iterable[StoredMessage]) -> Forecast:
    """Return the effects that these messages would have if they were digested now.

    The fields `…_then` of the forecast hold them; its `…_now` fields are zero. Messages that cannot be derived count as
    rejected. Three queries, in addition to those for the messages.
    """
    config = load_site_config(site)
    nothing, then = _Side(), _Side()
    count = 0
    for message in messages:
        count += 1
        try:
            effects = derive(message, config.for_message(message))
        except Exception as error:  # noqa: BLE001 - it would fail in the digest too
            effects = Derivation(failed="digest_failed", detail=repr(error))
        then.add(effects)
    return _compare(site, config, nothing, then, messages=count)


class _Side:
    """Sums of what messages do under one set of rules."""

    def __init__(self) -> None:
        self.hits: Counter[EventName] = Counter()
        self.revenue: dict[str, Decimal] = {}
        self.dropped = self.rejected = 0
        self.said: dict[changes.IdentityKey, merge.Registers] = {}

    def add(self, effects: Derivation) -> None:
        self.dropped += effects.idle_reason in DROPS
        self.rejected += bool(effects.rejected or effects.failed)
        if effects.goal:
            self.hits[effects.goal.event] += 1
            if effects.goal.revenue is not None and effects.goal.currency is not None:
                so_far = self.revenue.get(effects.goal.currency, Decimal(0))
                self.revenue[effects.goal.currency] = so_far + effects.goal.revenue
        if effects.change:
            for key, registers in changes.registers_of(effects.change).items():
                merge.absorb(self.said.setdefault(key, {}), registers)


def _compare(site: Site, config: SiteConfig, now: _Side, then: _Side, *, messages: int) -> Forecast:
    events = list({**now.hits, **then.hits})
    known = recording.find_goals_of_events(site.pk, events, template=config.policy.template)
    unknown = [event for event in events if event.is_goal_id and event not in known]
    for side in (now, then):
        side.rejected += sum(side.hits.pop(event, 0) for event in unknown)
    events = [event for event in events if event not in unknown]
    names = {
        event: known[event].name
        if event in known
        else name_goal(event.type, event.name, template=config.policy.template)
        for event in events
    }
    existing = {goal.name for goal in known.values()}
    before, after = _by_name(now.hits, names), _by_name(then.hits, names)
    changed = [
        ProfileForecast(Identity.Kind(kind).label, value, facts_now, facts_then)
        for kind, value in sorted(now.said.keys() | then.said.keys())
        if (facts_now := _spell_out(now.said.get((kind, value))))
        != (facts_then := _spell_out(then.said.get((kind, value))))
    ]
    return Forecast(
        messages=messages,
        goals=[
            GoalForecast(name, name not in existing, before[name], after[name])
            for name in sorted(before.keys() | after.keys())
        ],
        goals_made_now=len(before.keys() - existing),
        goals_made_then=len(after.keys() - existing),
        conversions_now=before.total(),
        conversions_then=after.total(),
        dropped_now=now.dropped,
        dropped_then=then.dropped,
        rejected_now=now.rejected,
        rejected_then=then.rejected,
        revenue_now=now.revenue,
        revenue_then=then.revenue,
        profiles_changed=len(changed),
        profiles=[
            replace(profile, now=_in_short(profile.now), then=_in_short(profile.then)) for profile in changed[:SAMPLES]
        ],
    )


def _by_name(hits: Counter[EventName], names: Mapping[EventName, str]) -> Counter[str]:
    counts: Counter[str] = Counter()
    for event, hits_of_event in hits.items():
        counts[names[event]] += hits_of_event
    return counts


def _spell_out(registers: merge.Registers | None) -> dict[str, Any]:
    """Return the values of registers, without their stamps."""
    if registers is None:
        return {}
    maps = {name: {key: register[3] for key, register in registers.get(name, {}).items()} for name in merge.MAPS}
    owner = registers.get("user") or registers.get("anonymous")
    return {
        **maps,
        "group": registers["group"][3] if "group" in registers else None,
        "owner": owner[3] if owner else None,
    }


def _in_short(facts: dict[str, Any]) -> dict[str, Any]:
    """Return the values with the first MOST_KEYS of each map and the beginnings of long texts."""
    return {name: _shortened(value) for name, value in facts.items()}


def _shortened(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    short = {}
    for key, each in list(value.items())[:MOST_KEYS]:
        text = msgspec.json.encode(each).decode()
        short[shorten(key, KEY_LENGTH)] = each if len(text) <= VALUE_LENGTH else shorten(text, VALUE_LENGTH)
    return short


def _redacted(message: StoredMessage, rules: Sequence[EventRule], key: bytes, *, by_title: bool) -> StoredMessage:
    """Return the message as it would be stored if it arrived again."""
    try:
        fields = read_body(message.body, set())
    except UnreadableBodyError:
        return message
    body = msgspec.json.encode(redact(message.type, fields, rules, key=key, by_title=by_title))
    return msgspec.structs.replace(message, body=body)


def _last_messages(site_id: int, last: int, only: int | None) -> Iterator[StoredMessage]:
    """Yield the newest accepted messages in the order of their arrival, MOST_BYTES at most, chunk by chunk."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT id, size FROM (
                SELECT id, size, sum(size) OVER (ORDER BY id DESC) AS so_far FROM (
                    SELECT id, size FROM api_message
                     WHERE site_id = %s AND status <> 'rejected' AND (%s::bigint IS NULL OR id = %s)
                     ORDER BY id DESC LIMIT %s
                ) AS m
            ) AS m WHERE so_far <= %s ORDER BY id
            """,
            [site_id, only, only, last, MOST_BYTES],
        )
        for chunk in iter_chunks(cursor.fetchall()):
            cursor.execute(
                f"""
                SELECT {MESSAGE_COLUMNS} FROM {MESSAGE_TABLES} WHERE {THESE} ORDER BY m.id
                """,
                choose_messages(site_id, chunk),
            )
            yield from map(StoredMessage.of_row, cursor.fetchall())
