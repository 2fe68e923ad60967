"""Verdict of a trace: one sentence that says how a message ended, and where it leads. Pure."""

from dataclasses import dataclass
from typing import Final, Literal

from api.digest.derivation import SourceConfig
from api.digest.mapping import glance
from api.events.effects import Effect
from api.events.reasons import sentence_of
from api.http.wording import count_of, duration_of
from api.insight.trace_facts import GoalFacts, TraceFacts
from api.models import Message
from cohorts.changes import holder_of
from goals.models import Conversion
from goals.shown_names import show_goal_name, show_name

Status = Message.Status
Mood = Literal["good", "warn", "bad", ""]
FAILURES: Final = {Status.REJECTED: "Rejected", Status.FAILED: "Failed"}
EFFECTS: Final = (Effect.CANCELLED, Effect.PROFILE_UPDATED, Effect.LINKED, Effect.RECORDED)


@dataclass(frozen=True, slots=True)
class Verdict:
    """The end of a message: a word, a sentence, and what they are about."""

    mood: Mood
    lead: str
    text: str = ""
    conversion: Conversion | None = None
    goal: str = ""  # its name as pages show it
    seconds: float | None = None  # from receipt to the end
    person: str = ""  # an identifier of the person

    @property
    def money(self) -> str:
        """Return the revenue of the conversion with its currency, empty without any."""
        if self.conversion is None or self.conversion.revenue is None:
            return ""
        return f"{self.conversion.revenue.normalize():f} {self.conversion.currency}"

    @property
    def sentence(self) -> str:
        """Return the verdict as one text."""
        after = "" if self.seconds is None else f"{duration_of(self.seconds)} after receipt"
        if self.conversion is None:
            return f"{self.lead}: {self.text}" if self.text else f"{self.lead}{', ' if after else ''}{after}."
        money = f" ({self.money})" if self.money else ""
        return (
            f"{self.lead} {self.goal} for visitor {self.conversion.visitor_code}{money}{', ' if after else ''}{after}."
        )


def name_of(facts: TraceFacts) -> str:
    """Return the name of an event as its sender wrote it, empty if it has none."""
    return glance(facts.stored, SourceConfig(names_pages_by_title=facts.site.names_pages_by_title)).name


def judge(facts: TraceFacts) -> Verdict:
    """Return the verdict on a message."""
    message, person = facts.message, _find_person(facts)
    if message.status == Status.PENDING:
        return Verdict("warn", "Queued", _predict(facts), person=person)
    if message.status == Status.DEFERRED:
        return Verdict("warn", "Queued (goal limit)", _describe_queue(facts), person=person)
    if message.status in FAILURES:
        return Verdict("bad", FAILURES[Status(message.status)], message.sentence, person=person)
    return _judge_done(facts, person)


def foresee(facts: TraceFacts) -> Verdict:
    """Return the verdict on an event of the tracking API that is not stored: what would happen to it now."""
    derived, person = facts.derived, _find_person(facts)
    if derived is None or derived.failed:
        return Verdict("bad", "Would fail", facts.error or sentence_of(derived.failed if derived else "failed"))
    if derived.rejected:
        return Verdict("bad", "Would be rejected", sentence_of(derived.rejected, facts.site), person=person)
    if facts.goal is not None:
        return _foresee_conversion(facts, facts.goal, person)
    if derived.change is None or derived.idle_reason in {"no_trait", "no_persona"}:
        is_ignored = derived.idle_reason == "dropped_by_rule"
        text = f"A rule ignores it: {derived.detail}" if is_ignored else sentence_of(derived.idle_reason)
        return Verdict("", "Would have no effect", text, person=person)
    text = f"It is about {person}." if person else "It is about the group alone."
    return Verdict("good", "Would update the profile", f"{text} What is known already stays the same.", person=person)


def _foresee_conversion(facts: TraceFacts, goal: GoalFacts, person: str) -> Verdict:
    hit = goal.hit
    name = _show(facts, goal.match.name if goal.match else goal.new_name)
    revenue = f" ({hit.revenue.normalize():f} {hit.currency})" if hit.revenue is not None else ""
    lead = "Would convert" if goal.match else "Would create a goal and convert it"
    return Verdict("good", lead, f"{name} for visitor {hit.visitor_code}{revenue}.", person=person)


def _judge_done(facts: TraceFacts, person: str) -> Verdict:
    message = facts.message
    seconds = None
    if message.digested_at is not None:
        seconds = max(0.0, (message.digested_at - message.received_at).total_seconds())
    conversion = facts.goal.conversion if facts.goal else None
    if conversion is not None:
        goal = str(show_goal_name(conversion.goal, template=facts.site.goal_name_template))
        return Verdict("good", "Converted", "", conversion, goal, seconds, person)
    if Effect.CONVERTED in message.effects:
        return Verdict("warn", "Converted", "Its conversion has been deleted since.", seconds=seconds, person=person)
    done = [effect.label for effect in EFFECTS if effect in message.effects]
    if not done:
        return Verdict("", "No effect", message.sentence, seconds=seconds, person=person)
    lead, *others = done
    also = f"{', '.join(others)}." if others else ""
    return Verdict("good", lead, " ".join(filter(None, [also, message.sentence])), seconds=seconds, person=person)


def _predict(facts: TraceFacts) -> str:
    """Return the sentence about what would happen to a queued message now."""
    attempts = facts.message.attempts
    failed = f"{count_of(attempts, 'attempt')} failed so far. " if attempts else ""
    if facts.goal is not None and facts.goal.match is not None:
        return f"{failed}It would convert “{_show(facts, facts.goal.match.name)}”."
    if facts.goal is not None:
        return f"{failed}It would create the goal “{_show(facts, facts.goal.new_name)}”."
    return f"{failed}Look again in a moment."


def _describe_queue(facts: TraceFacts) -> str:
    ahead = facts.goal.names_ahead if facts.goal else None
    text = f"It converts as soon as the goal “{_show(facts, facts.message.waiting_for)}” may be created."
    if ahead is None:
        return text
    place = f"{count_of(ahead, 'name')} ahead in the queue" if ahead else "It is next"
    return f"{text} {place}."


def _show(facts: TraceFacts, name: str) -> str:
    return str(show_name(name, template=facts.site.goal_name_template))


def _find_person(facts: TraceFacts) -> str:
    """Return the best identifier of the event's person: of the user, otherwise of the device or visitor."""
    change = facts.derived.change if facts.derived else None
    holder = holder_of(change) if change else None
    return holder[1] if holder else ""
