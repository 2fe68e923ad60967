"""Corrections for many comparisons: several goals, variations or cells of a breakdown read together.

The p-values are inverses of e-values. On such ones the procedure of Benjamini and Hochberg (1995) is the e-BH
procedure: Wang and Ramdas, "False discovery rate control with e-values" (JRSS B 2022). Unlike others it is valid at any
look, however the comparisons depend on each other. Goals of one visitor always depend on each other, hence this choice.
Intervals follow the same rule: Xu, Wang and Ramdas, "Post-selection inference for e-value based confidence intervals"
(Electronic Journal of Statistics 2024).

In plain words: of all differences that are claimed, at most 5 % are expected to be false. If there is no difference
anywhere, a false one is claimed in at most 5 % of families.
"""

import numpy as np

from goals.experiments.anytime import Floats


def adjust(p_values: Floats) -> Floats:
    """Return the p-values adjusted by Benjamini and Hochberg, in the same order."""
    count = len(p_values)
    order = np.argsort(p_values)[::-1]
    steps = p_values[order] * count / np.arange(count, 0, -1)
    adjusted = np.empty(count)
    adjusted[order] = np.minimum.accumulate(np.minimum(steps, 1.0))
    return adjusted


def interval_level(adjusted: Floats, *, alpha: float) -> float:
    """Return the level of all intervals of the family: alpha times the share of claims, one at least.

    With it an interval excludes 0 exactly if its comparison is claimed.
    """
    return alpha * max(int(np.count_nonzero(adjusted <= alpha)), 1) / len(adjusted)
