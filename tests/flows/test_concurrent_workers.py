"""Concurrent workers and senders on shared people, new names and messages."""

import time
from datetime import timedelta

import psycopg
import pytest
from django.db import connection
from django.db.models import F

from api.digest import run
from api.digest.claims import Claims
from api.http import database
from api.models import Message
from cohorts.models import Identity
from goals import catalogue
from goals.models import Goal, GoalCreation, WaitingName
from tests.support.concurrency import in_threads
from tests.world import World


@pytest.mark.promise("N-02", "K-30")
def test_workers__four_at_once_on_shared_people__count_exactly(world: World) -> None:
    events = [
        world.event(
            event=f"Goal {number % 5}",
            at=number,
            userId=f"user-{number % 20}",
            anonymousId=f"anon-{number % 37}",
            properties={"kameleoonVisitorCode": f"vc-{number % 20}"},
        )
        for number in range(600)
    ]
    events += [
        world.event("identify", at=number, userId=f"user-{number % 20}", traits={"last": number})
        for number in range(200)
    ]
    for start in range(0, len(events), 200):
        assert world.post(events[start : start + 200]).status_code == 200

    def digest(_: int) -> None:
        claims = Claims()
        run.digest_all(claims, seconds=60)
        claims.close()

    in_threads(4, digest)
    world.digest()

    assert world.goals() == {f"SegmentIO track – Goal {number}": 120 for number in range(5)}
    assert set(Message.objects.values_list("status", flat=True)) == {"done"}
    assert Identity.objects.count() == 20 + 37 + 20
    assert [world.traits(f"user-{number}")["last"] for number in range(20)] == [180 + number for number in range(20)]


@pytest.mark.promise("K-08", "K-19", "K-30")
def test_workers__that_meet_the_same_new_names__make_each_goal_once_and_50_in_all(world: World) -> None:
    for start in range(0, 400, 100):
        world.post([world.event(event=f"E{number % 80}") for number in range(start, start + 100)])

    def digest(_: int) -> None:
        claims = Claims()
        run.digest_all(claims, seconds=60)
        claims.close()

    in_threads(4, digest)

    assert len(world.goals()) == 50
    assert Message.objects.filter(status="deferred").values("waiting_for").distinct().count() == 30


def count_deadlocks() -> int:
    """Deadlocks that PostgreSQL has broken in this database so far."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
        return int(cursor.fetchone()[0])


@pytest.mark.promise("K-30", "K-31")
def test_queue__tended_by_four_workers_at_once__creates_all_and_deadlocks_nowhere(world: World) -> None:
    world.change_site(goals_per_10_seconds=10)
    names = [f"E{number % 90}" for number in range(270)]
    for start in range(0, len(names), 90):
        world.post([world.event(event=name) for name in names[start : start + 90]])
    before = count_deadlocks()

    def work(number: int) -> None:
        claims = Claims()
        for _ in range(15):
            if number == 0:
                GoalCreation.objects.update(created_at=F("created_at") - timedelta(seconds=11))
            run.digest_all(claims, seconds=5)
            run.tend_queues(claims)
        claims.close()

    in_threads(4, work)
    for _ in range(len(set(names))):  # how far the workers came depends on who won which lock
        if not WaitingName.objects.exists():
            break
        GoalCreation.objects.update(created_at=F("created_at") - timedelta(seconds=11))
        world.digest()
        world.tend()

    assert set(world.statuses()) == {("done", "")}
    assert set(world.goals().values()) == {3}
    assert (Goal.objects.count(), WaitingName.objects.count()) == (90, 0)
    time.sleep(1.1)  # the figure is reported once a second
    assert count_deadlocks() == before


@pytest.mark.promise("K-31")
def test_release__while_another_worker_has_the_message__waits_for_nobody_and_forgets_nothing(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """Locks go from messages to names; waiting for a message under the names' lock would turn that round."""
    world.change_site(goals_per_10_seconds=1)
    world.track("A")
    world.track("B")
    catalogue.create_goal(Goal(site=world.site, name="B"), template="SegmentIO {type} – {name}")

    with psycopg.connect(**database.connection_parameters()) as other:
        other.execute("SELECT 1 FROM api_message WHERE status = 'deferred' FOR UPDATE")
        with connection.cursor() as cursor:
            cursor.execute("SET lock_timeout = '300ms'")
        world.tend()
        with connection.cursor() as cursor:
            cursor.execute("RESET lock_timeout")
    assert "site.failed" not in caplog.text
    assert WaitingName.objects.count() == 1

    world.tend()
    assert world.goals() == {"B": 1, "SegmentIO track – A": 1}
    assert WaitingName.objects.count() == 0


@pytest.mark.promise("N-02", "W11")
def test_senders__many_at_once_with_repeats__store_each_message_once(world: World) -> None:
    events = [world.event(messageId=f"m-{number % 40}") for number in range(160)]

    def send(number: int) -> list[str]:
        return [world.post(event).json()["status"] for event in events[number::8]]

    statuses = [status for each in in_threads(8, send) for status in each]

    assert statuses.count("accepted") == Message.objects.count() == 40
    assert statuses.count("duplicate") == 120
