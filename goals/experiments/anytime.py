"""Statements about a difference that stay valid however often one looks: asymptotic confidence sequences.

Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas, "Time-uniform central limit theory and asymptotic confidence
sequences" (arXiv 2103.06476, Annals of Statistics 2024). One-sided: Howard, Ramdas, McAuliffe and Sekhon,
"Time-uniform, nonparametric, nonasymptotic confidence sequences" (Annals of Statistics 2021).

In plain words: a usual 95 % interval is right in 95 % of experiments if one looks once, at a time chosen before. If one
looks each day and stops at the first striking figure, a quarter of them mislead in 28 days. The intervals here are
wider. In 95 % of experiments they contain the truth at all looks, so one may look and stop at any time.

Assumptions: visitors are independent of each other; shares stay constant; there are enough visitors that a mean is
nearly normal. The last one needs more visitors if few convert or if some orders are huge, hence floors and caps.

Arrays or floats go in, arrays come out. `z` is a difference divided by its standard error, `n` the visitors of both
variations. No queries. Microseconds.
"""

import math

import numpy as np
import numpy.typing as npt
from scipy import special

from goals.experiments.results import TUNED_FOR

Floats = npt.NDArray[np.float64]


def scale(n: npt.ArrayLike, *, alpha: float, tuned_for: float = TUNED_FOR) -> Floats:
    """Return n ρ², the information relative to that of the mixing distribution (equation 9 and appendix B.2).

    `alpha` and `tuned_for` are fixed before the first look. Other levels of the same sequence keep the same ρ.
    """
    doubled = -2 * math.log(alpha)
    return np.asarray(n, dtype=float) * ((doubled + math.log(doubled + 1)) / tuned_for)


def multiplier(scaled: Floats, *, level: npt.ArrayLike) -> Floats:
    """Return the standard errors on each side of an interval that misses the truth at some look with chance `level`.

    A fixed horizon has 1.96 at 5 %.
    """
    grown = scaled + 1
    return np.asarray(np.sqrt(2 * grown / scaled * (np.log(grown) / 2 - np.log(level))), dtype=float)


def log_e_value(z: npt.ArrayLike, scaled: Floats) -> Floats:
    """Return the logarithm of the e-value against no difference. Its expectation is at most 1 at any look."""
    grown = scaled + 1
    return np.asarray(np.square(z) * scaled / (2 * grown) - np.log(grown) / 2, dtype=float)


def log_e_value_above(z: npt.ArrayLike, scaled: Floats) -> Floats:
    """Return the logarithm of the one-sided e-value against a difference of at most 0."""
    share = np.sqrt(scaled / (scaled + 1))
    return np.asarray(
        math.log(2) + log_e_value(z, scaled) + special.log_ndtr(np.asarray(z, dtype=float) * share), dtype=float
    )


def p_value(log_e: npt.ArrayLike) -> Floats:
    """Return the p-value that is valid at any look: the e-value's inverse, at most 1 (Ville's inequality)."""
    return np.asarray(np.exp(-np.maximum(np.asarray(log_e, dtype=float), 0.0)), dtype=float)
