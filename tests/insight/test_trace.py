"""The trace of a message for every outcome."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from types import ModuleType
from typing import Any

import pytest
from django.db import connection
from django.test import override_settings
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from api.digest import hooks
from api.ingest.provisioning import note_rules_changed
from api.insight.trace import trace
from api.insight.trace_steps import TraceLine
from api.models import Message, Rule, Site
from api.rules.actions import RuleAction
from goals import catalogue
from goals.matching import EventName
from goals.models import Goal
from goals.naming import TEMPLATE
from tests.support.traces import add_rule, converts_known, last, lines, look, names_nobody, step, waits_for_quota
from tests.world import World

pytestmark = pytest.mark.promise("N-04")

Go = Callable[[World], None]


@pytest.mark.promise("K-42")
@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (
            {"properties": {"kameleoonVisitorCode": "v-1"}},
            {"visitor code, from properties.kameleoonVisitorCode": "v-1", "user, from userId": "user-1"},
        ),
        (
            {"context": {"traits": {"k_visitorCode": "v-2"}}, "userId": None},
            {"visitor code, from context.traits.k_visitorCode": "v-2"},
        ),
        ({"kameleoonVisitorCode": "v-3", "userId": None}, {"visitor code, from kameleoonVisitorCode": "v-3"}),
        ({"anonymousId": "a-1", "userId": None}, {"anonymous, from anonymousId": "a-1"}),
    ],
)
def test_identity__of_an_event__names_the_field_of_each_id(
    world: World, fields: dict[str, Any], expected: dict[str, str]
) -> None:
    world.track("Buy", **fields)

    shown = lines(last(world), "Identity")

    assert {label: text for label, text in shown.items() if "from" in label} == expected


@pytest.mark.promise("K-42")
def test_identity__event_without_a_code__counts_for_the_one_first_linked(world: World) -> None:
    world.track("Buy", properties={"kameleoonVisitorCode": "v-1"})
    world.track("Buy", at=1)

    shown = last(world)

    assert lines(shown, "Identity") == {
        "user, from userId": "user-1",
        "link": "visitor v-1 was the first that user user-1 was seen with",
        "counts for": "v-1: the visitor code first linked to its user",
    }
    assert lines(shown, "Conversion")["visitor"] == "v-1: the visitor code first linked to its user"


@pytest.mark.promise("K-42", "K-51")
def test_identity__event_of_a_user_whose_device_has_a_code__counts_for_it(world: World) -> None:
    world.send(
        world.event("page", userId=None, anonymousId="a-1", name="Home", kameleoonVisitorCode="v-1"),
        world.event("identify", at=1, anonymousId="a-1"),
    )
    world.track("Buy", at=2)

    shown = last(world)

    assert lines(shown, "Identity") == {
        "user, from userId": "user-1",
        "link": "visitor v-1 was the first on any device of user user-1",
        "counts for": "v-1: the first visitor code of a device of its user",
    }
    assert lines(shown, "Conversion")["visitor"] == "v-1: the first visitor code of a device of its user"


def test_goal__looked_up__names_each_that_was_tried(world: World) -> None:
    catalogue.create_goal(Goal(site=world.site, name="SegmentIO track - Buy"), tags=[], template=TEMPLATE)
    world.track("Buy")

    shown = [(line.label, line.text) for line in step(last(world), "Goal").lines]

    assert shown == [
        ("a goal that this event is bound to", "not found"),
        ("Buy", "not found"),
        ("SegmentIO track – Buy", "not found"),
        ("SegmentIO track - Buy", "this one"),
    ]


def test_goal__bound_by_a_person__is_the_first_try(world: World) -> None:
    goal = Goal(site=world.site, name="Sales")
    catalogue.create_goal(goal, tags=[], template=TEMPLATE)
    catalogue.bind_event(goal, EventName("track", "Buy"), template=TEMPLATE)
    world.track("Buy")

    assert step(last(world), "Goal").lines == [TraceLine("a goal that this event is bound to", "this one", goal.pk)]


def test_goal__deleted_since__is_a_difference(world: World) -> None:
    world.track("Buy")
    goal = Goal.objects.get()
    Goal.objects.filter(pk=goal.pk).update(deleted_at=timezone.now())

    (difference,) = last(world).differences

    assert difference == f"It converted goal {goal.pk}. Today “SegmentIO track – Buy” would be created."


def test_quota__of_a_waiting_name__says_how_many_are_before_it(world: World) -> None:
    waits_for_quota(world)

    assert lines(last(world), "New-goal limit") == {
        "queued as": "SegmentIO track – Third",
        "ahead in the queue": "1 name",
    }


def test_rules__that_acted__are_named_in_their_order(world: World) -> None:
    add_rule(world, Rule.Action.RENAME, argument="Bought {properties.what}", name="By product", position=1)
    add_rule(world, Rule.Action.NO_GOAL, name="Not this", position=2, name_test="equals", name_value="Bought tea")
    add_rule(world, Rule.Action.NO_GOAL, name="Nor that", name_test="equals", name_value="x", position=3)
    world.track("Buy", properties={"what": "tea"})

    assert list(lines(last(world), "Rules")) == ["By product", "Not this"]


def test_redaction__of_a_field__is_told_with_its_rule(world: World) -> None:
    add_rule(world, Rule.Action.HASH_FIELD, argument="properties.email", name="Private")
    world.track("Buy", properties={"email": "a@b.c"})

    assert lines(last(world), "Redaction") == {"Private": "hash a field before the event is stored: properties.email"}


def test_profile__of_an_event__says_what_is_written_under_which_key(world: World) -> None:
    world.identify(traits={"plan": "pro", "name": "Ada"}, anonymousId="a-1")

    shown = [(line.label, line.text) for line in step(last(world), "Profile").lines]

    assert shown == [
        ("user user-1", "traits name, plan"),
        ("remote data", "IDENTIFY_user-1"),
        ("anonymous a-1", "belongs to user user-1"),
    ]


def test_warnings__of_an_event__are_words(world: World) -> None:
    world.track("Buy", properties={"revenue": "12 euros"})

    assert lines(last(world), "Warnings") == {
        "invalid_revenue": "The revenue is not a plain decimal number; the conversion has none."
    }


def test_duplicates__rejected_that_came_again__leads_to_the_one_that_was_taken(world: World) -> None:
    world.track("Buy", userId=None, messageId="m-1")
    rejected = world.last_message()
    world.track("Buy", messageId="m-1")

    shown = step(look(rejected), "Duplicates")

    assert shown.lines[-1].message_id == world.last_message().pk


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (None, Rule.Action.DROP, "Today it would be ignored"),
        (None, Rule.Action.NO_GOAL, "Today it would convert no goal"),
        (Rule.Action.DROP, None, "Today it would not be ignored"),
        (Rule.Action.NO_GOAL, None, "Today it would convert a goal"),
        (None, None, ""),
    ],
)
def test_differences__rules_changed_since__are_told(
    world: World, before: RuleAction | None, after: RuleAction | None, expected: str
) -> None:
    world.identify()
    if before:
        add_rule(world, before)
    world.track("Buy")
    Message.objects.update(digested_at=timezone.now() - timedelta(minutes=1))
    Rule.objects.all().delete()
    note_rules_changed(world.site.pk, now=timezone.now())
    if after:
        add_rule(world, after)

    differences = last(world).differences

    assert bool(differences) is bool(expected)
    if differences:
        assert differences[0].startswith("It was processed before the rules changed")
        assert differences[1].startswith(expected)


def test_differences__of_a_rejected_one_that_a_rule_now_saves__say_to_try_again(world: World) -> None:
    names_nobody(world)
    world.change_site(link_event_names=[])
    add_rule(world, Rule.Action.DROP)

    assert "Today it would be accepted: retry it." in last(world).differences


@contextmanager
def hooked(transform: Callable[[Any], Any]) -> Iterator[None]:
    """Load an operator's hooks module during the block."""
    module = ModuleType("trace_hooks")
    module.transform = transform  # type: ignore[attr-defined]
    sys.modules["trace_hooks"] = module
    hooks._find_transform.cache_clear()
    with override_settings(HOOKS="trace_hooks"):
        yield
    del sys.modules["trace_hooks"]


@pytest.mark.parametrize(("answer", "expected"), [({"type": "page", "userId": "u"}, "passed"), (None, "stopped")])
def test_hook__of_the_operator__is_a_step(world: World, answer: Any, expected: str) -> None:
    with hooked(lambda _: answer):
        world.track("Buy")

        assert step(last(world), "Transform hook").state == expected


def test_trace__of_what_hung_in_the_hook__does_not_call_it_again(world: World) -> None:
    def fail(_: Any) -> None:
        raise RuntimeError

    with hooked(fail):
        world.track("Buy")
    with hooked(lambda _: pytest.fail("called")):
        shown = last(world)

    assert shown.steps[-1].text.startswith("The transform hook raised")


def test_trace__of_a_conversion__takes_few_queries(world: World) -> None:
    converts_known(world)
    message = world.last_message()
    site = Site.objects.get()

    with CaptureQueriesContext(connection) as queries:
        trace(site, message)

    assert len(queries) <= 9
