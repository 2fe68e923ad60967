"""Names with identifiers get a pattern that they match. Names that only look similar get none."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.rules.identifiers import suggest_pattern
from api.rules.patterns import matches_pattern


@pytest.mark.parametrize(
    ("name", "pattern"),
    [
        ("Viewed order 1234", "Viewed order {n}"),
        ("order-12345-paid", "order-{n}-paid"),
        ("Invoice #20261122", "Invoice #{n}"),
        ("Open 3f2504e0-4f89-11d3-9a0c-0305e82c3301", "Open {id}"),
        ("Open 3f2504e04f8911d39a0c0305e82c3301 now", "Open {id} now"),
        ("Viewed order 12", None),
        ("Black Friday 2026", None),
        ("Paid €1,000", None),
        ("Release v1.200", None),
        ("subscription_renewed_monthly", None),
        ("Own {braces} 1234", None),
    ],
)
def test_name__with_or_without_an_identifier__has_its_pattern(name: str, pattern: str | None) -> None:
    assert suggest_pattern(name) == pattern


@given(st.text(st.sampled_from("aZ 0123456789-_.#é"), max_size=60))
def test_pattern__of_any_name__is_one_that_it_has(name: str) -> None:
    pattern = suggest_pattern(name)
    assert pattern is None or matches_pattern(name, pattern)
