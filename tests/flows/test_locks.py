"""A row that another session holds delays what needs it, and nothing else."""

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import OperationalError, connection
from django.db.models import F
from django.test import Client

from api.digest import claims, held_locks, run
from api.http import database
from api.http.credentials import encode_api_key
from api.http.database import SessionKind, is_lock_timeout
from api.ingest.file_load import load_lines
from api.ingest.provisioning import create_site, create_source
from api.management.commands import prepare
from api.models import Claim, Load, Message, Site
from goals.models import Goal, GoalCreation, GoalTotal
from sessions import LockSpace
from tests.contract.server import environment_of_the_test
from tests.support.concurrency import are_done, digest_until, holding, is_asleep, wait_until
from tests.support.outages import poison
from tests.world import CLIENT_ID, SECRET, SITECODE, World

OTHER = "bbbbbbbbbb"


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait less than in earnest."""
    monkeypatch.setattr(held_locks, "RETRY_SECONDS", 0.2)


# Locking statements, and the event that needs the locked row. Each time `event` made the row before.
HELD: dict[str, tuple[str, dict[str, Any]]] = {
    "identity": ("SELECT 1 FROM cohorts_identity WHERE value = 'held' FOR UPDATE", {"userId": "held"}),
    "new identity": (
        """
        INSERT INTO cohorts_identity (site_id, kind, value, registers, created_at, updated_at)
        SELECT id, 1, 'held 2', '{}', now(), now() FROM api_site LIMIT 1
        """,
        {"userId": "held 2"},
    ),
    "group": (
        "SELECT 1 FROM cohorts_group WHERE group_id = 'acme' FOR UPDATE",
        {"type": "group", "groupId": "acme", "traits": {"size": 2}},
    ),
    "persona": (
        """
        INSERT INTO cohorts_persona (site_id, name, created_at) SELECT id, 'vip', now() FROM api_site LIMIT 1
        """,
        {"event": "Audience Entered", "properties": {"audience_key": "vip", "vip": True}},
    ),
    "username": (
        "INSERT INTO cohorts_username (site_id, name, user_value) SELECT id, 'ada', 'ada' FROM api_site LIMIT 1",
        {"type": "identify", "traits": {"username": "ada"}, "userId": "u9"},
    ),
    "goal": ("SELECT 1 FROM goals_goal WHERE name LIKE '%%Held' FOR UPDATE", {"event": "Held"}),
    "figures": (
        "SELECT 1 FROM goals_goalvisitor WHERE visitor_code = 'held' FOR UPDATE",
        {"event": "Bought", "userId": "held"},
    ),
    "new goals": (
        f"SELECT pg_advisory_xact_lock({LockSpace.GOAL_NAMES.value}, id::int) FROM api_site LIMIT 1",
        {"event": "New"},
    ),
    "conversions": (
        "SELECT 1 FROM goals_conversion WHERE user_id = 'late' FOR UPDATE",
        {"userId": "late", "context": {"traits": {"kameleoonVisitorCode": "v1"}}},
    ),
}


@pytest.mark.promise("N-02")
@pytest.mark.parametrize("held", HELD)
def test_digest__while_a_row_is_held__delays_what_needs_it_and_nothing_else(world: World, held: str) -> None:
    statement, fields = HELD[held]

    def bought(letter: str) -> list[dict[str, Any]]:
        ids = [f"{letter}{number}" for number in range(9)]
        return [world.event(event="Bought", userId=id_, messageId=id_) for id_ in ids]

    other = create_site(name="Other", sitecode=OTHER)
    world.credential.sites.add(other)
    world.send(
        world.event(event="Held"),
        world.event(event="Bought", userId="held"),
        world.event(event="Bought", userId="late"),
        world.event("group", groupId="acme", traits={"size": 1}),
    )
    with holding(statement):
        world.post(
            [world.event(event="Bought", userId=f"before-{number}", messageId=f"a{number}") for number in range(9)]
        )
        world.post(world.event(**{"type": "track", "messageId": "waits", **fields}))
        world.post(
            [world.event(event="Bought", userId=f"after-{number}", messageId=f"b{number}") for number in range(9)]
        )
        world.post(world.event(messageId="elsewhere"), sitecode=OTHER)
        world.digest()

        assert are_done(*(f"{letter}{number}" for letter in "ab" for number in range(9)), "elsewhere")
        waiting = Message.objects.get(message_id="waits")
        assert (waiting.status, waiting.reason, waiting.attempts) == ("pending", "", 0)

        # Whoever comes later neither waits for it nor has it tried again by the worker at once.
        world.post(world.event(event="Bought", userId="later", messageId="c"))
        world.post(world.event(**{"type": "track", "messageId": "waits too", **fields}))
        begun = time.monotonic()
        world.digest()
        assert are_done("c")
        assert time.monotonic() - begun < held_locks.WAIT
        assert not are_done("waits too")

    digest_until(world, lambda: are_done("waits", "waits too"))
    assert set(Message.objects.values_list("status", "attempts")) == {("done", 0)}
    assert not Claim.objects.exists()


DIGEST_ALONE = """
import django
django.setup()
from api.digest import run
from api.digest.claims import Claims
claims = Claims()
for _ in range(2):
    run.digest_all(claims, seconds=60)
"""


@contextmanager
def frozen_worker(world: World, directory: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Freeze a worker in the middle of a batch: its transaction has locked `message-frozen` and the person `frozen`."""
    environment = {**environment_of_the_test(directory), "DJANGO_SETTINGS_MODULE": "api.settings"}
    with poison("NEW.message_key = 'track:message-frozen' AND pg_sleep(3) IS NULL"):
        process = subprocess.Popen([sys.executable, "-c", DIGEST_ALONE], env=environment)
        try:
            wait_until(is_asleep)
            process.send_signal(signal.SIGSTOP)
            wait_until(lambda: not is_asleep())  # its session does nothing, and holds what it has
            yield process
        finally:
            process.send_signal(signal.SIGCONT)
            process.wait(60)


@pytest.mark.promise("N-02")
@pytest.mark.parametrize("is_ended", [False, True])
def test_worker__frozen_in_a_batch__delays_its_own_messages_and_doubles_none(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, is_ended: bool
) -> None:
    """Until it goes on; or until PostgreSQL ends its transaction, upon which others take them."""
    monkeypatch.setattr(claims, "FROZEN", timedelta(seconds=0))
    world.send(world.event(event="Bought", userId="frozen"))
    world.post([world.event(event="Bought", userId=user, messageId=f"message-{user}") for user in ("frozen", "also")])
    with frozen_worker(world, tmp_path) as worker:
        world.post(world.event(event="Bought", userId="frozen", messageId="needs it"))
        world.post([world.event(event="Bought", userId=f"u{number}", messageId=f"m{number}") for number in range(5)])
        for _ in range(2):
            world.digest()
            world.tend()
        assert are_done(*(f"m{number}" for number in range(5)))
        assert not are_done("needs it")
        assert not are_done("message-also")

        if is_ended:
            with connection.cursor() as cursor:
                cursor.execute(
                    """
                    SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
                     WHERE state LIKE 'idle in%' AND datname = current_database()
                    """
                )
            digest_until(world, lambda: are_done("needs it", "message-also", "message-frozen"))

    assert worker.returncode == 0
    digest_until(world, lambda: are_done("needs it", "message-also", "message-frozen"))
    assert world.goals() == {"SegmentIO track – Bought": 9}
    assert sum(GoalTotal.objects.values_list("conversions", flat=True)) == 9
    assert not Claim.objects.exists()


def test_queue__of_a_site_whose_goal_names_are_held__does_not_delay_that_of_another(world: World) -> None:
    create_site(name="Other", sitecode=OTHER)
    other = Site.objects.get(sitecode=OTHER)
    world.credential.sites.add(other)
    Site.objects.update(goals_per_10_seconds=1)
    for sitecode in (SITECODE, OTHER):
        world.post([world.event(event="A"), world.event(event="B")], sitecode=sitecode)
    world.digest()
    GoalCreation.objects.update(created_at=F("created_at") - timedelta(seconds=11))

    with holding("SELECT pg_advisory_xact_lock(%s, %s)", LockSpace.GOAL_NAMES.value, world.site.pk):
        world.tend()
        begun = time.monotonic()
        world.tend()
        assert time.monotonic() - begun < held_locks.WAIT
        assert Goal.objects.filter(site=other).count() == 2
        assert Goal.objects.filter(site=world.site).count() == 1

    world.tend()
    assert Goal.objects.filter(site=world.site).count() == 2


def test_messages__of_a_dead_worker_with_one_that_is_held__go_on_without_it(world: World) -> None:
    world.post([world.event(messageId=f"m{number}") for number in range(3)])
    dying = claims.Claims()
    dying.note(world.site.pk, list(Message.objects.values_list("pk", flat=True)))
    dying.close()
    with holding("SELECT 1 FROM api_message WHERE message_id = 'm1' FOR UPDATE"):
        wait_until(lambda: run.tend_queues(world.claims))
        assert Message.objects.filter(attempts=1).count() == 2
        world.tend()
        assert [len(each) for each in Claim.objects.values_list("message_ids", flat=True)] == [1]

    digest_until(world, lambda: are_done("m0", "m1", "m2"))
    assert set(Message.objects.values_list("attempts", flat=True)) == {1}


def test_statement__that_takes_its_whole_time__is_a_fault_of_its_message(world: World) -> None:
    """It would be begun again for ever, and keep the site's other messages waiting."""
    world.post([world.event(messageId="endless"), world.event(messageId="quick")])

    with poison("NEW.message_key = 'track:endless'", "57014"):
        world.digest()

    assert are_done("quick")
    assert Message.objects.get(message_id="endless").attempts == 1


@pytest.mark.parametrize("role", ["page", "api"])
def test_change__of_what_another_session_holds__is_503_with_a_sentence_and_changes_nothing(
    world: World, role: str
) -> None:
    """Bounded by the limits of the session."""
    world.track("Bought")
    goal = Goal.objects.get()
    key = encode_api_key(CLIENT_ID, SECRET)
    client = Client(raise_request_exception=False)
    client.force_login(User.objects.create(username="root", is_superuser=True))
    with holding("SELECT pg_advisory_xact_lock(%s, %s)", LockSpace.GOAL_NAMES.value, world.site.pk):
        if role == "api":
            answer = client.delete(f"/api/goals/{goal.pk}", headers={"authorization": f"Basic {key}"})
        else:
            answer = client.post(f"/admin/s/{SITECODE}/goals/{goal.pk}/delete/", {"confirmed": "yes"})

    assert answer.status_code == 503
    assert "manage.py doctor" in answer.content.decode()
    assert Goal.objects.get().deleted_at is None


def test_load__of_an_event_that_another_session_is_storing__goes_on_later(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = {**database.TIMEOUTS, SessionKind.LOAD: replace(database.TIMEOUTS[SessionKind.LOAD], lock=0.2)}
    monkeypatch.setattr(database, "TIMEOUTS", limits)
    source = create_source(world.site, name="Past", kind="import")
    file = tmp_path / "past.jsonl"
    file.write_text("".join(f"{json.dumps(world.event(messageId=f'm{number}'))}\n" for number in range(3)))
    load = Load.objects.create(site=source.site, source=source, fingerprint="", file_name="past.jsonl")
    storing = """
        INSERT INTO api_message (site_id, type, message_id, position, received_at, occurred_at, size, status, reason,
                                 detail, warnings, effects, attempts, waiting_for)
        VALUES (%s, 'track', 'm1', 0, now(), now(), 0, 'pending', '', '', '{}', '{}', 0, '')
    """
    with holding(storing, world.site.pk) as other, file.open("rb") as lines:
        timer = threading.Timer(1, other.rollback)
        timer.start()
        assert list(load_lines(lines, load)) == [0]
        timer.join()
    assert (load.lines, load.stored) == (3, 3)


def test_migration__behind_a_session_that_holds_its_table__gives_way(world: World) -> None:
    """Otherwise whoever needs the table waits behind both."""
    with holding("LOCK TABLE goals_tag IN ACCESS SHARE MODE") as other:
        assert other.execute("SELECT count(*) FROM goals_tag")
        begun = time.monotonic()
        with (
            pytest.raises(OperationalError) as error,
            connection.execute_wrapper(prepare.wait_briefly),
            connection.schema_editor() as editor,
        ):
            editor.execute("ALTER TABLE goals_tag ADD COLUMN never int")
    assert is_lock_timeout(error.value)
    assert time.monotonic() - begun < 2 * prepare.WAIT
