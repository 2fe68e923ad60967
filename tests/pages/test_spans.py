"""Periods of query strings: every page that takes them says what is wrong with them."""

import pytest
from django.utils import timezone

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


def test_pages__of_days_that_cannot_be__have_no_figures(world: World, enter: Enter) -> None:
    world.track("Buy", timestamp=timezone.now().isoformat(), userId="u1")
    days, viewer, site = "range=custom&from=2026-11-02&to=2026-11-01", enter("viewer"), f"/admin/s/{SITECODE}/"

    list_, home = (text_of(viewer.get(f"{site}{page}?{days}")) for page in ("goals/", ""))
    file = viewer.get(f"{site}goals/export/?{days}")

    for page in (list_, home):
        assert "From (2026-11-02) is after To (2026-11-01)." in page
        assert "Buy" not in page
    assert "No goals" not in list_
    assert "No conversions" not in home
    assert (file.status_code, file.content.decode()[:20]) == (400, "From (2026-11-02) is")
