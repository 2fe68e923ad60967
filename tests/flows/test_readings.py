"""Messages keep the reading under which they were digested; retries use the newest one."""

from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command

from api.checks.base import DERIVE_AGAIN
from api.digest.forecast import forecast_rules
from api.digest.readings import NEWEST_READING
from api.digest.replay import replay
from api.insight.trace import trace
from api.models import Message, Site
from api.rules.rule import EventRule
from cohorts.models import Group, Identity
from goals.models import Conversion
from tests.support.clock import Clock
from tests.support.verifying import execute, report_on, rows
from tests.world import World

# Events that the first reading took otherwise than today's.
FORMERLY: dict[str, dict[str, Any]] = {
    "an id that names nobody today": {"anonymousId": "(null)", "userId": "u1", "event": "Buy"},
    "a visitor code that is none today": {"event": "Buy", "properties": {"kameleoonVisitorCode": "{{code}}"}},
    "nobody else": {"type": "identify", "userId": "unknown", "traits": {"plan": "pro"}},
    "a group that is none today": {"type": "group", "groupId": "nil", "traits": {"size": 3}},
    "a wish that nobody heeded then": {"event": "Buy", "integrations": {"All": False}},
    "an alias of nobody": {"type": "alias", "previousId": "<nil>", "userId": "u1"},
    "a number that is too long today": {"type": "identify", "traits": {"size": 1e300}},
}


def digest_formerly(world: World, *events: dict[str, Any], is_noted: bool) -> None:
    """Digest events under the first reading, noted or, as by the version before, not."""
    assert world.post([{"type": "track", "userId": "u0", **event} for event in events]).status_code == 200
    Message.objects.filter(status="pending").update(reading=1)
    world.digest()
    if not is_noted:
        Message.objects.filter(reading=1).update(reading=None)


@pytest.mark.promise("K-89")
@pytest.mark.parametrize("is_noted", [True, False])
@pytest.mark.parametrize("event", FORMERLY.values(), ids=FORMERLY)
def test_verify__of_what_an_earlier_reading_took__compares_under_that_one(
    world: World, event: dict[str, Any], *, is_noted: bool
) -> None:
    digest_formerly(world, event, is_noted=is_noted)
    assert world.statuses() == [("done", "")]

    call_command("verify", stdout=StringIO())

    assert report_on("recount").line.startswith("1 messages derived again, 1 of them under an earlier reading;")
    message = Message.objects.get()
    told = trace(Site.objects.get(), message)
    assert (told.reading, len(told.differences)) == (1, 1)
    assert "under reading 1" in told.differences[0]
    # The same event is read otherwise today, and verify is still content.
    world.post([{"type": "track", "userId": "u0", **event}])
    world.digest()
    assert Message.objects.latest("pk").reading == NEWEST_READING
    call_command("verify", stdout=StringIO())


def test_verify__of_an_earlier_reading_digested_again__finds_nothing(world: World) -> None:
    """The advice of verify must not interpret old messages differently."""
    digest_formerly(world, *FORMERLY.values(), is_noted=False)
    Identity.objects.all().delete()
    Group.objects.all().delete()
    Conversion.objects.all().delete()
    call_command("recount", stdout=StringIO())
    assert rows(report_on("recount")) != []

    execute(DERIVE_AGAIN.partition("again: ")[2].partition(" WHERE")[0])
    world.digest()
    call_command("recount", stdout=StringIO())

    call_command("verify", stdout=StringIO())
    assert set(Message.objects.values_list("reading", flat=True)) == {1}


def test_reading__of_a_deferred_message__stays_when_its_turn_comes(world: World, clock: Clock) -> None:
    world.change_site(goals_per_10_seconds=1)
    world.track("First")
    digest_formerly(
        world, {"userId": "unknown", "event": "Second"}, {"userId": "nil", "event": "Second"}, is_noted=False
    )
    assert world.statuses()[1:] == [("deferred", "goal_quota")] * 2

    clock.forward(11)
    world.tend()

    assert list(Message.objects.order_by("pk").values_list("status", "reading")) == [
        ("done", NEWEST_READING),
        ("done", 1),
        ("done", 1),
    ]
    call_command("verify", stdout=StringIO())


def test_reading__of_what_is_tried_again__is_the_newest(world: World) -> None:
    digest_formerly(world, {"event": None}, is_noted=False)
    assert world.statuses() == [("rejected", "missing_name")]

    assert replay(world.site.pk, "missing_name", who="test").messages == 1
    world.digest()

    assert Message.objects.get().reading == NEWEST_READING


def test_what_if__of_messages_of_an_earlier_reading__compares_under_that_one(world: World) -> None:
    digest_formerly(world, {"userId": "unknown", "event": "Buy"}, is_noted=False)

    forecast = forecast_rules(world.site, [(None, EventRule("no_goal"))])

    assert (forecast.rejected_now, forecast.conversions_now, forecast.conversions_then) == (0, 1, 0)
