"""Sample ratio: when it is off, and since when."""

import random
from typing import Any

import pytest

from goals.experiments import sample_ratio
from goals.experiments.sample_ratio import check_sample_ratio, fixed_p_value, log_e_value

pytestmark = pytest.mark.promise("N-12")


def test_sample_ratio__of_shares_as_configured__is_kept() -> None:
    assert not check_sample_ratio([[700, 201, 99]] * 10, shares=[0.7, 0.2, 0.1]).is_off


def test_sample_ratio__without_visitors__is_kept() -> None:
    checked = check_sample_ratio([], shares=[1, 1])

    assert (checked.p_value, checked.is_off, checked.began) == (1, False, None)
    assert fixed_p_value([0, 0], [1, 1]) == 1


def test_sample_ratio__that_shifts_on_a_day__is_off_since_that_day() -> None:
    chance = random.Random(7)
    daily = []
    for share in [0.5] * 20 + [0.42] * 5:
        first = sum(chance.random() < share for _ in range(2_000))
        daily.append([first, 2_000 - first])

    assert not check_sample_ratio(daily[:20], shares=[1, 1]).is_off
    checked = check_sample_ratio(daily, shares=[1, 1])
    assert checked.is_off
    assert checked.began == 20


def test_sample_ratio__of_many_years__finds_the_day_in_few_comparisons(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[object] = []

    def count(*values: Any) -> float:
        compared.append(values)
        return log_e_value(*values)

    monkeypatch.setattr(sample_ratio, "log_e_value", count)
    monkeypatch.setattr(sample_ratio, "MOST_STEPS", 20)

    checked = check_sample_ratio([[500, 500]] * 203 + [[400, 600]] * 50, shares=[1, 1])

    assert checked.began == 203
    assert len(compared) < 254 + 20 * 21 / 2 + 2 * 13


def test_sample_ratio__once_off__stays_off() -> None:
    checked = check_sample_ratio([[700, 300], [300, 700]], shares=[1, 1])

    assert checked.is_off
    assert checked.began == 0


def test_sample_ratio__of_another_number_of_variations__is_refused() -> None:
    with pytest.raises(ValueError, match="zip"):
        check_sample_ratio([[1, 2, 3]], shares=[1, 1])
