"""Claims and messages of workers that died."""

import subprocess
import sys
from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from api.digest import digest, run
from api.digest.claims import Claims, recover_from_dead_workers
from api.digest.derivation import Derivation, SourceConfig, StoredMessage
from api.digest.digest import digest_deferred, digest_pending
from api.digest.mapping import derive
from api.digest.site_config import load_site_config
from api.ingest.provisioning import create_site
from api.models import Claim, Message, Site
from goals.models import WaitingName
from tests.contract.server import environment_of_the_test
from tests.support.concurrency import is_asleep, wait_until
from tests.support.outages import poison
from tests.world import World


def test_claim__of_a_dead_worker__counts_an_attempt_and_ends_failed(world: World) -> None:
    world.post([world.event(), world.event()])
    first, second = Message.objects.order_by("id").values_list("id", flat=True)

    for attempt in (1, 2, 3):
        dying = Claims()
        dying.note(world.site.pk, [first])
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
            wait_until(lambda: any(killer() in claim.message_ids for claim in Claim.objects.all()))
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
    gone.note(world.site.pk, [Message.objects.get().pk])
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
    world.claims.note(world.site.pk, [Message.objects.get().pk])
    world.claims._connection.execute("SET default_transaction_read_only = on")  # type: ignore[union-attr]

    world.claims.forget()

    assert Claim.objects.count() == 0


def die_with(message_ids: Iterable[int]) -> None:
    """Leave the claim of a worker that died with these messages."""
    dying = Claims()
    dying.note(Site.objects.order_by("pk")[0].pk, list(message_ids))
    dying.close()
