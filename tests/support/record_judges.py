"""Program that asks other libraries of statistics about known sums, and keeps their answers for the tests.

```
uv run --no-project --with gbstats==0.8.0 python -m tests.support.record_judges gbstats
uv run --no-project --with statsmodels --with tea-tasting --with savvi --with matplotlib \
    python -m tests.support.record_judges tea_tasting statsmodels savvi
```

The tests read `tests/fixtures/judges.json` and need none of these libraries. They take 700 MB, and no environment holds
all of them: `gbstats` 0.8 needs numpy 1, which Python 3.13 does not have, and `savvi` needs numpy 2.
"""

import json
import random
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from goals.experiments.sums import VariationSums, sum_values

KEPT: Final = Path(__file__).parent.parent / "fixtures" / "judges.json"
COUNTS: Final = [[40, 52], [61, 70], [100, 131], [0, 12]]
P_VALUES: Final = [0.001, 0.2, 0.013, 0.04, 0.9, 0.03, 0.0004]


def make_visitors(seed: str) -> dict[str, list[int]]:
    """Return whole numbers for 400 visitors: what they bought before and after, and how often."""
    chance = random.Random(seed)
    before = [chance.choice([0, 0, 0, 20, 35, 60]) for _ in range(400)]
    often = [chance.choice([1, 1, 2, 3]) for _ in before]
    gifts = [0, 0, 10, 25, 80] if seed == "reference" else [0, 10, 20, 35, 90]
    after = [x // 2 + chance.choice(gifts) * n for x, n in zip(before, often, strict=True)]
    return {"x": before, "d": often, "y": after, "rate": [int(y > 0) for y in after]}


VISITORS: Final = {name: make_visitors(name) for name in ("reference", "variation")}
CASES: Final = {
    "rate": ("rate", None, None),
    "mean": ("y", None, None),
    "cuped": ("y", "x", None),
    "ratio": ("y", None, "d"),
    "ratio_cuped": ("y", "x", "d"),
}


def sum_case(name: str, variation: str) -> VariationSums:
    y, x, d = CASES[name]
    kinds = VISITORS[variation]
    return sum_values(kinds[y], x=kinds[x] if x else None, d=kinds[d] if d else None)


def ask_gbstats() -> dict[str, Any]:
    from gbstats.bayesian.tests import EffectBayesianABTest, EffectBayesianConfig, GaussianPrior
    from gbstats.frequentist.tests import (
        FrequentistConfig,
        SequentialConfig,
        SequentialTwoSidedTTest,
        TwoSidedTTest,
    )
    from gbstats.models.statistics import (
        RatioStatistic,
        RegressionAdjustedStatistic,
        SampleMeanStatistic,
        compute_theta,
    )

    def make(name: str, variation: str) -> Any:
        sums = sum_case(name, variation)
        y = SampleMeanStatistic(n=sums.visitors, sum=float(sums.y), sum_squares=float(sums.yy))
        if name == "cuped":
            x = SampleMeanStatistic(n=sums.visitors, sum=float(sums.x), sum_squares=float(sums.xx))
            return RegressionAdjustedStatistic(
                n=sums.visitors,
                post_statistic=y,
                pre_statistic=x,
                post_pre_sum_of_products=float(sums.xy),
                theta=0,
            )
        if name == "ratio":
            d = SampleMeanStatistic(n=sums.visitors, sum=float(sums.d or 0), sum_squares=float(sums.dd))
            return RatioStatistic(n=sums.visitors, m_statistic=y, d_statistic=d, m_d_sum_of_products=float(sums.yd))
        return y

    answers = {}
    for name in ("rate", "mean", "cuped", "ratio"):
        reference, variation = make(name, "reference"), make(name, "variation")
        if name == "cuped":
            reference.theta = variation.theta = compute_theta(reference, variation)
        fixed = TwoSidedTTest(reference, variation, FrequentistConfig(difference_type="absolute")).compute_result()
        anytime = SequentialTwoSidedTTest(
            reference, variation, SequentialConfig(difference_type="absolute")
        ).compute_result()
        believed = EffectBayesianABTest(
            reference,
            variation,
            EffectBayesianConfig(difference_type="relative", prior_effect=GaussianPrior(0, 0.3**2, proper=True)),
        ).compute_result()
        answers[name] = {
            "absolute": float(fixed.expected),
            "fixed": [*map(float, fixed.ci), float(fixed.p_value)],
            "anytime": [*map(float, anytime.ci), float(anytime.p_value)],
            "bayesian": [float(believed.chance_to_win), *map(float, believed.ci), float(believed.risk[1])],
        }
    return answers


def ask_tea_tasting() -> dict[str, Any]:
    from tea_tasting.aggr import Aggregates
    from tea_tasting.metrics import RatioOfMeans

    def gather(variation: str) -> Any:
        kinds = VISITORS[variation]
        n = len(kinds["y"])
        means = {name: sum(values) / n for name, values in kinds.items()}

        def covary(a: str, b: str) -> float:
            pairs = zip(kinds[a], kinds[b], strict=True)
            return sum((one - means[a]) * (other - means[b]) for one, other in pairs) / (n - 1)

        names = sorted(kinds)
        return Aggregates(
            count_=n,
            mean_=means,
            var_={name: covary(name, name) for name in names},
            cov_={(a, b): covary(a, b) for a in names for b in names if a < b},
        )

    answers = {}
    for name, (y, x, d) in CASES.items():
        metric = RatioOfMeans(y, d, x, None, equal_var=False, use_t=True)
        result = metric.analyze_aggregates(gather("reference"), gather("variation"))
        answers[name] = {
            "absolute": result.effect_size,
            "relative": result.rel_effect_size,
            "fixed": [result.effect_size_ci_lower, result.effect_size_ci_upper, result.pvalue],
        }
    return answers


def ask_statsmodels() -> dict[str, Any]:
    from statsmodels.stats.multitest import multipletests
    from statsmodels.stats.proportion import proportions_chisquare
    from statsmodels.stats.weightstats import CompareMeans, DescrStatsW

    answers: dict[str, Any] = {"benjamini_hochberg": multipletests(P_VALUES, method="fdr_bh")[1].tolist()}
    for name in ("rate", "mean"):
        kind = CASES[name][0]
        pair = CompareMeans(*(DescrStatsW(VISITORS[variation][kind]) for variation in ("variation", "reference")))
        interval = pair.tconfint_diff(usevar="unequal")
        answers[name] = {"fixed": [*map(float, interval), float(pair.ttest_ind(usevar="unequal")[1])]}
    answers["sample_ratio"] = float(proportions_chisquare(821_588, 821_588 + 815_482, 0.5)[1])
    return answers


def ask_savvi() -> dict[str, Any]:
    import numpy as np
    from savvi.multinomial import Multinomial

    test = Multinomial(0.05, np.array([0.5, 0.5]), k=100)
    answers = []
    for counts in COUNTS:
        test.update(np.array(counts))
        answers.append(min(float(np.min(1 / test.odds)), 1.0))
    return {"single_looks": answers}


JUDGES: Final[dict[str, Callable[[], dict[str, Any]]]] = {
    "gbstats": ask_gbstats,
    "tea_tasting": ask_tea_tasting,
    "statsmodels": ask_statsmodels,
    "savvi": ask_savvi,
}


def main(names: list[str]) -> None:
    kept = json.loads(KEPT.read_text()) if KEPT.exists() else {}
    for name in names:
        kept[name] = {"version": version(name), **JUDGES[name]()}
    KEPT.write_text(json.dumps(kept, indent=2, sort_keys=True) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
