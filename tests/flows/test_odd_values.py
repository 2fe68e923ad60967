"""Events with odd values, bytes and missing fields."""

from typing import Any

import pytest

from api.models import Message
from tests.support.messages import body_of
from tests.world import World

ODD_VALUES: list[tuple[str, Any, str | None]] = [
    ("event", "a\0b", "replaced_characters"),
    ("userId", 12, None),
    ("userId", 12.5, None),
    ("userId", ["u"], "unreadable_id"),
    ("userId", "u" * 256, "unreadable_id"),
    ("messageId", 7, None),
    ("messageId", {"a": 1}, "unreadable_message_id"),
    ("messageId", "m" * 300, "long_message_id"),
    ("messageId", "a\0b", "replaced_characters"),
    ("properties", "text", "unreadable_properties"),
    ("properties", [1], "unreadable_properties"),
    ("properties", {"k" * 100_000: 1}, None),
    ("properties", {"a\0b": "c\0d"}, "replaced_characters"),
    ("context", 5, "unreadable_properties"),
    ("context", {"traits": 5, "personas": 5}, "unreadable_properties"),
    ("timestamp", "0001-01-01T00:00:00Z", "invalid_timestamp"),
    ("timestamp", "9999-12-31T23:59:59.999Z", "future_timestamp"),
    ("timestamp", "9999-12-31T23:59:59.999-12:00", "invalid_timestamp"),
    ("timestamp", 1_700_000_000, None),
    ("timestamp", 1_700_000_000_000_000, "invalid_timestamp"),
    ("timestamp", "yesterday", "invalid_timestamp"),
    ("timestamp", {"a": 1}, "invalid_timestamp"),
    ("timestamp", "2015-2-02T00:30:12.984Z", None),
]


@pytest.mark.promise("K-80", "K-81", "K-85", "I-08")
@pytest.mark.parametrize(("name", "value", "warning"), ODD_VALUES)
def test_event__with_an_odd_value__is_taken_with_a_warning(
    world: World, name: str, value: Any, warning: str | None
) -> None:
    event, neighbour = world.event(anonymousId="anon-1"), world.event()
    event[name] = value

    answer = world.post([event, neighbour])
    world.digest()

    assert answer.json()["accepted"] == 2
    message = Message.objects.order_by("id").first()
    assert message is not None
    assert message.status == "done"
    assert message.warnings == ([warning] if warning else [])
    assert world.last_message().status == "done"


@pytest.mark.parametrize(
    ("raw", "warning"),
    [
        (b'"properties":{"a":"\\ud800"}', "replaced_characters"),
        (b'"properties":{"\\udfff":[{"b":"x\\ud800"}]}', "replaced_characters"),
        (b'"properties":{"a":"\\ud83d\\ude00"}', None),
        (b'"\\ud800":1', "replaced_characters"),
        (b'"properties":{"a":' + b"[" * 200 + b'"\\u0000"' + b"]" * 200 + b"}", "replaced_characters"),
        (b'"properties":{"a":1e400}', "number_out_of_range"),
        (b'"properties":{"a":-1e400,"b":' + b"9" * 5000 + b"}", "number_out_of_range"),
        (b'"properties":{"a":' + b"9" * 400 + b"}", None),
        (b'"properties":{"a":' + b"[" * 200 + b"]" * 200 + b"}", None),
        (b'"properties":{"a":1,"a":2}', None),
        (b'"timestamp":1e400', "invalid_timestamp number_out_of_range"),
        (b'"messageId":"\\ud800"', "replaced_characters"),
    ],
)
def test_event__with_odd_bytes__is_taken_with_a_warning(world: World, raw: bytes, warning: str | None) -> None:
    body = b'{"type":"track","event":"Buy","userId":"user-1",' + raw + b"}"

    answer = world.post(body)
    in_array = world.post(b" [" + body + b" ,\n" + body + b"] ")
    world.digest()

    assert answer.json()["status"] == "accepted"
    assert in_array.json()["accepted"] == 2 or b"messageId" in body
    assert (world.last_message().status, world.last_message().reason) == ("done", "")
    assert set(world.last_message().warnings) == set((warning or "").split())
    assert body_of(world.last_message()) == body
    assert world.goals() == {"SegmentIO track – Buy": 1 if b"messageId" in body else 3}


@pytest.mark.promise("K-80")
@pytest.mark.parametrize("type_", ["track", "page", "screen", "identify", "group", "alias"])
@pytest.mark.parametrize(
    "left_out", ["anonymousId", "userId", "properties", "timestamp", "context", "messageId", "name"]
)
def test_event__with_any_field_filtered_away__is_no_error(world: World, type_: str, left_out: str) -> None:
    event = world.event(
        type_, anonymousId="a1", properties={"a": 1}, context={}, name="N", event="E", groupId="g", previousId="p"
    )
    event.pop(left_out, None)

    world.send(event)

    assert world.last_message().status == ("rejected" if (type_, left_out) == ("alias", "userId") else "done")
