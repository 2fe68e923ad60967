"""Fixtures for pages: the browsers of all kinds of users, and a site with one of everything."""

from datetime import timedelta
from functools import partial

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from api.ingest import provisioning
from api.models import Alert, Annotation, Erasure, GoalsChange, GoalView, Message, Rule, Site, Source
from cohorts.models import CustomData, OwnKey
from cohorts.segment_tables import Segment
from goals.experiments.models import Experiment
from goals.flags.models import Environment, FeatureFlag
from goals.models import Goal, GoalBinding, Tag
from tests.pages.catalogue import Place
from tests.support.ada import send_ada
from tests.support.pages import Enter, browser_of
from tests.world import SITECODE, World

FLAG = {"featureKey": "checkout", "rules": []}


@pytest.fixture
def enter(world: World) -> Enter:
    """Return a function that returns the browser of a user.

    The user is a `viewer`, `editor` or `owner` of the site, a `superuser`, an `outsider` of no site, or `anonymous`.
    """
    return partial(browser_of, world.site)


@pytest.fixture
def viewer(enter: Enter) -> Client:
    return enter("viewer")


@pytest.fixture
def editor(enter: Enter) -> Client:
    return enter("editor")


@pytest.fixture
def owner(enter: Enter) -> Client:
    return enter("owner")


@pytest.fixture
def site(world: World) -> Site:
    return world.site


@pytest.fixture
def source(site: Site) -> Source:
    return provisioning.create_source(site, name="Shop server", kind="server")


@pytest.fixture
def place(world: World) -> Place:
    """Return a site with one row of everything."""
    send_ada(world)
    world.track("Looked", userId="ada-king")
    goal, other = Goal.objects.order_by("id")[:2]
    merged = Goal.objects.create(site=world.site, name="Merged", merged_into=other)
    Message.objects.filter(pk=world.last_message().pk).update(status="failed", reason="digest_failed")
    source = provisioning.create_source(world.site, name="SDK", kind=Source.Kind.SERVER)
    tag = Tag.objects.filter(site=world.site)[0]
    binding = GoalBinding.objects.create(goal=goal, site=world.site, event_type="track", event_name="Buy")
    rule = Rule.objects.create(site=world.site, action=Rule.Action.NO_GOAL, name_test="equals", name_value="Never")
    now = source.created_at
    erasure = Erasure.objects.create(site=world.site, created_at=now, finished_at=now, hashes=[], sought=[])
    later = timezone.now() + timedelta(hours=1)
    OwnKey.objects.create(site=world.site, key="greeting", document="{}", expires_at=later, updated_at=now)
    numbers = {
        "goal_id": goal.pk,
        "other_goal_id": other.pk,
        "merged_id": merged.pk,
        "tag_id": tag.pk,
        "binding_id": binding.pk,
        "erasure_id": erasure.pk,
        "number": world.last_message().pk,
        "source_id": source.pk,
        "rule_id": rule.pk,
        "custom_data_id": CustomData.objects.create(site=world.site, index=1, name="plan").pk,
        "segment_id": Segment.objects.create(site=world.site, name="VIPs", conditions=[[{"on": "group"}]]).pk,
        "flag_id": FeatureFlag.objects.create(site=world.site, key="checkout", document=FLAG).pk,
        "environment_id": Environment.objects.create(site=world.site, name="staging").pk,
        "view_id": GoalView.objects.create(
            site=world.site, user=User.objects.create(username="author"), name="Ours", is_shared=True
        ).pk,
        "change_id": GoalsChange.objects.create(site=world.site, action="archive", goal_ids=[goal.pk]).pk,
        "annotation_id": Annotation.objects.create(site=world.site, goal=goal, at=now, text="Sale", who="ada").pk,
        "experiment_id": Experiment.objects.create(site=world.site, key="checkout-3", number=7).pk,
        "alert_id": Alert.objects.create(site=world.site, name="Lag", condition="lag", threshold=5).pk,
    }
    return Place(SITECODE, numbers)


@pytest.fixture
def goal(world: World) -> Goal:
    """Return a goal with two conversions of two visitors, one with revenue."""
    world.track("Buy", userId="u1", properties={"revenue": "1234.5", "currency": "EUR", "plan": "pro"})
    world.track("Buy", at=1, userId="u2", properties={"plan": "<b>free</b>"})
    return Goal.objects.get()
