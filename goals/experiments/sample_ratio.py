"""Check that visitors are shared among variations as configured, at any look.

Lindon and Malek, "Anytime-valid inference for multinomial count data" (NeurIPS 2022). If the counts deviate more than
chance explains, something loses or adds visitors of one variation: a redirect, a crash, a bot. Then no difference means
anything, hence nothing is claimed. Reasons: Fabijan et al., "Diagnosing sample ratio mismatch" (KDD 2019).

Assumption: visitors are assigned independently with constant shares. A change of shares is a new phase, checked alone.
Pure, without numpy. A check takes microseconds for each day and variation.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Final

CONCENTRATION: Final = 1_000  # of the Dirichlet prior: deviations of some 1.5 points are found first
MOST_STEPS: Final = 366  # pairs of them are compared to find the first day
LEVEL: Final = 0.01  # chance of an alarm of an experiment that is well, over all looks


@dataclass(frozen=True, slots=True)
class SampleRatio:
    """State of the shares: p-value that is valid at any look, and if they are off, the day it began.

    `began` is an index into the daily counts: the first day of the stretch of days that deviates most.
    """

    p_value: float
    is_off: bool
    began: int | None = None


def check_sample_ratio(
    daily: Sequence[Sequence[int]],
    *,
    shares: Sequence[float],
    level: float = LEVEL,
    concentration: float = CONCENTRATION,
) -> SampleRatio:
    """Return the state of the shares from the new visitors of each day, in the order of variations.

    Shares are positive; they need not add up to 1. Once off, a ratio stays off. The search for its first day takes
    0.4 s for a year, and no more for longer times, because it takes days together there. Raise ValueError if a day has
    another number of variations.
    """
    total = math.fsum(shares)
    expected = [share / total for share in shares]
    sums = [tuple(0 for _ in expected)]
    for counts in daily:
        sums.append(tuple(before + new for before, new in zip(sums[-1], counts, strict=True)))
    highest = max(log_e_value(counts, expected, concentration) for counts in sums)
    p_value = math.exp(-max(highest, 0.0))
    if p_value > level:
        return SampleRatio(p_value=p_value, is_off=False)

    def deviate(start: int, stop: int) -> float:
        between = [after - before for before, after in zip(sums[start], sums[stop], strict=True)]
        return log_e_value(between, expected, concentration)

    step = math.ceil((len(sums) - 1) / MOST_STEPS)
    bounds = [*range(0, len(sums) - 1, step), len(sums) - 1]
    near, end = max(combinations(bounds, 2), key=lambda days: deviate(*days))
    began = max(range(max(near - step + 1, 0), min(near + step, end)), key=lambda day: deviate(day, end))
    return SampleRatio(p_value=p_value, is_off=True, began=began)


def log_e_value(counts: Sequence[int], shares: Sequence[float], concentration: float) -> float:
    """Return the logarithm of the e-value against the shares: the posterior odds of equation 5 of the paper."""
    visitors = sum(counts)
    log_e = math.lgamma(concentration) - math.lgamma(concentration + visitors)
    for count, share in zip(counts, shares, strict=True):
        prior = concentration * share
        log_e += math.lgamma(prior + count) - math.lgamma(prior) - count * math.log(share)
    return log_e


def fixed_p_value(counts: Sequence[int], shares: Sequence[float]) -> float:
    """Return the p-value of Pearson's chi-squared test, for one look at a time chosen before. Imports scipy."""
    from scipy import special  # noqa: PLC0415 - only processes that show results pay for it

    total, visitors = math.fsum(shares), sum(counts)
    if not visitors:
        return 1.0
    expected = [visitors * share / total for share in shares]
    square = math.fsum((count - mean) ** 2 / mean for count, mean in zip(counts, expected, strict=True))
    return float(special.chdtrc(len(counts) - 1, square))
