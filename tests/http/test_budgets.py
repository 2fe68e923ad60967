"""Budgets of sources per minute and day, at every endpoint for events."""

import base64
import gzip
import json
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import httpx
import pytest

from api.http import budgets
from api.http.budgets import BudgetCounter, BudgetUse, load_use
from api.http.credentials import clear_lookups
from api.http.database import connect
from api.ingest.provisioning import create_source
from api.models import Message, Source, SourceUse
from api.models.budgets import BUDGET_FIELDS, Budget, BudgetSpan, resolve_budget
from tests.support.concurrency import wait_until
from tests.support.outages import database_down
from tests.support.tracking import KEY, basic, post
from tests.world import World

LARGE = Budget(1_000, 1_000, 1_000, 1_000)


@pytest.fixture
def source(world: World) -> Source:
    return create_source(world.site, name="Web", kind="browser", write_key=KEY)


def allow(source: Source, **figures: int | None) -> None:
    Source.objects.filter(pk=source.pk).update(**figures)
    clear_lookups()


def batch(count: int, **fields: Any) -> dict[str, Any]:
    return {"batch": [{"type": "track", "event": "E", "userId": "u1", **fields}] * count}


def by_header(world: World) -> httpx.Response:
    return post(world, "/v1/batch", batch(1))


def by_body(world: World) -> httpx.Response:
    return post(world, "/v1/track", {"userId": "u1", "event": "E", "writeKey": KEY}, headers={})


def by_query(world: World) -> httpx.Response:
    return post(world, f"/beacon/v1/batch?writeKey={KEY}", batch(1), headers={})


def by_events(world: World) -> httpx.Response:
    create_source(world.site, name="Other", kind="server", write_key="other_key")
    events = [{"type": "track", "event": "E", "userId": "u1", "writeKey": key} for key in (KEY, "other_key")]
    return post(world, "/v1/batch", {"batch": events}, headers={})


def by_image(world: World) -> httpx.Response:
    event = {"userId": "u1", "event": "E", "writeKey": KEY}
    return world.client.get("/v1/pixel/track", params={"data": base64.b64encode(json.dumps(event).encode()).decode()})


@pytest.mark.parametrize("send", [by_header, by_body, by_query, by_events, by_image])
def test_source__over_its_budget__is_told_to_come_again(
    world: World, source: Source, send: Callable[[World], httpx.Response]
) -> None:
    allow(source, events_per_day=2)
    assert post(world, "/v1/batch", batch(2)).status_code == 200

    answer = send(world)

    assert answer.status_code == 429
    assert 0 < int(answer.headers["retry-after"]) <= 3_600
    assert answer.headers["access-control-allow-origin"] == "*"
    if send is not by_image:
        assert answer.json()["code"] == "over_budget"
        assert "2 events a day" in answer.json()["message"]
        assert "Nothing was stored" in answer.json()["message"]
    else:
        assert answer.headers["goalpost-error"].startswith("over_budget: ")
    assert Message.objects.count() == 2


def test_destination__over_its_budget__is_told_to_come_again(world: World) -> None:
    allow(world.site.sources.get(), events_per_day=2)
    assert world.post([world.event(), world.event()]).status_code == 200

    answer = world.post(world.event())

    assert (answer.status_code, answer.json()["code"]) == (429, "over_budget")
    assert Message.objects.count() == 2


def test_budget__of_a_source__leaves_the_others_of_its_site_alone(world: World, source: Source) -> None:
    create_source(world.site, name="Server", kind="server", write_key="other_key")
    allow(source, events_per_day=1)
    by_header(world)

    assert by_header(world).status_code == 429
    assert post(world, "/v1/batch", batch(1), headers=basic("other_key")).status_code == 200
    assert world.post(world.event()).status_code == 200


def test_budget__raised__lets_the_sender_go_on(world: World, source: Source) -> None:
    allow(source, events_per_day=1)
    by_header(world)
    assert by_header(world).status_code == 429

    allow(source, events_per_day=2)

    assert by_header(world).status_code == 200
    assert by_header(world).status_code == 429


def test_budget__of_events__counts_duplicates_and_refused_ones(world: World, source: Source) -> None:
    allow(source, events_per_day=4)
    for body in ({"messageId": "m1"}, {"messageId": "m1"}, {"event": ""}):
        post(world, "/v1/track", {"userId": "u1", "event": "E", **body})
    assert post(world, "/v1/track", b"{").status_code == 400

    assert by_header(world).status_code == 429


@pytest.mark.parametrize(
    ("content", "headers", "size"),
    [
        (b" " * 10_000 + b'{"batch": []}', {}, 10_013),
        (gzip.compress(b" " * 100_000 + b'{"batch": []}'), {"content-encoding": "gzip"}, 100_013),
        (b"{" + b" " * 10_000, {}, 10_001),
        (b" " * 5_000_000, {}, 4 * 2**20),
        # Empty members of gzip contain no data, whatever their number.
        (gzip.compress(b"") * 1_000, {"content-encoding": "gzip"}, 20_000),
    ],
    ids=["no event", "inflated", "cut", "too large", "inflates to nothing"],
)
def test_budget__of_bytes__counts_what_was_read(
    world: World, source: Source, content: bytes, headers: dict[str, str], size: int
) -> None:
    post(world, "/v1/batch", content, headers={**basic(), **headers})

    wait_until(lambda: load_use(source.site_id, [source.pk])[source.pk][BudgetSpan.DAY].bytes > 0)
    assert load_use(source.site_id, [source.pk])[source.pk][BudgetSpan.DAY].bytes == size
    allow(source, bytes_per_day=size)
    assert by_header(world).status_code == 429


def test_budget__of_a_batch_whose_context_is_large__counts_it_for_each_event(world: World, source: Source) -> None:
    post(world, "/v1/batch", {**batch(10), "context": {"text": "x" * 10_000}})

    wait_until(lambda: load_use(source.site_id, [source.pk])[source.pk][BudgetSpan.DAY].bytes > 100_000)


def test_budget__of_a_sender_that_never_comes_again__is_twice_as_large(world: World) -> None:
    altis = create_source(world.site, name="Altis", kind="altis", write_key="altis_key")
    allow(altis, events_per_day=2)
    send = partial(post, world, "/v1/batch", batch(2), headers=basic("altis_key"))

    assert [send().status_code for _ in range(3)] == [200, 200, 429]


def test_event__that_could_not_be_stored__is_not_counted(world: World, source: Source) -> None:
    by_body(world)
    wait_until(lambda: load_use(source.site_id, [source.pk])[source.pk][BudgetSpan.DAY].events == 1)
    before = load_use(source.site_id, [source.pk])[source.pk][BudgetSpan.DAY]
    with database_down():
        assert by_body(world).status_code == 503
    by_body(world)

    wait_until(lambda: load_use(source.site_id, [source.pk])[source.pk][BudgetSpan.DAY].events == 2)
    assert load_use(source.site_id, [source.pk])[source.pk][BudgetSpan.DAY] == BudgetUse(2, 2 * before.bytes, 0)


def test_budget__used_up__is_looked_at_again_without_a_commit(world: World, source: Source) -> None:
    allow(source, events_per_day=1)
    by_header(world)
    wait_until(lambda: load_use(source.site_id, [source.pk])[source.pk][BudgetSpan.DAY].events == 1)
    assert by_header(world).status_code == 429
    wait_until(lambda: load_use(source.site_id, [source.pk])[source.pk][BudgetSpan.DAY].turned_away == 1)
    SourceUse.objects.update(begins_at="2026-01-01T00:00:00Z")  # a day has passed

    def is_taken() -> bool:
        return by_header(world).status_code == 200

    wait_until(is_taken)


# The budget counter


def test_budget_counter__of_several_processes__is_shared_once_a_second(transactional_db: None) -> None:
    one, other = BudgetCounter(), BudgetCounter()
    with connect() as connection:
        for counter in (one, other):
            counter.count(1, 7, events=2, size=10)
            counter.write(connection)
        one.count(1, 7, events=1)
        one.write(connection)

    assert one.find_exhausted(7, Budget(5, 1_000, 1_000, 1_000)) is not None
    assert one.find_exhausted(7, Budget(6, 1_000, 1_000, 1_000)) is None
    over = other.find_exhausted(7, Budget(1_000, 20, 1_000, 1_000))
    assert over is not None
    assert (over.span, over.unit, over.limit) == (BudgetSpan.MINUTE, "bytes", 20)
    assert 0 < over.seconds <= 60
    assert load_use(1, [7])[7][BudgetSpan.DAY] == BudgetUse(5, 20, 0)


def test_budget_counter__of_a_minute_that_is_over__starts_again_with_the_next(transactional_db: None) -> None:
    counter = BudgetCounter()
    counter.count(1, 7, events=5)
    with connect() as connection:
        counter.write(connection)
        SourceUse.objects.filter(span="minute").update(begins_at="2026-01-01T00:00:00Z")
        assert load_use(1, [7])[7] == {BudgetSpan.MINUTE: BudgetUse(), BudgetSpan.DAY: BudgetUse(5, 0, 0)}
        counter.count(1, 7, events=1)
        counter.write(connection)

    assert load_use(1, [7])[7] == {BudgetSpan.MINUTE: BudgetUse(1, 0, 0), BudgetSpan.DAY: BudgetUse(6, 0, 0)}
    assert counter.find_exhausted(7, Budget(2, 9, 9, 9)) is None
    assert counter.find_exhausted(7, Budget(9, 9, 6, 9)) is not None


def test_budget_counter__while_the_database_is_away__refuses_by_what_it_knows(transactional_db: None) -> None:
    counter = BudgetCounter()
    counter.count(1, 7, events=5)
    closed = connect()
    closed.close()

    with pytest.raises(Exception, match="closed"):
        counter.write(closed)

    assert counter.find_exhausted(7, Budget(5, 9, 9, 9)) is not None
    with connect() as connection:
        counter.write(connection)
    assert counter.is_written
    assert load_use(1, [7])[7][BudgetSpan.MINUTE].events == 5


def test_budget_counter__that_cannot_be_written_for_minutes__refuses_by_the_day_only(
    transactional_db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    counter, now = BudgetCounter(), 100.0
    monkeypatch.setattr("api.http.budgets.time.monotonic", lambda: now)
    counter.count(1, 7, events=5)
    assert counter.find_exhausted(7, Budget(5, 9, 9, 9)) is not None

    now += 61
    counter.count(1, 7, events=1)

    assert counter.find_exhausted(7, Budget(5, 9, 9, 9)) is None  # for past minutes
    assert counter.find_exhausted(7, Budget(5, 9, 6, 9)) is not None
    with connect() as connection:
        counter.write(connection)
    assert load_use(1, [7])[7] == {BudgetSpan.MINUTE: BudgetUse(0, 0, 2), BudgetSpan.DAY: BudgetUse(6, 0, 2)}


def test_budget__while_another_table_of_counts_is_held__is_written(world: World, source: Source) -> None:
    with connect() as holder, holder.transaction():
        holder.execute("LOCK TABLE api_sourcetally IN ACCESS EXCLUSIVE MODE")
        assert by_header(world).status_code == 200
        wait_until(lambda: budgets.budget_counter().is_written)

    assert load_use(source.site_id, [source.pk])[source.pk][BudgetSpan.DAY].events == 1


def test_budget_counter__written_by_many_at_once__is_added_up(transactional_db: None) -> None:
    def write(_: int) -> None:
        mine = BudgetCounter()
        with connect() as connection:
            for _ in range(20):
                for source_id in (9, 8):
                    mine.count(1, source_id, events=1, size=2)
                mine.write(connection)

    threads = [threading.Thread(target=write, args=[number]) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert load_use(1, [8, 9]) == {
        id_: {BudgetSpan.MINUTE: BudgetUse(80, 160, 0), BudgetSpan.DAY: BudgetUse(80, 160, 0)} for id_ in (8, 9)
    } or (
        load_use(1, [8, 9])[8][BudgetSpan.DAY] == BudgetUse(80, 160, 0)  # a minute ended meanwhile
    )


def test_budget__of_a_kind__is_smaller_for_keys_that_anybody_reads() -> None:
    none = (None, None, None, None)
    browser, server = resolve_budget("browser", *none), resolve_budget("server", *none)

    assert all(getattr(browser, name) < getattr(server, name) for name in BUDGET_FIELDS)
    assert (
        resolve_budget("altis", *none)
        == resolve_budget("destination", *none)
        == resolve_budget("import", *none)
        == server
    )
    assert resolve_budget("browser", 1, None, None, 2) == Budget(1, browser.bytes_per_minute, browser.events_per_day, 2)
