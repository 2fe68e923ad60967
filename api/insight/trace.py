"""Trace of a message: each step of its processing with the reason for it (promise N-04).

The facts come from the inbox, the conversions, and from the same `derive` and lookups that the digest uses.
If today's rules would do something else than what was recorded, the trace says so.
"""

from dataclasses import dataclass
from typing import Final

from api.insight.trace_differences import describe_differences
from api.insight.trace_facts import gather_facts
from api.insight.trace_steps import StepState, TraceStep, describe_steps
from api.insight.trace_verdict import Verdict, foresee, judge, name_of
from api.models import Message, Site
from api.models.message_rows import load_body

FOLDED: Final = frozenset({StepState.PASSED, StepState.SKIPPED})


@dataclass(frozen=True, slots=True)
class Trace:
    """Steps in their order, up to the one that ended it, and sentences about what would be different today."""

    steps: list[TraceStep]
    differences: list[str]
    reading: int  # the version of what events mean that it was read under, or would be
    name: str  # of the event as its sender wrote it, empty if it has none
    verdict: Verdict

    @property
    def folded(self) -> list[TraceStep]:
        """Return the steps that passed or had nothing to do."""
        return [step for step in self.steps if step.state in FOLDED]

    @property
    def open(self) -> list[TraceStep]:
        """Return the steps that stopped the message, let it wait, or are odd."""
        return [step for step in self.steps if step.state not in FOLDED]

    @property
    def stops(self) -> list[TraceStep]:
        """Return the steps that stopped the message or are odd."""
        return [step for step in self.open if step.state != StepState.WAITS]

    @property
    def passed(self) -> int:
        return sum(step.state == StepState.PASSED for step in self.steps)


def trace(site: Site, message: Message, body: bytes | None = None, *, is_stored: bool = True) -> Trace:
    """Return the trace of a site's message; unless it is stored, its verdict is a forecast.

    At most nine queries, all by keys.
    """
    facts = gather_facts(site, message, load_body(site.pk, message.pk).body if body is None else body)
    verdict = judge(facts) if is_stored else foresee(facts)
    return Trace(
        list(describe_steps(facts)), describe_differences(facts), facts.stored.reading, name_of(facts), verdict
    )
