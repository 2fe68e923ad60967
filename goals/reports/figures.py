"""Figures that reports of goals have in common; a goal is counted with all goals that are merged into it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Final

from goals.models import Goal

MOST_BEFORE: Final = 2_000  # conversions before the newest ones that a query reads to see where visits begin
NO_END: Final = datetime.max.replace(tzinfo=UTC)  # of a period that runs

Revenue = Mapping[str, Decimal]  # by currency, sorted


@dataclass(frozen=True, slots=True)
class GoalFigures:
    """Conversions of some time, their converting visits and visitors, and the revenue without the cancelled one."""

    conversions: int = 0
    visits: int = 0
    visitors: int = 0
    revenue: Revenue = field(default_factory=dict)
    cancellations: int = 0  # conversions that were taken back in this time

    def headline(self, goal: Goal) -> int:
        """Return the figure that counts for this goal: conversions, or visits (`hasMultipleConversions`)."""
        return self.conversions if goal.has_multiple_conversions else self.visits


def load_member_ids(site_id: int, goals: Sequence[Goal]) -> dict[int, list[int]]:
    """Return the goals whose conversions each goal of a site shows, by its id: itself, then all that count for it.

    One query, none for goals of `queries.live_goals`, which have their `merged_ids`.
    """
    members = {goal.pk: [goal.pk, *getattr(goal, "merged_ids", ())] for goal in goals}
    unknown = [goal.pk for goal in goals if not hasattr(goal, "merged_ids")]
    merged = Goal.objects.filter(site_id=site_id, counts_for__in=unknown, deleted_at=None)
    for id_, counts_for in merged.values_list("pk", "counts_for_id") if unknown else ():
        members[counts_for].append(id_)
    return members


def parse_revenue(amounts: str | None) -> Revenue:
    """Return revenue from a JSON object whose values are texts, because a float would not be exact."""
    return {currency: Decimal(amount) for currency, amount in sorted(json.loads(amounts or "{}").items())}
