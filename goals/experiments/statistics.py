"""Statistics of experiments: sums of a reference and its variations go in, comparisons come out. Pure.

Callers import this module freely. It imports numpy and scipy, 50 MB, at the first comparison only, because processes
that receive events never compare.

Each comparison is a function of the current sums alone: no state, no history, the same at any order of events.
"""

from collections.abc import Sequence

from goals.experiments.results import DEFAULT_SETTINGS, Comparison, ResultSettings
from goals.experiments.sums import VariationSums


def compare(
    pairs: Sequence[tuple[VariationSums, VariationSums]],
    *,
    settings: ResultSettings = DEFAULT_SETTINGS,
    is_ratio_off: bool = False,
) -> list[Comparison]:
    """Return the result of each pair of reference and variation, in the order given.

    All pairs are one family: the variations of the primary goal, or secondary goals, or the cells of a breakdown.
    Anytime p-values and intervals are corrected for the family (`goals/experiments/corrections.py`). If the sample
    ratio is off, figures are given but nothing is claimed. 1,000 pairs take 0.1 s.
    """
    from goals.experiments.comparison import compare_pairs  # noqa: PLC0415 - numpy and scipy, see above

    return compare_pairs(pairs, settings=settings, is_ratio_off=is_ratio_off) if pairs else []
