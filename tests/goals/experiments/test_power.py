"""Power: visitors that a change needs, and the change that visitors show."""

import pytest

from goals.experiments.power import chance_of_claim, change_seen, visitors_needed
from goals.experiments.results import DEFAULT_SETTINGS, ResultClaim
from goals.experiments.statistics import compare
from goals.experiments.sums import sum_rate

pytestmark = pytest.mark.promise("N-12")

UNIT_VARIANCE = 4 * 0.09  # of a rate of 10 % in two equal variations


def test_visitors_needed__for_a_change__give_it_the_chance_asked_for() -> None:
    needed = visitors_needed(0.01, unit_variance=UNIT_VARIANCE, settings=DEFAULT_SETTINGS)

    assert needed is not None
    for visitors, is_enough in ((needed, True), (needed - 1, False)):
        chance = chance_of_claim(0.01, visitors=visitors, unit_variance=UNIT_VARIANCE, settings=DEFAULT_SETTINGS)
        assert (chance >= 0.8) == is_enough
    assert change_seen(needed, unit_variance=UNIT_VARIANCE, settings=DEFAULT_SETTINGS) == pytest.approx(0.01, rel=1e-4)


def test_visitors_needed__for_half_a_change__are_four_times_as_many_and_more() -> None:
    whole, half = (
        visitors_needed(change, unit_variance=UNIT_VARIANCE, settings=DEFAULT_SETTINGS) or 0 for change in (0.02, -0.01)
    )

    assert 4 * whole < half < 5 * whole


def test_visitors_needed__for_no_change__do_not_exist() -> None:
    assert visitors_needed(0, unit_variance=UNIT_VARIANCE, settings=DEFAULT_SETTINGS) is None
    assert visitors_needed(1e-9, unit_variance=UNIT_VARIANCE, settings=DEFAULT_SETTINGS) is None


def test_visitors_needed__among_many_comparisons__are_more() -> None:
    one, many = (
        visitors_needed(0.01, unit_variance=UNIT_VARIANCE, settings=DEFAULT_SETTINGS, comparisons=number) or 0
        for number in (1, 20)
    )

    assert one < many < 2 * one


def test_result__at_the_change_of_even_chance__is_at_the_edge_of_a_claim() -> None:
    for more, claim in ((1.05, ResultClaim.HIGHER), (1.01, ResultClaim.OPEN)):
        result = compare([(sum_rate(20_000, 2_000), sum_rate(20_000, 2_000))])[0]
        change = change_seen(40_000, unit_variance=result.unit_variance, settings=DEFAULT_SETTINGS, power=0.5)
        variation = sum_rate(20_000, 2_000 + round(20_000 * change * more))
        assert compare([(sum_rate(20_000, 2_000), variation)])[0].claim == claim
