"""Comparison of a variation with its reference, and the settings of one. Without numpy.

The module `goals/experiments/anytime.py` says what "valid at any look" means and assumes.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

ALPHA: Final = 0.05
TUNED_FOR: Final = 5_000  # visitors at which the interval is tightest, as GrowthBook has it by default
FEWEST_EFFECTIVE: Final = 25  # converting visitors that each variation would have by its share
PRIOR_DEVIATION: Final = 0.3  # of the relative difference before any visitor came, as GrowthBook proposes


@dataclass(frozen=True, slots=True)
class ResultSettings:
    """Settings that are fixed before the first look: otherwise nothing stays valid.

    `alpha` is the share of experiments without a difference in which one is claimed at some look. `tuned_for` is the
    number of visitors at which intervals are tightest. `fewest_effective` is the floor of a claim.
    """

    alpha: float = ALPHA
    tuned_for: int = TUNED_FOR
    fewest_effective: float = FEWEST_EFFECTIVE
    prior_deviation: float = PRIOR_DEVIATION


DEFAULT_SETTINGS: Final = ResultSettings()


class ResultClaim(StrEnum):
    """Statement about the direction of a difference, or the reason for none."""

    HIGHER = "higher"
    LOWER = "lower"
    OPEN = "open"  # no difference seen yet
    TOO_FEW = "too_few"  # converting visitors: nothing is claimed
    NO_BASELINE = "no_baseline"  # nothing on the reference: no relative difference exists
    RATIO_OFF = "ratio_off"  # the sample ratio is off: nothing is claimed


@dataclass(frozen=True, slots=True)
class Interval:
    """Bounds of a difference. A bound that the sums do not limit is None."""

    lower: float | None
    upper: float | None


@dataclass(frozen=True, slots=True)
class Estimate:
    """A difference by one method: absolute and relative interval, both shares of 1, and the p-value."""

    absolute: Interval
    relative: Interval
    p_value: float


@dataclass(frozen=True, slots=True)
class BayesianEstimate:
    """The relative difference after the visitors, if before them it was normal around 0 with the prior deviation.

    It is not valid at any look: its interval contains the truth in 95 % of experiments only if the prior is right.
    `risk` is the relative loss to expect if the variation is taken.
    """

    chance_higher: float
    relative: Interval
    risk: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """A variation compared with its reference in one metric.

    `reference` and `variation` are the plain rates, means or ratios; None without visitors or denominator. `absolute`
    and `relative` are the estimated difference, adjusted by CUPED if `reduction` is above 0. Below the floor they and
    the readings are None. A reference of 0 has no relative difference and no Bayesian reading.
    `anytime` holds the interval and the p-value that are valid at any look, corrected for the number of comparisons.
    `p_value` is that of this comparison alone. `fixed` and `bayesian` are corrected for nothing.
    """

    claim: ResultClaim
    reference: float | None
    variation: float | None
    absolute: float | None = None
    relative: float | None = None
    anytime: Estimate | None = None
    p_value: float = 1.0
    fixed: Estimate | None = None
    bayesian: BayesianEstimate | None = None
    reduction: float = 0.0
    visitors: int = 0  # of both variations
    variance: float = 0.0  # of the absolute difference
    comparisons: int = 1

    @property
    def unit_variance(self) -> float:
        """The variance times the visitors, which power needs: it stays while visitors come."""
        return self.variance * self.visitors
