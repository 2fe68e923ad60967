"""Resilience against poisoned messages, dead and concurrent workers, and outages of database or broker."""

import json
import subprocess
import sys
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.db import connection
from django.db.models import F
from kombu.exceptions import OperationalError as BrokerError
from pytest_django import Settings

from api.celery import app
from api.digest import digest, run
from api.digest.claims import Claims, recover_from_dead_workers
from api.digest.derivation import Derivation, SourceConfig, StoredMessage
from api.digest.digest import digest_deferred, digest_pending
from api.digest.mapping import derive
from api.digest.prune import prune_old
from api.digest.site_config import load_site_config
from api.events.envelope import read_event
from api.http import database
from api.http.database import connect
from api.ingest import inbox, nudge
from api.ingest.new_message import NewMessage
from api.ingest.provisioning import create_site
from api.models import Claim, Message
from cohorts.models import Identity
from goals import catalogue
from goals.models import Conversion, Goal, GoalCreation, WaitingName
from tests.contract.server import environment_of_the_test
from tests.support.concurrency import in_threads, is_asleep, wait_until
from tests.support.outages import database_down, forget_backlog, poison
from tests.world import START, World


@pytest.mark.parametrize("sqlstate", ["P0001", "22000", "23505", "54000"])
def test_batch__with_a_poisoned_message__saves_its_neighbours_and_ends_dead(world: World, sqlstate: str) -> None:
    world.post(
        [world.event(event="Buy", messageId="good-1"), world.event(messageId="bad"), world.event(messageId="good-2")]
    )

    with poison("NEW.message_key = 'track:bad'", sqlstate):
        for _ in range(4):
            world.digest()
            assert world.statuses()[1] != ("done", "")
            Message.objects.filter(status="pending").update(digested_at=None)  # as if its pause were over

    statuses = dict(Message.objects.values_list("message_id", "status"))
    assert statuses == {"good-1": "done", "bad": "failed", "good-2": "done"}
    bad = Message.objects.get(message_id="bad")
    assert (bad.reason, bad.attempts) == ("digest_failed", 3)
    assert "poisoned" in bad.detail
    assert Conversion.objects.count() == 2
    assert Claim.objects.count() == 0


def test_batch__that_fails_once__is_digested_at_the_next_try(world: World) -> None:
    world.post(world.event(messageId="later"))
    Message.objects.update(warnings=["clock_corrected"])
    with poison("NEW.message_key = 'track:later' AND (SELECT attempts FROM api_message LIMIT 1) < 1"):
        world.digest()
        assert world.statuses() == [("pending", "digest_failed")]
        world.digest()  # it pauses for a second or two first
        assert Message.objects.get().attempts == 1
    Message.objects.update(digested_at=datetime.now(UTC) - timedelta(seconds=3))
    world.digest()

    assert world.statuses() == [("done", "")]
    assert (Message.objects.get().attempts, Message.objects.get().warnings) == (1, ["clock_corrected"])


@pytest.mark.parametrize("sqlstate", ["40P01", "53100", "25006", "42703", "42501", "58030", "XX000"])
def test_batch__in_trouble_of_the_servers__is_nobodys_fault(world: World, sqlstate: str) -> None:
    """A deadlock is tried again at once, a full disk or a missing column by the next run; no attempt is counted."""
    world.post([world.event(), world.event()])

    with poison("true", sqlstate):
        world.digest()
    assert world.statuses() == [("pending", "")] * 2
    assert set(Message.objects.values_list("attempts", flat=True)) == {0}
    assert Claim.objects.count() == 0
    world.digest()

    assert world.statuses() == [("done", "")] * 2


def test_claim__of_a_dead_worker__counts_an_attempt_and_ends_dead(world: World) -> None:
    world.post([world.event(), world.event()])
    first, second = Message.objects.order_by("id").values_list("id", flat=True)

    for attempt in (1, 2, 3):
        dying = Claims()
        dying.note([first])
        assert run.tend_queues(world.claims) is False  # it lives, so nothing is taken from it
        dying.close()
        wait_until(lambda: run.tend_queues(world.claims))
        message = Message.objects.get(id=first)
        assert (message.attempts, message.status) == (attempt, "failed" if attempt == 3 else "pending")

    world.digest()
    assert Message.objects.get(id=first).reason == "worker_died"
    assert Message.objects.get(id=second).status == "done"
    assert Claim.objects.count() == 0


DIGEST_ALONE = """
import django
django.setup()
from api.digest import run
from api.digest.claims import Claims
run.digest_all(Claims(), seconds=60)
"""


@pytest.mark.promise("N-02")
def test_worker__killed_by_a_message__leaves_it_and_its_neighbours_to_the_next(world: World, tmp_path: Path) -> None:
    """A process that is killed in the middle of a batch, as often as a message may do that."""
    world.post([world.event(event="Buy"), world.event(messageId="killer"), world.event(event="Buy")])
    environment = {**environment_of_the_test(tmp_path), "DJANGO_SETTINGS_MODULE": "api.settings"}

    with poison("NEW.message_key = 'track:killer' AND pg_sleep(30) IS NOT NULL"):
        for attempt in (1, 2, 3):
            process = subprocess.Popen([sys.executable, "-c", DIGEST_ALONE], env=environment)
            wait_until(lambda: Claim.objects.filter(message_ids__contains=[killer()]).exists())
            wait_until(is_asleep)
            process.kill()
            process.wait()
            wait_until(lambda: run.tend_queues(world.claims))
            assert Message.objects.get(message_id="killer").attempts == attempt

    killed = Message.objects.get(message_id="killer")
    assert (killed.status, killed.reason, killed.attempts) == ("failed", "worker_died", 3)
    world.digest()
    assert world.goals() == {"SegmentIO track – Buy": 2}


def killer() -> int:
    return int(Message.objects.get(message_id="killer").pk)


def test_suspects__of_a_dead_worker__are_digested_one_at_a_time(world: World) -> None:
    world.post([world.event() for _ in range(5)])
    Message.objects.update(attempts=1)

    world.digest()

    assert world.statuses() == [("done", "")] * 5


def test_claim__of_a_worker_that_died_with_the_server__is_forgotten(world: World) -> None:
    world.post(world.event())
    gone = Claims()
    gone.note([Message.objects.get().pk])
    gone.close()
    Claim.objects.update(server_started_at=datetime.now(UTC) - timedelta(days=1))

    def is_forgotten() -> bool:
        world.tend()
        return Claim.objects.count() == 0

    wait_until(is_forgotten)
    assert Message.objects.get().attempts == 0


@pytest.mark.promise("N-02")
def test_batch__of_a_dead_worker__is_nobodys_before_the_attempt_is_counted(world: World) -> None:
    """Else it kills the next worker, and the next, and is dead as a whole for one message in it."""
    world.post([world.event(), world.event()])
    die_with(Message.objects.values_list("id", flat=True))
    config = load_site_config(world.site)

    assert digest_pending(config, world.claims, limit=500, now=datetime.now(UTC)) == 0
    wait_until(lambda: recover_from_dead_workers(attempts=3) == 2)
    assert digest_pending(config, world.claims, limit=500, now=datetime.now(UTC)) == 1
    assert digest_pending(config, world.claims, limit=500, now=datetime.now(UTC)) == 1
    assert world.statuses() == [("done", "")] * 2


@pytest.mark.promise("N-02")
def test_sites__beside_one_whose_messages_kill_every_worker__have_their_turn(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = create_site(name="Other", sitecode="bbbbbbbbbb")
    world.credential.sites.add(other)

    def derive_or_die(message: StoredMessage, config: SourceConfig) -> Derivation:
        if "Kill" in message.body.decode():
            raise SystemExit
        return derive(message, config)

    monkeypatch.setattr(digest, "derive", derive_or_die)
    world.post(world.event(event="Fine"), sitecode="bbbbbbbbbb")
    for _ in range(60):  # the order of sites is random
        world.post(world.event(event="Kill"))
        claims = Claims()
        with suppress(SystemExit):
            run.digest_all(claims, seconds=30)
        claims.close()
        if Message.objects.filter(site=other, status="done").exists():
            return
    pytest.fail("the other site never had its turn")


@pytest.mark.promise("N-01")
def test_release__that_killed_its_worker__goes_on_one_name_at_a_time(world: World) -> None:
    world.change_site(goals_per_10_seconds=1)
    for name in "ABC":
        world.track(name)
    world.change_site(goals_per_10_seconds=50)
    die_with(Message.objects.filter(status="deferred").values_list("id", flat=True))
    names = list(WaitingName.objects.order_by("id").values_list("name", flat=True))
    config = load_site_config(world.site)

    assert digest_deferred(config, world.claims, names, now=datetime.now(UTC)) == 0
    wait_until(lambda: recover_from_dead_workers(attempts=3) == 2)
    assert digest_deferred(config, world.claims, names, now=datetime.now(UTC)) == 1
    assert digest_deferred(config, world.claims, names, now=datetime.now(UTC)) == 1
    assert set(world.statuses()) == {("done", "")}


def test_note__that_could_not_be_taken_back__holds_up_its_messages_no_longer(world: World) -> None:
    world.post(world.event())
    world.claims.note([Message.objects.get().pk])
    world.claims._connection.execute("SET default_transaction_read_only = on")  # type: ignore[union-attr]

    world.claims.forget()

    assert Claim.objects.count() == 0


def die_with(message_ids: Iterable[int]) -> None:
    """Leave the claim of a worker that died with these messages."""
    dying = Claims()
    dying.note(list(message_ids))
    dying.close()


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
            committer._insert(rows, until=time.monotonic() + 60)
    else:
        assert committer._insert(rows, until=time.monotonic() + 60) == [False, False]

    assert Message.objects.count() == 2


def test_committer__after_a_row_that_is_a_defect_of_ours__stores_the_next(world: World) -> None:
    event = read_event(json.dumps(world.event()).encode(), position=0, received_at=START)
    nonsense = NewMessage(world.site.pk, None, replace(event, warnings=None))  # type: ignore[arg-type]  # on purpose

    with pytest.raises(database.DatabaseDownError):
        inbox.store([nonsense])

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


def test_sites__with_trouble_in_one__the_others_are_digested(world: World) -> None:
    other = create_site(name="Other", sitecode="bbbbbbbbbb")
    world.credential.sites.add(other)
    world.post(world.event(event="Trouble"))
    world.post(world.event(event="Fine"), sitecode="bbbbbbbbbb")

    with poison(f"NEW.site_id = {world.site.pk}", "53100"):
        world.digest()

    assert world.statuses() == [("pending", ""), ("done", "")]


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


def test_worker__that_lost_its_broker__looks_for_it_every_few_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr("kombu.utils.functional.sleep", lambda _: None)

    with app.connection_for_read("redis://127.0.0.1:1/0") as connection, pytest.raises(BrokerError):
        connection.ensure_connection(lambda _, pause: pauses.append(pause), 20)

    assert len(pauses) == 20
    assert max(pauses) < 5


def test_prune__old_done_messages__go_and_a_late_resend_counts_nothing_twice(world: World) -> None:
    event, rejected = world.event(), world.event(event=None)
    world.send(event, rejected)

    assert prune_old(now=datetime.now(UTC), seconds=5) == 0
    assert prune_old(now=datetime.now(UTC) + timedelta(days=30, seconds=1), seconds=5) == 2
    world.send(event)

    assert world.goals() == {"SegmentIO track – Signed Up": 1}
    assert (world.last_message().effects, world.last_message().reason) == (["nothing"], "already_converted")
    assert not Message.objects.filter(status="rejected").exists()  # it has had as long to be tried again


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
            row[0] for row in connection.execute("EXPLAIN " + nudge.PENDING, {"limit": 9, "weighed": 9}).fetchall()
        )
    assert "api_message_pending" in plan
    assert "Seq Scan" not in plan
