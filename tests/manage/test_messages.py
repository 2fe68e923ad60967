"""The trace of a message, and why a visitor did not convert a goal, as programs ask for them (promise N-04)."""

from datetime import UTC, datetime
from urllib.parse import quote

import pytest
from django.utils.dateparse import parse_datetime

from api.insight.trace import trace
from api.insight.why_not import why_not
from api.models import Message
from api.tokens import make_token
from goals.models import Goal
from tests.manage.conftest import Caller, refusal
from tests.world import SITECODE, World, owner_of


@pytest.fixture
def viewer(world: World) -> Caller:
    _, value = make_token([world.site], description="CI", role="viewer", made_by=owner_of(world.site), expires_at=None)
    return Caller(f"Bearer {value}", world.credential)


@pytest.mark.promise("N-04")
def test_trace__of_a_message__says_what_its_page_says(world: World, viewer: Caller) -> None:
    world.track("Bought", messageId="m-1", userId="ada")
    world.digest()
    message = Message.objects.get()

    told = viewer.get(f"/api/messages/{message.pk}/trace")

    steps = trace(world.site, message).steps
    assert [(step["title"], step["state"], step["text"]) for step in told["steps"]] == [
        (step.title, step.state.value, step.text) for step in steps
    ]
    assert [[line["text"] for line in step["lines"]] for step in told["steps"]] == [
        [line.text for line in step.lines] for step in steps
    ]
    assert {step["title"] for step in told["steps"]} > {"Received", "Identity", "Goal", "Quota", "Conversion"}
    assert (told["id"], told["messageId"], told["sitecode"]) == (message.pk, "m-1", SITECODE)
    assert (told["status"], told["goalId"]) == ("done", Goal.objects.get().pk)
    assert "converted" in told["effects"]
    assert parse_datetime(told["steps"][0]["at"]) == message.received_at


@pytest.mark.promise("N-04")
def test_trace__of_what_was_refused__ends_at_the_door(world: World, viewer: Caller) -> None:
    assert world.post(world.event(event=None, messageId="m-1")).status_code == 200
    world.digest()
    message = Message.objects.get()

    told = viewer.get(f"/api/messages/{message.pk}/trace")

    assert (told["status"], told["reason"]) == ("rejected", message.reason)
    assert told["sentence"] == message.sentence
    assert told["steps"][-1]["state"] == "stopped"


@pytest.mark.promise("N-04", "K-82")
@pytest.mark.parametrize("message_id", ["m-1", "a/b?c=d&e#f", "ü %41 +", "a" * 255])
def test_answer__its_path__leads_to_the_trace(world: World, viewer: Caller, message_id: str) -> None:
    answer = world.post(world.event(messageId=message_id)).json()
    again = world.post(world.event(messageId=message_id)).json()

    told = viewer.get(answer["trace"])

    assert again["trace"] == answer["trace"]
    assert (told["id"], told["messageId"]) == (Message.objects.get().pk, message_id)
    assert viewer.get(f"/api/trace?messageId={quote(message_id, safe='')}")["id"] == told["id"]


def test_answer__without_a_message_id__has_no_path(world: World) -> None:
    assert world.post(world.event(messageId=None)).json()["trace"] is None


@pytest.mark.promise("N-04")
@pytest.mark.parametrize("path", ["/api/messages/{number}/trace", "/api/trace?messageId=m-1"])
def test_trace__for_an_outsider__is_not_there(world: World, outsider: Caller, path: str) -> None:
    world.send(world.event(messageId="m-1"))

    assert refusal(outsider.ask("GET", path.format(number=Message.objects.get().pk))) == (404, "not_found")


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/api/messages/999999/trace", 404),
        ("/api/trace?messageId=none", 404),
        ("/api/trace?messageId=%00", 404),
        ("/api/trace", 400),
        ("/api/trace?messageId=a&type=odd", 400),
        ("/api/trace?messageId=a&site=elsewhere0", 404),
        ("/api/why-not?visitor=a", 400),
        ("/api/why-not?goal=1", 400),
        ("/api/why-not?visitor=a&goal=x", 400),
        ("/api/why-not?visitor=a&goal=999999", 404),
        ("/api/why-not?visitor=a&goal=9223372036854775807", 404),
    ],
)
def test_question__that_has_no_answer__is_refused(world: World, viewer: Caller, path: str, status: int) -> None:
    assert refusal(viewer.ask("GET", path))[0] == status


@pytest.mark.promise("N-04")
@pytest.mark.parametrize(
    ("visitor", "code"), [("ada", "converted"), ("bob", "nearly_the_name"), ("eve", "no_messages")]
)
def test_why_not__of_a_visitor__answers_as_its_page(world: World, viewer: Caller, visitor: str, code: str) -> None:
    world.track("Bought", userId="ada")
    world.track("bought ", userId="bob")
    world.digest()
    goal = Goal.objects.get(name="SegmentIO track – Bought")

    told = viewer.get(f"/api/why-not?visitor={visitor}&goal={goal.pk}")

    answer = why_not(world.site, visitor, goal)
    assert told["hasConverted"] == answer.has_converted == (visitor == "ada")
    assert [(each["code"], each["text"], each["messages"]) for each in told["sentences"]] == [
        (each.code, each.text, list(each.messages)) for each in answer.sentences
    ]
    assert code in {each["code"] for each in told["sentences"]}


@pytest.mark.promise("N-04")
def test_why_not__for_an_outsider__is_not_there(world: World, outsider: Caller) -> None:
    goal = Goal.objects.create(site=world.site, name="Bought", created_at=datetime.now(UTC))

    assert refusal(outsider.ask("GET", f"/api/why-not?visitor=ada&goal={goal.pk}")) == (404, "not_found")
