"""Batches of the tracking API: bad events, context, times and limits."""

import gzip
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from api.models import Message, Source
from tests.support.messages import body_of
from tests.support.tracking import KEY, basic, post
from tests.world import World


@pytest.mark.promise("A-04")
def test_batch__with_bad_events__keeps_the_good_ones_and_explains_the_others(world: World, source: Source) -> None:
    events: list[Any] = [{"type": "track", "event": "E", "userId": "u1", "messageId": f"m{n}"} for n in range(100)]
    events[3] = {"type": "track", "userId": "u1"}
    events[50] = {"type": "purchase", "userId": "u1"}
    events[99] = "nonsense"

    response = post(world, "/v1/batch", {"batch": events})

    assert response.status_code == 200
    answer = response.json()
    assert (answer["success"], answer["accepted"], answer["duplicates"]) == (True, 97, 0)
    assert [(each["index"], each["code"]) for each in answer["rejected"]] == [
        (3, "missing_name"),
        (50, "invalid_event"),
        (99, "invalid_json"),
    ]
    assert all(each["message"] for each in answer["rejected"])
    assert Message.objects.filter(status="pending").count() == 97
    kept = Message.objects.filter(status="rejected").order_by("position")
    assert list(kept.values_list("position", "reason")) == [
        (3, "missing_name"),
        (50, "invalid_event"),
        (99, "invalid_json"),
    ]
    again = post(world, "/v1/batch", {"batch": events}).json()
    assert (again["accepted"], again["duplicates"], len(again["rejected"])) == (0, 97, 3)


def test_batch__of_bad_events_only__is_400_and_says_of_each_why(world: World, source: Source) -> None:
    response = post(world, "/v1/batch", {"batch": [{"type": "track", "userId": "u1"}, 5]})

    assert response.status_code == 400
    assert (response.json()["success"], response.json()["code"]) == (False, "missing_name")
    assert [each["index"] for each in response.json()["rejected"]] == [0, 1]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"[]", 400),
        (b"{}", 400),
        (b'{"batch": {}}', 400),
        (b'{"batch": null}', 400),
        (b'{"batch": [', 400),
        (b'{"batch": []}', 200),
        (b'\xff{"batch": []}', 400),
        (b"nonsense", 400),
    ],
)
def test_batch__that_is_none__is_refused_and_kept(world: World, source: Source, body: bytes, status: int) -> None:
    response = post(world, "/v1/batch", body)

    assert response.status_code == status
    if status == 400:
        assert response.json()["code"] == "invalid_json"
        assert body_of(world.last_message()) == body


def test_batch__with_lone_surrogates_and_odd_numbers__loses_no_neighbour(world: World, source: Source) -> None:
    event = b'{"type":"track","event":"E%d","userId":"u","properties":{"odd":%s}}'
    body = b'{"batch":[' + b",".join(event % (n, odd) for n, odd in enumerate([b'"\\ud800"', b"1e999", b"1"])) + b"]}"

    assert post(world, "/v1/batch", body).json()["accepted"] == 3
    world.digest()
    assert len(world.goals()) == 3
    keyed = body[:-1] + b',"writeKey":"%s"}' % KEY.encode()
    assert post(world, "/v1/batch", keyed, headers={}).json()["accepted"] == 3
    keyed = body.replace(b'"userId"', b'"writeKey":"%s","userId"' % KEY.encode())
    assert post(world, "/v1/batch", keyed, headers={}).json()["accepted"] == 3


def test_batch__with_context_of_its_own__gives_it_to_its_events(world: World, source: Source) -> None:
    events = [
        {"type": "track", "event": "A", "userId": "u1"},
        {"type": "track", "event": "B", "userId": "u1", "context": {"kameleoonVisitorCode": "own"}},
    ]
    context = {"kameleoonVisitorCode": "of the batch", "app": {"version": "1"}}

    post(world, "/v1/batch", {"batch": events, "context": context, "integrations": {"All": True}})
    world.digest()

    assert sorted(world.visitors()) == ["of the batch", "own"]
    assert json.loads(body_of(world.last_message()))["context"] == {**context, "kameleoonVisitorCode": "own"}
    assert json.loads(body_of(world.last_message()))["integrations"] == {"All": True}


def test_batch__with_the_clock_of_its_sender__corrects_the_times_of_its_events(world: World, source: Source) -> None:
    now = datetime.now(UTC)
    slow = now - timedelta(hours=2)
    event = {"type": "track", "event": "E", "userId": "u1", "timestamp": (slow - timedelta(minutes=1)).isoformat()}
    body = {"batch": [event], "sentAt": slow.isoformat()}

    assert post(world, "/v1/batch", body).status_code == 200
    assert abs(world.last_message().occurred_at - (now - timedelta(minutes=1))) < timedelta(seconds=30)
    assert world.last_message().warnings == ["clock_corrected"]
    assert post(world, "/v1/import", body).status_code == 200
    assert world.last_message().occurred_at == slow - timedelta(minutes=1)


def test_batch__of_more_than_4_mebibytes_or_4000_events__is_refused(world: World, source: Source) -> None:
    event = {"type": "track", "event": "E", "userId": "u1"}

    assert post(world, "/v1/batch", {"batch": [event] * 4_000}).json()["accepted"] == 4_000
    assert post(world, "/v1/batch", {"batch": [event] * 4_001}).status_code == 413
    assert post(world, "/v1/batch", b" " * (4 * 1_048_576) + b'{"batch": []}').status_code == 413
    bomb = gzip.compress(b" " * 8_388_608)
    assert len(bomb) < 8_192
    refused = post(world, "/v1/batch", bomb, headers={**basic(), "content-encoding": "gzip"})
    assert (refused.status_code, refused.json()["code"]) == (413, "too_large")
    assert Message.objects.filter(status="pending").count() == 4_000
