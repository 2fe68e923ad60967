"""Batches that fail, because of one message or because of the server."""

from datetime import UTC, datetime, timedelta

import pytest

from api.ingest.provisioning import create_site
from api.models import Claim, Message
from goals.models import Conversion
from tests.support.outages import poison
from tests.world import World


@pytest.mark.parametrize("sqlstate", ["P0001", "22000", "23505", "54000"])
def test_batch__with_a_poisoned_message__saves_its_neighbours_and_ends_failed(world: World, sqlstate: str) -> None:
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
def test_batch__in_trouble_of_the_servers__counts_no_attempt(world: World, sqlstate: str) -> None:
    """A deadlock is tried again at once, a full disk or a missing column by the next run; no attempt is counted."""
    world.post([world.event(), world.event()])

    with poison("true", sqlstate):
        world.digest()
    assert world.statuses() == [("pending", "")] * 2
    assert set(Message.objects.values_list("attempts", flat=True)) == {0}
    assert Claim.objects.count() == 0
    world.digest()

    assert world.statuses() == [("done", "")] * 2


def test_sites__with_trouble_in_one__the_others_are_digested(world: World) -> None:
    other = create_site(name="Other", sitecode="bbbbbbbbbb")
    world.credential.sites.add(other)
    world.post(world.event(event="Trouble"))
    world.post(world.event(event="Fine"), sitecode="bbbbbbbbbb")

    with poison(f"NEW.site_id = {world.site.pk}", "53100"):
        world.digest()

    assert world.statuses() == [("pending", ""), ("done", "")]
