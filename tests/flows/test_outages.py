"""Outages of the database and the broker, and connections that break."""

import json
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
from kombu.exceptions import OperationalError as BrokerError
from msgspec.structs import replace

from api.celery import app
from api.events.envelope import read_event
from api.http import database
from api.ingest import inbox
from api.ingest.new_message import NewMessage
from api.ingest.provisioning import create_site
from api.models import Message
from tests.support.asgi import wait_for
from tests.support.concurrency import in_threads
from tests.support.outages import database_down
from tests.world import START, World


@pytest.mark.promise("K-83")
def test_database__away__answers_503_and_loses_nothing(world: World) -> None:
    before, during = world.event(), world.event()
    assert world.post(before).status_code == 200
    world.get("common")

    with database_down():
        answers = [world.post(during), world.get("common"), world.client.get("/health/ready")]
        assert world.client.get("/health/live").status_code == 200

    assert [answer.status_code for answer in answers] == [503, 503, 503]
    assert {answer.headers["retry-after"] for answer in answers} == {"2"}
    assert answers[0].json()["code"] == "unavailable"
    assert answers[1].json() == {}
    again = world.post(during)
    assert again.json().get("status") == "accepted", again.text
    assert world.post(before).json()["status"] == "duplicate"
    assert world.get("common").status_code == 200


@pytest.mark.promise("K-83")
def test_database__restarted_between_requests__costs_no_request(world: World) -> None:
    world.post(world.event())
    world.get("common")

    with database_down():
        pass

    assert world.post(world.event()).status_code == 200
    assert world.get("common").status_code == 200


@pytest.mark.promise("K-83")
def test_inbox__locked_for_longer_than_requests_wait__stores_nothing_that_it_refused(world: World) -> None:
    """Without a messageId the sender's second try would count twice."""
    world.post(world.event())  # the committer is connected

    def send(number: int) -> int:
        time.sleep(number)  # one finds the committer busy, and one comes when it begins again
        return world.post(world.event(messageId=None)).status_code

    with psycopg.connect(**database.connection_parameters()) as other:
        other.execute("LOCK TABLE api_message IN ACCESS EXCLUSIVE MODE")
        begun = time.monotonic()
        assert in_threads(3, send) == [503, 503, 503]
        assert time.monotonic() - begun < 10  # Segment hangs up

    assert world.post(world.event()).status_code == 200  # behind whatever the committer still had
    assert Message.objects.filter(message_id=None).count() == 0


class LosesItsAnswer:
    """A connection that the server closes after it has committed."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def execute(self, *statement: Any) -> Any:
        self._connection.execute(*statement)
        self.close()
        raise psycopg.OperationalError("server closed the connection unexpectedly")

    def close(self) -> None:
        self._connection.close()


@pytest.mark.promise("N-02")
@pytest.mark.parametrize("message_ids", [("a", "b"), ("a", None), (None, None)])
def test_committer__connection_lost_after_the_commit__stores_nothing_twice(
    world: World, message_ids: tuple[str | None, ...]
) -> None:
    """Without a messageId a second try would be a second event: the sender is asked to decide."""
    body = [world.event(messageId=each) for each in message_ids]
    lost = LosesItsAnswer(database.connect())
    committer = inbox.Committer()
    committer._connection = lost  # type: ignore[assignment]  # as far as it is asked
    rows = [
        NewMessage(world.site.pk, None, read_event(json.dumps(each).encode(), position=place, received_at=START))
        for place, each in enumerate(body)
    ]

    if None in message_ids:
        with pytest.raises(psycopg.OperationalError):
            committer.insert(rows, until=time.monotonic() + 60)
    else:
        assert committer.insert(rows, until=time.monotonic() + 60) == [False, False]

    assert Message.objects.count() == 2


def test_committer__after_a_row_that_is_a_defect_of_ours__stores_the_next(world: World) -> None:
    event = read_event(json.dumps(world.event()).encode(), position=0, received_at=START)
    nonsense = NewMessage(world.site.pk, None, replace(event, warnings=None))

    with pytest.raises(database.DatabaseDownError):
        wait_for(inbox.store([nonsense]))

    assert world.post(world.event()).status_code == 200


def test_committer__asked_for_by_many_threads_at_once__is_one() -> None:
    made = []

    def make() -> int:
        time.sleep(0.05)
        made.append(1)
        return len(made)

    get = database.once(make)
    with ThreadPoolExecutor(8) as threads:
        assert set(threads.map(lambda _: get(), range(8))) == {1}


def test_worker__that_lost_its_broker__looks_for_it_every_few_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr("kombu.utils.functional.sleep", lambda _: None)

    with app.connection_for_read("redis://127.0.0.1:1/0") as connection, pytest.raises(BrokerError):
        connection.ensure_connection(lambda _, pause: pauses.append(pause), 20)

    assert len(pauses) == 20
    assert max(pauses) < 5


def test_insert__of_several_sites__stores_none_if_its_time_ends_between_them(world: World) -> None:
    """Each site has a statement of its own, and a sender that was answered 503 sends again."""
    rows = [
        NewMessage(site_id, None, read_event(json.dumps(world.event()).encode(), position=0, received_at=START))
        for site_id in (world.site.pk, create_site(name="Other").pk)
    ]
    with database.connect(database.SessionKind.INBOX) as session, pytest.raises(database.DatabaseDownError):
        inbox.insert(session, rows, until=time.monotonic() + inbox.MAX_SECONDS - 0.1)

    assert not Message.objects.exists()
