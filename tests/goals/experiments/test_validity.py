"""Validity at any look, by a small simulation; `python -m tests.bench.validity` is the large one."""

import numpy as np
import pytest

from tests.bench.validity import METRICS, count_false_claims, count_found_drops, count_misses, is_kept, run

pytestmark = pytest.mark.promise("N-12")


@pytest.mark.parametrize("name", ["rate", "revenue, capped", "ratio", "CUPED"])
def test_claims__looked_at_often__are_rarely_wrong(name: str) -> None:
    chance = np.random.default_rng(7)
    with np.errstate(divide="ignore", invalid="ignore"):
        false_claims = count_false_claims(METRICS[name], chance, runs=100, looks=40)
        misses = count_misses(METRICS[name], chance, runs=100, looks=40)

    assert false_claims <= 0.05
    assert misses <= 0.05


def test_breakdown__looked_at_often__claims_rarely() -> None:
    with np.errstate(divide="ignore", invalid="ignore"):
        assert all(is_kept(figure) for figure in run("breakdown", seed=7, runs=100, looks=40, years=1))


def test_guardrail__of_a_planted_drop__finds_it_in_time() -> None:
    with np.errstate(divide="ignore", invalid="ignore"):
        found, days = count_found_drops(np.random.default_rng(7), runs=2_000)

    assert found >= 0.8
    assert days < 30
