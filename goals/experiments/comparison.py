"""Comparison of many pairs at once: the part of `goals/experiments/statistics.py` that needs numpy and scipy."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
from scipy import special

from goals.experiments import anytime, corrections, samples
from goals.experiments.anytime import Floats
from goals.experiments.differences import Differences, subtract, t_p_value, t_quantile
from goals.experiments.results import BayesianEstimate, Comparison, Estimate, Interval, ResultClaim, ResultSettings
from goals.experiments.samples import Moments
from goals.experiments.sums import VariationSums


def compare_pairs(
    pairs: Sequence[tuple[VariationSums, VariationSums]], *, settings: ResultSettings, is_ratio_off: bool
) -> list[Comparison]:
    """Return the results of one family; see `goals.experiments.statistics.compare`."""
    reference = samples.measure([pair[0] for pair in pairs])
    variation = samples.measure([pair[1] for pair in pairs])
    with np.errstate(divide="ignore", invalid="ignore"):
        return _compare(reference, variation, settings, is_ratio_off=is_ratio_off)


def find_enough(reference: Moments, variation: Moments, *, fewest: float) -> npt.NDArray[np.bool_]:
    """Return True where each variation would have enough converting visitors if nothing differed.

    The number of both together decides, because a variation on which conversions end must not hide it.
    """
    both = samples.add(reference, variation)
    share = np.minimum(reference.n, variation.n) / both.n
    return np.asarray(both.effective * share >= fewest)


def log_e_values(differences: Differences, settings: ResultSettings) -> tuple[Floats, Floats]:
    """Return the logarithms of the e-values against no difference, and the scales of their sequences."""
    scaled = anytime.scale(differences.n, alpha=settings.alpha, tuned_for=settings.tuned_for)
    return anytime.log_e_value(differences.z, scaled), scaled


def _compare(
    reference: Moments, variation: Moments, settings: ResultSettings, *, is_ratio_off: bool
) -> list[Comparison]:
    differences = subtract(reference, variation)
    enough = find_enough(reference, variation, fewest=settings.fewest_effective) & (differences.variance > 0)
    log_e, scaled = log_e_values(differences, settings)
    p_values = np.where(enough, anytime.p_value(log_e), 1.0)
    adjusted = corrections.adjust(p_values)
    level = corrections.interval_level(adjusted, alpha=settings.alpha)
    estimates = _list_estimates(reference, variation, differences, p_values)
    anytime_readings = _read(differences, anytime.multiplier(scaled, level=level), adjusted)
    fixed_readings = _read(
        differences, t_quantile(differences.degrees, settings.alpha), t_p_value(differences.z, differences.degrees)
    )
    bayesian_readings = _believe(differences, settings)
    compared = []
    for estimate, reading, fixed, bayesian, is_enough in zip(
        estimates, anytime_readings, fixed_readings, bayesian_readings, enough.tolist(), strict=True
    ):
        claim = _claim(estimate, reading, is_enough=is_enough, alpha=settings.alpha)
        result = replace(estimate, claim=ResultClaim.RATIO_OFF if is_ratio_off else claim)
        if is_enough:
            believed = bayesian if result.relative is not None else None
            compared.append(replace(result, anytime=reading, fixed=fixed, bayesian=believed))
        else:
            compared.append(replace(result, absolute=None, relative=None, reduction=0.0, variance=0.0))
    return compared


def _list_estimates(
    reference: Moments, variation: Moments, differences: Differences, p_values: Floats
) -> list[Comparison]:
    columns = (
        reference.ratio,
        variation.ratio,
        differences.absolute,
        differences.relative,
        p_values,
        differences.reduction,
        differences.n,
        differences.variance,
    )
    return [
        Comparison(
            claim=ResultClaim.OPEN,
            reference=_finite(before),
            variation=_finite(after),
            absolute=_finite(absolute),
            relative=_finite(relative),
            p_value=p_value,
            reduction=reduction,
            visitors=int(visitors),
            variance=variance,
            comparisons=len(p_values),
        )
        for before, after, absolute, relative, p_value, reduction, visitors, variance in zip(
            *(column.tolist() for column in columns), strict=True
        )
    ]


def _claim(result: Comparison, reading: Estimate, *, is_enough: bool, alpha: float) -> ResultClaim:
    if is_enough and reading.p_value <= alpha:
        return ResultClaim.HIGHER if (result.absolute or 0.0) > 0 else ResultClaim.LOWER
    if not result.reference:
        return ResultClaim.NO_BASELINE
    return ResultClaim.OPEN if is_enough else ResultClaim.TOO_FEW


def _read(differences: Differences, errors: Floats, p_values: Floats) -> list[Estimate]:
    columns = (*differences.absolute_interval(errors), *differences.relative_interval(errors), p_values)
    return [
        Estimate(absolute=_interval(low, high), relative=_interval(low_share, high_share), p_value=p_value)
        for low, high, low_share, high_share, p_value in zip(*(column.tolist() for column in columns), strict=True)
    ]


def _believe(differences: Differences, settings: ResultSettings) -> list[BayesianEstimate]:
    """Combine the normal prior with the estimate by the delta method, as GrowthBook's `gbstats` does."""
    precision = 1 / differences.relative_variance
    deviation = np.sqrt(1 / (precision + 1 / settings.prior_deviation**2))
    mean = differences.relative * precision * deviation**2
    chance = special.ndtr(mean / deviation)
    risk = deviation * np.exp(-((mean / deviation) ** 2) / 2) / math.sqrt(2 * math.pi) - mean * (1 - chance)
    width = special.ndtri(1 - settings.alpha / 2) * deviation
    columns = (chance, mean - width, mean + width, risk)
    return [
        BayesianEstimate(chance_higher=chance, relative=_interval(lower, upper), risk=risk)
        for chance, lower, upper, risk in zip(*(column.tolist() for column in columns), strict=True)
    ]


def _interval(lower: float, upper: float) -> Interval:
    return Interval(_finite(lower), _finite(upper))


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def find_harms(
    pairs: Sequence[tuple[VariationSums, VariationSums]],
    *,
    levels: Sequence[float],
    harm_is_lower: bool,
    settings: ResultSettings,
) -> list[bool]:
    """Return the alarms of pairs; see `goals.experiments.guardrails.find_harm`."""
    reference = samples.measure([pair[0] for pair in pairs])
    variation = samples.measure([pair[1] for pair in pairs])
    with np.errstate(divide="ignore", invalid="ignore"):
        log_e = log_e_values_of_harm(reference, variation, harm_is_lower=harm_is_lower, settings=settings)
        return [bool(each) for each in log_e >= -np.log(np.asarray(levels))]


def log_e_values_of_harm(
    reference: Moments, variation: Moments, *, harm_is_lower: bool, settings: ResultSettings
) -> Floats:
    """Return the logarithms of the one-sided e-values against no harm, -inf below the floor.

    Levels of guardrails are far out in the tail. There a small variation with few conversions by chance would look
    precise, too. So the variance is at least that of both together, which is right if nothing differs.
    """
    differences = subtract(reference, variation)
    enough = find_enough(reference, variation, fewest=settings.fewest_effective) & (differences.variance > 0)
    both = samples.add(reference, variation)
    pooled = both.variance * (1 / reference.n + 1 / variation.n) * (1 - differences.reduction)
    z = differences.absolute / np.sqrt(np.maximum(differences.variance, pooled))
    scaled = anytime.scale(differences.n, alpha=settings.alpha, tuned_for=settings.tuned_for)
    harm = -z if harm_is_lower else z
    return np.where(enough, anytime.log_e_value_above(harm, scaled), -np.inf)
