"""Fixtures of the flows: a clock for the new-goal limit that a test moves, and a site with something of everything."""

from dataclasses import dataclass
from datetime import datetime, timedelta

import pytest

from api.ingest.provisioning import create_site, create_source
from api.models import Message, Source
from goals import quota
from tests.support.tracking import KEY
from tests.world import START, World


@dataclass
class Clock:
    """Clock of the database that moves only when a test moves it."""

    now: datetime

    def forward(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Control the time of goal creations, so that no result depends on the duration of a test."""
    clock, lock = Clock(START), quota.lock_names

    def lock_names(site_id: int) -> datetime:
        lock(site_id)
        return clock.now

    monkeypatch.setattr(quota, "lock_names", lock_names)
    return clock


@pytest.fixture
def town(world: World, clock: Clock) -> World:
    """Make linked people and strangers, money, groups, personas, and deferred, rejected and failed messages."""
    world.credential.sites.add(create_site(name="Other", sitecode="bbbbbbbbbb"))
    world.track("Buy", messageId="linked", anonymousId="anon-1")
    world.identify(messageId="who", traits={"plan": "pro"}, anonymousId="anon-1", kameleoonVisitorCode="vc-1")
    world.track(
        "Buy", messageId="coded", properties={"revenue": "9.5", "value": 3, "size": "L", "kameleoonVisitorCode": "vc-1"}
    )
    world.track("See", messageId="alone", userId=None, anonymousId="anon-2")
    world.send(world.event("group", messageId="group", groupId="group-1", traits={"size": 3}))
    world.track("Audience Entered", messageId="persona", properties={"audience_key": "big_spenders"})
    world.send(world.event("page", messageId=None, name="Home"), world.event(event=None))
    world.change_site(goals_per_10_seconds=3)
    world.track("Later", messageId="waits")
    world.post(world.event(messageId="died"))
    Message.objects.filter(status="pending").update(status="failed", reason="worker_died", attempts=3)
    return world


@pytest.fixture
def source(world: World) -> Source:
    return create_source(world.site, name="Web", kind="browser", write_key=KEY)
