"""Means, variances and covariances of variations, from their exact sums.

A rate, a mean and a ratio are one thing here: Σy / Σd, where `d` is 1 for each visitor unless the metric is a ratio.
By the delta method its variance is that of `z = (y - r d) / mean(d)` divided by the visitors. That is exact for rates
and means. Deng, Knoblich and Lu, "Applying the delta method in metric analytics" (KDD 2018).
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from goals.experiments.anytime import Floats
from goals.experiments.sums import Exact, VariationSums


@dataclass(frozen=True, slots=True)
class Moments:
    """Sums of variations divided by visitors, and sample covariances; arrays of one entry for each comparison."""

    n: Floats
    y: Floats
    x: Floats
    d: Floats
    yy: Floats
    xx: Floats
    dd: Floats
    xy: Floats
    yd: Floats
    xd: Floats

    @property
    def ratio(self) -> Floats:
        """The rate, mean or ratio; NaN if there is no denominator."""
        return self.y / self.d

    @property
    def variance(self) -> Floats:
        """The variance of z, the part of a visitor in the ratio."""
        return np.asarray((self.yy - 2 * self.ratio * self.yd + self.ratio**2 * self.dd) / self.d**2, dtype=float)

    @property
    def covariance(self) -> Floats:
        """The covariance of z and the covariate."""
        return (self.xy - self.ratio * self.xd) / self.d

    @property
    def effective(self) -> Floats:
        """The effective number of converting visitors, (Σy)² / Σy² (Kish, "Survey sampling", 1965).

        A rate has exactly its converting visitors. If a few visitors bring most of the revenue, it is nearly their
        number. A ratio has the smaller one of numerator and denominator.
        """
        return np.minimum(self._effective(self.y, self.yy), self._effective(self.d, self.dd))

    def _effective(self, mean: Floats, variance: Floats) -> Floats:
        squares = variance * (self.n - 1) / self.n + mean**2
        return self.n * mean**2 / np.where(squares > 0, squares, np.inf)


def measure(sums: Sequence[VariationSums]) -> Moments:
    """Return the moments of sums, each rounded once: NumAcc4 of NIST keeps all its digits. No visitors give NaN."""
    rows = [_measure_one(each) for each in sums]
    columns = np.array(rows, dtype=float).reshape(len(rows), len(fields(Moments))).T
    return Moments(*columns)


def add(one: Moments, other: Moments) -> Moments:
    """Return the moments of the visitors of both."""
    n = one.n + other.n

    def mean(name: str) -> Floats:
        return np.asarray((one.n * getattr(one, name) + other.n * getattr(other, name)) / n, dtype=float)

    def covary(a: str, b: str) -> Floats:
        within = (one.n - 1) * getattr(one, a + b) + (other.n - 1) * getattr(other, a + b)
        between = (getattr(one, a) - getattr(other, a)) * (getattr(one, b) - getattr(other, b))
        return np.asarray((within + one.n * other.n / n * between) / (n - 1), dtype=float)

    means = [mean(name) for name in ("y", "x", "d")]
    return Moments(n, *means, *(covary(*pair) for pair in ("yy", "xx", "dd", "xy", "yd", "xd")))


def _measure_one(sums: VariationSums) -> tuple[float, ...]:
    n = sums.visitors
    if n < 2:  # noqa: PLR2004 - no variance
        return (float(n), *[float("nan")] * 9)
    y, x = sums.y, sums.x
    d, dd, yd, xd = (n, n, y, x) if sums.d is None else (sums.d, sums.dd, sums.yd, sums.xd)
    means = (_divide(y, n), _divide(x, n), _divide(d, n) or float("nan"))
    products = ((y, y, sums.yy), (x, x, sums.xx), (d, d, dd), (x, y, sums.xy), (y, d, yd), (x, d, xd))
    return (float(n), *means, *(_covary(n, *product) for product in products))


def _divide(total: Exact, n: int) -> float:
    top, bottom = total.as_integer_ratio()
    return top / (bottom * n)


def _covary(n: int, a: Exact, b: Exact, ab: Exact) -> float:
    """Return (n Σab - Σa Σb) / (n (n - 1)) in integers, because floats would lose the digits that differ."""
    if not ab and not (a and b):
        return 0.0
    top_a, bottom_a = a.as_integer_ratio()
    top_b, bottom_b = b.as_integer_ratio()
    top, bottom = ab.as_integer_ratio()
    numerator = n * top * bottom_a * bottom_b - top_a * top_b * bottom
    return numerator / (bottom * bottom_a * bottom_b * n * (n - 1))
