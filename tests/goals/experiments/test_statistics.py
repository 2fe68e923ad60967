"""Results of experiments: what is claimed, what is not, and how they change with what they are asked."""

import math
import random
import subprocess
import sys

import pytest

from goals.experiments.results import Comparison, Estimate, Interval, ResultClaim, ResultSettings
from goals.experiments.statistics import compare
from goals.experiments.sums import VariationSums, sum_rate, sum_values

pytestmark = pytest.mark.promise("N-12")


def compare_one(reference: VariationSums, variation: VariationSums, *, is_ratio_off: bool = False) -> Comparison:
    return compare([(reference, variation)], is_ratio_off=is_ratio_off)[0]


def limits(interval: Interval) -> tuple[float, float]:
    assert interval.lower is not None
    assert interval.upper is not None
    return interval.lower, interval.upper


def anytime(result: Comparison) -> Estimate:
    assert result.anytime is not None
    return result.anytime


def test_result__of_a_clear_rise__is_higher() -> None:
    result = compare_one(sum_rate(10_000, 1_000), sum_rate(10_000, 1_300))

    assert result.claim == ResultClaim.HIGHER
    assert (result.reference, result.variation) == (0.1, 0.13)
    assert result.absolute == pytest.approx(0.03)
    assert result.relative == pytest.approx(0.3)
    assert limits(anytime(result).relative)[0] > 0


def test_result__of_a_clear_fall__is_lower() -> None:
    result = compare_one(sum_rate(10_000, 1_000), sum_rate(10_000, 700))

    assert result.claim == ResultClaim.LOWER
    assert limits(anytime(result).relative)[1] < 0


def test_result__of_no_difference__is_open() -> None:
    assert compare_one(sum_rate(10_000, 1_000), sum_rate(10_000, 1_010)).claim == ResultClaim.OPEN


def test_result__of_few_converting_visitors__claims_nothing() -> None:
    result = compare_one(sum_rate(100, 2), sum_rate(100, 40))

    assert (result.claim, result.anytime, result.fixed, result.bayesian) == (ResultClaim.TOO_FEW, None, None, None)
    assert (result.reference, result.variation) == (0.02, 0.4)
    assert compare_one(sum_rate(100, 10), sum_rate(100, 40)).claim == ResultClaim.HIGHER


def test_result__of_revenue_by_one_visitor__claims_nothing() -> None:
    many = sum_values([0] * 500 + [10] * 500)
    one = sum_values([0] * 500 + [10] * 499 + [1_000_000])

    assert compare_one(many, one).claim == ResultClaim.TOO_FEW
    assert compare_one(many, many).claim == ResultClaim.OPEN


def test_result__of_a_reference_without_conversions__has_no_relative_difference() -> None:
    result = compare_one(sum_rate(1_000, 0), sum_rate(1_000, 300))

    assert (result.claim, result.relative, result.bayesian) == (ResultClaim.HIGHER, None, None)
    assert anytime(result).relative == Interval(None, None)
    assert limits(anytime(result).absolute)[0] > 0
    assert compare_one(sum_rate(1_000, 0), sum_rate(1_000, 3)).claim == ResultClaim.NO_BASELINE


def test_result__of_a_variation_on_which_conversions_end__is_lower() -> None:
    result = compare_one(sum_rate(1_000, 100), sum_rate(1_000, 0))

    assert (result.claim, result.relative) == (ResultClaim.LOWER, -1)


@pytest.mark.parametrize(
    "sums", [sum_rate(0, 0), sum_rate(1, 1), VariationSums(5, y=3, yy=3, d=0)], ids=["none", "one", "no_denominator"]
)
def test_result__of_sums_that_say_nothing__claims_nothing(sums: VariationSums) -> None:
    result = compare_one(sums, sums)

    assert result.claim in {ResultClaim.TOO_FEW, ResultClaim.NO_BASELINE}
    assert result.p_value == 1


def test_result__of_a_sample_ratio_that_is_off__claims_nothing() -> None:
    result = compare_one(sum_rate(10_000, 1_000), sum_rate(10_000, 1_300), is_ratio_off=True)

    assert result.claim == ResultClaim.RATIO_OFF
    assert result.relative == pytest.approx(0.3)


def test_claims__of_a_family__agree_with_intervals() -> None:
    reference = sum_rate(10_000, 1_000)
    results = compare([(reference, sum_rate(10_000, converting)) for converting in range(1_000, 1_400, 10)])

    assert {result.claim for result in results} == {ResultClaim.OPEN, ResultClaim.HIGHER}
    for result in results:
        assert (result.claim == ResultClaim.HIGHER) == (limits(anytime(result).absolute)[0] > 0)
        assert (result.claim == ResultClaim.HIGHER) == (limits(anytime(result).relative)[0] > 0)
        assert result.comparisons == 40


def test_claim__of_many_comparisons__needs_more_than_that_of_one() -> None:
    reference = sum_rate(10_000, 1_000)
    pair, same = (reference, sum_rate(10_000, 1_160)), (reference, reference)

    assert compare([pair])[0].claim == ResultClaim.HIGHER
    assert compare([pair, *[same] * 19])[0].claim == ResultClaim.OPEN
    assert compare([pair, *[same] * 19])[0].p_value == compare([pair])[0].p_value


def test_interval__of_any_look__is_wider_than_that_of_one_look() -> None:
    result = compare_one(sum_rate(10_000, 1_000), sum_rate(10_000, 1_100))

    assert result.fixed is not None
    wide, narrow = limits(anytime(result).absolute), limits(result.fixed.absolute)
    assert 1.4 < (wide[1] - wide[0]) / (narrow[1] - narrow[0]) < 1.9


def test_cuped__with_a_covariate_that_explains__reduces_the_variance() -> None:
    chance = random.Random(3)
    sums = []
    for _ in range(2):
        before = [chance.randrange(100) for _ in range(2_000)]
        after = [x + chance.randrange(50) for x in before]
        sums.append((sum_values(after, x=before), sum_values(after)))
    (adjusted_reference, reference), (adjusted_variation, variation) = sums

    adjusted, plain = (
        compare_one(adjusted_reference, adjusted_variation),
        compare_one(reference, variation),
    )

    assert plain.reduction == 0
    assert adjusted.reduction == pytest.approx(0.8, abs=0.02)  # 833 of 1,041
    assert adjusted.variance == pytest.approx(plain.variance * (1 - adjusted.reduction))
    assert (adjusted.reference, adjusted.variation) == (plain.reference, plain.variation)


def test_cuped__with_a_covariate_that_explains_nothing__is_not_used() -> None:
    chance = random.Random(4)
    pair = [
        sum_values(
            [chance.randrange(2) for _ in range(9_000)],
            x=[chance.randrange(2) for _ in range(9_000)],
        )
        for _ in range(2)
    ]
    plain = [sum_rate(9_000, int(sums.y)) for sums in pair]

    assert compare_one(*pair) == compare_one(*plain)


def test_results__of_other_settings__follow_them() -> None:
    pair = [(sum_rate(10_000, 1_000), sum_rate(10_000, 1_180))]
    strict = compare(pair, settings=ResultSettings(alpha=0.001))[0]

    assert compare(pair)[0].claim == ResultClaim.HIGHER
    assert strict.claim == ResultClaim.OPEN
    assert compare(pair, settings=ResultSettings(fewest_effective=2_000))[0].claim == ResultClaim.TOO_FEW
    assert compare([]) == []


def test_results__of_exchanged_variations__mirror_each_other() -> None:
    reference, variation = sum_rate(8_000, 900), sum_rate(2_000, 270)
    there, back = compare_one(reference, variation), compare_one(variation, reference)
    lower, upper = limits(anytime(there).absolute)

    assert limits(anytime(back).absolute) == pytest.approx((-upper, -lower))
    assert there.visitors == back.visitors
    assert math.isclose(there.p_value, back.p_value)


def test_process_of_events__after_its_imports__has_no_library_of_statistics() -> None:
    program = """
import sys
import api.asgi
from django.urls import get_resolver
import api.tasks, goals.experiments.guardrails, goals.experiments.power, goals.experiments.sample_ratio
len(get_resolver().reverse_dict)
print([name for name in ("numpy", "scipy", "pandas") if name in sys.modules])
"""
    answer = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)

    assert answer.stdout.splitlines()[-1] == "[]"
