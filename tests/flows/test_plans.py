"""Digest and reads touch a number of rows that depends on the batch or person, not on the size of tables."""

from collections.abc import Callable
from contextlib import closing

import psycopg
import pytest
from django.db import connection
from pytest_django import Settings

from api.digest import run
from api.http import database
from cohorts import remote_data
from cohorts.models import Identity, Username
from tests.world import World

TABLES = ("api_message", "cohorts_identity", "cohorts_username", "goals_conversion", "goals_goal")


def rows_read(work: Callable[[], object]) -> dict[str, int]:
    """Return the number of rows of each table that `work` read."""
    before = _rows_read_so_far()
    work()
    after = _rows_read_so_far()
    return {table: after[table] - before[table] for table in TABLES}


def _rows_read_so_far() -> dict[str, int]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_stat_force_next_flush()")
        cursor.execute("SELECT pg_stat_clear_snapshot()")
        cursor.execute(
            "SELECT relname, seq_tup_read + idx_tup_fetch FROM pg_stat_user_tables WHERE relname = ANY(%s)",
            [list(TABLES)],
        )
        return dict(cursor.fetchall())


ROWS = """
INSERT INTO cohorts_identity (site_id, kind, value, registers, parent_kind, parent_value, created_at, updated_at)
SELECT %(site)s + {site}, {kind}, 'early-' || n, '{{}}', {parent_kind}, {parent_value}, now(), now()
  FROM generate_series(1, {number}) AS n
"""


def early_rows(
    number: int, *, site: int = 0, kind: str = "1 + n % 3", parent: tuple[str, str] = ("NULL", "NULL")
) -> str:
    kind = kind.replace("%", "%%")
    return ROWS.format(number=number, site=site, kind=kind, parent_kind=parent[0], parent_value=parent[1])


EARLY: dict[str, str] = {  # rows when the reader makes its plan
    "none": "SELECT 1",
    "one": early_rows(1),
    "some": early_rows(1_000),
    "some of another site": early_rows(1_000, site=1),
    "all of one user": early_rows(1_000, kind="2", parent=("1", "'early-user'")),
}


@pytest.mark.parametrize("is_analyzed", [True, False])
@pytest.mark.parametrize("early", EARLY)
def test_reader__that_made_its_plan_early__reads_the_rows_of_the_person(
    world: World, early: str, *, is_analyzed: bool
) -> None:
    """A new installation is read from its first second on; autovacuum comes a minute later at best."""
    with closing(psycopg.connect(**database.connection_parameters(), autocommit=True)) as reader:
        database.configure_reader(reader)
        with connection.cursor() as cursor:
            cursor.execute("TRUNCATE cohorts_identity CASCADE")  # its indexes may be large of another test
            cursor.execute(EARLY[early], {"site": world.site.pk})
            cursor.execute("DELETE FROM pg_statistic WHERE starelid = 'cohorts_identity'::regclass")
            cursor.execute("SELECT pg_clear_relation_stats('public', 'cohorts_identity')")
            if is_analyzed:
                cursor.execute("ANALYZE cohorts_identity")

        def read() -> int:
            asked = remote_data.parameters(world.site.pk, ["ada"])
            return len(reader.execute(remote_data.READ_PEOPLE, asked, prepare=True).fetchall())

        assert read() == 0
        Identity.objects.bulk_create(
            Identity(site=world.site, kind=kind, value=f"stranger-{number}")
            for number in range(1_000)
            for kind in (1, 3)
        )
        world.identify(userId="ada", anonymousId="device", kameleoonVisitorCode="code")
        read_before = _rows_read_so_far()
        assert read() == 3
    assert _rows_read_so_far()["cohorts_identity"] - read_before["cohorts_identity"] < 20


@pytest.mark.parametrize("is_analyzed", [True, False])
def test_digest__of_a_batch__reads_its_own_rows_and_no_table(world: World, *, is_analyzed: bool) -> None:
    """For so large a batch the planner would hash the whole table, or without statistics use nested loops."""
    people, strangers = 250, 12_000
    Identity.objects.bulk_create(
        [
            Identity(site=world.site, kind=kind, value=f"stranger-{number}")
            for number in range(strangers)
            for kind in (1, 3)
        ],
        batch_size=2_000,
    )
    Username.objects.bulk_create(
        [
            Username(site=world.site, name=f"strange-{number}", user_value=f"stranger-{number}")
            for number in range(strangers)
        ],
        batch_size=2_000,
    )
    events = [
        world.event(
            userId=f"user-{number}",
            anonymousId=f"anonymous-{number}",
            event="Buy",
            context={"traits": {"username": f"name-{number // 2}"}},  # of two users, one of whom has it
        )
        for number in range(people)
    ]
    world.post(events)
    world.digest()
    with connection.cursor() as cursor:
        for table in TABLES:
            if is_analyzed:
                cursor.execute(f"ANALYZE {table}")
            else:
                cursor.execute("DELETE FROM pg_statistic WHERE starelid = %s::regclass", [table])
                cursor.execute("SELECT pg_clear_relation_stats('public', %s)", [table])

    world.post(
        [{**event, "messageId": f"again-{event['messageId']}", "traits": {"a": 1}} for event in reversed(events)]
    )
    read = rows_read(world.digest)

    assert world.goals() == {"SegmentIO track – Buy": 2 * people}
    assert max(read.values()) < 10 * people, read


def test_digest__of_a_batch__does_not_look_through_all_that_is_pending(world: World, settings: Settings) -> None:
    """For those that failed before and go one at a time; and for the sites that have anything pending."""
    pending, settings.DIGEST_BATCH = 4_000, 20
    for start in range(0, pending, 2_000):
        world.post([world.event(event="Buy") for _ in range(start, start + 2_000)])
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE api_message")

    read = rows_read(lambda: run.digest_all(world.claims, seconds=0))

    assert world.goals() == {"SegmentIO track – Buy": 20}
    assert read["api_message"] < 200, read
