"""Partitions of the inbox: ids of the day, and old messages that leave by DROP."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from api.digest import partitions, prune
from api.digest.partitions import EPOCH, FAILED_DAYS, IDS_A_DAY, Partition, advance_ids, last_id, load_partitions
from api.digest.prune import prune_old
from api.http.database import connection_parameters
from api.ingest import nudge
from api.ingest.provisioning import create_site, note_rules_changed
from api.models import Message, MessageBody, MessageKey, Site
from api.models.message_rows import delete_messages, find_by_keys, find_first_pending
from tests.support.concurrency import count_lock_waits, holding, in_threads, wait_until
from tests.support.messages import store_message
from tests.world import World

RETRY = "UPDATE api_message SET status = 'pending', digested_at = NULL WHERE id = {}"
LONG_AGO = EPOCH + timedelta(days=5_000)


def replace_first(*, days: int) -> Partition:
    """Put a partition that begins long ago in place of the first one, and return it."""
    first = load_partitions()[0]
    begin = (LONG_AGO - EPOCH).days * IDS_A_DAY
    with transaction.atomic(), connection.cursor() as cursor:
        if first.begin == 0:
            for table in partitions.TABLES:
                cursor.execute(f"ALTER TABLE {table} DETACH PARTITION {table}{first.suffix}")
                cursor.execute(f"DROP TABLE {table}{first.suffix}")
        return partitions._add_partition(begin, days=days)


def drop(partition: Partition) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"DROP TABLE IF EXISTS {', '.join(partition.tables)}")


@pytest.fixture
def old(world: World, monkeypatch: pytest.MonkeyPatch) -> Iterator[Partition]:
    """Return a partition of a day long ago, in place of the first one. It is emptied however few of it are old."""
    del world
    monkeypatch.setattr(prune, "MOST_BY_ROWS", 0)
    made = replace_first(days=1)
    yield made
    drop(made)


@pytest.fixture
def years(world: World) -> Iterator[Partition]:
    """Return a partition from long ago until today, as that of the messages before an upgrade."""
    del world
    today = next(partition.begin for partition in load_partitions() if partition.begin)
    made = replace_first(days=today // IDS_A_DAY - (LONG_AGO - EPOCH).days)
    yield made
    drop(made)


def keep(site: Site, partition: Partition, number: int, *, status: str = "done", at: datetime = LONG_AGO) -> int:
    """Store a message in a partition and return its id."""
    return store_message(
        pk=partition.begin + number,
        site=site,
        type="track",
        message_id=f"m{number}",
        received_at=at,
        occurred_at=at,
        digested_at=at,
        status=status,
    ).pk


def relation_file(partition: Partition) -> int:
    """Return the file of the messages, which is another one after the partition was emptied."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_relation_filenode(%s)", [partition.tables[0]])
        number: int = cursor.fetchone()[0]
        return number


def names(partition: Partition) -> bool:
    return partition.suffix in {each.suffix for each in load_partitions()}


def test_prune__of_a_day_without_messages_that_stay__drops_it(world: World, old: Partition) -> None:
    for number in range(5):
        keep(world.site, old, number)
    today = world.post(world.event())
    del today

    assert prune_old(now=datetime.now(UTC), seconds=60) == 5

    assert not names(old)
    assert Message.objects.count() == MessageBody.objects.count() == MessageKey.objects.count() == 1


@pytest.mark.parametrize("status", ["pending", "deferred"])
def test_prune__of_a_day_with_messages_that_wait__keeps_only_these(world: World, old: Partition, status: str) -> None:
    waits = keep(world.site, old, 1, status=status)
    keep(world.site, old, 2)
    keep(world.site, old, 3, status="rejected")
    keep(world.site, old, 4, status="failed")

    assert prune_old(now=datetime.now(UTC), seconds=60) == 3

    assert names(old)
    assert list(Message.objects.values_list("pk", flat=True)) == [waits]
    assert list(MessageBody.objects.values_list("pk", flat=True)) == [waits]
    assert find_by_keys(world.site.pk, [("track", "m1"), ("track", "m2")]) == {("track", "m1"): waits}
    assert prune_old(now=datetime.now(UTC), seconds=60) == 0


def test_prune__of_a_day_that_another_site_keeps__keeps_its_messages(world: World, old: Partition) -> None:
    other = create_site(name="Keeps long")
    Site.objects.filter(pk=other.pk).update(keeps_done_days=3_650)
    recent = datetime.now(UTC) - timedelta(days=3_000)
    theirs = {keep(other, old, number, at=recent) for number in range(3)}
    mine = {keep(world.site, old, number, at=recent) for number in range(10, 13)}

    assert prune_old(now=datetime.now(UTC), seconds=60) == len(mine)

    assert set(Message.objects.values_list("pk", flat=True)) == theirs


def test_prune__of_a_day_that_many_messages_stay_in__deletes_the_others(
    world: World, old: Partition, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prune, "MOST_KEPT", 1)
    monkeypatch.setattr(prune, "CHUNK", 2)
    waiting = {keep(world.site, old, number, status="pending") for number in range(3)}
    for number in range(10, 15):
        keep(world.site, old, number)

    assert prune_old(now=datetime.now(UTC), seconds=60) == 5

    assert set(Message.objects.values_list("pk", flat=True)) == waiting
    assert set(MessageKey.objects.values_list("message_number", flat=True)) == waiting


def test_prune__beside_a_session_that_reads_the_day__leaves_it_for_the_next_run(world: World, old: Partition) -> None:
    keep(world.site, old, 1)
    with holding(f"LOCK TABLE {old.tables[0]} IN ACCESS SHARE MODE"):
        assert prune_old(now=datetime.now(UTC), seconds=60) == 0
        assert Message.objects.count() == 1
    assert prune_old(now=datetime.now(UTC), seconds=60) == 1
    assert not names(old)


@pytest.mark.parametrize("statement", ["SELECT FROM api_message WHERE id = {} FOR UPDATE", RETRY])
def test_prune__beside_a_retry__keeps_the_key_of_the_message(world: World, old: Partition, statement: str) -> None:
    """Otherwise a second copy of the event would be stored before the retried one is digested."""
    retried = keep(world.site, old, 1, status="failed")
    keep(world.site, old, 2)
    with psycopg.connect(**connection_parameters()) as retry:
        retry.execute(statement.format(retried).encode())
        assert prune_old(now=datetime.now(UTC), seconds=60) == 0
        retry.execute(RETRY.format(retried).encode())
        retry.commit()

    assert find_by_keys(world.site.pk, [("track", "m1")]) == {("track", "m1"): retried}
    assert prune_old(now=datetime.now(UTC), seconds=60) == 1
    assert find_by_keys(world.site.pk, [("track", "m1"), ("track", "m2")]) == {("track", "m1"): retried}


def test_prune__after_a_worker_that_died_before_the_keys__deletes_them_with_the_partition(
    world: World, old: Partition, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(world.site, old, 1)
    keep(world.site, old, 2)
    waits = keep(world.site, old, 3, status="pending")
    with monkeypatch.context() as patch:
        patch.setattr(prune, "_delete_keys", lambda *_: None)
        assert prune_old(now=datetime.now(UTC), seconds=60) == 2
    assert MessageKey.objects.count() == 3

    delete_messages(world.site.pk, [waits])
    assert prune_old(now=datetime.now(UTC), seconds=60) == 0

    assert not names(old)
    assert MessageKey.objects.count() == 0


def test_prune__after_a_worker_that_died_before_the_keys__deletes_them_beside_messages_that_stay(
    world: World, old: Partition, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(world.site, old, 1)
    waits = keep(world.site, old, 2, status="pending")

    def die(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(prune, "_delete_keys", die)
        with pytest.raises(KeyboardInterrupt):
            prune_old(now=datetime.now(UTC), seconds=60)
    assert MessageKey.objects.count() == 2

    assert prune_old(now=datetime.now(UTC), seconds=60) == 0

    assert set(MessageKey.objects.values_list("message_number", flat=True)) == {waits}
    assert prune.find_with_left_keys([old]) == []


def test_prune__of_many_keys__deletes_them_by_chunks_and_keeps_those_of_messages(
    world: World, old: Partition, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prune, "KEYS", 2)
    for number in (1, 2, 3, 5, 9, 10):
        keep(world.site, old, number)
    waiting = {keep(world.site, old, number, status="pending") for number in (4, 6)}

    assert prune_old(now=datetime.now(UTC), seconds=60) == 6

    assert set(MessageKey.objects.values_list("message_number", flat=True)) == waiting


def test_prune__of_a_partition_that_another_worker_drops__goes_on(
    world: World, old: Partition, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prune, "LOCK_SECONDS", 20)
    keep(world.site, old, 1)
    with holding(f"LOCK TABLE {old.tables[0]} IN ROW EXCLUSIVE MODE") as other, ThreadPoolExecutor(1) as threads:
        pruned = threads.submit(in_threads, 1, lambda _: prune_old(now=datetime.now(UTC), seconds=60))
        wait_until(lambda: count_lock_waits() == 1)
        other.execute(f"DROP TABLE {', '.join(old.tables)}")
        other.commit()
        assert pruned.result() == [0]

    prune.drop_empty([old])


def test_prune__of_failed_messages_that_become_old_one_by_one__leaves_the_others_where_they_are(
    world: World, old: Partition, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise each run of a day would write all of them again."""
    monkeypatch.setattr(prune, "MOST_BY_ROWS", 2)
    failed_at = datetime.now(UTC) - timedelta(days=FAILED_DAYS)
    for number in range(10):
        keep(world.site, old, number, status="failed", at=failed_at + timedelta(minutes=number, seconds=1))
    file = relation_file(old)

    assert prune_old(now=datetime.now(UTC) + timedelta(minutes=1, seconds=30), seconds=60) == 2
    assert relation_file(old) == file
    assert prune_old(now=datetime.now(UTC) + timedelta(minutes=4, seconds=30), seconds=60) == 3
    assert relation_file(old) != file
    assert Message.objects.count() == 5


def test_prune__behind_messages_that_were_digested_lately__finds_the_old_ones(
    world: World, years: Partition, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prune, "CHUNK", 2)
    received, now = years.ends_at - timedelta(days=200), datetime.now(UTC)
    for number in range(5):
        keep(world.site, years, number, at=received)
    Message.objects.update(digested_at=now)
    for number in range(5, 8):
        keep(world.site, years, number, at=received)
    keep(world.site, years, 8, at=now)

    assert prune_old(now=now, seconds=60) == 3
    assert Message.objects.count() == 6


def test_digest__of_the_messages_of_a_day__plans_no_older_day(world: World, old: Partition) -> None:
    """A statement that names no id plans all days, and looks for each site in each of them."""
    waits = keep(world.site, old, 1, status="deferred")
    world.post(world.event())
    with CaptureQueriesContext(connection) as digested:
        world.digest()
    assert nudge.count_pending(connection.connection, limit=9) == nudge.Backlog()
    world.post(world.event())
    with closing(nudge.connect_without_scans()) as session:
        first = find_first_pending(session)
        session.execute("SET plan_cache_mode = force_custom_plan")
        plan = session.execute("EXPLAIN " + nudge.PENDING, {"first": first, "limit": 9, "weighed": 9}).fetchall()
    assert old.tables[0] not in str(plan)

    looked = [query["sql"] for query in digested if "FROM api_message" in query["sql"]]
    assert len(looked) > 3
    for sql in looked:
        with connection.cursor() as cursor:
            cursor.execute(f"EXPLAIN {sql}".replace("%", "%%"), [])
            assert old.tables[0] not in str(cursor.fetchall()) or old.tables[0] in sql, sql
    Message.objects.filter(site=world.site, pk=waits).update(status="pending")
    world.digest()
    assert Message.objects.get(site=world.site, pk=waits).status != "pending"


def test_release__of_the_messages_of_a_day__plans_no_older_day(world: World, old: Partition) -> None:
    world.change_site(goals_per_10_seconds=1)
    for name in "AB":
        world.track(name)
    with CaptureQueriesContext(connection) as released:
        note_rules_changed(world.site.pk, now=datetime.now(UTC))
        world.tend()
        world.change_site(goals_per_10_seconds=50)
        world.tend()
    assert set(world.statuses()) == {("done", "")}
    looked = [query["sql"] for query in released if "api_message" in query["sql"] and "'deferred'" in query["sql"]]
    assert len(looked) >= 5
    for sql in looked:
        with connection.cursor() as cursor:
            cursor.execute(f"EXPLAIN {sql}".replace("%", "%%"), [])
            assert old.tables[0] not in str(cursor.fetchall()), sql


def test_ids__when_a_day_has_come__are_of_its_partition(world: World) -> None:
    world.post(world.event())
    before = world.last_message().pk
    following = next(each for each in load_partitions() if each.begin > before)

    assert advance_ids(now=following.ends_at - timedelta(days=following.days, seconds=1)) is False
    assert advance_ids(now=following.ends_at - timedelta(seconds=1)) is True
    assert advance_ids(now=datetime.now(UTC) - timedelta(days=9)) is False  # a clock that went back

    world.post(world.event())
    assert world.last_message().pk == following.begin + 1
    assert len([each for each in load_partitions() if each.begin > last_id()]) >= partitions.AHEAD - 1


def test_ids__by_a_clock_years_ahead__move_one_partition_at_a_time(world: World) -> None:
    del world
    before = last_id()

    assert advance_ids(now=datetime.now(UTC) + timedelta(days=4_000)) is True

    assert (last_id() - before) < 2 * IDS_A_DAY


def test_prune__of_a_partition_of_years__goes_on_when_later_days_are_over(world: World, years: Partition) -> None:
    ended = years.ends_at - timedelta(days=40)
    keep(world.site, years, 1, at=ended)
    keep(world.site, years, 2, at=years.ends_at - timedelta(seconds=1))
    following = next(each for each in load_partitions() if each.begin > last_id())
    assert advance_ids(now=following.ends_at - timedelta(seconds=1)) is True

    assert prune_old(now=years.ends_at, seconds=60) == 1

    assert [*Message.objects.values_list("pk", flat=True)] == [years.begin + 2]


def test_drop__of_a_partition_with_an_insert_on_its_way__leaves_it(world: World, old: Partition) -> None:
    """Its sender is answered 200 after the commit, so the event must not leave with the partition."""
    with psycopg.connect(**connection_parameters()) as sender:
        sender.execute(
            """
            INSERT INTO api_message (id, site_id, type, position, received_at, occurred_at, size, status, reason,
                                     detail, warnings, effects, attempts, waiting_for)
            VALUES (%s, %s, 'track', 0, now(), now(), 0, 'pending', '', '', '{}', '{}', 0, '')
            """,
            [old.begin + 1, world.site.pk],
        )
        prune.drop_empty([old])
        sender.commit()

    assert Message.objects.filter(pk=old.begin + 1).exists()


def test_ids__of_a_sequence_that_servers_share__keep_its_steps(world: World) -> None:
    del world
    with connection.cursor() as cursor:
        cursor.execute("ALTER SEQUENCE api_message_id_seq INCREMENT BY 7")
        try:
            cursor.execute("SELECT nextval('api_message_id_seq')")
            before = last_id()
            following = next(each for each in load_partitions() if each.begin > before)
            assert advance_ids(now=following.ends_at - timedelta(seconds=1)) is True
        finally:
            cursor.execute("ALTER SEQUENCE api_message_id_seq INCREMENT BY 1")

    assert (last_id() - before) % 7 == 0
    assert last_id() >= following.begin


def test_partitions__of_a_site_that_keeps_years__are_of_several_days(world: World) -> None:
    assert partitions._count_days() == 1
    world.change_site(keeps_done_days=3_650)
    assert partitions._count_days() == 41
