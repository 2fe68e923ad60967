"""Differences of a variation to its reference, with their variances: plain, or adjusted by a covariate (CUPED).

Deng, Xu, Kohavi and Walker, "Improving the sensitivity of online controlled experiments by utilizing pre-experiment
data" (WSDM 2013). In plain words: visitors who bought much before buy much after. The share of the difference that the
time before explains is chance, and CUPED takes it out. The covariate must be known before the first exposure.
"""

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import special

from goals.experiments import samples
from goals.experiments.anytime import Floats
from goals.experiments.samples import Moments

LEAST_REDUCTION: Final = 0.01  # of the variance; below it CUPED changes nothing that one would see


@dataclass(frozen=True, slots=True)
class Differences:
    """Estimates of variation and reference after adjustment, and the variances and covariance of these estimates.

    `reduction` is the share of the variance that CUPED removed, 0 where it is not used. Arrays of one entry for each.
    """

    n: Floats
    variation: Floats
    reference: Floats
    variation_variance: Floats
    reference_variance: Floats
    shared: Floats
    degrees: Floats  # of freedom, by Welch and Satterthwaite
    reduction: Floats

    @property
    def absolute(self) -> Floats:
        return self.variation - self.reference

    @property
    def variance(self) -> Floats:
        return self.variation_variance + self.reference_variance - 2 * self.shared

    @property
    def z(self) -> Floats:
        """The difference in standard errors; 0 without variance, which says nothing."""
        variance = self.variance
        return np.where(variance > 0, self.absolute / np.sqrt(np.where(variance > 0, variance, 1.0)), 0.0)

    @property
    def relative(self) -> Floats:
        return self.absolute / self.reference

    @property
    def relative_variance(self) -> Floats:
        """The variance of the relative difference by the delta method."""
        ratio = self.variation / self.reference
        return (
            self.variation_variance - 2 * ratio * self.shared + ratio**2 * self.reference_variance
        ) / self.reference**2

    def absolute_interval(self, errors: npt.ArrayLike) -> tuple[Floats, Floats]:
        """Return the bounds that are `errors` standard errors away."""
        width = np.asarray(errors) * np.sqrt(np.maximum(self.variance, 0.0))
        return self.absolute - width, self.absolute + width

    def relative_interval(self, errors: npt.ArrayLike) -> tuple[Floats, Floats]:
        """Return the bounds of the relative difference (Fieller, 1954); infinite ones if the reference may be 0.

        They enclose each r for which the difference to (1 + r) times the reference is within `errors` standard errors.
        So they exclude 0 exactly if the absolute interval does, and no division is approximated.
        """
        square = np.asarray(errors) ** 2
        a = self.reference**2 - square * self.reference_variance
        b = self.variation * self.reference - square * self.shared
        c = self.variation**2 - square * self.variation_variance
        bounded = a > 0
        root = np.sqrt(np.maximum(b**2 - a * c, 0.0))
        divisor = np.where(bounded, a, 1.0)
        lower, upper = (b - root) / divisor - 1, (b + root) / divisor - 1
        return np.where(bounded, lower, -np.inf), np.where(bounded, upper, np.inf)


def subtract(reference: Moments, variation: Moments) -> Differences:
    """Return the differences, adjusted by the covariate where that reduces the variance by 1 % or more."""
    both = samples.add(reference, variation)
    theta = np.where(both.xx > 0, both.covariance / np.where(both.xx > 0, both.xx, 1.0), 0.0)
    plain = _subtract(reference, variation, np.zeros_like(theta))
    adjusted = _subtract(reference, variation, theta)
    reduction = 1 - adjusted.variance / np.where(plain.variance > 0, plain.variance, np.inf)
    helps = reduction >= LEAST_REDUCTION
    chosen = _subtract(reference, variation, np.where(helps, theta, 0.0))
    return replace(chosen, reduction=np.where(helps, reduction, 0.0))


def t_quantile(degrees: Floats, level: float) -> Floats:
    """Return the standard errors on each side of a two-sided interval of Welch's test."""
    return np.asarray(special.stdtrit(degrees, 1 - level / 2), dtype=float)


def t_p_value(z: Floats, degrees: Floats) -> Floats:
    """Return the two-sided p-value of Welch's test."""
    return np.asarray(2 * special.stdtr(degrees, -np.abs(z)), dtype=float)


def _subtract(reference: Moments, variation: Moments, theta: Floats) -> Differences:
    """Move each mean to the common mean of the covariate, theta for each unit.

    The common mean is random, too, so that both estimates share a part of it.
    """
    n = reference.n + variation.n
    to_variation, to_reference = reference.n / n * theta, variation.n / n * theta
    gap = variation.x - reference.x
    xx_v, xx_r = variation.xx / variation.n, reference.xx / reference.n
    zx_v, zx_r = variation.covariance / variation.n, reference.covariance / reference.n
    own_v = (variation.variance - 2 * theta * variation.covariance + theta**2 * variation.xx) / variation.n
    own_r = (reference.variance - 2 * theta * reference.covariance + theta**2 * reference.xx) / reference.n
    return Differences(
        n=n,
        variation=variation.ratio - to_variation * gap,
        reference=reference.ratio + to_reference * gap,
        variation_variance=(
            variation.variance / variation.n - 2 * to_variation * zx_v + to_variation**2 * (xx_v + xx_r)
        ),
        reference_variance=(
            reference.variance / reference.n - 2 * to_reference * zx_r + to_reference**2 * (xx_v + xx_r)
        ),
        shared=to_reference * (zx_v - to_variation * xx_v) + to_variation * (zx_r - to_reference * xx_r),
        degrees=(own_v + own_r) ** 2 / (own_v**2 / (variation.n - 1) + own_r**2 / (reference.n - 1)),
        reduction=np.zeros_like(theta),
    )
