"""Sums over the visitors of a variation: all that the statistics of an experiment read."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from decimal import Context, Decimal, localcontext
from typing import Any, Final

Exact = int | Decimal
WIDE: Final = Context(prec=200)  # otherwise Decimal rounds sums of squares of large amounts after 28 digits


@dataclass(frozen=True, slots=True)
class VariationSums:
    """Exact sums of one metric over the visitors of one variation, one value of each kind for each visitor.

    `y` is what the metric counts in the attribution window: 1 or 0 for a rate, conversions, or revenue after its cap.
    `x` is the covariate of CUPED: the same count in the days before the first exposure, or 0.
    `d` is the denominator of a ratio metric: conversions below revenue, or the conversions of another goal.
    A visitor without a conversion is in `visitors` and adds zeros. Units are those of `y`, `x`, `d` and their products.

    Without a covariate `x`, `xx`, `xy` and `xd` are 0. Only a ratio metric has a `d`; otherwise it is None.
    Sums of disjoint groups of visitors add up: days of first exposure, cells of a breakdown.
    """

    visitors: int
    y: Exact = 0
    yy: Exact = 0
    x: Exact = 0
    xx: Exact = 0
    xy: Exact = 0
    d: Exact | None = None
    dd: Exact = 0
    yd: Exact = 0
    xd: Exact = 0  # CUPED of a ratio metric needs it

    @property
    def is_ratio(self) -> bool:
        return self.d is not None

    def __add__(self, other: "VariationSums") -> "VariationSums":
        """Return the sums of both groups. Raise ValueError if only one is of a ratio metric."""
        if self.is_ratio != other.is_ratio:
            raise ValueError("Sums of a ratio metric and of another metric do not add up.")
        mine, theirs = asdict(self), asdict(other)
        with localcontext(WIDE):
            added: dict[str, Any] = {name: None if mine[name] is None else mine[name] + theirs[name] for name in mine}
        return VariationSums(**added)


def sum_rate(visitors: int, converting: int) -> VariationSums:
    """Return the sums of a rate, whose `y` is 1 for a converting visitor and 0 for another."""
    return VariationSums(visitors=visitors, y=converting, yy=converting)


def sum_values(
    y: Iterable[Exact], *, x: Iterable[Exact] | None = None, d: Iterable[Exact] | None = None
) -> VariationSums:
    """Return the sums of values, one of each kind for each visitor. Raise ValueError if their numbers differ."""
    ys = list(y)
    xs = [0] * len(ys) if x is None else list(x)
    ds = [0] * len(ys) if d is None else list(d)
    with localcontext(WIDE):
        return VariationSums(
            visitors=len(ys),
            y=sum(ys),
            yy=sum(value * value for value in ys),
            x=sum(xs),
            xx=sum(value * value for value in xs),
            xy=sum(a * b for a, b in zip(xs, ys, strict=True)),
            d=None if d is None else sum(ds),
            dd=sum(value * value for value in ds),
            yd=sum(a * b for a, b in zip(ys, ds, strict=True)),
            xd=sum(a * b for a, b in zip(xs, ds, strict=True)),
        )
