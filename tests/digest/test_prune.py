"""Retention of processed messages by site."""

from datetime import UTC, datetime, timedelta

import pytest
from django.core.exceptions import ValidationError
from django.db import connection, transaction
from django.test import override_settings

from api.digest import prune
from api.digest.prune import prune_old
from api.ingest.provisioning import create_site
from api.models import Message, Site
from tests.support.messages import store_message
from tests.world import World

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


def keep(site: Site, *, days_ago: float, status: str = "done", number: int = 0) -> int:
    """Store a message of some days ago and return its id."""
    at = NOW - timedelta(days=days_ago)
    message = store_message(
        site=site,
        type="track",
        message_id=f"m-{days_ago}-{number}",
        received_at=at,
        occurred_at=at,
        digested_at=at,
        body=b"{}",
        status=status,
    )
    return message.pk


@pytest.mark.parametrize(
    ("days", "gone"),
    [(None, {31.0, 400.0}), (7, {8.0, 29.0, 31.0, 400.0}), (30, {31.0, 400.0}), (365, {400.0})],
)
def test_prune__of_a_site__keeps_as_many_days_as_it_says(world: World, days: int | None, gone: set[float]) -> None:
    Site.objects.filter(pk=world.site.pk).update(keeps_done_days=days)
    other = create_site(name="Keeps long")
    Site.objects.filter(pk=other.pk).update(keeps_done_days=3_650)
    ages = [0.0, 6.0, 8.0, 29.0, 31.0, 400.0]
    mine = {keep(world.site, days_ago=age): age for age in ages}
    theirs = {keep(other, days_ago=age) for age in ages}
    with override_settings(KEEP_DONE_DAYS=30):
        pruned = prune_old(now=NOW, seconds=60)

    left = set(Message.objects.values_list("pk", flat=True))
    assert {age for number, age in mine.items() if number not in left} == gone
    assert pruned == len(gone)
    assert theirs <= left


@pytest.mark.parametrize("status", ["pending", "deferred"])
def test_prune__of_what_waits__keeps_it_for_ever(world: World, status: str) -> None:
    number = keep(world.site, days_ago=4_000, status=status)

    assert prune_old(now=NOW, seconds=60) == 0
    assert Message.objects.filter(pk=number).exists()


def test_prune__of_more_than_a_chunk__goes_on(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prune, "CHUNK", 2)
    for number in range(5):
        keep(world.site, days_ago=40, number=number)

    assert prune_old(now=NOW, seconds=60) == 5


def test_prune__out_of_time__stops_after_a_chunk(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prune, "CHUNK", 2)
    for number in range(5):
        keep(world.site, days_ago=40, number=number)

    assert prune_old(now=NOW, seconds=-1) == 2


def test_prune__by_a_nested_loop__stops_after_a_chunk(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A loop over the table could run the search for a chunk once for each row and delete more than a chunk."""
    monkeypatch.setattr(prune, "CHUNK", 2)
    for number in range(5):
        keep(world.site, days_ago=40, number=number)

    with transaction.atomic(), connection.cursor() as cursor:  # SET LOCAL needs a transaction
        for other_plan in ("hashjoin", "mergejoin", "hashagg", "sort", "material"):
            cursor.execute(f"SET LOCAL enable_{other_plan} = off")
        assert prune_old(now=NOW, seconds=-1) == 2


@pytest.mark.parametrize("rows", [0, 3])
def test_prune__its_rows__are_found_by_the_key_of_the_site(world: World, rows: int) -> None:
    """The plan must not depend on statistics that other tests leave behind, because few rows are sorted faster."""
    for number in range(rows):
        keep(world.site, days_ago=40, number=number)
    with transaction.atomic(), connection.cursor() as cursor:  # SET LOCAL needs a transaction
        cursor.execute("ANALYZE api_message")
        cursor.execute("SET LOCAL enable_seqscan = off")
        cursor.execute("SET LOCAL enable_sort = off")  # a plan that still sorts has no index in this order
        cursor.execute(
            "EXPLAIN SELECT id FROM api_message WHERE site_id = %s AND status = 'done' ORDER BY id LIMIT 5000",
            [world.site.pk],
        )
        plan = "\n".join(row[0] for row in cursor.fetchall())
    assert "Index Scan using api_message" in plan
    assert "Sort" not in plan


@pytest.mark.parametrize(("days", "is_right"), [(6, False), (7, True), (3_650, True), (3_651, False), (None, True)])
def test_retention__below_a_week_or_above_ten_years__is_refused(
    world: World, days: int | None, *, is_right: bool
) -> None:
    world.site.keeps_done_days = days
    if is_right:
        world.site.full_clean()
    else:
        with pytest.raises(ValidationError, match="keeps_done_days"):
            world.site.full_clean()


def test_prune__old_done_messages__go_and_a_late_resend_counts_nothing_twice(world: World) -> None:
    event, rejected = world.event(), world.event(event=None)
    world.send(event, rejected)

    assert prune_old(now=datetime.now(UTC), seconds=5) == 0
    assert prune_old(now=datetime.now(UTC) + timedelta(days=30, seconds=1), seconds=5) == 2
    world.send(event)

    assert world.goals() == {"SegmentIO track – Signed Up": 1}
    assert (world.last_message().effects, world.last_message().reason) == (["nothing"], "already_converted")
    assert not Message.objects.filter(status="rejected").exists()  # it has had as long to be tried again
