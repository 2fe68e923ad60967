"""Retries of rejected and failed messages, after a look at what they would do."""

from collections.abc import Callable
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from api.digest.replay import plan_replay, replay
from api.events.reasons import REPLAYABLE
from api.http.credentials import clear_lookups
from api.ingest.provisioning import create_source
from api.models import Message, Rule, Site, Source
from goals.models import Conversion
from tests.support.messages import replace_bodies
from tests.world import START, World

pytestmark = pytest.mark.promise("N-05")

NAMES = [f"SegmentIO track – Name {number}" for number in range(3)]


def switch(world: World, *, on: bool) -> None:
    Source.objects.update(is_enabled=on)
    clear_lookups()


def refuse_at_the_destination(world: World) -> str:
    switch(world, on=False)
    for number in range(3):
        world.post(world.event(event=f"Name {number}", at=number))
    switch(world, on=True)
    return "integration_off"


def refuse_at_a_source(world: World) -> str:
    key = create_source(world.site, name="App", kind=Source.Kind.SERVER).write_keys.get().key
    switch(world, on=False)
    for number in range(3):
        world.client.post("/v1/track", json=world.event(event=f"Name {number}", at=number) | {"writeKey": key})
    switch(world, on=True)
    return "source_off"


def refuse_an_array(world: World) -> str:
    switch(world, on=False)
    world.post([world.event(event=f"Name {number}", at=number) for number in range(3)])
    switch(world, on=True)
    return "integration_off"


def let_die(world: World) -> str:
    for number in range(3):
        world.post(world.event(event=f"Name {number}", at=number))
    Message.objects.update(status="failed", reason="worker_died", attempts=5, digested_at=timezone.now())
    return "worker_died"


@pytest.mark.parametrize("fail", [refuse_at_the_destination, refuse_at_a_source, refuse_an_array, let_die])
def test_replay__once_the_cause_is_gone__does_what_the_dry_run_said(world: World, fail: Callable[[World], str]) -> None:
    reason = fail(world)
    before = list(Message.objects.values_list("pk", "status", "reason"))

    seen = plan_replay(world.site, reason, is_worker=True).forecast
    assert list(Message.objects.values_list("pk", "status", "reason")) == before
    done = replay(world.site.pk, reason, who="test")
    world.digest()

    assert seen is not None
    assert [(each.name, each.conversions_then) for each in seen.goals] == [(name, 1) for name in NAMES]
    assert world.goals() == dict.fromkeys(NAMES, 1)
    assert (seen.messages, seen.goals_made_then, seen.conversions_then, seen.rejected_then) == (3, 3, 3, 0)
    assert (done.messages, done.unreadable) == (3, 0)
    times = Conversion.objects.order_by("occurred_at").values_list("occurred_at", flat=True)
    assert list(times) == [START + timedelta(seconds=number) for number in range(3)]


@pytest.mark.parametrize("fail", [refuse_at_the_destination, refuse_at_a_source, refuse_an_array, let_die])
def test_replay__done_twice__counts_once(world: World, fail: Callable[[World], str]) -> None:
    reason = fail(world)
    replay(world.site.pk, reason, who="test")
    world.digest()

    again = replay(world.site.pk, reason, who="test")
    world.digest()

    assert again.messages == 0
    assert world.goals() == dict.fromkeys(NAMES, 1)


def test_replay__refused_by_a_wrong_mapping__is_mended_by_a_rule(world: World) -> None:
    """Names that were too long are renamed by a rule: figures of the dry run are those of the replay."""
    for number in range(3):
        world.track("x" * 501, properties={"short": f"Name {number}"})
    Rule.objects.create(site=world.site, action=Rule.Action.RENAME, argument="{properties.short}")

    seen = plan_replay(Site.objects.get(), "name_too_long").forecast
    replay(world.site.pk, "name_too_long", who="test")
    world.digest()

    assert seen is not None
    assert seen.conversions_then == sum(world.goals().values()) == 3
    assert seen.goals_made_then == len(world.goals()) == 3


def test_replay__refused_one_that_came_again__stays(world: World) -> None:
    refuse_at_a_source(world)
    world.send({**world.event(), "messageId": Message.objects.earliest("pk").message_id})

    planned = plan_replay(world.site, "source_off")
    done = replay(world.site.pk, "source_off", who="test")

    assert (planned.messages, planned.duplicates, done.messages) == (2, 1, 2)
    assert Message.objects.filter(status="rejected", reason="source_off").count() == 1


def test_replay__refused_twice_with_one_key__goes_on_once(world: World) -> None:
    switch(world, on=False)
    event = world.event(event="Name 0")
    world.post(event)
    world.post(event)
    switch(world, on=True)

    done = replay(world.site.pk, "integration_off", who="test")
    world.digest()

    assert (done.messages, world.goals()) == (1, {NAMES[0]: 1})


@pytest.mark.parametrize("body", [b"{", b"[]", b"[1]", b"\xff"])
def test_replay__body_that_cannot_be_read__gets_its_own_reason(world: World, body: bytes) -> None:
    switch(world, on=False)
    world.post(body)
    Message.objects.update(reason="integration_off")
    replace_bodies(body)

    assert plan_replay(world.site, "integration_off").forecast is not None
    done = replay(world.site.pk, "integration_off", who="test")

    assert (done.messages, done.unreadable) == (0, 1)
    assert Message.objects.get().reason in {"invalid_json", "invalid_event"}


def test_plan__of_what_killed_a_worker__is_not_tried_in_a_web_server(world: World) -> None:
    reason = let_die(world)

    assert plan_replay(world.site, reason).forecast is None


def test_plan__of_many__looks_into_the_newest(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    reason = refuse_at_a_source(world)
    monkeypatch.setattr("api.digest.replay.FORECAST_MESSAGES", 2)

    on_a_page, in_a_command = plan_replay(world.site, reason), plan_replay(world.site, reason, is_worker=True)

    assert on_a_page.forecast is not None
    assert in_a_command.forecast is not None
    assert (on_a_page.messages, on_a_page.looked_at, on_a_page.forecast.conversions_then) == (3, 2, 2)
    assert (in_a_command.messages, in_a_command.looked_at, in_a_command.forecast.conversions_then) == (3, 3, 3)


def test_replay__of_many__is_bounded(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    reason = refuse_at_a_source(world)
    monkeypatch.setattr("api.digest.replay.MOST_MESSAGES", 2)

    planned = plan_replay(world.site, reason)
    first = replay(world.site.pk, reason, who="test")

    assert (planned.messages, planned.has_more, first.messages) == (2, True, 2)
    assert plan_replay(world.site, reason).messages == 1


@pytest.mark.parametrize("reason", ["too_large", "goal_quota", "nonsense"])
def test_replay__of_what_no_second_try_changes__is_refused(world: World, reason: str) -> None:
    assert reason not in REPLAYABLE
    with pytest.raises(ValueError, match="cannot be retried"):
        replay(world.site.pk, reason, who="test")


def command(*arguments: str) -> str:
    said = StringIO()
    call_command("replay", *arguments, stdout=said)
    return said.getvalue()


def test_command__dry_run_and_replay__say_the_same(world: World) -> None:
    refuse_at_a_source(world)
    given: Any = ["--site", world.site.sitecode, "--reason", "source_off"]

    assert "3 would be tried again, 0 came again and stay\n3 conversions, 3 new goals" in command(*given, "--dry-run")
    assert command(*given) == "3 tried again, 0 unreadable\n"
    with pytest.raises(CommandError, match="there is no site"):
        command("--site", "unknown", "--reason", "source_off")
