"""Guardrails: alarms about harm, within a budget of false ones for a site.

In plain words: the owner allows one false alarm a year. Each day of the year brings its part of that budget, and all
guardrails that run on that day share it. A guardrail spends at most what its days brought it. So a site has at most one
false alarm a year on average. That holds for any number of experiments, goals, variations and looks.

An alarm needs a one-sided e-value of 1 / level (Ville's inequality). The level grows while the guardrail runs, and the
last one bounds its chance of a false alarm. Days and numbers of guardrails must not depend on the results of the same
guardrail.

Pure. Only `find_harm` imports numpy.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Final

from goals.experiments.power import NORMAL, POWER, errors_needed
from goals.experiments.results import DEFAULT_SETTINGS, ResultSettings
from goals.experiments.sums import VariationSums

ALARMS_A_YEAR: Final = 1.0
DAYS_OF_YEAR: Final = 365


def alarm_level(running: Iterable[int], *, alarms_a_year: float = ALARMS_A_YEAR) -> float:
    """Return what a guardrail may spend so far: the chance of a false alarm from its first day to today.

    `running` is the number of guardrails of the site on each of these days, itself included. A guardrail is one metric
    of one variation. The sample ratio of an experiment counts as one, too.
    """
    return min(math.fsum(alarms_a_year / DAYS_OF_YEAR / max(count, 1) for count in running), 1.0)


def days_to_alarm(
    change: float,
    *,
    unit_variance: float,
    visitors_a_day: float,
    running: int,
    alarms_a_year: float = ALARMS_A_YEAR,
    settings: ResultSettings = DEFAULT_SETTINGS,
    power: float = POWER,
) -> int | None:
    """Return the days after which an absolute harm has given an alarm with a chance of `power`; None within no year.

    `running` guardrails share the budget each day. `unit_variance` and visitors are those of both variations together.
    """
    for days in range(1, DAYS_OF_YEAR + 1):
        visitors = days * visitors_a_day
        level = 2 * alarm_level([running] * days, alarms_a_year=alarms_a_year)  # half of it is on the side of harm
        errors = errors_needed(visitors, settings, level=min(level, 1.0)) + NORMAL.inv_cdf(power)
        if change**2 * visitors >= errors**2 * unit_variance:
            return days
    return None


def find_harm(
    pairs: Sequence[tuple[VariationSums, VariationSums]],
    *,
    levels: Sequence[float],
    harm_is_lower: bool = True,
    settings: ResultSettings = DEFAULT_SETTINGS,
) -> list[bool]:
    """Return True for each pair of reference and variation that harms the metric beyond its alarm level.

    Most metrics are harmed if they fall; of errors or refunds `harm_is_lower` is False. Below the floor of converting
    visitors there is no alarm.
    """
    from goals.experiments.comparison import find_harms  # noqa: PLC0415 - numpy and scipy

    return find_harms(pairs, levels=levels, harm_is_lower=harm_is_lower, settings=settings) if pairs else []
