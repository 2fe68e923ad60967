"""Guardrails: what a guardrail may spend, and which harm gives an alarm."""

import pytest

from goals.experiments.guardrails import alarm_level, days_to_alarm, find_harm
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


def test_harm__in_a_small_variation__is_judged_by_the_variance_of_both() -> None:
    reference, small = sum_rate(90_000, 9_000), sum_rate(1_000, 45)

    # Alone, a small variation with few conversions would look as precise as 45 conversions are.
    assert find_harm([(reference, small)], levels=[1e-7]) == [False]
    assert find_harm([(reference, small)], levels=[1e-6]) == [True]


def test_days_to_alarm__of_a_larger_harm__are_fewer() -> None:
    many, few, one = (
        days_to_alarm(change, unit_variance=0.36, visitors_a_day=4_000, running=running)
        for change, running in ((-0.01, 500), (-0.02, 500), (-0.02, 1))
    )

    assert many is not None
    assert few is not None
    assert one is not None
    assert one < few < many
    assert days_to_alarm(0.0001, unit_variance=0.36, visitors_a_day=4_000, running=500) is None


def test_days_to_alarm__at_an_even_chance__are_those_of_an_alarm() -> None:
    variance = 2 * (0.1 * 0.9 + 0.09 * 0.91)
    days = days_to_alarm(0.01, unit_variance=variance, visitors_a_day=4_000, running=60, power=0.5)
    assert days is not None

    alarms = [
        find_harm(
            [(sum_rate(2_000 * day, 200 * day), sum_rate(2_000 * day, 180 * day))], levels=[alarm_level([60] * day)]
        )
        for day in (days - 1, days)
    ]

    assert alarms == [[False], [True]]
