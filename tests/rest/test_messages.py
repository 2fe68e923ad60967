"""The API's trace of a message, and its reasons why a visitor did not convert a goal (promise N-04)."""

from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import pytest
from django.utils.dateparse import parse_datetime

from api.http.credentials import clear_lookups
from api.http.tokens import make_token
from api.insight.trace import trace
from api.insight.why_not import why_not
from api.models import Message, Rule, Source
from goals.models import Goal
from tests.support.management_api import Caller, refusal
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

    shown = viewer.get(f"/api/messages/{message.pk}/trace")

    steps = trace(world.site, message).steps
    assert [(step["title"], step["state"], step["text"]) for step in shown["steps"]] == [
        (step.title, step.state.value, step.text) for step in steps
    ]
    assert [[line["text"] for line in step["lines"]] for step in shown["steps"]] == [
        [line.text for line in step.lines] for step in steps
    ]
    assert {step["title"] for step in shown["steps"]} > {"Received", "Identity", "Goal", "New-goal limit", "Conversion"}
    assert (shown["id"], shown["messageId"], shown["sitecode"]) == (message.pk, "m-1", SITECODE)
    assert (shown["status"], shown["goalId"]) == ("done", Goal.objects.get().pk)
    assert "converted" in shown["effects"]
    assert parse_datetime(shown["steps"][0]["at"]) == message.received_at


@pytest.mark.promise("N-04")
def test_trace__of_what_was_refused__ends_at_ingest(world: World, viewer: Caller) -> None:
    assert world.post(world.event(event=None, messageId="m-1")).status_code == 200
    world.digest()
    message = Message.objects.get()

    shown = viewer.get(f"/api/messages/{message.pk}/trace")

    assert (shown["status"], shown["reason"]) == ("rejected", message.reason)
    assert shown["sentence"] == message.sentence
    assert shown["steps"][-1]["state"] == "stopped"


@pytest.mark.promise("N-04", "K-82")
@pytest.mark.parametrize("message_id", ["m-1", "a/b?c=d&e#f", "ü %41 +", "a" * 255])
def test_answer__its_path__leads_to_the_trace(world: World, viewer: Caller, message_id: str) -> None:
    answer = world.post(world.event(messageId=message_id)).json()
    again = world.post(world.event(messageId=message_id)).json()

    shown = viewer.get(answer["trace"])

    assert again["trace"] == answer["trace"]
    assert (shown["id"], shown["messageId"]) == (Message.objects.get().pk, message_id)
    assert viewer.get(f"/api/trace?messageId={quote(message_id, safe='')}")["id"] == shown["id"]


@pytest.mark.promise("K-82")
def test_answer__without_a_message_id__leads_to_each_trace(world: World, viewer: Caller) -> None:
    answers = [world.post(world.event(messageId=None)).json() for _ in range(2)]

    ids = [viewer.get(answer["trace"])["id"] for answer in answers]

    assert ids == list(Message.objects.order_by("id").values_list("pk", flat=True))


@pytest.mark.promise("K-82")
@pytest.mark.parametrize(
    ("fields", "reason"),
    [({"event": None}, "missing_name"), ({"event": "e" * 501}, "name_too_long"), ({"userId": None}, "no_identity")],
)
def test_answer__to_what_is_rejected_later__leads_to_its_trace(
    world: World, viewer: Caller, fields: dict[str, Any], reason: str
) -> None:
    answer = world.post(world.event(messageId="m-1", **fields)).json()
    world.digest()

    shown = viewer.get(answer["trace"])

    assert (answer["status"], shown["status"], shown["reason"]) == ("accepted", "rejected", reason)
    assert shown["sentence"]
    assert shown["steps"][-1]["state"] == "stopped"


@pytest.mark.promise("K-82")
@pytest.mark.parametrize("takes_track", [True, False])
def test_answer__to_what_its_site_ignores__leads_to_its_trace(
    world: World, viewer: Caller, *, takes_track: bool
) -> None:
    """The message is stored without its messageId, so that another source's copy of it counts."""
    if takes_track:
        source = Source.objects.get(site=world.site)
        Rule.objects.create(site=world.site, source=source, position=1, action="drop", argument="noise")
    else:
        Source.objects.filter(site=world.site).update(takes_track=False)
    clear_lookups()
    answers = [world.post(world.event(messageId="m-1")).json() for _ in range(2)]
    world.digest()

    shown = [viewer.get(answer["trace"]) for answer in answers]

    assert [answer["messageId"] for answer in answers] == ["m-1", "m-1"]
    reason = "dropped_by_rule" if takes_track else "track_not_taken"
    assert [entry["reason"] for entry in shown] == [reason, reason]
    assert shown[0]["id"] < shown[1]["id"]


@pytest.mark.promise("K-82")
def test_trace__of_several_with_one_message_id__tells_all_newest_first(
    world: World, viewer: Caller, outsider: Caller
) -> None:
    bad, good = world.event(messageId="m-1", event=None), world.event(messageId="m-1")
    for event in (bad, bad, good, {**good, "type": "purchase"}, bad | {"type": "page", "name": "Home"}):
        world.post(event)
        world.digest()
    world.post({"type": "track", "messageId": "another"})
    path = f"/api/trace?site={SITECODE}&type=track&messageId=m-1"

    shown, of_all_types = viewer.get(path), viewer.get("/api/trace?messageId=m-1")

    messages = list(Message.objects.filter(message_id="m-1").order_by("-id"))
    assert [(entry["id"], entry["reason"]) for entry in of_all_types["messages"]] == [
        (message.pk, message.reason) for message in messages
    ]
    assert [(entry["type"], entry["status"], entry["reason"]) for entry in shown["messages"]] == [
        ("", "rejected", "invalid_event"),
        ("track", "done", ""),
        ("track", "rejected", "missing_name"),
        ("track", "rejected", "missing_name"),
    ]
    assert shown["id"] == shown["messages"][0]["id"]
    assert of_all_types["id"] == messages[0].pk
    for entry in of_all_types["messages"]:
        alone = viewer.get(entry["trace"])
        assert (alone["id"], alone["status"], alone["sentence"]) == (entry["id"], entry["status"], entry["sentence"])
        assert (entry["sitecode"], alone["receivedAt"]) == (SITECODE, entry["receivedAt"])
    assert refusal(outsider.ask("GET", "/api/trace?messageId=m-1")) == (404, "not_found")


@pytest.mark.promise("K-82")
def test_trace__by_a_message_id_that_is_stored_as_its_hash__is_found(world: World, viewer: Caller) -> None:
    answer = world.post(world.event(messageId="m" * 300)).json()

    shown = viewer.get(f"/api/trace?messageId={'m' * 300}")

    assert shown["id"] == viewer.get(answer["trace"])["id"] == Message.objects.get().pk


def test_trace__of_very_many_with_one_message_id__tells_the_newest(world: World, viewer: Caller) -> None:
    world.post([{**world.event(messageId="m-1"), "type": "purchase"} for _ in range(150)])

    shown = viewer.get("/api/trace?messageId=m-1")

    numbers = list(Message.objects.order_by("-id").values_list("pk", flat=True)[:100])
    assert [message["id"] for message in shown["messages"]] == numbers


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

    shown = viewer.get(f"/api/why-not?visitor={visitor}&goal={goal.pk}")

    answer = why_not(world.site, visitor, goal)
    assert shown["hasConverted"] == answer.has_converted == (visitor == "ada")
    assert [(sentence["code"], sentence["text"], sentence["messages"]) for sentence in shown["sentences"]] == [
        (sentence.code, sentence.text, list(sentence.messages)) for sentence in answer.sentences
    ]
    assert code in {sentence["code"] for sentence in shown["sentences"]}


@pytest.mark.promise("N-04")
def test_why_not__for_an_outsider__is_not_there(world: World, outsider: Caller) -> None:
    goal = Goal.objects.create(site=world.site, name="Bought", created_at=datetime.now(UTC))

    assert refusal(outsider.ask("GET", f"/api/why-not?visitor=ada&goal={goal.pk}")) == (404, "not_found")
