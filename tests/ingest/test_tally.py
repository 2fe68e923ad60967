"""The figures of sources: compacting changes no sum, whoever else writes or compacts."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from random import Random

import pytest
from django.db import connection
from hypothesis import given
from hypothesis import strategies as st

from api.digest import tasks
from api.ingest import tally
from api.ingest.tally import Figures, compact, figures
from api.models import SourceTally
from api.sites import create_source
from tests.world import START, World

SOURCES = (1, 2, 3)  # the table has no foreign key in the database


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tally, "CHUNK", 4)


@pytest.fixture
def empty_table(transactional_db: None) -> Iterator[None]:
    SourceTally.objects.all().delete()
    yield
    SourceTally.objects.all().delete()


def row(source_id: int, *, hour: int, received: int = 1, duplicates: int = 0, rejected: int = 0) -> SourceTally:
    at = START + timedelta(hours=hour)
    return SourceTally(
        source_id=source_id,
        hour=at.replace(minute=0),
        received=received,
        duplicates=duplicates,
        rejected=rejected,
        last_received_at=at + timedelta(seconds=received),
    )


def sums_by_hour() -> list[dict[int, Figures]]:
    """From each hour on, so that each hour is compared."""
    return [figures(SOURCES, since=START + timedelta(hours=hour, minutes=7)) for hour in range(4)]


@given(st.lists(st.tuples(st.sampled_from(SOURCES), st.integers(0, 3), *[st.integers(0, 9)] * 3), max_size=60))
def test_compact__any_rows__leaves_one_an_hour_and_every_sum(
    small_chunks: None, empty_table: None, rows: list[tuple[int, int, int, int, int]]
) -> None:
    SourceTally.objects.all().delete()
    SourceTally.objects.bulk_create(
        row(source_id, hour=hour, received=received, duplicates=duplicates, rejected=rejected)
        for source_id, hour, received, duplicates, rejected in rows
    )
    before = figures(SOURCES), sums_by_hour()

    gone = compact(seconds=60)

    hours = {(source_id, hour) for source_id, hour, *_ in rows}
    assert (figures(SOURCES), sums_by_hour()) == before
    assert SourceTally.objects.count() == len(hours) == len(rows) - gone
    assert compact(seconds=60) == 0


def test_compact__beside_writers_and_other_compactors__loses_and_doubles_nothing(
    small_chunks: None, empty_table: None
) -> None:
    random = Random(7)
    rows = [
        row(random.choice(SOURCES), hour=random.randrange(2), received=number, duplicates=number % 3)
        for number in range(300)
    ]

    def write(part: int) -> None:
        for each in rows[part::3]:
            each.save(force_insert=True)
        connection.close()

    def compact_often(_: int) -> None:
        for _ in range(30):
            compact(seconds=60)
        connection.close()

    with ThreadPoolExecutor(6) as pool:
        done = [pool.submit(work, part) for part in range(3) for work in (write, compact_often)]
        for each in done:
            each.result()

    found = figures(SOURCES)
    for source_id in SOURCES:
        mine = [each for each in rows if each.source_id == source_id]
        assert found[source_id].received == sum(each.received for each in mine)
        assert found[source_id].duplicates == sum(each.duplicates for each in mine)
        assert found[source_id].last_received_at == max(each.last_received_at for each in mine)
    compact(seconds=60)
    assert (SourceTally.objects.count(), figures(SOURCES)) == (len({(r.source_id, r.hour) for r in rows}), found)


def test_compact__a_source_without_rows__is_in_no_figures(empty_table: None) -> None:
    row(1, hour=0).save()

    assert figures([1, 2]).keys() == {1}
    assert figures([1], since=START + timedelta(hours=1)) == {}
    assert figures([]) == {}


def test_figures__of_what_came_through_a_source__are_those_of_its_requests(world: World) -> None:
    source = world.site.sources.get()
    other = create_source(world.site, name="Server", kind="server", write_key="key-of-the-server")
    event = world.event()
    for body in (event, event, world.event()):
        world.post(body)
    for body in ({"userId": "u", "event": "Buy"}, {"userId": "u"}):
        world.client.post("/v1/track", json={**body, "writeKey": "key-of-the-server"})

    before = figures([source.pk, other.pk])
    tasks.tally()

    counts = {id_: (each.received, each.duplicates, each.rejected) for id_, each in before.items()}
    assert counts == {source.pk: (3, 1, 0), other.pk: (2, 0, 1)}
    assert figures([source.pk, other.pk]) == before
    assert SourceTally.objects.count() == 2
