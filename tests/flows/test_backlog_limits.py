"""Limits of the inbox, by site and for all sites."""

from contextlib import closing

import pytest
from pytest_django import Settings

from api.http.database import connect
from api.ingest import nudge
from api.ingest.provisioning import create_site
from api.models import Message
from tests.support.concurrency import wait_until
from tests.support.outages import forget_backlog
from tests.world import World


def test_inbox__over_its_limit__answers_429_until_there_is_room(world: World, settings: Settings) -> None:
    settings.INBOX_LIMIT = 3
    forget_backlog()
    world.post([world.event() for _ in range(3)])
    wait_until(nudge.refuses_senders)

    answer = world.post(world.event())

    assert (answer.status_code, answer.json()["code"]) == (429, "overloaded")
    assert int(answer.headers["retry-after"]) > 0
    assert Message.objects.count() == 3
    world.digest()
    wait_until(lambda: not nudge.refuses_senders())
    assert world.post(world.event()).status_code == 200


def test_inbox__of_a_site_over_its_own_limit__refuses_that_site_alone(world: World, settings: Settings) -> None:
    other = create_site(name="Other", sitecode="bbbbbbbbbb")
    world.credential.sites.add(other)
    settings.SITE_INBOX_LIMIT = 3
    forget_backlog()
    world.post([world.event() for _ in range(3)])
    wait_until(nudge.refuses_senders)

    answer = world.post(world.event())

    assert (answer.status_code, answer.json()["code"]) == (429, "overloaded")
    assert "This site" in answer.json()["message"]
    assert world.post(world.event(), sitecode="bbbbbbbbbb").status_code == 200
    world.digest()
    wait_until(lambda: not nudge.refuses_senders())
    assert world.post(world.event()).status_code == 200


def test_inbox__over_the_limit_of_all__refuses_the_sites_that_fill_it(world: World, settings: Settings) -> None:
    other = create_site(name="Other", sitecode="bbbbbbbbbb")
    world.credential.sites.add(other)
    settings.INBOX_LIMIT = 4
    forget_backlog()
    world.post(world.event(), sitecode="bbbbbbbbbb")
    world.post([world.event() for _ in range(4)])
    wait_until(nudge.refuses_senders)

    assert world.post(world.event()).status_code == 429
    assert world.post([world.event() for _ in range(3)], sitecode="bbbbbbbbbb").status_code == 200
    wait_until(lambda: bool(nudge.find_overload(other.pk)))  # twice the limit
    assert world.post(world.event(), sitecode="bbbbbbbbbb").status_code == 429
    world.digest()
    wait_until(lambda: not nudge.refuses_senders())


def test_backlog__of_large_messages__is_over_by_its_bytes(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.post([world.event(properties={"text": "x" * 10_000}) for _ in range(10)])
    with connect() as connection:
        backlog = nudge.count_pending(connection, limit=1_000)

    assert backlog.messages == {world.site.pk: 10}
    assert 100_000 < backlog.bytes[world.site.pk] < 110_000
    assert backlog.overload(world.site.pk) is None
    monkeypatch.setattr(nudge, "SITE_BYTES", 100_000)
    assert backlog.overload(world.site.pk) == nudge.Overload.SITE
    assert backlog.overload(world.site.pk, times=2) is None


def test_backlog__of_any_site__is_counted_by_the_index_of_pending_rows(world: World) -> None:
    world.post(world.event())
    with closing(nudge.connect_without_scans()) as connection:
        plan = "\n".join(
            row[0]
            for row in connection.execute("EXPLAIN " + nudge.PENDING, {"first": 0, "limit": 9, "weighed": 9}).fetchall()
        )
    assert "api_message_pending" in plan
    assert "Seq Scan" not in plan
