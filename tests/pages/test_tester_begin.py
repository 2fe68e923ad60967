"""The beginning of a test: the fields above the JSON, the last event of a name, and the last tests of a person."""

import html
import json
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from api.models import Message, Source
from api.models.message import MessageBody
from api.pages.events import tester_history
from api.pages.events.tester_fields import fill_in, find_trouble, list_fields
from tests.support.pages import Enter, text_of
from tests.world import World

PATH = "/admin/s/1q2w3e4r5t/tester/"
BUY = {"type": "track", "event": "Buy", "userId": "u1", "properties": {"price": 12345678901234567890}}


def page(person: Client, query: str = "") -> str:
    return html.unescape(text_of(person.get(PATH + query)))


def json_of(text: str) -> Any:
    return json.loads(text.partition('<textarea name="body"')[2].partition(">")[2].partition("</textarea>")[0])


def test_fields__of_each_type__are_read_where_the_digest_reads_them() -> None:
    event = {"type": "page", "name": "Home", "anonymousId": 7, "context": {"traits": {"k_visitorCode": "v"}}}

    found = [(field.name, field.path, field.value) for field in list_fields(json.dumps(event))]

    assert found == [
        ("name", "name", "Home"),
        ("user", "userId", ""),
        ("anonymous", "anonymousId", "7"),
        ("visitor", "context.traits.k_visitorCode", "v"),
    ]
    assert [field.name for field in list_fields('{"type": "identify"}')] == ["user", "anonymous", "visitor"]
    assert {field.value for field in list_fields("no JSON")} == {""}


def test_fill_in__a_field_that_was_changed__is_written_and_nothing_else() -> None:
    body = json.dumps(BUY)
    was = {"name": "Buy", "user": "u1", "visitor": ""}

    filled = json.loads(fill_in(body, {"name": "Sell", "user": "", "visitor": "v1"}, was))

    assert filled == {
        "type": "track",
        "event": "Sell",
        "properties": {"price": 12345678901234567890, "kameleoonVisitorCode": "v1"},
    }


@pytest.mark.parametrize(
    ("body", "asked", "was"),
    [
        (json.dumps(BUY), {"name": "Buy"}, {"name": "Buy"}),
        (json.dumps(BUY), {"name": "Sell"}, {"name": "Bought"}),  # the JSON was changed, too: it wins
        ("no JSON", {"name": "Sell"}, {"name": ""}),
        ("[]", {"name": "Sell"}, {"name": ""}),
        ('{"type": "track", "price": 1e999}', {"name": "Sell"}, {"name": ""}),  # it could not be written again
        ('{"type": "track", "price": 12345678901234567.89}', {"name": "Sell"}, {"name": ""}),
        ('{"type": "track", "price": 1e-99999999999999999999}', {"name": "Sell"}, {"name": ""}),
    ],
    ids=["unchanged", "both changed", "no JSON", "no object", "too large", "too exact", "too small"],
)
def test_fill_in__without_a_change_to_write__leaves_the_text(body: str, asked: Any, was: Any) -> None:
    assert fill_in(body, asked, was) == body


def test_find_trouble__of_no_json__is_its_line_and_column() -> None:
    trouble = find_trouble('{\r\n  "event": "Buy"\r\n  "userId": "u"\r\n}')

    assert trouble is not None
    assert (trouble.line, trouble.column) == (3, 3)
    assert (trouble.before, trouble.at, trouble.after) == ("  ", '"', 'userId": "u"')
    assert [find_trouble(text) for text in ('\ufeff{"a": 1}', "[" * 100_000, "[]")] == [None, None, None]


@pytest.mark.parametrize("do", ["dry", "fill", "send"])
def test_page__of_characters_without_bytes__shows_their_escapes_and_leaves_the_event(
    editor: Client, source: Source, do: str
) -> None:
    body = '{"type": "track", "event": "Buy\\ud800", "userId": "u\\udc00"}'
    form = {"field.name": "Sell", "was.name": "Buy\\ud800", "source": source.pk, "body": body, "do": do}

    shown = editor.post(PATH, form, follow=True)

    assert shown.status_code == 200
    if do != "send":
        assert 'value="Buy\\ud800" maxlength="500" autocomplete="off" spellcheck="false" readonly' in text_of(shown)
        assert json_of(html.unescape(text_of(shown)))["event"] == "Buy\ud800"
    assert editor.get(PATH).status_code == 200


def test_page__of_broken_json__names_line_and_column(viewer: Client, source: Source) -> None:
    shown = text_of(viewer.post(PATH, {"source": source.pk, "body": '{"event": "Buy",}', "do": "dry"}))

    assert "Line 1, column 17: " in shown
    assert 'aria-invalid="true"' in shown
    assert "Would be rejected" in shown


def test_form__without_scripts__writes_its_fields_into_the_json(
    viewer: Client, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    form = {"body": json.dumps(BUY), "field.name": "Sell", "was.name": "Buy", "field.user": "u1", "was.user": "u1"}

    tried = html.unescape(text_of(viewer.post(PATH, {**form, "source": source.pk, "do": "dry"})))
    monkeypatch.delattr("api.pages.events.tester.find_last_events")  # a person who types needs no list
    filled = html.unescape(text_of(viewer.post(PATH, {**form, "source": source.pk, "do": "fill"})))

    assert "Would create a goal and convert it</b>: track Sell for visitor u1." in tried
    assert json_of(tried) == json_of(filled) == {**BUY, "event": "Sell"}
    assert "What would happen" not in filled


def test_last_event__of_a_part_of_its_name__begins_a_test(viewer: Client, world: World) -> None:
    for name in ("Order Completed", "Order Completed", "Cart Viewed"):
        world.track(name, userId="u1", messageId=f"m-{name}-{Message.objects.count()}")
    world.identify(userId="u1", traits={"plan": "pro"})
    newest = Message.objects.filter(message_id="m-Order Completed-1").get()

    found = page(viewer, "?find=ORDER")
    begun = page(viewer, f"?event={newest.pk}")

    assert found.count("Order Completed</a>") == 1
    assert f'<a href="?event={newest.pk}">Order Completed</a>' in found
    assert "Cart Viewed</a>" not in found
    assert ">identify</a>" in page(viewer, "?find=identify")
    assert "No event kept has “nothing”" in page(viewer, "?find=nothing")
    assert json_of(begun)["event"] == "Order Completed"
    assert "messageId" not in json_of(begun)
    assert f'data-copy="http://testserver{PATH}?event={newest.pk}"' in begun


def test_last_event__that_is_not_among_the_newest__is_found_by_its_conversion(
    viewer: Client, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.insight.last_events.NEWEST", 1)
    world.track("Rare", messageId="rare")
    world.track("Without an id")
    world.track("Common")

    for name in ("Rare", "Without an id"):
        assert f">{name}</a>" in page(viewer, f"?find={name.lower()}")


def test_event__that_named_its_type_in_the_path_only__gets_it_back(viewer: Client, world: World) -> None:
    world.track("Buy")
    message = Message.objects.get()
    MessageBody.objects.filter(pk=message.pk).update(body=b'{"event": "Buy", "userId": "u1"}')

    assert json_of(page(viewer, f"?event={message.pk}")) == {"type": "track", "event": "Buy", "userId": "u1"}


def test_tests__of_a_person__are_listed_for_a_day_and_lead_back(enter: Enter, source: Source) -> None:
    editor, viewer = enter("editor"), enter("viewer")
    editor.post(PATH, {"source": source.pk, "body": json.dumps(BUY), "do": "dry"})
    editor.post(PATH, {"source": source.pk, "body": json.dumps({**BUY, "event": "Sell"}), "do": "send"})

    shown = page(editor)
    message = Message.objects.get()

    assert shown.index(f'events/{message.pk}/">Sell</a>') < shown.index(">Buy</a>")
    token = shown.partition("?test=")[2].partition('"')[0]
    assert json_of(page(editor, f"?test={token}")) == BUY
    assert "Your last tests" not in page(viewer)
    assert json_of(page(viewer, f"?test={token}")) != BUY  # it is in another person's session

    session = editor.session
    late = (timezone.now() - timedelta(days=1, seconds=1)).isoformat()
    session["tests"] = [{**test, "at": late} for test in session["tests"]]
    session.save()
    assert "Your last tests" not in page(editor)


def test_tests__more_than_ten__are_the_last_ten(viewer: Client, source: Source) -> None:
    for number in range(12):
        viewer.post(PATH, {"source": source.pk, "body": json.dumps({**BUY, "event": f"N{number}"}), "do": "dry"})

    shown = page(viewer)

    assert [f">N{number}</a>" in shown for number in range(12)] == [False, False, *[True] * 10]


def test_tests__too_long_to_keep__are_listed_without_a_link(viewer: Client, source: Source) -> None:
    body = json.dumps({**BUY, "event": "Long", "properties": {"text": "x" * tester_history.MOST_CHARACTERS}})
    viewer.post(PATH, {"source": source.pk, "body": body, "do": "dry"})

    shown = page(viewer)

    assert "Long" in shown.partition("Your last tests")[2]
    assert "?test=" not in shown
