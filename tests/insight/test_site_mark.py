"""The mark of a site differs after each thing that pages show, and after nothing of another site."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from api.ingest.provisioning import create_site, create_source
from api.insight.site_mark import read_marks
from api.models import Alert, Message, RefusedKey, SourceCount
from tests.world import World


def now() -> datetime:
    """Return the time when it is asked, because old keys are in no mark."""
    return datetime.now(UTC)


def receive(world: World) -> None:
    world.post(world.event())


def fail(world: World) -> None:
    Message.objects.update(status="failed", reason="digest_failed")


def defer(world: World) -> None:
    Message.objects.update(status="deferred", waiting_for="Buy")


def count(world: World) -> None:
    source = create_source(world.site, name="App", kind="server")
    SourceCount.objects.create(
        site=world.site, source=source, hour=now(), received=1, duplicates=0, rejected=1, last_received_at=now()
    )


def refuse(world: World) -> None:
    RefusedKey.objects.create(site=world.site, slot=now(), reason="write_key", count=1, last_at=now())


def refuse_unknown(world: World) -> None:
    RefusedKey.objects.create(site=None, slot=now(), reason="write_key", count=1, last_at=now())


def fire(world: World) -> None:
    Alert.objects.create(site=world.site, name="Lag", condition="lag", threshold=5, firing_since=now())


@pytest.mark.parametrize("happen", [receive, World.digest, fail, defer, count, refuse, refuse_unknown, fire])
def test_mark__after_something_happened__is_another(world: World, happen: Callable[[World], None]) -> None:
    world.post(world.event())
    other = create_site(name="Other", sitecode="5t4r3e2w1q")
    ids = [world.site.pk, other.pk]
    before, again = read_marks(ids), read_marks(ids)
    happen(world)
    after = read_marks(ids)

    assert before == again
    assert after[world.site.pk] != before[world.site.pk]
    assert (after[other.pk] == before[other.pk]) is (happen is not refuse_unknown)


def test_mark__after_keys_of_no_site__is_another_every_half_minute_only(world: World) -> None:
    slot, marks = now(), []
    for seconds in (0, 29, 30):
        refused, _ = RefusedKey.objects.get_or_create(
            site=None, slot=slot, reason="write_key", defaults={"count": 1, "last_at": slot}
        )
        refused.last_at = slot.replace(second=0, microsecond=0) + timedelta(seconds=seconds)
        refused.save()
        marks.append(read_marks([world.site.pk]))

    assert marks[0] == marks[1] != marks[2]
