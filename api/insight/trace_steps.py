"""Steps of a trace in words. Pure: everything they tell is in the facts."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Final

from django.conf import settings

from api.digest.derivation import Derivation
from api.digest.readings import NEWEST_READING
from api.events.effects import Effect
from api.events.reasons import UNSAFE_TO_DERIVE, WARNINGS, sentence_of
from api.http.wording import count_of, shorten
from api.ingest.accept import EVENT_BYTES
from api.insight.trace_facts import GoalFacts, TraceFacts
from api.models import Message
from cohorts import changes, merge
from cohorts.custom_values import ADDS
from cohorts.models import Identity
from cohorts.remote_data import FAMILIES
from goals.cancelling import NewCancellation
from goals.matching import EventName, LookupResult
from goals.models import Conversion
from goals.naming import GOAL_TYPES
from goals.shown_names import show_goal_name

Kind = Identity.Kind
Status = Message.Status

MOST_NAMES: Final = 100  # of traits, that a step names
NAME_LENGTH: Final = 200  # of such a name
FOUND: Final = {
    LookupResult.NOTHING: "not found",
    LookupResult.NAMED_BY_EVENT: "found, but an event named it so: only the name with its type leads to it",
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
    person: str = ""  # an identifier of a person


@dataclass(frozen=True, slots=True)
class TraceStep:
    """One step with its state, text, time and details."""

    title: str
    state: StepState
    text: str
    at: datetime | None = None
    lines: list[TraceLine] = field(default_factory=list)


def describe_steps(facts: TraceFacts) -> Iterator[TraceStep]:
    """Yield the steps in their order, up to the one that ended the message."""
    yield from _describe_arrival(facts)
    if not facts.is_rejected_on_arrival:
        yield from _describe_digest(facts)


def _describe_arrival(facts: TraceFacts) -> Iterator[TraceStep]:
    message, source = facts.message, facts.source
    through = f"“{source.name}”, {source.get_kind_display()}" if source else "a deleted source"
    yield TraceStep(
        "Received",
        StepState.PASSED,
        f"Through {through}; event {message.position + 1} of its request. It happened at "
        f"{message.occurred_at:%Y-%m-%d %H:%M:%S} UTC.",
        message.received_at,
    )
    yield TraceStep("Authentication", StepState.PASSED, "Valid key.")
    if facts.is_rejected_on_arrival and message.reason == "too_large":
        yield TraceStep("Size", StepState.STOPPED, sentence_of(message.reason))
        return
    yield TraceStep("Size", StepState.PASSED, f"{len(facts.stored.body):,} of at most {EVENT_BYTES:,} bytes.")
    if facts.is_rejected_on_arrival:
        yield _describe_duplicates(facts)
        lines = [TraceLine("Answer to the sender", message.detail)] if message.detail else []
        yield TraceStep("Rejected on arrival", StepState.STOPPED, message.sentence, message.received_at, lines)
        return
    yield TraceStep("Accepted", StepState.PASSED, f"Accepted as a {message.type} event.", message.received_at)
    yield _describe_duplicates(facts)
    yield _describe_redaction(facts)


def _describe_duplicates(facts: TraceFacts) -> TraceStep:
    message = facts.message
    if message.message_id is None:
        text = "Kept without a messageId: it had none, or its source ignores it because another's copy may count."
        return TraceStep("Duplicates", StepState.SKIPPED, text)
    lines = [TraceLine("messageId", message.message_id)]
    if message.status != Status.REJECTED:
        text = "The first of its type with this messageId. Another copy counts as a duplicate and is not stored."
    elif facts.accepted_id:
        text = "A later copy was accepted."
        lines.append(TraceLine("Accepted later", f"message {facts.accepted_id}", message_id=facts.accepted_id))
    else:
        text = "You can send it again."
    return TraceStep("Duplicates", StepState.PASSED, text, lines=lines)


def _describe_redaction(facts: TraceFacts) -> TraceStep:
    if facts.redactions is None:
        return TraceStep("Redaction", StepState.SKIPPED, "The body could not be read.")
    if not facts.redactions:
        return TraceStep("Redaction", StepState.SKIPPED, "None.")
    text = "Before it was stored, these rules acted, as they are today:"
    lines = [TraceLine(str(rule), f"{rule.get_action_display()}: {rule.argument}") for rule in facts.redactions]
    return TraceStep("Redaction", StepState.PASSED, text, lines=lines)


def _describe_digest(facts: TraceFacts) -> Iterator[TraceStep]:
    message, derived = facts.message, facts.derived
    yield _describe_time(facts)
    if message.reason in UNSAFE_TO_DERIVE:
        yield TraceStep("Outcome", StepState.STOPPED, message.sentence, message.digested_at)
        return
    if derived is None:
        yield TraceStep("Outcome", StepState.STOPPED, f"{message.sentence} {facts.error}".strip())
        return
    yield _describe_hook(derived)
    if derived.idle_reason == "dropped_by_transform" or derived.failed:
        return
    if derived.idle_reason == "excluded_by_sender":
        yield TraceStep("Integrations", StepState.STOPPED, sentence_of("excluded_by_sender"), message.digested_at)
        return
    yield _describe_rules(facts, derived)
    if derived.rejected:
        yield TraceStep("Parsed", StepState.STOPPED, sentence_of(derived.rejected), message.digested_at)
        return
    if derived.change is None:
        return
    yield from _describe_meaning(facts, derived, derived.change)
    if message.warnings:
        lines = [TraceLine(code, WARNINGS.get(code, "")) for code in message.warnings]
        yield TraceStep("Warnings", StepState.ODD, message.detail or "It was accepted all the same.", lines=lines)
    if message.status == Status.FAILED:
        yield TraceStep("Outcome", StepState.STOPPED, message.sentence, message.digested_at)


def _describe_time(facts: TraceFacts) -> TraceStep:
    message, reading = facts.message, facts.stored.reading
    if message.status == Status.PENDING:
        failed = f" {count_of(message.attempts, 'attempt')} failed so far." if message.attempts else ""
        return TraceStep("Processing", StepState.WAITS, f"Queued.{failed} The next steps show what would happen now.")
    if message.digested_at is None:
        lag = "The time was not recorded."
    else:
        lag = f"{(message.digested_at - message.received_at).total_seconds():,.3f} s after it was received."
    if reading != NEWEST_READING:
        lag += f" It was read under reading {reading}; events are read under reading {NEWEST_READING} today."
    return TraceStep("Processing", StepState.PASSED, lag, message.digested_at)


def _describe_hook(derived: Derivation) -> TraceStep:
    if not settings.HOOKS:
        return TraceStep("Transform hook", StepState.SKIPPED, "Not configured.")
    if derived.failed:
        return TraceStep("Transform hook", StepState.STOPPED, sentence_of(derived.failed))
    if derived.idle_reason == "dropped_by_transform":
        return TraceStep("Transform hook", StepState.STOPPED, sentence_of(derived.idle_reason))
    return TraceStep("Transform hook", StepState.PASSED, f"{settings.HOOKS} returned it, changed or not.")


def _describe_rules(facts: TraceFacts, derived: Derivation) -> TraceStep:
    lines = [
        TraceLine(str(facts.rules.get(id_, f"rule {id_}")), rule.get_action_display() if rule else "deleted")
        for id_ in derived.fired
        for rule in [facts.rules.get(id_)]
    ]
    if derived.idle_reason == "track_not_taken":
        return TraceStep("Rules", StepState.STOPPED, sentence_of("track_not_taken"), lines=lines)
    if derived.idle_reason == "dropped_by_rule":
        return TraceStep("Rules", StepState.STOPPED, f"A rule ignores it: {derived.detail}", lines=lines)
    if not lines:
        return TraceStep("Rules", StepState.SKIPPED, "No rule matched.")
    return TraceStep("Rules", StepState.PASSED, "These rules acted, in this order:", lines=lines)


def _describe_meaning(facts: TraceFacts, derived: Derivation, change: changes.Change) -> Iterator[TraceStep]:
    type_ = facts.goal.hit.event.type if facts.goal else facts.message.type
    article = "An" if type_.startswith(("a", "e", "i", "o", "u")) else "A"
    name = _describe_name(facts.goal.hit.event) if facts.goal else ""
    yield TraceStep("Parsed", StepState.PASSED, f"{article} {_in_words(type_)} event{name}.")
    yield _describe_identity(facts, derived, change)
    if derived.cancellation is not None:
        yield _describe_cancellation(facts.message, derived.cancellation)
    elif facts.goal is None:
        yield TraceStep("Goal", StepState.SKIPPED, _explain_no_goal(type_, derived))
    else:
        yield _describe_lookup(facts.goal)
        yield _describe_quota(facts, facts.goal)
        yield _describe_conversion(facts, facts.goal)
    yield _describe_profile(facts.message, change)
    if derived.visit_fact or derived.exposure:
        yield _describe_visit(facts.message, derived)


def _describe_cancellation(message: Message, cancellation: NewCancellation) -> TraceStep:
    money = f", {cancellation.revenue.normalize():f} {cancellation.currency}" if cancellation.revenue else ""
    text = f"Cancels a conversion of the goal {cancellation.event.name}{money}."
    if message.status == Status.PENDING:
        return TraceStep("Cancellation", StepState.WAITS, text)
    if Effect.CANCELLED in message.effects:
        return TraceStep("Cancellation", StepState.PASSED, text, message.digested_at)
    return TraceStep("Cancellation", StepState.SKIPPED, message.sentence or text, message.digested_at)


def _describe_name(event: EventName) -> str:
    return f" of the goal {event.name}" if event.is_goal_id else f" called “{event.name}”"


def _in_words(type_: str) -> str:
    return type_.replace("_", " ")


def _explain_no_goal(type_: str, derived: Derivation) -> str:
    if derived.idle_reason == "no_goal_by_rule":
        return "A rule lets it make no goal."
    if type_ not in GOAL_TYPES:
        return f"{_in_words(type_).capitalize()} events make no goal."
    return "It only says something about the person, so it makes no goal."


def _describe_identity(facts: TraceFacts, derived: Derivation, change: changes.Change) -> TraceStep:
    ids = (
        ("visitor code", derived.visitor_field, change.visitor),
        ("user", "userId", change.user),
        ("anonymous", "anonymousId", change.anonymous),
        ("previous user", "previousId", change.previous_user),
    )
    lines = [TraceLine(f"{kind}, from {place}", value, person=value) for kind, place, value in ids if value is not None]
    visitors = facts.visitors or changes.Visitors({}, {})
    for (kind, value), code in visitors.first.items():
        text = f"visitor {code} was the first that {Kind(kind).label} {value} was seen with"
        lines.append(TraceLine("link", text, person=code))
    for user, code in visitors.device.items():
        text = f"visitor {code} was the first on any device of user {user}"
        lines.append(TraceLine("link", text, person=code))
    if facts.goal is not None:
        hit = facts.goal.hit
        rule = Conversion.KeyedBy(hit.keyed_by).label
        lines.append(TraceLine("counts for", f"{hit.visitor_code}: {rule}", person=hit.visitor_code))
    text = "Identifiers:" if lines else "None: it is about the group alone."
    return TraceStep("Identity", StepState.PASSED, text, lines=lines)


def _describe_lookup(goal: GoalFacts) -> TraceStep:
    is_goal_id = goal.hit.event.is_goal_id
    bound = "a live goal with this id" if is_goal_id else "a goal that this event is bound to"
    lines = [
        TraceLine(step.name or bound, FOUND[step.result], step.goal.id if step.goal else None) for step in goal.lookup
    ]
    if is_goal_id:
        text = f"Its id leads to “{goal.match.name}”." if goal.match else sentence_of("unknown_goal")
    elif goal.match is None:
        text = f"No match, so the new goal “{goal.new_name}” is needed."
    else:
        text = f"Its name leads to “{goal.match.name}”."
    return TraceStep("Goal", StepState.PASSED, f"{text} Checked, in this order:", lines=lines)


def _describe_quota(facts: TraceFacts, goal: GoalFacts) -> TraceStep:
    message = facts.message
    if message.status == Status.DEFERRED:
        lines = [TraceLine("queued as", message.waiting_for)]
        if goal.names_ahead is not None:
            lines.append(TraceLine("ahead in the queue", count_of(goal.names_ahead, "name")))
        sentence = sentence_of("goal_quota", facts.site)
        return TraceStep("New-goal limit", StepState.WAITS, sentence, message.digested_at, lines)
    if message.reason == "goal_backlog_full":
        return TraceStep("New-goal limit", StepState.STOPPED, sentence_of(message.reason), message.digested_at)
    if Effect.GOAL_CREATED in message.effects:
        text = "There was room: this event created the goal."
        return TraceStep("New-goal limit", StepState.PASSED, text, message.digested_at)
    if message.status == Status.PENDING and goal.match is None:
        text = f"“{goal.new_name}” is created as soon as the limit has room."
        return TraceStep("New-goal limit", StepState.WAITS, text)
    return TraceStep("New-goal limit", StepState.SKIPPED, "No new goal was needed.")


def _describe_conversion(facts: TraceFacts, goal: GoalFacts) -> TraceStep:
    message, conversion = facts.message, goal.conversion
    if conversion is None:
        if message.status in {Status.PENDING, Status.DEFERRED}:
            return TraceStep("Conversion", StepState.WAITS, "Pending.")
        if message.goal_id is None:
            return TraceStep("Conversion", StepState.SKIPPED, message.sentence or "None.")
        lines = [TraceLine("goal", f"goal {message.goal_id}", message.goal_id if goal.has_goal else None)]
        text = "It was deleted by hand." if goal.has_goal else "Its goal was deleted, and its conversions with it."
        return TraceStep("Conversion", StepState.ODD, text, lines=lines)
    money = f", {conversion.revenue.normalize():f} {conversion.currency}" if conversion.revenue is not None else ""
    rule = Conversion.KeyedBy(conversion.keyed_by).label
    lines = [
        TraceLine(
            "goal", str(show_goal_name(conversion.goal, template=facts.site.goal_name_template)), conversion.goal_id
        ),
        TraceLine("visitor", f"{conversion.visitor_code}: {rule}", person=conversion.visitor_code),
    ]
    text = f"Recorded at {conversion.occurred_at:%Y-%m-%d %H:%M:%S} UTC{money}."
    if message.reason == "already_converted":
        text = f"{sentence_of('already_converted')} {text}"
    return TraceStep("Conversion", StepState.PASSED, text, message.digested_at, lines)


def _describe_profile(message: Message, change: changes.Change) -> TraceStep:
    """Describe the facts about people, and the keys of remote data that show them."""
    lines = []
    for (kind, value), registers in changes.registers_of(change).items():
        facts = _list_registers(registers)
        lines += [TraceLine(f"{Kind(kind).label} {value}", facts, person=value)] if facts else []
        keys = [family.prefix + value for family in FAMILIES if registers.keys() & family.registers]
        lines += [TraceLine("remote data", key, person=value) for key in keys]
    if change.group is not None and change.group_traits:
        lines.append(TraceLine(f"group {change.group}", f"traits {_list_names(change.group_traits)}"))
    if message.status == Status.PENDING:
        return TraceStep("Profile", StepState.WAITS, "It would set:", lines=lines)
    news = [
        word
        for effect, word in ((Effect.PROFILE_UPDATED, "facts"), (Effect.LINKED, "links"))
        if effect in message.effects
    ]
    text = f"New {' and '.join(news)}." if news else "Nothing new about people."
    return TraceStep("Profile", StepState.PASSED, text, message.digested_at, lines)


def _describe_visit(message: Message, derived: Derivation) -> TraceStep:
    """Describe the fact of a visit or the exposure that the event says."""
    if message.status == Status.PENDING:
        return TraceStep("Visit", StepState.WAITS, "It would be recorded.")
    if derived.exposure:
        said = derived.exposure.said
        experiment = said.experiment_name or f"the experiment {said.experiment_key}"
        what = f"Exposure of variation {said.variation_name or said.variation_key} of {experiment}"
        text = f"{what}: the first time." if Effect.RECORDED in message.effects else f"{what}, as before."
    else:
        text = "Recorded." if Effect.RECORDED in message.effects else "It was recorded before."
    return TraceStep("Visit", StepState.PASSED, text, message.digested_at)


def _list_registers(registers: merge.Registers) -> str:
    """List the names of registers, without their values."""
    parts = [f"{name} {_list_names(registers[name])}" for name in ("traits", "personas") if registers.get(name)]
    indexes = {key.partition(ADDS)[0] for key in registers.get("custom_data", ())}
    parts += [f"custom data {_list_names(indexes)}"] if indexes else []
    parts += [f"group {registers['group'][3]}"] if "group" in registers else []
    parts += [f"belongs to {name} {registers[name][3]}" for name in ("user", "anonymous") if name in registers]
    parts += [f"seen with visitor {registers['visitor'][3]}"] if "visitor" in registers else []
    return "; ".join(parts)


def _list_names(names: Iterable[str]) -> str:
    """List the first names in their order, and how many more there are."""
    ordered = sorted(names)
    more = len(ordered) - MOST_NAMES
    first = ", ".join(shorten(name, NAME_LENGTH) for name in ordered[:MOST_NAMES])
    return f"{first} and {more:,} more" if more > 0 else first
