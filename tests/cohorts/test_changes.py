"""Links of one event: which of the former owners of a device get a row."""

from datetime import UTC, datetime

import pytest

from api.models.erasures import make_marker
from cohorts.changes import ANONYMOUS, USER, Change, Link, LoadedIdentity, set_owners
from cohorts.ids import is_marker


@pytest.mark.parametrize(
    "owner", [make_marker(), f"{make_marker()}:12", "former", "erased:by ada"], ids=["marker", "number", "user", "odd"]
)
def test_device__that_moves_to_another_user__was_linked_to_the_former_unless_that_is_erased(owner: str) -> None:
    device = LoadedIdentity(1, {"user": [1, 0, "m1", owner]})
    known = {(ANONYMOUS, "a1"): device, (USER, "u1"): LoadedIdentity(2, {})}
    former: dict[Link, bool] = {}

    set_owners(Change(datetime(2026, 11, 22, tzinfo=UTC), 0, "m2", "u1", "a1"), known, set(), former)

    said: dict[Link, bool] = {((ANONYMOUS, "a1"), "u1"): False}
    assert former == said | ({} if is_marker(owner) else {((ANONYMOUS, "a1"), owner): True})
    assert is_marker(owner) == (owner not in {"former", "erased:by ada"})
