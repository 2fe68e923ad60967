"""Guardrails: what a guardrail may spend, and which harm gives an alarm."""

import pytest

from goals.experiments.guardrails import alarm_level, find_harm
from goals.experiments.sums import sum_rate

pytestmark = pytest.mark.promise("N-12")


def test_alarm_levels__of_all_guardrails_of_a_year__add_up_to_the_budget() -> None:
    starts = [(day, day + length) for day in range(0, 300, 7) for length in (14, 28, 60)]
    running = [sum(start <= day < end for start, end in starts) for day in range(365)]

    spent = sum(alarm_level(running[start:end]) for start, end in starts)

    assert spent == pytest.approx(sum(count > 0 for count in running) / 365)
    assert sum(alarm_level(running[start:end], alarms_a_year=4) for start, end in starts) == pytest.approx(4 * spent)


def test_alarm_level__of_a_large_budget__is_a_chance() -> None:
    assert alarm_level([1] * 365, alarms_a_year=12) == 1
    assert alarm_level([]) == 0


def test_harm__beyond_the_level__is_found() -> None:
    reference, worse, better = sum_rate(20_000, 2_000), sum_rate(20_000, 1_700), sum_rate(20_000, 2_300)

    assert find_harm([(reference, worse), (reference, better)], levels=[0.01, 0.01]) == [True, False]
    assert find_harm([(reference, worse), (reference, better)], levels=[0.01, 0.01], harm_is_lower=False) == [
        False,
        True,
    ]
    assert find_harm([(reference, worse)], levels=[1e-9]) == [False]


def test_harm__before_the_guardrail_has_a_budget__is_not_found() -> None:
    assert find_harm([(sum_rate(20_000, 2_000), sum_rate(20_000, 10))], levels=[0]) == [False]


def test_harm__below_the_floor__is_not_found() -> None:
    few, enough = (sum_rate(20, 19), sum_rate(20, 0)), (sum_rate(100, 90), sum_rate(100, 0))

    assert find_harm([few, enough], levels=[1, 0.01]) == [False, True]
