"""What happened to a message, step by step, each with its reason (promise N-04).

Read from what the inbox and the conversions say of it, and from the same `derive` and the same lookups that digest.
Where these, under today's rules, would do something else than what was recorded, the trace says so.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Final

from django.conf import settings

from api.digest.mapping import Derivation, StoredMessage, derive
from api.digest.readings import NEWEST
from api.digest.site_config import SiteConfig, load_site_config, rule_of
from api.events.body import UnreadableBodyError, read_body
from api.events.effects import Effect
from api.events.reasons import DROPS, UNSAFE_TO_DERIVE, WARNINGS, sentence_of
from api.http.wording import shorten
from api.ingest.accept import EVENT_BYTES
from api.models import Message, Rule, Site, Source
from api.rules.actions import REDACTIONS
from api.rules.rule import matches_event, name_event
from cohorts import changes, merge
from cohorts.models import Identity
from cohorts.remote_data import COHORTS, IDENTIFY
from goals import recording, waiting
from goals.matching import LookupResult, look_up
from goals.models import Conversion, Goal, WaitingName
from goals.naming import name_goal

Kind = Identity.Kind
Status = Message.Status

# Nobody derives these again to look at them: what killed a worker, or hung in a hook, would do it here.
MOST_NAMES: Final = 100  # of traits, that a step names
NAME_LENGTH: Final = 200  # of such a name
FOUND: Final = {
    LookupResult.NOTHING: "there is none",
    LookupResult.NAMED_BY_EVENT: "there, but an event gave it this name: only the name with its type leads to it",
    LookupResult.MATCH: "this one",
}


class StepState(StrEnum):
    PASSED = "passed"
    STOPPED = "stopped"
    WAITS = "waits"
    ODD = "odd"
    SKIPPED = "skipped"  # there was nothing to do


@dataclass(frozen=True, slots=True)
class TraceLine:
    """A detail of a step, and where it leads."""

    label: str
    text: str
    goal_id: int | None = None
    message_id: int | None = None  # a message's number
    person: str = ""  # an id of somebody


@dataclass(frozen=True, slots=True)
class TraceStep:
    title: str
    state: StepState
    text: str
    at: datetime | None = None
    lines: list[TraceLine] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Trace:
    """The steps in their order, up to the one that ended it; and what would be different today."""

    steps: list[TraceStep]
    differences: list[str]
    reading: int  # the version of what events mean that it was read under, or would be


def trace(site: Site, message: Message) -> Trace:
    """The trace of a site's message. At most nine queries, all by keys."""
    rows = {rule.pk: rule for rule in site.rules.all()}
    case = _Case(site, load_site_config(site), message, rows, {source.pk: source for source in site.sources.all()})
    steps = list(case.at_the_door())
    if steps[-1].state == StepState.STOPPED:
        return Trace(steps, [], case.stored.reading)
    steps += case.in_the_digest()
    return Trace(steps, case.differences, case.stored.reading)


class _Case:
    """One message under examination."""

    def __init__(
        self, site: Site, config: SiteConfig, message: Message, rules: dict[int, Rule], sources: dict[int, Source]
    ) -> None:
        self.site = site
        self.config = config
        self.message = message
        self.rules = rules
        self.source = sources.get(message.source_id or 0)
        self.stored = StoredMessage.of_message(message)
        self.differences: list[str] = []

    @property
    def is_refused_at_door(self) -> bool:
        return self.message.status == Status.REJECTED and self.message.digested_at is None

    @property
    def is_open(self) -> bool:
        """Whether its conversion is still to come."""
        return self.message.status in {Status.PENDING, Status.DEFERRED}

    def at_the_door(self) -> Iterator[TraceStep]:
        message, size = self.message, len(self.stored.body)
        through = f"“{self.source.name}”, {self.source.get_kind_display()}" if self.source else "no source that is left"
        yield TraceStep(
            "Received",
            StepState.PASSED,
            f"Through {through}; event {message.position + 1} of its request. It happened at "
            f"{message.occurred_at:%Y-%m-%d %H:%M:%S} UTC.",
            message.received_at,
        )
        yield TraceStep(
            "Authentication", StepState.PASSED, "The sender showed a valid key, which is not kept with the event."
        )
        refused = message.reason if self.is_refused_at_door else ""
        if refused == "too_large":
            yield TraceStep("Size", StepState.STOPPED, sentence_of(refused))
            return
        yield TraceStep("Size", StepState.PASSED, f"{size:,} of at most {EVENT_BYTES:,} bytes.")
        if refused:
            yield from self._duplicates()
            told = [TraceLine("Its sender was told", message.detail)] if message.detail else []
            yield TraceStep("The door", StepState.STOPPED, message.sentence, message.received_at, told)
            return
        yield TraceStep("The door", StepState.PASSED, f"Taken as {message.type}.", message.received_at)
        yield from self._duplicates()
        yield self._redaction()

    def _duplicates(self) -> Iterator[TraceStep]:
        message = self.message
        if message.message_id is None:
            text = "Kept without a messageId: it had none, or its source is to ignore it and another's copy may count."
            yield TraceStep("Duplicates", StepState.SKIPPED, text)
        elif message.status != Status.REJECTED:
            text = "The first of its type with this messageId. Sent again, it is counted as a duplicate and not stored."
            yield TraceStep("Duplicates", StepState.PASSED, text, lines=[TraceLine("messageId", message.message_id)])
        else:
            again = same_key(self.site.pk, message)
            lines = [TraceLine("Taken later", f"message {again}", message_id=again)] if again else []
            text = "It came again and was taken." if again else "Nothing blocks it: sent again, it is taken."
            yield TraceStep(
                "Duplicates", StepState.PASSED, text, lines=[TraceLine("messageId", message.message_id), *lines]
            )

    def _redaction(self) -> TraceStep:
        try:
            fields = read_body(self.stored.body, set())
        except UnreadableBodyError:
            return TraceStep("Fields not to be stored", StepState.SKIPPED, "The body could not be read.")
        type_ = self.message.type
        name = name_event(type_, fields, set(), by_title=self.site.names_pages_by_title)
        acting = [
            rule
            for rule in self._rules_of_source()
            if rule.action in REDACTIONS and matches_event(rule_of(rule), type_, name, type_, fields)
        ]
        if not acting:
            return TraceStep(
                "Fields not to be stored", StepState.SKIPPED, "No rule keeps a field of it from being stored."
            )
        text = "Before it was stored, these rules acted, as they are today:"
        lines = [TraceLine(str(rule), f"{rule.get_action_display()}: {rule.argument}") for rule in acting]
        return TraceStep("Fields not to be stored", StepState.PASSED, text, lines=lines)

    def _rules_of_source(self) -> list[Rule]:
        return [
            rule for rule in self.rules.values() if rule.is_enabled and rule.source_id in {None, self.message.source_id}
        ]

    def in_the_digest(self) -> Iterator[TraceStep]:
        message = self.message
        if message.status == Status.PENDING:
            failed = f" {message.attempts} tries failed so far." if message.attempts else ""
            text = f"It waits for a worker.{failed} What follows is what would happen now."
            yield TraceStep("Digest", StepState.WAITS, text)
        else:
            yield TraceStep("Digest", StepState.PASSED, f"{self._lag()} {self._reading()}".strip(), message.digested_at)
        if message.reason in UNSAFE_TO_DERIVE:
            yield TraceStep("Outcome", StepState.STOPPED, message.sentence, message.digested_at)
            return
        try:
            effects = derive(self.stored, self.config.for_message(self.stored))
            anew = derive(replace(self.stored, reading=NEWEST), self.config.for_message(self.stored))
        except Exception as error:  # noqa: BLE001 - whatever the digest stumbled over
            yield TraceStep("Outcome", StepState.STOPPED, f"{message.sentence} {type(error).__name__}: {error}".strip())
            return
        # What is tried again is read anew; what was done keeps its reading.
        self._compare(anew if message.status in {Status.REJECTED, Status.FAILED} else effects)
        self._compare_readings(effects, anew)
        yield self._hook(effects)
        if effects.idle_reason == "dropped_by_transform" or effects.failed:
            return
        if effects.idle_reason == "excluded_by_sender":
            yield TraceStep(
                "The sender’s wish", StepState.STOPPED, sentence_of("excluded_by_sender"), message.digested_at
            )
            return
        yield self._fired(effects)
        if effects.change is None and not effects.rejected:
            return
        if effects.rejected:
            yield TraceStep("Understood", StepState.STOPPED, sentence_of(effects.rejected), message.digested_at)
            return
        yield from self._meaning(effects, effects.change)
        if message.warnings:
            lines = [TraceLine(code, WARNINGS.get(code, "")) for code in message.warnings]
            yield TraceStep("Warnings", StepState.ODD, message.detail or "It was taken all the same.", lines=lines)
        if message.status == Status.FAILED:
            yield TraceStep("Outcome", StepState.STOPPED, message.sentence, message.digested_at)

    def _reading(self) -> str:
        """Say so where the message was read as earlier versions read events."""
        if self.stored.reading == NEWEST:
            return ""
        return f"It was read under reading {self.stored.reading}; events are read under reading {NEWEST} today."

    def _lag(self) -> str:
        message = self.message
        if message.digested_at is None:
            return "No time was noted."
        return f"{(message.digested_at - message.received_at).total_seconds():,.3f} s after it was received."

    def _hook(self, effects: Derivation) -> TraceStep:
        if not settings.HOOKS:
            return TraceStep("Transform hook", StepState.SKIPPED, "This installation has none.")
        if effects.failed:
            return TraceStep("Transform hook", StepState.STOPPED, sentence_of(effects.failed))
        if effects.idle_reason == "dropped_by_transform":
            return TraceStep("Transform hook", StepState.STOPPED, sentence_of(effects.idle_reason))
        return TraceStep("Transform hook", StepState.PASSED, f"{settings.HOOKS} let it pass, changed or not.")

    def _fired(self, effects: Derivation) -> TraceStep:
        lines = [
            TraceLine(str(self.rules.get(id_, f"rule {id_}")), rule.get_action_display() if rule else "deleted")
            for id_ in effects.fired
            for rule in [self.rules.get(id_)]
        ]
        if effects.idle_reason == "track_not_taken":
            return TraceStep("SourceConfig", StepState.STOPPED, sentence_of("track_not_taken"), lines=lines)
        if effects.idle_reason == "dropped_by_rule":
            return TraceStep(
                "SourceConfig", StepState.STOPPED, f"A rule says to ignore it: {effects.detail}", lines=lines
            )
        if not lines:
            return TraceStep("SourceConfig", StepState.SKIPPED, "No rule concerns it.")
        return TraceStep("SourceConfig", StepState.PASSED, "These rules acted, in this order:", lines=lines)

    def _meaning(self, effects: Derivation, change: changes.Change | None) -> Iterator[TraceStep]:
        """Who, which goal, and what was written."""
        if change is None:
            return
        goal = effects.goal
        kind = goal.event.type if goal else self.message.type
        a_kind = f"{'An' if kind in {'alias', 'identify'} else 'A'} {kind} event"
        yield TraceStep(
            "Understood",
            StepState.PASSED,
            f"{a_kind} called “{goal.event.name}”." if goal else f"{a_kind}.",
        )
        visitors = self._visitors(change)
        hit = goal.keyed(visitors) if goal else None
        yield self._identity(effects, change, visitors, hit)
        if hit is None:
            no_goal = effects.idle_reason == "no_goal_by_rule"
            text = "A rule says that it makes no goal." if no_goal else f"{a_kind} of this kind has none."
            yield TraceStep("Goal", StepState.SKIPPED, text)
        else:
            yield from self._goal(hit)
        yield self._profile(change)

    def _visitors(self, change: changes.Change) -> changes.Visitors:
        """Return the visitor codes that the ids of an event lead to. One query."""
        wanted = [(int(Kind.USER), change.user), (int(Kind.ANONYMOUS), change.anonymous)]
        values = [value for _, value in wanted if value is not None]
        found = Identity.objects.filter(site_id=self.site.pk, kind__in=[Kind.USER, Kind.ANONYMOUS], value__in=values)
        return changes.visitors_of(
            {
                (identity.kind, identity.value): identity.registers
                for identity in found
                if (identity.kind, identity.value) in wanted
            }
        )

    def _identity(
        self,
        effects: Derivation,
        change: changes.Change,
        visitors: changes.Visitors,
        hit: recording.Hit | None,
    ) -> TraceStep:
        ids = (
            ("visitor code", effects.visitor_field, change.visitor),
            ("user", "userId", change.user),
            ("anonymous", "anonymousId", change.anonymous),
            ("previous user", "previousId", change.previous_user),
        )
        lines = [
            TraceLine(f"{kind}, from {place}", value, person=value) for kind, place, value in ids if value is not None
        ]
        for (kind, value), code in visitors.first.items():
            text = f"visitor {code} was the first that {Kind(kind).label} {value} was seen with"
            lines.append(TraceLine("link", text, person=code))
        for user, code in visitors.device.items():
            text = f"visitor {code} was the first on any device of user {user}"
            lines.append(TraceLine("link", text, person=code))
        if hit is None:
            text = "It names:" if lines else "It names nobody: what it says is of the group alone."
            return TraceStep("Identity", StepState.PASSED, text, lines=lines)
        how = Conversion.KeyedBy(hit.keyed_by).label
        lines.append(TraceLine("counts for", f"{hit.visitor_code}: {how}", person=hit.visitor_code))
        return TraceStep("Identity", StepState.PASSED, "It names:", lines=lines)

    def _goal(self, hit: recording.Hit) -> Iterator[TraceStep]:
        """Lookup, quota and conversion."""
        message, template = self.message, self.config.policy.template
        bindings, goals = recording.find_candidates(self.site.pk, [hit.event], template=template)
        tried = list(look_up(hit.event, bindings=bindings, goals=goals, template=template))
        lines = [
            TraceLine(
                step.name or "a goal that this event is bound to",
                FOUND[step.found],
                step.goal.id if step.goal else None,
            )
            for step in tried
        ]
        matched = tried[-1].goal if tried[-1].found == LookupResult.MATCH else None
        would = f"“{name_goal(hit.event.type, hit.event.name, template=template)}”"
        text = (
            f"Its name leads to “{matched.name}”." if matched else f"Nothing matches: the goal {would} has to be made."
        )
        yield TraceStep("Goal", StepState.PASSED, f"{text} Tried in this order:", lines=lines)
        yield self._quota(would, is_there=matched is not None)
        conversion = (
            Conversion.objects.filter(site_id=self.site.pk, message_key=self.stored.key, goal__deleted_at=None)
            .defer("properties")
            .select_related("goal")
            .first()
        )
        yield self._conversion(conversion)
        then = conversion.goal_id if conversion else message.goal_id
        if then is not None and matched is not None and then != matched.id:
            self._note(f"It converted the goal {then}; today its name leads to “{matched.name}” ({matched.id}).")
        if then is not None and matched is None:
            self._note(f"It converted the goal {then}; today no goal has its name, and {would} would be made.")

    def _quota(self, would: str, *, is_there: bool) -> TraceStep:
        message = self.message
        if message.status == Status.DEFERRED:
            place = WaitingName.objects.filter(site_id=self.site.pk, name=message.waiting_for).first()
            lines = [TraceLine("waits for", message.waiting_for)]
            if place and not place.has_goal:
                ahead = waiting.count_before(place, most=self.site.max_waiting_names)
                lines.append(TraceLine("names before it", f"{ahead:,}"))
            return TraceStep("Quota", StepState.WAITS, sentence_of("goal_quota", self.site), message.digested_at, lines)
        if message.reason == "goal_backlog_full":
            return TraceStep("Quota", StepState.STOPPED, sentence_of("goal_backlog_full"), message.digested_at)
        if Effect.GOAL_CREATED in message.effects:
            return TraceStep(
                "Quota", StepState.PASSED, "There was room: this event made the goal.", message.digested_at
            )
        if message.status == Status.PENDING and not is_there:
            return TraceStep("Quota", StepState.WAITS, f"{would} is made as soon as the quota has room.")
        return TraceStep("Quota", StepState.SKIPPED, "No goal had to be made.")

    def _conversion(self, conversion: Conversion | None) -> TraceStep:
        message = self.message
        if conversion is None:
            if self.is_open:
                return TraceStep("Conversion", StepState.WAITS, "Not yet.")
            if message.goal_id is None:
                return TraceStep("Conversion", StepState.SKIPPED, message.sentence or "None was made.")
            has_goal = Goal.objects.filter(site_id=self.site.pk, pk=message.goal_id, deleted_at=None).exists()
            lines = [TraceLine("goal", f"goal {message.goal_id}", message.goal_id if has_goal else None)]
            text = "It was deleted by hand." if has_goal else "Its goal was deleted, and its conversions with it."
            return TraceStep("Conversion", StepState.ODD, text, lines=lines)
        money = f", {conversion.revenue.normalize():f} {conversion.currency}" if conversion.revenue is not None else ""
        how = Conversion.KeyedBy(conversion.keyed_by).label
        lines = [
            TraceLine("goal", conversion.goal.name, conversion.goal_id),
            TraceLine("visitor", f"{conversion.visitor_code}: {how}", person=conversion.visitor_code),
        ]
        text = f"One of {conversion.occurred_at:%Y-%m-%d %H:%M:%S} UTC{money}."
        if message.reason == "already_converted":
            text = f"{sentence_of('already_converted')} {text}"
        return TraceStep("Conversion", StepState.PASSED, text, message.digested_at, lines)

    def _profile(self, change: changes.Change) -> TraceStep:
        """What the event says of people, under which keys of the remote data."""
        lines = []
        for (kind, value), registers in changes.registers_of(change).items():
            said = _spell_out(registers)
            lines += [TraceLine(f"{Kind(kind).label} {value}", said, person=value)] if said else []
            keys = [IDENTIFY + value] if registers.keys() & {"traits", "group"} else []
            keys += [COHORTS + value] if "personas" in registers else []
            lines += [TraceLine("remote data", key, person=value) for key in keys]
        if change.group is not None and change.group_traits:
            lines.append(TraceLine(f"group {change.group}", f"traits {_list(change.group_traits)}"))
        effects = self.message.effects
        if self.message.status == Status.PENDING:
            return TraceStep("Profile", StepState.WAITS, "It would say:", lines=lines)
        news = [
            word for effect, word in ((Effect.PROFILE_UPDATED, "facts"), (Effect.LINKED, "links")) if effect in effects
        ]
        text = f"It brought new {' and '.join(news)}." if news else "Everything it says of people was known."
        return TraceStep("Profile", StepState.PASSED, text, self.message.digested_at, lines)

    def _compare(self, effects: Derivation) -> None:
        """Note where the record differs from what today's rules would make of the message."""
        message = self.message
        if message.status == Status.PENDING:
            return
        refusal = effects.rejected or effects.failed
        if message.status == Status.REJECTED and not refusal:
            self._note("Today it would be taken: try it again.")
        elif message.status != Status.REJECTED and refusal:
            self._note(f"Today it would be rejected: {sentence_of(refusal)}")
        elif message.status == Status.DONE:
            drop = effects.idle_reason if effects.change is None else ""
            if drop and message.reason not in DROPS:
                self._note(f"Today it would be ignored: {sentence_of(drop)}")
            elif message.reason in DROPS and not drop:
                self._note("Today it would be read, and no longer be ignored.")
            elif Effect.CONVERTED in message.effects and effects.goal is None:
                self._note("Today it would convert no goal.")
            elif effects.goal and message.goal_id is None and message.reason in {"no_goal_by_rule", "already_known"}:
                self._note("Today it would convert a goal.")

    def _compare_readings(self, effects: Derivation, anew: Derivation) -> None:
        """Note that an event like it means something else since the reading changed."""
        if self.message.status == Status.REJECTED or (effects.change, effects.goal) == (anew.change, anew.goal):
            return
        refusal = anew.rejected or (anew.idle_reason if anew.change is None else "")
        what = sentence_of(refusal) if refusal else "It would name other people, or mean something else."
        self.differences.append(
            f"It keeps the meaning that it had under reading {self.stored.reading}. An event like it that comes today "
            f"is read under reading {NEWEST}: {what}"
        )

    def _note(self, difference: str) -> None:
        changed, digested = self.site.rules_changed_at, self.message.digested_at
        if not self.differences and changed and digested and digested < changed:
            self.differences.append(
                f"It was digested before the rules changed ({changed:%Y-%m-%d %H:%M:%S} UTC); what is below follows "
                "today's rules."
            )
        self.differences.append(difference)


def same_key(site_id: int, message: Message) -> int | None:
    """The message that was taken with the type and messageId of one that was rejected. One query by the index."""
    taken = Message.objects.filter(site_id=site_id, type=message.type, message_id=message.message_id)
    return taken.exclude(status=Status.REJECTED).values_list("pk", flat=True).first()


def _list(names: Iterable[str]) -> str:
    """Return the first names in their order, and how many more there are."""
    ordered = sorted(names)
    more = len(ordered) - MOST_NAMES
    told = ", ".join(shorten(name, NAME_LENGTH) for name in ordered[:MOST_NAMES])
    return f"{told} and {more:,} more" if more > 0 else told


def _spell_out(registers: merge.Registers) -> str:
    """Return the names of registers, without their values."""
    parts = [
        f"{word} {_list(registers[name])}"
        for name, word in (("traits", "traits"), ("personas", "personas"))
        if registers.get(name)
    ]
    parts += [f"group {registers['group'][3]}"] if "group" in registers else []
    parts += [f"belongs to {name} {registers[name][3]}" for name in ("user", "anonymous") if name in registers]
    parts += [f"seen with visitor {registers['visitor'][3]}"] if "visitor" in registers else []
    return "; ".join(parts)
