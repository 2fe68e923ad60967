"""Sentence about a comparison that needs no statistics to be read. Pure, without numpy.

It says a difference only where one is claimed. The interval in parentheses contains the truth in 95 % of experiments,
however often one looks; see `goals/experiments/anytime.py`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from goals.experiments.power import change_seen, visitors_needed
from goals.experiments.results import DEFAULT_SETTINGS, Comparison, ResultClaim, ResultSettings

CHANGES: Final = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5)  # of which the smallest that is near is named
NEAR_DAYS: Final = 28


@dataclass(frozen=True, slots=True)
class Outlook:
    """Facts about the rest of an experiment.

    `visitors_a_day` are those of reference and variation lately, 0 once the experiment has ended. `change` is the
    smallest relative change that its owner wants to see; None leaves the choice to the sentence.
    """

    visitors_a_day: float = 0.0
    change: float | None = None
    settings: ResultSettings = DEFAULT_SETTINGS


NO_OUTLOOK: Final = Outlook()


def say(comparison: Comparison, *, goal: str, variation: str, outlook: Outlook = NO_OUTLOOK) -> str:
    """Return one sentence about a variation and a goal: "Checkout 2 raises Order Completed by 4.1 % (1.2 to 7.0)."."""
    match comparison.claim:
        case ResultClaim.RATIO_OFF:
            return f"Visitors are not shared as configured, so nothing is claimed about {variation}."
        case ResultClaim.TOO_FEW:
            return f"Too few visitors converted on {goal} to say anything about {variation} yet."
        case ResultClaim.NO_BASELINE:
            return f"No visitor of the reference converted on {goal} yet, so {variation} has nothing to compare with."
        case ResultClaim.OPEN:
            return f"No difference of {variation} in {goal} seen yet{_say_power(comparison, outlook)}."
        case ResultClaim.HIGHER | ResultClaim.LOWER:
            return f"{variation} {_say_change(comparison, goal)}."


def say_all(comparisons: Sequence[tuple[str, Comparison]], *, goal: str, outlook: Outlook = NO_OUTLOOK) -> str:
    """Return one sentence about all variations of an experiment, each by its name.

    It names the variation that raises the goal most, otherwise the one that lowers it most, and counts the others.
    Raise ValueError without variations.
    """
    name, leading = max(comparisons, key=lambda each: _rank(each[1]))
    sentence = say(leading, goal=goal, variation=name, outlook=outlook)
    others = [comparison.claim for _, comparison in comparisons if comparison is not leading]
    if not others or leading.claim == ResultClaim.RATIO_OFF:
        return sentence
    if leading.claim not in {ResultClaim.HIGHER, ResultClaim.LOWER}:
        return _say_nothing_of(len(comparisons), leading, goal, outlook)
    counts = [
        (others.count(ResultClaim.HIGHER), "raises it less", "raise it less"),
        (others.count(ResultClaim.LOWER), "lowers it", "lower it"),
    ]
    silent = len(others) - counts[0][0] - counts[1][0]
    counts.append((silent, "shows no difference yet", "show no difference yet"))
    parts = [f"{count} {one if count == 1 else many}" for count, one, many in counts if count]
    return f"{sentence.removesuffix('.')}; of the others, {' and '.join(parts)}."


def _rank(comparison: Comparison) -> tuple[int, float]:
    """Return an order in which the comparison that decides comes last."""
    ranks = (
        ResultClaim.NO_BASELINE,
        ResultClaim.TOO_FEW,
        ResultClaim.OPEN,
        ResultClaim.LOWER,
        ResultClaim.HIGHER,
        ResultClaim.RATIO_OFF,
    )
    size = abs(comparison.absolute or 0.0)
    if comparison.claim == ResultClaim.OPEN:
        size = -comparison.variance  # the variation about which most is known
    return ranks.index(comparison.claim), size


def _say_nothing_of(count: int, leading: Comparison, goal: str, outlook: Outlook) -> str:
    if leading.claim == ResultClaim.OPEN:
        return f"No difference of the {count} variations in {goal} seen yet{_say_power(leading, outlook)}."
    sentence = say(leading, goal=goal, variation=f"the {count} variations", outlook=outlook)
    return sentence.replace("variations has", "variations have")


def _say_change(comparison: Comparison, goal: str) -> str:
    rises = comparison.claim == ResultClaim.HIGHER
    verb = "raises" if rises else "lowers"
    if comparison.relative is None or comparison.anytime is None:
        return f"{verb} {goal}, on which the reference has nothing"
    lower, upper = comparison.anytime.relative.lower, comparison.anytime.relative.upper
    sign = 1 if rises else -1
    text = f"{verb} {goal} by {percent(sign * comparison.relative)} %"
    if lower is None or upper is None:
        return text
    low, high = sorted((sign * lower, sign * upper))
    return f"{text} ({percent(low)} to {percent(high)})"


def _say_power(comparison: Comparison, outlook: Outlook) -> str:
    """Return the half sentence about the change that would be seen, and when."""
    baseline = abs(comparison.reference or 0.0)
    if not baseline or comparison.variance <= 0:
        return ""
    seen = change_seen(
        comparison.visitors,
        unit_variance=comparison.unit_variance,
        settings=outlook.settings,
        comparisons=comparison.comparisons,
    )
    if not outlook.visitors_a_day or (outlook.change and outlook.change * baseline >= seen):
        return f"; a change of {percent(seen / baseline)} % would probably show by now"
    changes = [outlook.change] if outlook.change else [change for change in CHANGES if change * baseline < seen]
    waits = [(change, _days_until(change * baseline, comparison, outlook)) for change in changes]
    near = next(((change, days) for change, days in waits if days is not None and days <= NEAR_DAYS), None)
    change, days = near or (waits[-1] if waits else (0.0, None))
    if days is None:
        return ""
    return f"; a change of {percent(change)} % would need {days:,} more day{'' if days == 1 else 's'}"


def _days_until(change: float, comparison: Comparison, outlook: Outlook) -> int | None:
    needed = visitors_needed(
        change,
        unit_variance=comparison.unit_variance,
        settings=outlook.settings,
        comparisons=comparison.comparisons,
    )
    return None if needed is None else max(math.ceil((needed - comparison.visitors) / outlook.visitors_a_day), 1)


def percent(share: float) -> str:
    """Return a share as percent with one decimal, or none if it is whole: "4.1", "2", "1,200"."""
    return f"{share * 100:,.1f}".removesuffix(".0")
