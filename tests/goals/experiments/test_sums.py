"""Sums of variations: what they hold and how they add up."""

from decimal import Decimal

import pytest

from goals.experiments.sums import VariationSums, sum_rate, sum_values


def test_sum_values__of_three_kinds__holds_every_product() -> None:
    sums = sum_values([1, Decimal("2.5")], x=[3, 4], d=[5, 6])

    assert sums == VariationSums(
        2, y=Decimal("3.5"), yy=Decimal("7.25"), x=7, xx=25, xy=Decimal("13.0"), d=11, dd=61, yd=Decimal("20.0"), xd=39
    )


def test_sums__of_disjoint_visitors__add_up_to_the_sums_of_all() -> None:
    whole = sum_values([1, 2, 3], x=[4, 5, 6], d=[7, 8, 9])

    assert sum_values([1, 2], x=[4, 5], d=[7, 8]) + sum_values([3], x=[6], d=[9]) == whole


def test_sums__of_a_rate__equal_those_of_ones_and_zeros() -> None:
    assert sum_rate(4, 1) == sum_values([0, 1, 0, 0])
    assert sum_rate(4, 1) + sum_rate(6, 2) == sum_rate(10, 3)


def test_sums__of_a_ratio_and_a_rate__do_not_add_up() -> None:
    with pytest.raises(ValueError, match="do not add up"):
        sum_rate(4, 1) + sum_values([1], d=[1])


def test_sum_values__with_a_covariate_too_few__is_refused() -> None:
    with pytest.raises(ValueError, match="longer"):
        sum_values([1, 2], x=[1])
