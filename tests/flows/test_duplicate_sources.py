"""The same event through two sources with different messageIds: both count, and a warning names both (B-06)."""

import pytest

from api.ingest.provisioning import create_source
from api.models import DuplicateSources, Message, Source
from tests.support.tracking import basic
from tests.world import World


@pytest.fixture
def sources(world: World) -> tuple[Source, Source]:
    web = create_source(world.site, name="Web", kind="browser", write_key="web")
    server = create_source(world.site, name="Server", kind="server", write_key="server")
    return web, server


def track(world: World, key: str, second: float, *, user: str = "u1", name: str = "Order Completed") -> None:
    event = {
        "type": "track",
        "event": name,
        "userId": user,
        "messageId": f"{key}-{second}-{user}-{name}",
        "timestamp": f"2026-11-22T00:00:{second:06.3f}Z",
    }
    assert world.client.post("/v1/batch", json={"batch": [event]}, headers=basic(key)).status_code == 200


@pytest.mark.promise("B-06")
@pytest.mark.parametrize("is_one_batch", [True, False])
def test_event__through_two_sources_within_seconds__warns_and_counts_both(
    world: World, sources: tuple[Source, Source], *, is_one_batch: bool
) -> None:
    track(world, "web", 10.0)
    if not is_one_batch:
        world.digest()
    track(world, "server", 12.5)
    world.digest()

    assert world.goals() == {"SegmentIO track – Order Completed": 2}
    message = world.last_message()
    assert message.warnings == ["twin"]
    assert "“Web”" in message.detail
    assert "“Server”" in message.detail
    assert "2.5 s apart" in message.detail
    assert "Count track events" in message.detail
    twin = DuplicateSources.objects.get()
    assert ({twin.one, twin.other}, twin.count, twin.event_name) == (set(sources), 1, "Order Completed")


@pytest.mark.parametrize(
    ("key", "second", "user", "name"),
    [
        ("web", 12.0, "u1", "Order Completed"),
        ("server", 16.0, "u1", "Order Completed"),
        ("server", 12.0, "u2", "Order Completed"),
        ("server", 12.0, "u1", "Refunded"),
    ],
)
def test_event__of_one_source_or_visitor_or_moment_of_its_own__is_no_twin(
    world: World, sources: tuple[Source, Source], *, key: str, second: float, user: str, name: str
) -> None:
    track(world, "web", 10.0)
    track(world, key, second, user=user, name=name)
    world.digest()

    assert not Message.objects.exclude(warnings=[]).exists()
    assert not DuplicateSources.objects.exists()


def test_pair__seen_again_and_again__is_one_row(world: World, sources: tuple[Source, Source]) -> None:
    for second in (0, 10, 20):
        track(world, "web", second)
        track(world, "server", second)
        world.digest()
    track(world, "web", 40)
    track(world, "server", 40)
    track(world, "web", 50)
    track(world, "server", 50)
    world.digest()

    assert DuplicateSources.objects.get().count == 5
