"""Bench of validity: how often the statistics of experiments are wrong, by simulation.

    python -m tests.bench.validity [--runs 1000] [--looks 200] [--years 50] [--seed 1] [--only NAME ...] [--json FILE]

It needs no server and takes a minute. Each run is an experiment that is looked at after each batch of visitors.

- `A/A` is the share of runs without a difference in which one was claimed at some look. It may be 5 %.
- `misses` is the share of runs with a true difference that the interval, absolute or relative, did not contain at some
  look. It may be 5 %.
- `power` is the share of runs in which the guardrail found a drop of 10 % within the days that its power curve says. It
  must be 80 %.
- `alarms a year` are the false ones of 500 goals × 20 experiments, of which the budget allows 1.

A broken limit ends it with an error.
"""

import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from goals.experiments import anytime, corrections
from goals.experiments.anytime import Floats
from goals.experiments.comparison import find_enough, log_e_values, log_e_values_of_harm
from goals.experiments.differences import subtract
from goals.experiments.guardrails import alarm_level, days_to_alarm
from goals.experiments.power import POWER
from goals.experiments.results import DEFAULT_SETTINGS
from goals.experiments.samples import Moments
from tests.bench.figures import Figure, make_parser, publish

BATCH: Final = 200  # visitors of both variations between two looks
CELLS: Final = 20
RISE: Final = 1.1  # the true ratio of both variations where there is a difference
KINDS: Final = 10  # of sums: n, y, x, d, yy, xx, dd, xy, yd, xd
ALPHA: Final = DEFAULT_SETTINGS.alpha
AT_MOST: Final = f"<= {ALPHA}"
Draw = Callable[[np.random.Generator, int, int, float], Floats]  # runs, visitors, rise -> sums of each run


def sum_buyers(
    chance: np.random.Generator, visitors: int, share: float, runs: int, draw: Callable[[int], tuple[Floats, ...]]
) -> Floats:
    """Return the sums of visitors of whom a share buys; `draw` returns y, x and d of that many buyers, or only y."""
    buyers = chance.binomial(visitors, share, runs)
    run = np.repeat(np.arange(runs), buyers)
    drawn = draw(len(run))
    y = drawn[0].astype(float)
    x = drawn[1].astype(float) if len(drawn) > 1 else np.zeros(len(run))
    sums = np.zeros((KINDS, runs))
    sums[[0, 3, 6]] = visitors
    columns = {1: y, 2: x, 4: y * y, 5: x * x, 7: x * y, 8: y, 9: x}
    if len(drawn) > 2:
        d = drawn[2].astype(float)
        columns |= {3: d, 6: d * d, 8: y * d, 9: x * d}
    for kind, column in columns.items():
        sums[kind] = np.bincount(run, column, runs)
    return sums


def measure(sums: Floats) -> Moments:
    """Return the moments of sums in floats, which suffice for simulated values."""
    n, y, x, d, yy, xx, dd, xy, yd, xd = sums

    def covary(ab: Floats, a: Floats, b: Floats) -> Floats:
        return np.asarray((n * ab - a * b) / (n * (n - 1)), dtype=float)

    products = ((yy, y, y), (xx, x, x), (dd, d, d), (xy, x, y), (yd, y, d), (xd, x, d))
    return Moments(n, y / n, x / n, d / n, *(covary(*product) for product in products))


def draw_rate(chance: np.random.Generator, runs: int, visitors: int, rise: float) -> Floats:
    return sum_counts(chance.binomial(visitors, 0.05 * rise, runs).astype(float), visitors)


def sum_counts(converting: Floats, visitors: npt.ArrayLike) -> Floats:
    sums = np.zeros((KINDS, *converting.shape))
    sums[[0, 3, 6]] = visitors
    sums[[1, 4, 8]] = converting
    return sums


def draw_mean(chance: np.random.Generator, runs: int, visitors: int, rise: float) -> Floats:
    """Draw conversions: most visitors have none, a few have ten."""
    return sum_buyers(
        chance, visitors, 0.2 * rise, runs, lambda buyers: (chance.geometric(0.4, buyers).astype(np.float64),)
    )


def draw_revenue(chance: np.random.Generator, runs: int, visitors: int, rise: float) -> Floats:
    """Draw revenue with a heavy tail: 5 % buy, and 1 % of these spend 33 times the median or more."""
    return sum_buyers(chance, visitors, 0.05 * rise, runs, lambda buyers: (chance.lognormal(3, 1.5, buyers),))


def draw_capped_revenue(chance: np.random.Generator, runs: int, visitors: int, rise: float) -> Floats:
    def draw(buyers: int) -> tuple[Floats, ...]:
        return (np.minimum(chance.lognormal(3, 1.5, buyers), 1_000.0),)

    return sum_buyers(chance, visitors, 0.05 * rise, runs, draw)


def draw_ratio(chance: np.random.Generator, runs: int, visitors: int, rise: float) -> Floats:
    """Draw revenue over orders: who orders often spends more on each order."""

    def draw(buyers: int) -> tuple[Floats, ...]:
        orders = chance.geometric(0.5, buyers)
        spent = orders * (20.0 + 5.0 * orders) * rise * chance.exponential(1.0, buyers)
        return spent, np.zeros(buyers), orders.astype(float)

    return sum_buyers(chance, visitors, 0.3, runs, draw)


def draw_cuped(chance: np.random.Generator, runs: int, visitors: int, rise: float) -> Floats:
    """Draw conversions before and after by visitors who differ much."""

    def draw(buyers: int) -> tuple[Floats, ...]:
        habit = chance.gamma(1.0, 4.0, buyers)
        return chance.poisson(habit * rise).astype(float), chance.poisson(habit).astype(float)

    return sum_buyers(chance, visitors, 0.2, runs, draw)


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric with its draw, and the share of the variation."""

    draw: Draw
    share: float = 0.5


METRICS: Final = {
    "rate": Metric(draw_rate),
    "rate, 10 % of visitors": Metric(draw_rate, share=0.1),
    "mean": Metric(draw_mean),
    "revenue": Metric(draw_revenue),
    "revenue, 10 % of visitors": Metric(draw_revenue, share=0.1),
    "revenue, capped": Metric(draw_capped_revenue),
    "revenue, capped, 10 % of visitors": Metric(draw_capped_revenue, share=0.1),
    "ratio": Metric(draw_ratio),
    "CUPED": Metric(draw_cuped),
}


def look(
    metric: Metric, chance: np.random.Generator, *, runs: int, looks: int, rise: float
) -> Iterator[tuple[Moments, Moments]]:
    """Yield the moments of reference and variation at each look."""
    batch = round(BATCH * metric.share)
    reference, variation = np.zeros((KINDS, runs)), np.zeros((KINDS, runs))
    for _ in range(looks):
        reference += metric.draw(chance, runs, BATCH - batch, 1.0)
        variation += metric.draw(chance, runs, batch, rise)
        yield measure(reference), measure(variation)


def count_false_claims(metric: Metric, chance: np.random.Generator, *, runs: int, looks: int) -> float:
    """Return the share of runs without a difference that claimed one at some look."""
    claimed = np.zeros(runs, dtype=bool)
    for reference, variation in look(metric, chance, runs=runs, looks=looks, rise=1.0):
        log_e, _ = log_e_values(subtract(reference, variation), DEFAULT_SETTINGS)
        enough = find_enough(reference, variation, fewest=DEFAULT_SETTINGS.fewest_effective)
        claimed |= enough & (anytime.p_value(log_e) <= ALPHA)
    return float(claimed.mean())


def count_misses(metric: Metric, chance: np.random.Generator, *, runs: int, looks: int) -> float:
    """Return the share of runs with a difference that an interval did not contain at some look."""
    mean = float(measure(metric.draw(chance, 100, 100_000, 1.0)).ratio.mean())
    missed = np.zeros(runs, dtype=bool)
    for reference, variation in look(metric, chance, runs=runs, looks=looks, rise=RISE):
        differences = subtract(reference, variation)
        errors = anytime.multiplier(log_e_values(differences, DEFAULT_SETTINGS)[1], level=ALPHA)
        enough = find_enough(reference, variation, fewest=DEFAULT_SETTINGS.fewest_effective)
        for (low, high), true in (
            (differences.absolute_interval(errors), mean * (RISE - 1)),
            (differences.relative_interval(errors), RISE - 1),
        ):
            missed |= enough & ((low > true) | (high < true))
    return float(missed.mean())


def count_false_breakdowns(chance: np.random.Generator, *, runs: int, looks: int) -> float:
    """Return the share of breakdowns without a difference that claimed one in some cell at some look."""
    rates = np.geomspace(0.02, 0.3, CELLS)
    sizes = np.linspace(20, 380, CELLS).round().astype(int)
    claimed = np.zeros(runs, dtype=bool)
    sums = [np.zeros((KINDS, runs, CELLS)) for _ in range(2)]
    for _ in range(looks):
        for side in sums:
            np.add(side, sum_counts(chance.binomial(sizes, rates, (runs, CELLS)).astype(float), sizes), out=side)
        reference, variation = (measure(side) for side in sums)
        log_e, _ = log_e_values(subtract(reference, variation), DEFAULT_SETTINGS)
        enough = find_enough(reference, variation, fewest=DEFAULT_SETTINGS.fewest_effective)
        p_values = np.where(enough, anytime.p_value(log_e), 1.0)
        near = p_values.min(axis=1) <= ALPHA
        claimed[near] |= np.array([corrections.adjust(cells).min() <= ALPHA for cells in p_values[near]], dtype=bool)
    return float(claimed.mean())


def count_found_drops(chance: np.random.Generator, *, runs: int, running: int = 60) -> tuple[float, int]:
    """Return the share of planted drops of 10 % found in time, and the days that the power curve says."""
    visitors, rate = 2_000, 0.1
    variance = 2 * visitors * (rate * (1 - rate) + 0.9 * rate * (1 - 0.9 * rate)) / visitors
    days = days_to_alarm(0.1 * rate, unit_variance=variance, visitors_a_day=2 * visitors, running=running)
    if days is None:
        raise ValueError("The power curve has no day.")
    found = np.zeros(runs, dtype=bool)
    sums = [np.zeros((KINDS, runs)) for _ in range(2)]
    for day in range(1, days + 1):
        for side, rise in zip(sums, (1.0, 0.9), strict=True):
            np.add(side, sum_counts(chance.binomial(visitors, rate * rise, runs).astype(float), visitors), out=side)
        log_e = log_e_values_of_harm(*map(measure, sums), harm_is_lower=True, settings=DEFAULT_SETTINGS)
        found |= log_e >= -np.log(alarm_level([running] * day))
    return float(found.mean()), days


def count_false_alarms(
    chance: np.random.Generator, *, years: int, goals: int = 500, experiments: int = 20, days: int = 28
) -> float:
    """Return the false alarms of a year: experiments of 28 days begin throughout it, each with all goals.

    Every second one gives its variation a tenth of the visitors.
    """
    starts = np.linspace(0, 365 - days, experiments).round().astype(int)
    running = [goals * int(((starts <= day) & (day < starts + days)).sum()) for day in range(365)]
    rates = np.geomspace(0.001, 0.3, goals)
    alarms = 0
    for number, start in enumerate(starts.tolist()):
        sizes = (1_800, 200 if number % 2 else 1_800)
        sums = [np.zeros((KINDS, years, goals)) for _ in range(2)]
        alarmed = np.zeros((years, goals), dtype=bool)
        for day in range(days):
            for side, visitors in zip(sums, sizes, strict=True):
                converting = chance.binomial(visitors, rates, (years, goals)).astype(float)
                np.add(side, sum_counts(converting, visitors), out=side)
            log_e = log_e_values_of_harm(*map(measure, sums), harm_is_lower=True, settings=DEFAULT_SETTINGS)
            alarmed |= log_e >= -np.log(alarm_level(running[start : start + day + 1]))
        alarms += int(alarmed.sum())
    return alarms / years


def run(name: str, *, seed: int, runs: int, looks: int, years: int) -> Iterator[Figure]:
    """Yield the figures of one part."""
    chance = np.random.default_rng([seed, *name.encode()])
    if name in METRICS:
        false_claims = count_false_claims(METRICS[name], chance, runs=runs, looks=looks)
        misses = count_misses(METRICS[name], chance, runs=runs, looks=looks)
        yield Figure(f"{name}: A/A", false_claims, "of runs", aim=AT_MOST)
        yield Figure(f"{name}: misses", misses, "of runs", aim=AT_MOST)
    elif name == "breakdown":
        share = count_false_breakdowns(chance, runs=runs, looks=looks)
        yield Figure(f"breakdown of {CELLS} cells: A/A", share, "of runs", aim=AT_MOST)
    else:
        found, days = count_found_drops(chance, runs=10 * runs)
        yield Figure(f"guardrail: power within {days} days", found, "of runs", aim=f">= {POWER}")
        yield Figure("guardrail: alarms a year", count_false_alarms(chance, years=years), "alarms", aim="<= 1")


PARTS: Final = (*METRICS, "breakdown", "guardrail")


def is_kept(figure: Figure) -> bool:
    sign, limit = figure.aim.split()
    return figure.value <= float(limit) if sign == "<=" else figure.value >= float(limit)


def main() -> None:
    options = make_parser(__doc__)
    for name, default in (("runs", 1_000), ("looks", 200), ("years", 50), ("seed", 1)):
        options.add_argument(f"--{name}", type=int, default=default)
    options.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, metavar="NAME")
    given = options.parse_args()
    figures: list[Figure] = []
    for part in given.only:
        begun = time.monotonic()
        with np.errstate(divide="ignore", invalid="ignore"):
            figures += run(part, seed=given.seed, runs=given.runs, looks=given.looks, years=given.years)
        print(f"{part} took {time.monotonic() - begun:.0f} s", flush=True)
    publish(figures, given.json)
    broken = [figure.what for figure in figures if not is_kept(figure)]
    sys.exit(f"these are broken: {', '.join(broken)}" if broken else 0)


if __name__ == "__main__":
    main()
