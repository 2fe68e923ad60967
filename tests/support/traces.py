"""Helpers of tests that look at the trace of a message."""

from collections.abc import Callable
from typing import Any

import pytest
from django.utils import timezone

from api.http.credentials import clear_lookups
from api.ingest.provisioning import note_rules_changed
from api.insight.trace import Trace, trace
from api.insight.trace_steps import TraceStep
from api.models import Message, Rule, Site
from api.rules.actions import RuleAction
from tests.world import World

pytestmark = pytest.mark.promise("N-04")

Go = Callable[[World], None]


def look(message: Message) -> Trace:
    message.refresh_from_db()
    return trace(Site.objects.get(), message)


def last(world: World) -> Trace:
    return look(world.last_message())


def step(shown: Trace, title: str) -> TraceStep:
    return next(each for each in shown.steps if each.title == title)


def lines(shown: Trace, title: str) -> dict[str, str]:
    return {line.label: line.text for line in step(shown, title).lines}


def add_rule(world: World, action: RuleAction, **fields: Any) -> Rule:
    rule = Rule.objects.create(site=world.site, action=action, **fields)
    note_rules_changed(world.site.pk, now=timezone.now())
    clear_lookups()
    return rule


def stay(world: World, event: Any) -> None:
    """Send an event and leave it pending."""
    world.post(event)


def waits_for_quota(world: World) -> None:
    world.change_site(goals_per_10_seconds=1)
    world.track("First")
    world.track("Second")
    world.track("Third")


def names_nobody(world: World) -> None:
    world.track("Buy", userId=None)


def converts_known(world: World) -> None:
    world.track("Buy")
    world.track("Buy", userId="user-2")
