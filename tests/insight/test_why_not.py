"""Sentences that explain a missing conversion."""

from collections.abc import Callable
from typing import Any

import pytest

from api.events.reasons import sentence_of
from api.http.wording import count_of
from api.ingest.provisioning import create_source, note_rules_changed
from api.insight.trace import trace
from api.insight.why_not import WhyNotAnswer, why_not
from api.models import Message, Rule, Site, Source
from goals import catalogue
from goals.matching import EventName
from goals.models import Goal
from goals.queries import find_live_goal
from tests.support.pages import address, browser_of, text_of
from tests.world import START, World

NAME = "SegmentIO track – Signed Up"


def ask(world: World, person: str = "user-1", goal: str = NAME) -> WhyNotAnswer:
    pk = Goal.objects.get(site=world.site, name=goal).pk
    found = find_live_goal(world.site.pk, pk)
    assert found is not None
    return why_not(Site.objects.get(pk=world.site.pk), person, found)


def told(answer: WhyNotAnswer) -> str:
    return "\n".join(each.text for each in answer.sentences)


def add_rule(world: World, action: str, argument: str = "", **fields: Any) -> None:
    Rule.objects.create(
        site=world.site, name="No noise", action=action, argument=argument, name_test="equals", **fields
    )
    note_rules_changed(world.site.pk, now=START)


def drop(world: World) -> None:
    add_rule(world, Rule.Action.DROP, "only noise", name_value="Signed Up")
    world.track("Signed Up")


def no_goal(world: World) -> None:
    add_rule(world, Rule.Action.NO_GOAL, name_value="Signed Up")
    world.track("Signed Up")


def rename(world: World) -> None:
    add_rule(world, Rule.Action.RENAME, "Registered", name_value="Signed Up")
    world.track("Signed Up")


def take_no_track(world: World) -> None:
    Source.objects.filter(site=world.site).update(takes_track=False)
    world.track("Signed Up")


def exclude_us(world: World) -> None:
    world.track("Signed Up", integrations={"All": False})


def write_it_otherwise(world: World) -> None:
    world.track("signed up")


def send_something_else(world: World) -> None:
    world.track("Viewed")


def leave_out_the_name(world: World) -> None:
    world.post(world.event(event=None))
    world.digest()


def not_digest(world: World) -> None:
    world.post(world.event())


def switch_off(world: World) -> None:
    create_source(world.site, name="Old shop", kind=Source.Kind.SERVER)
    Source.objects.filter(site=world.site, name="Old shop").update(is_enabled=False)


def send_under_another_visitor(world: World) -> None:
    """Send an event with its own visitor code, then move the code to another user."""
    shared = {"kameleoonVisitorCode": "shared"}
    world.identify(at=-1, traits={"kameleoonVisitorCode": "first"})
    world.track("Signed Up", properties=shared)
    world.identify(at=10, userId="user-2", traits=shared)


def stay_unlinked(world: World) -> None:
    world.identify(userId=None, anonymousId="user-1")


def do_nothing(world: World) -> None:
    pass


def bind_later(world: World) -> None:
    world.track("Registered")
    goal = Goal.objects.get(site=world.site, name=NAME)
    template = world.site.goal_name_template
    catalogue.bind_event(goal, EventName("track", "Registered"), template=template)


@pytest.mark.parametrize(
    ("happen", "why"),
    [
        (drop, "ignored by the rule “No noise”: only noise"),
        (no_goal, "no goal and no conversion by the rule “No noise”"),
        (rename, "changed by the rule “No noise”"),
        (take_no_track, "takes no track events"),
        (exclude_us, "excluded by their sender"),
        (write_it_otherwise, "“signed up” was sent once and nearly matches"),
        (send_something_else, "They sent: “Viewed” (track, once)"),
        (leave_out_the_name, "A track event needs an event name"),
        (not_digest, "queued"),
        (switch_off, "“Old shop” is switched off"),
        (send_under_another_visitor, "counts for the visitor “shared”, who is not linked"),
        (stay_unlinked, "not linked to a user"),
        (do_nothing, "None of the newest 10,000 messages"),
        (bind_later, "converted another goal"),
    ],
    ids=lambda each: getattr(each, "__name__", ""),
)
def test_why_not__without_a_conversion__tells_the_cause(
    world: World, happen: Callable[[World], None], why: str
) -> None:
    world.track("Signed Up", userId="somebody-else")
    happen(world)
    answer = ask(world)
    assert not answer.has_converted
    assert why in told(answer)


@pytest.mark.parametrize("before", [0, 1, 3])
def test_why_not__waiting_for_quota__tells_the_place(world: World, before: int) -> None:
    world.change_site(goals_per_10_seconds=1)
    names = ["Made", *(f"Before {number}" for number in range(before)), "Signed Up", "Behind"]
    world.send(*(world.event(event=name) for name in names))
    Goal.objects.create(site=world.site, name=NAME)  # this moment: nothing has woken the name

    answer = ask(world)

    assert (
        f"One message is queued. {sentence_of('goal_quota', world.site)} Names ahead in the queue: {before}."
        in told(answer)
    )
    assert not answer.has_converted


@pytest.mark.parametrize("before", [0, 1, 3])
def test_trace__waiting_for_quota__tells_the_place(world: World, before: int) -> None:
    world.change_site(goals_per_10_seconds=1)
    names = ["Made", *(f"Before {number}" for number in range(before)), "Signed Up", "Behind"]
    world.send(*(world.event(event=name) for name in names))
    message = Message.objects.get(waiting_for=NAME)

    lines = {line.label: line.text for step in trace(world.site, message).steps for line in step.lines}

    assert lines["ahead in the queue"] == count_of(before, "name")


def test_why_not__with_a_conversion__says_yes(world: World) -> None:
    world.send(
        world.event(at=1),
        world.event(at=2, userId=None, anonymousId="anon-1"),
        world.event("identify", at=3, anonymousId="anon-1"),
    )
    for person in ("user-1", "anon-1"):
        answer = ask(world, person)
        assert answer.has_converted
    assert "the last at 2026-11-22 03:00:0" in told(answer)


def test_why_not__of_what_a_server_sent_for_a_visitors_user__agrees_with_the_list(world: World) -> None:
    world.send(
        world.event("page", userId=None, anonymousId="anon-1", name="Home", kameleoonVisitorCode="vc1"),
        world.event("identify", at=1, anonymousId="anon-1"),
        world.event(at=2),
    )

    assert ask(world, "vc1").has_converted
    assert world.visitors() == ["vc1", "vc1"]
    world.identify(at=3, userId="user-2", anonymousId="anon-1")  # the device changes hands
    assert ask(world).has_converted


def test_page__person_and_goal__takes_thirteen_queries(world: World, django_assert_max_num_queries: Any) -> None:
    world.send(world.event(), world.event(userId="<b>"))
    viewer = browser_of(world.site, "viewer")
    viewer.get(address("why/"))
    with django_assert_max_num_queries(13):
        page = text_of(viewer.get(address("why/"), {"person": "user-1", "goal": NAME}))
    assert "Converted" in page
    assert "&lt;b&gt;" in text_of(viewer.get(address("why/"), {"person": "<b>", "goal": NAME}))
    assert "Which goal?" not in text_of(viewer.get(address("why/"), {"person": "user-1", "goal": "signed"}))
    world.track("Signed In")
    assert "Which goal?" in text_of(viewer.get(address("why/"), {"person": "user-1", "goal": "signed"}))
    assert "No goal matches" in text_of(viewer.get(address("why/"), {"person": "user-1", "goal": "\0nothing"}))


def test_page__of_a_name_that_waits_for_the_limit__says_so_with_the_sites_own(
    world: World, django_assert_max_num_queries: Any
) -> None:
    world.change_site(goals_per_10_seconds=1, goals_per_hour=1_234)
    world.track("Signed In")
    world.send(*(world.event("track", event=name, userId="user-2") for name in ("First", "Clicked on Checkout")))
    viewer = browser_of(world.site, "viewer")
    waits = "No goal is called “SegmentIO track – Clicked on Checkout” yet"
    viewer.get(address("why/"))

    for typed in ("Clicked on Checkout", "checkout - clicked", "SegmentIO track – Clicked on Checkout"):
        with django_assert_max_num_queries(13):
            page = text_of(viewer.get(address("why/"), {"person": "user-2", "goal": typed}))
        assert waits in page, typed
        assert "1 in any 10 seconds and 1,234 in any hour. Ahead in the queue: 1 name." in page
        assert "One message of this person waits among them." in page
    assert waits in text_of(viewer.get(address("why/"), {"goal": "Clicked on Checkout"}))
    page = text_of(viewer.get(address("why/"), {"person": "user-9", "goal": "Clicked on Checkout"}))
    assert "None of them is of this person" in page
    several = text_of(viewer.get(address("why/"), {"person": "user-2", "goal": "segmentio"}))
    assert several.count("queued (goal limit)") == 2
    assert "<bdi>Signed In</bdi>" in several
    assert waits not in text_of(viewer.get(address("why/"), {"person": "user-2", "goal": "Signed In"}))


@pytest.mark.parametrize(
    ("who", "status"),
    [("anonymous", 302), ("outsider", 404), ("viewer", 200), ("editor", 200), ("owner", 200), ("superuser", 200)],
)
def test_page__whoever_asks__is_a_member(world: World, who: str, status: int) -> None:
    assert browser_of(world.site, who).get(address("why/")).status_code == status
