"""Events of the tracking API: types, ids, times, content types, refusals and limits."""

import gzip
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pytest_django import Settings

from api.ingest import nudge
from api.ingest.provisioning import create_source
from api.models import Message, Source
from goals.models import Conversion
from tests.support.concurrency import wait_until
from tests.support.messages import bodies_of
from tests.support.outages import forget_backlog
from tests.support.tracking import EVENTS, KEY, basic, post
from tests.world import World


@pytest.mark.promise("I-27", "I-26", "I-03")
@pytest.mark.parametrize("slash", ["", "/"])
@pytest.mark.parametrize("path", [*EVENTS, *(name[0] for name in EVENTS)])
def test_event__of_each_type_by_its_path__is_taken(world: World, source: Source, path: str, slash: str) -> None:
    type_ = next(name for name in EVENTS if path in {name, name[0]})

    response = post(world, f"/v1/{path}{slash}", EVENTS[type_])

    assert (response.status_code, response.content) == (200, b'{"success":true}')
    message = world.last_message()
    assert (message.type, message.source, message.status) == (type_, source, "pending")
    world.digest()
    assert world.last_message().status == "done"


@pytest.mark.parametrize("path", ["/v1/track", "/v1/batch", "/segmentio"])
@pytest.mark.parametrize(
    "message_id", ["undefined", "null", "None", "[object Object]", "{{messageId}}", 0, "  ", "<nil>"]
)
def test_message_id__that_is_no_id__deduplicates_nothing(
    world: World, source: Source, path: str, message_id: object
) -> None:
    events = [{"userId": f"u{number}", "event": "Paid", "messageId": message_id} for number in range(3)]
    bodies: list[Any] = [{"type": "track", **event} for event in events]
    if path == "/v1/batch":
        bodies = [{"batch": bodies}]

    answers = [world.post(body) if path == "/segmentio" else post(world, path, body) for body in bodies]

    assert {answer.status_code for answer in answers} == {200}
    assert Conversion.objects.count() == 0
    world.digest()
    assert sorted(world.visitors()) == ["u0", "u1", "u2"]
    expected = [] if str(message_id).isspace() else ["placeholder_message_id"]
    assert [message.warnings for message in Message.objects.all()] == [expected] * 3


def test_message_id__that_is_no_id_of_refused_events__is_not_kept(world: World, source: Source) -> None:
    for user in ("u1", "u2"):
        assert post(world, "/v1/track", {"userId": user, "messageId": "undefined"}).status_code == 400

    assert list(Message.objects.values_list("message_id", "reason")) == [(None, "missing_name")] * 2


@pytest.mark.promise("I-05", "I-18", "I-28")
@pytest.mark.parametrize(
    ("type_", "lacks", "code"),
    [
        ("track", "userId", "no_identity"),
        ("track", "event", "missing_name"),
        ("identify", "userId", "no_identity"),
        ("group", "groupId", "missing_group_id"),
        ("page", "anonymousId", "no_identity"),
        ("alias", "previousId", "missing_previous_id"),
    ],
)
def test_event__that_lacks_a_field__is_refused_by_its_name_and_kept(
    world: World, source: Source, type_: str, lacks: str, code: str
) -> None:
    event = {name: value for name, value in EVENTS[type_].items() if name != lacks}

    response = post(world, f"/v1/{type_}", {**event, "messageId": "m1"})

    assert (response.status_code, response.json()["code"]) == (400, code)
    assert f"`{lacks}`" in response.json()["message"]
    message = world.last_message()
    assert (message.type, message.message_id, message.status, message.reason) == (type_, "m1", "rejected", code)
    assert post(world, f"/v1/{type_}", {**EVENTS[type_], "messageId": "m1"}).status_code == 200


@pytest.mark.parametrize("placeholder", ["null", "", "  ", None, "undefined", [], {}])
def test_event__of_a_placeholder__names_nobody(world: World, source: Source, placeholder: Any) -> None:
    response = post(world, "/v1/track", {"event": "E", "userId": placeholder, "anonymousId": None})

    assert (response.status_code, response.json()["code"]) == (400, "no_identity")


@pytest.mark.parametrize(
    ("type_", "fields", "told"),
    [
        (
            "track",
            {"event": "E", "userId": "u" * 300},
            "`userId` is too long: it has 300 characters, and an id has 255",
        ),
        ("track", {"event": "E", "anonymousId": " " + "a" * 256}, "`anonymousId` is too long: it has 256 characters"),
        ("page", {"userId": 10**300, "anonymousId": "null"}, "`anonymousId` is a placeholder"),
        ("identify", {"userId": {"id": "u"}}, "`userId` is neither a string nor a number"),
        ("group", {"userId": "u", "groupId": "g" * 1_000}, "`groupId` is too long: it has 1,000 characters"),
        ("group", {"userId": "u", "groupId": ["a", "b"]}, "`groupId` is neither"),
        ("group", {"userId": "u", "groupId": ["g" * 256]}, "`groupId` is too long"),
        ("alias", {"userId": "u", "previousId": "p" * 256}, "`previousId` is too long"),
    ],
)
def test_event__whose_id_cannot_be_read__is_told_why(
    world: World, source: Source, type_: str, fields: dict[str, Any], told: str
) -> None:
    response = post(world, f"/v1/{type_}", fields)

    assert response.status_code == 400
    assert told in response.json()["message"]
    assert len(response.json()["message"]) < 400
    assert world.last_message().detail == response.json()["message"]


@pytest.mark.promise("I-06", "I-08")
def test_import__of_the_past__keeps_its_times(world: World, source: Source) -> None:
    past = "2019-03-01T10:00:00Z"
    ahead = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    times = [past, "2015-2-02T00:30:12.984Z", 1425000000, "1425000000000", "Fri, 27 Feb 2015 01:20:00 GMT", "yesterday"]
    times.append(ahead)
    events = [{"type": "track", "event": "E", "userId": "u1", "timestamp": time} for time in times]

    post(world, "/v1/import", {"batch": events, "sentAt": datetime.now(UTC).isoformat()})

    found = list(Message.objects.order_by("position").values_list("occurred_at", "warnings", "received_at"))
    assert found[0][0] == datetime(2019, 3, 1, 10, tzinfo=UTC)
    assert [warnings for _, warnings, _ in found[1:]] == [
        [],
        [],
        [],
        [],
        ["invalid_timestamp"],
        ["future_timestamp"],
    ]
    assert {occurred for occurred, _, _ in found[2:5]} == {datetime(2015, 2, 27, 1, 20, tzinfo=UTC)}
    assert all(occurred == received for occurred, _, received in found[5:])


@pytest.mark.parametrize(
    "content_type", ["application/json", "text/plain", "application/x-www-form-urlencoded", "", "multipart/form-data"]
)
@pytest.mark.parametrize("is_gzip", [False, True])
def test_body__of_any_content_type__is_read_as_json(
    world: World, source: Source, content_type: str, *, is_gzip: bool
) -> None:
    """@rudderstack/rudder-sdk-node 3.0.13 calls gzipped JSON a form."""
    body = json.dumps({"batch": [{"type": "track", **EVENTS["track"]}]}).encode()
    headers = {**basic(), "content-type": content_type, **({"content-encoding": "gzip"} if is_gzip else {})}

    assert post(world, "/v1/batch", gzip.compress(body) if is_gzip else body, headers=headers).status_code == 200


def test_messages__of_one_site__count_once_whatever_their_source(world: World, source: Source) -> None:
    create_source(world.site, name="Server", kind="server", write_key="server_key")
    event = {**EVENTS["track"], "messageId": "m1"}

    for key in (KEY, "server_key"):
        post(world, "/v1/track", event, headers=basic(key))
    world.post({"type": "track", **event})
    world.digest()

    assert world.goals() == {"SegmentIO track – Signed Up": 1}


def test_metrics__of_analytics_js__are_dropped(world: World, source: Source) -> None:
    response = post(world, "/v1/m", {"series": [{"type": "Counter"}]}, headers={})

    assert (response.status_code, response.json()) == (200, {"success": True})
    assert not Message.objects.exists()


def test_event__over_a_mebibyte__is_refused_by_itself(world: World, source: Source) -> None:
    large = {"type": "track", "event": "E", "userId": "u1", "properties": {"x": "x" * 1_048_576}}

    assert post(world, "/v1/track", large).status_code == 413
    assert post(world, "/v1/track", {**EVENTS["track"], "x": "x" * 1_048_400}).status_code == 200
    answer = post(world, "/v1/batch", {"batch": [large, {"type": "track", **EVENTS["track"]}]})
    assert answer.status_code == 200
    assert [(each["index"], each["code"]) for each in answer.json()["rejected"]] == [(0, "too_large")]
    assert set(map(len, bodies_of(Message.objects.filter(reason="too_large")))) == {4096}


def test_inbox__over_its_limit__refuses_last_who_would_not_come_again(
    world: World, source: Source, settings: Settings
) -> None:
    """Altis sends a batch once, whatever the answer."""
    create_source(world.site, name="Altis", kind="altis", write_key="altis_key")
    settings.INBOX_LIMIT = 3
    forget_backlog()
    batch = {"batch": [{"type": "track", **EVENTS["track"]}] * 3}

    assert post(world, "/v1/batch", batch).status_code == 200
    wait_until(nudge.refuses_senders)
    answer = post(world, "/v1/batch", batch)
    assert (answer.status_code, answer.json()["code"]) == (429, "overloaded")
    assert int(answer.headers["retry-after"]) > 0
    assert answer.headers["access-control-allow-origin"] == "*"
    assert post(world, "/v1/batch", batch, headers={}).status_code == 401
    assert post(world, "/v1/batch", {**batch, "writeKey": KEY}, headers={}).status_code == 429
    assert post(world, "/v1/batch", batch, headers=basic("altis_key")).status_code == 200
    wait_until(lambda: bool(nudge.find_overload(world.site.pk, is_last_chance=True)))
    assert post(world, "/v1/batch", batch, headers=basic("altis_key")).status_code == 429
    assert Message.objects.count() == 6
    world.digest()
    wait_until(lambda: not nudge.refuses_senders())
