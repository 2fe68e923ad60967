"""Revenue, value and currency as senders write them."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from goals.money import NotMoneyError, parse_amount, parse_currency


@pytest.mark.promise("I-21")
@pytest.mark.parametrize(
    ("given_", "expected"),
    [
        (19.99, "19.990000"), ("19.99", "19.990000"), (" 7 ", "7.000000"), (0, "0.000000"), (-5, "-5.000000"),
        ("-0.5", "-0.500000"), ("+3", "3.000000"), (1e-7, "0.000000"), (0.1 + 0.2, "0.300000"),
        (99_999_999_999_999, "99999999999999.000000"), (None, None), ("", None),
    ],
)  # fmt: skip
def test_amount__plain_number__is_a_decimal_of_six_places(given_: Any, expected: str | None) -> None:
    amount = parse_amount(given_)

    assert (str(amount) if amount is not None else None) == expected


@pytest.mark.promise("I-21")
@pytest.mark.parametrize(
    "given_",
    [
        "$5",
        "5 EUR",
        "1,000",
        "1.000,50",
        "1e5",
        "abc",
        "٣",
        True,
        [],
        {},
        10**14,
        -(10**14),
        10**400,
        1e300,
        float("nan"),
        "9" * 15,
        "99999999999999.9999999",
    ],
)
def test_amount__anything_else__is_refused(given_: Any) -> None:
    with pytest.raises(NotMoneyError):
        parse_amount(given_)


@given(st.lists(st.integers(-(10**9), 10**9), max_size=50))
@pytest.mark.promise("I-21")
def test_amounts__of_cents__sum_exactly(cents: list[int]) -> None:
    amounts = [parse_amount(cent / 100) or Decimal(0) for cent in cents]

    assert sum(amounts, Decimal(0)) == Decimal(sum(cents)) / 100


@pytest.mark.promise("I-19", "I-20")
@pytest.mark.parametrize(
    ("given_", "expected"),
    [
        ("EUR", ("EUR", True)), ("usd", ("USD", True)), (" gbp ", ("GBP", True)), ("XXX", ("XXX", True)),
        (None, ("CHF", True)), ("", ("CHF", True)), ("EURO", ("XXX", False)),
        ("€", ("XXX", False)), (5, ("XXX", False)),
    ],
)  # fmt: skip
def test_currency__as_sent__is_iso_4217_or_kept_apart(given_: Any, expected: tuple[str, bool]) -> None:
    assert parse_currency(given_, default="CHF") == expected
