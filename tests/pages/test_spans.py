"""Periods of query strings: every page that takes them says what is wrong with them."""

import pytest

from tests.support.pages import Enter, text_of
from tests.world import SITECODE, World


@pytest.mark.parametrize("page", ["events/", "settings/changes/"])
@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("since=2026-11-22T10:00&until=2026-11-22T09:00", "is after Until (22 Nov 2026, 09:00)"),
        ("since=2126-11-22T10:00", "From (22 Nov 2126, 10:00) is in the future."),
        ("since=yesterday", "From (“yesterday”) is not a time."),
        ("until=2026-13-01T00:00", "Until (“2026-13-01T00:00”) is not a time."),
        ("since=2026-11-21T10:00&until=2126-11-22T09:00", ""),
    ],
)
def test_page__of_times_that_cannot_be__says_so(world: World, enter: Enter, page: str, query: str, says: str) -> None:
    shown = text_of(enter("owner").get(f"/admin/s/{SITECODE}/{page}?{query}"))

    assert says in shown
    assert bool(says) == ("is after" in shown or "in the future" in shown or "is not a time" in shown)
