"""Statistics of experiments beside other libraries on the same sums, and beside published answers."""

import json
import math
from decimal import Decimal
from typing import Any, Final

import numpy as np
import pytest

from goals.experiments.corrections import adjust
from goals.experiments.results import Comparison, Estimate
from goals.experiments.sample_ratio import check_sample_ratio, fixed_p_value, log_e_value
from goals.experiments.samples import measure
from goals.experiments.statistics import compare
from goals.experiments.sums import sum_values
from tests.support.record_judges import CASES, COUNTS, KEPT, P_VALUES, sum_case

pytestmark = pytest.mark.promise("N-12")

JUDGES: Final[dict[str, Any]] = json.loads(KEPT.read_text())
WITH_BAYESIAN: Final = ("rate", "mean", "ratio")


def judge(name: str) -> Comparison:
    return compare([(sum_case(name, "reference"), sum_case(name, "variation"))])[0]


def flatten(reading: Estimate | None) -> list[float | None]:
    assert reading is not None
    return [reading.absolute.lower, reading.absolute.upper, reading.p_value]


def near(values: object) -> object:
    return pytest.approx(values, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("case", ["rate", "mean", "cuped", "ratio"])
def test_anytime_reading__of_the_same_sums__equals_that_of_gbstats(case: str) -> None:
    result, known = judge(case), JUDGES["gbstats"][case]

    assert result.absolute == near(known["absolute"])
    assert flatten(result.anytime) == near(known["anytime"])
    assert flatten(result.fixed) == near(known["fixed"])


@pytest.mark.parametrize("case", WITH_BAYESIAN)
def test_bayesian_reading__of_the_same_sums__equals_that_of_gbstats(case: str) -> None:
    reading = judge(case).bayesian

    assert reading is not None
    assert [reading.chance_higher, reading.relative.lower, reading.relative.upper, reading.risk] == near(
        JUDGES["gbstats"][case]["bayesian"]
    )


@pytest.mark.parametrize("case", CASES)
def test_fixed_reading__of_the_same_sums__equals_that_of_tea_tasting(case: str) -> None:
    result, known = judge(case), JUDGES["tea_tasting"][case]

    assert (result.absolute, result.relative) == near((known["absolute"], known["relative"]))
    assert flatten(result.fixed) == near(known["fixed"])


@pytest.mark.parametrize("case", ["rate", "mean"])
def test_fixed_reading__of_the_same_visitors__equals_that_of_statsmodels(case: str) -> None:
    assert flatten(judge(case).fixed) == near(JUDGES["statsmodels"][case]["fixed"])


def test_adjusted_p_values__of_a_family__equal_those_of_statsmodels() -> None:
    assert adjust(np.array(P_VALUES)) == near(JUDGES["statsmodels"]["benjamini_hochberg"])


def test_sample_ratio__of_a_published_case__is_off() -> None:
    counts = [821_588, 815_482]  # of an even split; Kohavi, Tang and Xu, "Trustworthy online controlled experiments"

    assert fixed_p_value(counts, [1, 1]) == near(JUDGES["statsmodels"]["sample_ratio"])
    assert fixed_p_value(counts, [1, 1]) == pytest.approx(1.82e-6, rel=2e-3)
    assert check_sample_ratio([counts], shares=[1, 1]).is_off


def test_sample_ratio__look_by_look__equals_that_of_savvi() -> None:
    looks = np.cumsum(COUNTS, axis=0).tolist()

    assert [min(math.exp(-log_e_value(counts, [0.5, 0.5], 100)), 1) for counts in looks] == near(
        JUDGES["savvi"]["single_looks"]
    )


def test_moments__of_numacc4__keep_the_digits_that_nist_certifies() -> None:
    values = [Decimal("10000000.2"), *[Decimal("10000000.1"), Decimal("10000000.3")] * 500]
    moments = measure([sum_values(values)])

    assert moments.y.tolist() == [10000000.2]
    assert math.sqrt(moments.variance[0]) == pytest.approx(0.1, rel=1e-15)


def test_result__of_numacc4_and_itself_plus_one__differs_by_one() -> None:
    values = [Decimal("10000000.2"), *[Decimal("10000000.1"), Decimal("10000000.3")] * 500]
    result = compare([(sum_values(values), sum_values([value + 1 for value in values]))])[0]

    assert result.absolute == 1
    assert result.variance == pytest.approx(2 * 0.01 / 1001, rel=1e-14)
    assert result.fixed is not None
    assert (result.fixed.absolute.lower, result.fixed.absolute.upper) == pytest.approx((0.991234, 1.008766), abs=1e-6)
