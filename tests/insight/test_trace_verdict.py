"""The verdict of a trace says in one sentence how an event ended, and its page begins with it."""

import json
import re
import shlex
from collections.abc import Callable
from typing import Any

import pytest

from api.models import Message
from api.rules.actions import RuleAction
from goals.models import Conversion
from tests.support.pages import address, browser_of, text_of
from tests.support.traces import add_rule, last, look, names_nobody, stay, waits_for_quota
from tests.world import World

pytestmark = pytest.mark.promise("N-04")

WAITS = "It converts as soon as the goal “track Third” may be created. 1 name ahead in the queue."


def ignores(world: World) -> None:
    add_rule(world, RuleAction.DROP, argument="noise")
    world.track("Buy")


def loses_its_conversion(world: World) -> None:
    world.track("Buy")
    Conversion.objects.all().delete()


@pytest.mark.parametrize(
    ("go", "mood", "sentence"),
    [
        (
            lambda world: world.track("Buy", properties={"revenue": 142.85, "currency": "EUR"}),
            "good",
            "Converted track Buy for visitor user-1 (142.85 EUR), _ after receipt.",
        ),
        (
            lambda world: world.track("Buy"),
            "good",
            "Converted track Buy for visitor user-1, _ after receipt.",
        ),
        (names_nobody, "bad", "Rejected: The event names no person. Send userId, anonymousId or a visitor code."),
        (
            waits_for_quota,
            "warn",
            f"Queued (goal limit): {WAITS}",
        ),
        (
            lambda world: stay(world, world.event(event="Buy")),
            "warn",
            "Queued: It would create the goal “track Buy”.",
        ),
        (lambda world: world.identify(traits={"plan": "pro"}), "good", "Profile updated, _ after receipt."),
        (
            lambda world: [world.identify(traits={"a": 1}) for _ in range(2)],
            "",
            "No effect: Nothing changed: already known.",
        ),
        (ignores, "", "No effect: Ignored by a rule; see its reason on the event."),
        (loses_its_conversion, "warn", "Converted: Its conversion has been deleted since."),
    ],
)
def test_verdict__of_an_event__says_how_it_ended(
    world: World, go: Callable[[World], Any], mood: str, sentence: str
) -> None:
    go(world)

    verdict = last(world).verdict

    assert verdict.mood == mood
    assert re.sub(r", [\d.]+ m?s after", ", _ after", verdict.sentence) == sentence


def test_page__of_a_converted_event__leads_on_and_folds_what_passed(world: World) -> None:
    world.track("Order <b>", anonymousId="anon 1")
    message = world.last_message()
    viewer = browser_of(world.site, "viewer")

    response: Any = viewer.get(address(f"events/{message.pk}/"))
    page = text_of(response)

    assert response.context["title"] == "Order <b>"
    assert "Order &lt;b&gt;" in page
    assert "people/person/?id=user-1" in page
    assert f"goals/{message.goal_id}/" in page
    assert f"http://testserver/admin/s/{world.site.sitecode}/events/{message.pk}/" in page
    assert "Retry …" not in page
    shown = look(message)
    assert [step.title for step in shown.open] == []
    assert shown.passed > 5
    assert f"{shown.passed} checks passed" in page


def test_page__of_a_rejected_event__opens_the_step_that_stopped_it(world: World) -> None:
    world.track("Buy", userId=None)
    message = world.last_message()
    path = address(f"events/{message.pk}/")

    assert [step.state for step in look(message).open] == ["stopped"]
    assert "Retry …" in text_of(browser_of(world.site, "editor").get(path))
    assert "Retry …" not in text_of(browser_of(world.site, "viewer").get(path))
    assert "delivery/failed/retry/?reason=no_identity" in text_of(browser_of(world.site, "editor").get(path))


def test_page__copied_as_curl__sends_the_same_event(world: World) -> None:
    world.track("It's <b>", properties={"text": "'; rm -rf / #"})
    message = world.last_message()

    response: Any = browser_of(world.site, "viewer").get(address(f"events/{message.pk}/"))
    command = shlex.split(response.context["curl"])

    assert command[0] == "curl"
    assert command[-1] == "http://testserver/v1/track"
    sent = json.loads(command[command.index("--data-raw") + 1])
    assert (sent["event"], sent["properties"]) == ("It's <b>", {"text": "'; rm -rf / #"})


def test_tester__from_an_event__has_its_body_without_the_message_id(world: World) -> None:
    world.track("Buy", properties={"size": "XL"})
    viewer = browser_of(world.site, "viewer")

    response: Any = viewer.get(address(f"tester/?event={world.last_message().pk}"))

    text_of(response)
    body = json.loads(response.context["body"])
    assert (body["event"], body["properties"]) == ("Buy", {"size": "XL"})
    assert "messageId" not in body
    for odd in ("x", "0", str(2**63 - 1)):
        text_of(viewer.get(address("tester/"), {"event": odd}))


def test_page__of_an_event_without_a_name__is_called_by_its_type(world: World) -> None:
    world.identify(traits={"plan": "pro"})
    page: Any = browser_of(world.site, "viewer").get(address(f"events/{Message.objects.get().pk}/"))
    text_of(page)
    assert page.context["title"] == "Identify event"
