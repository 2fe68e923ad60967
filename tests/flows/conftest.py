"""Fixtures of the flows: a site with something of everything, and a source with a write key."""

import pytest

from api.ingest.provisioning import create_site, create_source
from api.models import Message, Source
from tests.support.clock import Clock
from tests.support.segments import make_segment
from tests.support.tracking import KEY
from tests.world import World


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
    make_segment(world.site, [{"on": "persona", "name": "big_spenders"}])
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
