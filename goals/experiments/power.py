"""Power of experiments: visitors that a change needs to be seen, and the smallest change that visitors show.

They are planned for the end of the experiment: chances are those of a claim at one look, at that many visitors. Looks
before only add to them, so that the true chance is a little higher. Pure, without numpy. Microseconds.
"""

import math
from statistics import NormalDist
from typing import Final

from goals.experiments.results import ResultSettings

POWER: Final = 0.8
MOST_VISITORS: Final = 10**12
NORMAL: Final = NormalDist()


def errors_needed(visitors: float, settings: ResultSettings, *, level: float) -> float:
    """Return the standard errors that a difference must reach at a number of visitors to be claimed at a level.

    With several comparisons the level is that of the first claim, the strictest one: alpha divided by their number.
    """
    doubled = -2 * math.log(settings.alpha)
    scaled = visitors * (doubled + math.log(doubled + 1)) / settings.tuned_for
    return math.sqrt(2 * (scaled + 1) / scaled * (math.log(scaled + 1) / 2 - math.log(level)))


def chance_of_claim(
    change: float, *, visitors: float, unit_variance: float, settings: ResultSettings, comparisons: int = 1
) -> float:
    """Return the power: the chance that an absolute change is claimed at a number of visitors of both variations.

    `unit_variance` is the variance of the difference times the visitors it was found at: `Comparison.unit_variance`.
    """
    z = abs(change) / math.sqrt(unit_variance / visitors)
    return NORMAL.cdf(z - errors_needed(visitors, settings, level=settings.alpha / comparisons))


def visitors_needed(
    change: float, *, unit_variance: float, settings: ResultSettings, comparisons: int = 1, power: float = POWER
) -> int | None:
    """Return the visitors of both variations at which an absolute change is claimed with a chance of `power`.

    None for no change, or one that would need 10¹² visitors. A variance of 0 needs 1.
    """
    low, high = 1, MOST_VISITORS

    def is_enough(visitors: int) -> bool:
        errors = errors_needed(visitors, settings, level=settings.alpha / comparisons) + NORMAL.inv_cdf(power)
        return change**2 * visitors >= errors**2 * unit_variance

    if not change or not is_enough(high):
        return None
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if is_enough(middle) else (middle + 1, high)
    return low


def change_seen(
    visitors: float, *, unit_variance: float, settings: ResultSettings, comparisons: int = 1, power: float = POWER
) -> float:
    """Return the smallest absolute change that is claimed at this number of visitors with a chance of `power`."""
    errors = errors_needed(visitors, settings, level=settings.alpha / comparisons) + NORMAL.inv_cdf(power)
    return errors * math.sqrt(unit_variance / visitors)
