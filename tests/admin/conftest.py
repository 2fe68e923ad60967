"""A site with one row in every table, and a superuser who looks at it."""

import json
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.http import HttpResponseBase
from django.test import Client

from api.ingest.provisioning import create_credential, create_site
from api.models import AuditEntry, Claim, Load, Membership, Message, Rule, Site, Twin
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
    source = site.sources.get()
    Rule.objects.create(
        site=site, source=source, name="No noise", action=Rule.Action.DROP, name_value="_", name_test="prefix"
    )
    # With itself, which no event makes: one row of each table.
    Twin.objects.create(site=site, one=source, other=source, event_name="Buy", count=1, last_seen_at=START)
    Load.objects.create(source=source, fingerprint="f", file_name="past.jsonl")
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
        source=source,
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
    member = User.objects.create_user("member")
    Membership.objects.create(site=site, user=member, role=Membership.Role.EDITOR)
    AuditEntry.objects.create(
        site=site, user=member, who="member", at=START, what="Renamed the site", after={"name": "<b>"}
    )
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


def form_of(person: Client, path: str) -> dict[str, Any]:
    """What a browser would send back from a page: every field of its form as it stands."""
    response = person.get(path)
    text_of(response)
    context = response.context
    forms = [context["adminform"].form, *(each.formset for each in context["inline_admin_formsets"])]
    sent: dict[str, Any] = {}
    for form in forms:
        for part in [form.management_form, *form.forms] if hasattr(form, "forms") else [form]:
            for bound in part:
                value = bound.value()
                if value is not None and value is not False:
                    sent[bound.html_name] = "on" if value is True else value
    return sent


def save(person: Client, path: str, /, **changes: Any) -> Any:
    """Open a page, change fields, save."""
    return person.post(path, {**form_of(person, path), **changes})
