"""Counts of sources are the sums of all processes, and survive an outage of the database."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import psycopg
import pytest

from api.http.database import connect
from api.ingest import source_counts
from api.ingest.provisioning import create_source
from api.ingest.source_counts import SourceCounts, load_source_counts
from api.models import SourceCount
from tests.support.concurrency import wait_until
from tests.world import START, World

NINE = START.replace(hour=9)


def test_figures__of_what_came_through_a_source__are_those_of_its_requests(world: World) -> None:
    source = world.site.sources.get()
    other = create_source(world.site, name="Server", kind="server", write_key="key-of-the-server")
    event = world.event()
    for body in (event, event, world.event()):
        world.post(body)
    for body in ({"userId": "u", "event": "Buy"}, {"userId": "u"}):
        world.client.post("/v1/track", json={**body, "writeKey": "key-of-the-server"})

    def counts() -> dict[int, tuple[int, int, int]]:
        loaded = load_source_counts(world.site.pk, [source.pk, other.pk])
        return {id_: (count.received, count.duplicates, count.rejected) for id_, count in loaded.items()}

    wait_until(lambda: counts() == {source.pk: (3, 1, 0), other.pk: (2, 0, 1)})


def test_figures__written_by_many_at_once__are_added_up(transactional_db: None) -> None:
    hours = [NINE, NINE + timedelta(hours=1)]

    def write(part: int) -> None:
        with connect() as connection:
            for number in range(20):
                counts = {
                    (1, source, hour): SourceCounts(1, number % 2, 0, hour + timedelta(seconds=part))
                    for source in (2, 1)
                    for hour in reversed(hours)
                }
                source_counts.write_counts(connection, counts)

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(write, range(4)))

    assert load_source_counts(1, [1, 2, 3]) == {
        source: SourceCounts(160, 80, 0, hours[1] + timedelta(seconds=3)) for source in (1, 2)
    }
    assert load_source_counts(1, [1], since=hours[1] + timedelta(minutes=59))[1].received == 80
    assert SourceCount.objects.count() == 4
    assert load_source_counts(1, []) == {}


def test_uncounted__of_two_sites_of_which_one_is_held__counts_nothing_twice(transactional_db: None) -> None:
    one = SourceCounts(1, 0, 0, NINE)
    uncounted = source_counts.UnwrittenCounts()
    with connect() as connection, connect() as holder:
        source_counts.write_counts(connection, {(2, 5, NINE): one})
        connection.execute("SET lock_timeout = '20ms'")
        uncounted.add({(1, 4, NINE): one, (2, 5, NINE): one})
        with holder.transaction():
            holder.execute("SELECT FROM api_sourcetally WHERE site_id = 2 FOR UPDATE")
            with pytest.raises(psycopg.errors.LockNotAvailable):
                uncounted.write(connection)
        uncounted.write(connection)

    assert load_source_counts(1, [4, 5]) == {4: one}
    assert load_source_counts(2, [4, 5]) == {5: SourceCounts(2, 0, 0, NINE)}


def test_uncounted__while_the_database_is_away__is_kept_for_the_next_time(transactional_db: None) -> None:
    uncounted = source_counts.UnwrittenCounts()
    uncounted.add({(1, 1, NINE): SourceCounts(1, 0, 0, NINE)})
    closed = connect()
    closed.close()

    with pytest.raises(psycopg.Error):
        uncounted.write(closed)
    uncounted.add({(1, 1, NINE): SourceCounts(2, 1, 1, NINE + timedelta(minutes=1))})
    with connect() as connection:
        uncounted.write(connection)
        uncounted.write(connection)

    assert load_source_counts(1, [1]) == {1: SourceCounts(3, 1, 1, NINE + timedelta(minutes=1))}


def test_last_day__of_a_time__is_the_24_whole_hours_that_delivery_counts() -> None:
    assert source_counts.begin_of_last_day(NINE + timedelta(minutes=59)) == NINE - timedelta(hours=23)
