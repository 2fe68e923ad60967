"""A site with one row in every table, and a superuser who looks at it."""

import json

import pytest
from django.contrib.auth.models import User
from django.http import HttpResponseBase
from django.test import Client

from api.models import Claim, Message, Site
from api.sites import create_credential, create_site
from cohorts.models import Group, Identity, Persona, Username
from goals import catalogue
from goals.matching import EventName
from goals.models import Conversion, Goal, GoalCreation, WaitingName
from tests.world import START

TEMPLATE = "SegmentIO {type} – {name}"
BODY = {"type": "track", "event": "<script>alert(1)</script>", "properties": {"plan": "pro"}}


@pytest.fixture
def site(db: None) -> Site:
    """Its tables hold what events would leave there."""
    site = create_site(name="Shop", sitecode="1q2w3e4r5t")
    create_credential([site], name="Segment")
    goal = Goal(site=site, name="SegmentIO track – Buy", origin=Goal.Origin.EVENT, is_named_by_event=True)
    catalogue.create_goal(goal, tags=["segment.io"], template=TEMPLATE)
    catalogue.bind_event(goal, EventName("track", "Bought"), template=TEMPLATE)
    Conversion.objects.create(
        site=site,
        goal=goal,
        visitor_code="visitor-1",
        keyed_by=Conversion.KeyedBy.EVENT,
        occurred_at=START,
        message_key="m1",
        properties={"plan": "<b>pro</b>"},
    )
    GoalCreation.objects.create(site=site, created_at=START)
    WaitingName.objects.create(site=site, name="SegmentIO track – Wait", event_type="track", event_name="Wait")
    Message.objects.create(
        site=site,
        source=site.sources.get(),
        type="track",
        message_id="m1",
        received_at=START,
        occurred_at=START,
        body=json.dumps(BODY).encode(),
        status=Message.Status.DEAD,
        reason="worker_died",
        warnings=["clock_corrected"],
        effects=["converted"],
        detail="Traceback <i>",
    )
    Claim.objects.create(worker=7, message_ids=[1], claimed_at=START, server_started_at=START)
    traits = {"plan": [1, 0, "m1", "<b>pro</b>"]}
    Identity.objects.create(site=site, kind=Identity.Kind.USER, value="user-1", registers={"traits": traits})
    Persona.objects.create(site=site, name="big spenders")
    Group.objects.create(site=site, group_id="group-1", registers=traits)
    Username.objects.create(site=site, name="ada", user_value="user-1")
    return site


@pytest.fixture
def person(site: Site) -> Client:
    client = Client(raise_request_exception=False)
    client.force_login(User.objects.create_superuser("admin"))
    return client


def text_of(response: HttpResponseBase) -> str:
    """The page, which must be one."""
    assert response.status_code == 200, (response.status_code, response.headers)
    content: bytes = response.content  # type: ignore[attr-defined]  # pages are never streamed
    return content.decode()
