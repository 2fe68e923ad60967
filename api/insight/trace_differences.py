"""Sentences of a trace about what today's rules, goals or reading would do otherwise. Pure."""

from collections.abc import Iterator

from api.digest.derivation import Derivation
from api.digest.readings import NEWEST_READING
from api.events.effects import Effect
from api.events.reasons import DROPS, sentence_of
from api.insight.trace_facts import TraceFacts
from api.models import Message

Status = Message.Status


def describe_differences(facts: TraceFacts) -> list[str]:
    if facts.derived is None or facts.derived_now is None:
        return []
    is_read_anew = facts.message.status in {Status.REJECTED, Status.FAILED}  # a retry uses the newest reading
    of_rules = list(_compare_outcome(facts, facts.derived_now if is_read_anew else facts.derived))
    of_goal = list(_compare_goal(facts))
    of_reading = list(_compare_readings(facts, facts.derived, facts.derived_now))
    changed_at, digested_at = facts.site.rules_changed_at, facts.message.digested_at
    intro = []
    if (of_rules or of_goal) and changed_at and digested_at and digested_at < changed_at:
        at = f"{changed_at:%Y-%m-%d %H:%M:%S}"
        intro = [f"It was processed before the rules changed ({at} UTC). The rest follows today's rules."]
    return [*intro, *of_rules, *of_reading, *of_goal]


def _compare_outcome(facts: TraceFacts, today: Derivation) -> Iterator[str]:
    message = facts.message
    if message.status == Status.PENDING:
        return
    failure = today.rejected or today.failed
    if message.status == Status.REJECTED and not failure:
        yield "Today it would be accepted: retry it."
    elif message.status != Status.REJECTED and failure:
        yield f"Today it would be rejected: {sentence_of(failure)}"
    elif message.status == Status.DONE:
        drop = today.idle_reason if today.change is None else ""
        if drop and message.reason not in DROPS:
            yield f"Today it would be ignored: {sentence_of(drop)}"
        elif message.reason in DROPS and not drop:
            yield "Today it would not be ignored."
        elif Effect.CONVERTED in message.effects and today.goal is None:
            yield "Today it would convert no goal."
        elif today.goal and message.goal_id is None and message.reason in {"no_goal_by_rule", "already_known"}:
            yield "Today it would convert a goal."


def _compare_readings(facts: TraceFacts, derived: Derivation, derived_now: Derivation) -> Iterator[str]:
    is_same = (derived.change, derived.goal) == (derived_now.change, derived_now.goal)
    if facts.message.status == Status.REJECTED or is_same:
        return
    reason = derived_now.rejected or (derived_now.idle_reason if derived_now.change is None else "")
    meaning = sentence_of(reason) if reason else "It would name other people, or mean something else."
    yield (
        f"It keeps the meaning that it had under reading {facts.stored.reading}. "
        f"The same event would be read under reading {NEWEST_READING} today: {meaning}"
    )


def _compare_goal(facts: TraceFacts) -> Iterator[str]:
    if facts.goal is None:
        return
    match, conversion = facts.goal.match, facts.goal.conversion
    converted = conversion.goal_id if conversion else facts.message.goal_id
    if converted is None:
        return
    if match is None:
        yield f"It converted goal {converted}. Today “{facts.goal.new_name}” would be created."
    elif converted != match.id:
        yield f"It converted goal {converted}. Today its name leads to “{match.name}” ({match.id})."
