"""`manage.py rekey`: what an earlier version stored counts as if today's had stored it."""

from collections import Counter
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection

from api.checks.run import verify
from api.digest import rekey
from api.models import Backfill
from cohorts.models import Identity, Link
from goals.models import Conversion
from tests.goals.recount import assert_exact
from tests.world import World

# Links were not kept, and a user's link went before its device's.
AS_BEFORE = """
DELETE FROM cohorts_link;
UPDATE cohorts_identity SET registers = registers - 'device_visitor';
UPDATE goals_conversion c
   SET (visitor_code, keyed_by) = (
       SELECT coalesce(u.registers #>> '{visitor,3}', a.registers #>> '{visitor,3}', c.user_id, c.anonymous_id),
              CASE WHEN u.registers ? 'visitor' THEN 1 WHEN a.registers ? 'visitor' THEN 2
                   WHEN c.user_id IS NOT NULL THEN 3 ELSE 4 END
         FROM (SELECT) AS once
         LEFT JOIN cohorts_identity u ON u.site_id = c.site_id AND u.kind = 1 AND u.value = c.user_id
         LEFT JOIN cohorts_identity a ON a.site_id = c.site_id AND a.kind = 3 AND a.value = c.anonymous_id)
 WHERE keyed_by > 0;
INSERT INTO api_backfill (stage, position) VALUES (0, 0);
"""


@pytest.fixture
def town(world: World) -> World:
    """Two browsers of one user, a device that changed hands, an alias, and a link that only an event still tells."""
    world.send(
        world.event("page", userId=None, anonymousId="m1", name="Home", kameleoonVisitorCode="v1"),
        world.event("identify", at=1, anonymousId="m1"),
        world.event(event="Paid", at=2),
        world.event("identify", userId="user-2", at=3, kameleoonVisitorCode="v2"),
        world.event("page", userId=None, at=3, anonymousId="m2", name="Home", kameleoonVisitorCode="v3"),
        world.event(event="Paid", userId="user-2", at=4, anonymousId="m2"),
        world.event("alias", userId="user-3", at=5, previousId="ada@example.com"),
        world.event("identify", userId="ada@example.com", at=5, kameleoonVisitorCode="v4"),
        world.event(event="Paid", userId="user-3", at=6),
        world.event("identify", userId="user-4", at=7, anonymousId="m3"),
        world.event("identify", userId="user-5", at=8, anonymousId="m3"),
        world.event("page", userId=None, at=9, anonymousId="m3", name="Home", kameleoonVisitorCode="v5"),
        world.event(event="Paid", userId="user-4", at=9),
        world.event(event="Paid", userId="nobody", at=10),
    )
    return world


def state() -> tuple[Any, ...]:
    return (
        Counter(Conversion.objects.values_list("message_key", "visitor_code", "keyed_by")),
        list(Identity.objects.order_by("kind", "value").values_list("kind", "value", "registers")),
        set(Link.objects.values_list("kind", "value", "user_value")),
    )


def set_back() -> None:
    with connection.cursor() as cursor:
        cursor.execute(AS_BEFORE)
    call_command("recount", stdout=StringIO())


def differences() -> list[str]:
    return [report.check for report in verify() if report.found]


@pytest.mark.promise("K-51", "N-09")
def test_rekey__of_what_the_version_before_stored__leaves_what_todays_would(world: World, town: World) -> None:
    expected, output = state(), StringIO()
    set_back()
    assert state() != expected
    assert differences() == []  # the command is known to be still to run

    call_command("rekey", stdout=output)

    assert state() == expected
    assert "4 conversions count for another visitor now" in output.getvalue()
    assert differences() == []
    assert Backfill.objects.get().finished_at is not None


def test_rekey__interrupted_after_every_step__goes_on_and_counts_each_once(
    world: World, town: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = state()
    set_back()
    monkeypatch.setattr(rekey, "BATCH", 2)

    steps = 0
    while (backfill := Backfill.objects.get()).stage < Backfill.Stage.DONE:
        rekey.step(backfill, {})
        steps += 1
        assert steps < 100
    call_command("rekey", stdout=StringIO())

    assert steps > 10
    assert state() == expected


def test_rekey__again__changes_nothing(world: World, town: World) -> None:
    expected = state()

    call_command("rekey", stdout=(said := StringIO()))
    call_command("rekey", again=True, stdout=(done := StringIO()))

    assert "Nothing to do" in said.getvalue()
    assert "0 conversions count" in done.getvalue()
    assert state() == expected


def test_rekey__beside_new_events__keeps_the_figures_exact(world: World, town: World) -> None:
    set_back()
    world.send(world.event(event="Paid", at=20), world.event("identify", at=-5, userId="nobody", anonymousId="m2"))
    call_command("rekey", stdout=StringIO())

    assert_exact()
    assert differences() == []
