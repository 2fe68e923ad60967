"""Authentication, refusals and their codes, and accepted events, at `/segmentio` and the other endpoints."""

import base64
import gzip
import json
import time
import zlib
from typing import Any

import pytest

from api.http.credentials import clear_lookups, encode_api_key
from api.ingest.provisioning import create_credential, create_site, rotate_secret
from api.models import Credential, Message, Source
from tests.support.messages import body_of
from tests.world import CLIENT_ID, SECRET, SITECODE, START, World

LIMIT = 1_048_576


def basic(text: str) -> str:
    return "Basic " + base64.b64encode(text.encode()).decode()


# Authentication


@pytest.mark.promise("K-37", "K-38", "K-40", "W1")
@pytest.mark.parametrize(
    ("authorization", "sitecode", "status", "code"),
    [
        (" ", "1q2w3e4r5t", 401, "unauthorized"),
        ("Basic", "1q2w3e4r5t", 401, "unauthorized"),
        ("Basic %%%", "1q2w3e4r5t", 401, "unauthorized"),
        (basic("{not json"), "1q2w3e4r5t", 401, "unauthorized"),
        (basic('{"id":"demo_client"}'), "1q2w3e4r5t", 401, "unauthorized"),
        (basic('{"id":1,"secret":2}'), "1q2w3e4r5t", 401, "unauthorized"),
        (basic("no colon"), "1q2w3e4r5t", 401, "unauthorized"),
        (basic("\0:\0"), "1q2w3e4r5t", 401, "unauthorized"),
        ("Digest abc", "1q2w3e4r5t", 401, "unauthorized"),
        (f"Basic {encode_api_key('stranger', 'demo_secret')}", "1q2w3e4r5t", 401, "unauthorized"),
        (f"Basic {encode_api_key('demo_client', 'wrong')}", "1q2w3e4r5t", 401, "unauthorized"),
        (None, None, 403, "forbidden_site"),
        (None, "", 403, "forbidden_site"),
        (None, "unknown000", 403, "forbidden_site"),
        (None, "x" * 10_000, 403, "forbidden_site"),
    ],
)
def test_segmentio__stranger__is_refused_with_a_code(
    world: World, authorization: str | None, sitecode: str | None, status: int, code: str
) -> None:
    answer = world.post(world.event(), authorization=authorization, sitecode=sitecode)

    assert answer.status_code == status
    assert answer.json()["success"] is False
    assert answer.json()["code"] == code
    assert answer.json()["message"]
    assert Message.objects.count() == 0


@pytest.mark.promise("K-40")
def test_segmentio__credential_of_another_site__is_refused(world: World) -> None:
    other = create_site(name="Other", sitecode="aaaaaaaaaa")
    stranger = create_credential([other], name="x")
    key = f"Basic {encode_api_key(stranger.credential.client_id, stranger.secret)}"

    assert world.post(world.event(), authorization=key).json()["code"] == "forbidden_site"
    assert world.post(world.event(), authorization=key, sitecode="aaaaaaaaaa").status_code == 200


@pytest.mark.promise("K-35")
@pytest.mark.parametrize("how", ["revoke", "rotate"])
def test_segmentio__credential_revoked_or_rotated__ends(world: World, how: str) -> None:
    token = world.client.post("/oauth/token", auth=(CLIENT_ID, SECRET)).json()["access_token"]
    assert world.post(world.event()).status_code == 200

    if how == "revoke":
        Credential.objects.update(revoked_at=START)
    else:
        rotate_secret(world.credential, now=START)
    clear_lookups()  # in a running process: within seconds

    assert world.post(world.event()).status_code == 401
    assert world.get("common", token=False, headers={"authorization": f"Bearer {token}"}).status_code == 401


@pytest.mark.promise("K-35")
def test_segmentio__credential_revoked_while_it_is_remembered__ends_within_5_seconds(world: World) -> None:
    assert world.post(world.event()).status_code == 200
    Credential.objects.update(revoked_at=START)

    until = time.monotonic() + 5
    while world.post(world.event()).status_code == 200:
        assert time.monotonic() < until, "still let in after 5 s"
        time.sleep(0.1)


@pytest.mark.promise("K-36", "W2", "K-43")
def test_getapikey__right_secret__gives_the_key_as_text(world: World) -> None:
    answer = world.client.get("/segmentio/getapikey?id=demo_client&secret=demo_secret")

    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert json.loads(base64.b64decode(answer.text)) == {"id": "demo_client", "secret": "demo_secret"}
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert world.post(world.event(), authorization=f"Basic {answer.text}").status_code == 200


@pytest.mark.promise("K-36")
@pytest.mark.parametrize(
    "query", ["", "?id=demo_client", "?id=demo_client&secret=wrong", "?id=%00&secret=%00", "?id=é"]
)
def test_getapikey__wrong_secret__is_401(world: World, query: str) -> None:
    answer = world.client.get(f"/segmentio/getapikey{query}")

    assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized")


# Refusals


@pytest.mark.promise("K-80", "K-81")
@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"", 400, "invalid_json"),
        (b"   ", 400, "invalid_json"),
        (b"{", 400, "invalid_json"),
        (b"nonsense", 400, "invalid_json"),
        (b'"text"', 400, "invalid_json"),
        (b"12", 400, "invalid_json"),
        (b"null", 400, "invalid_json"),
        (b"[]", 400, "invalid_json"),
        (b"[1]", 400, "invalid_json"),
        (b'{"type":"track","event":"\xff"}', 400, "invalid_json"),
        (b'{"type":"track","properties":{"a":NaN}}', 400, "invalid_json"),
        (b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}", 400, "invalid_json"),
        (b"[" * 100_000, 400, "invalid_json"),
        (b"{}", 400, "invalid_event"),
        (b'{"type":"merge","userId":"u"}', 400, "invalid_event"),
        (b'{"type":5}', 400, "invalid_event"),
        (b'{"type":{"a":1}}', 400, "invalid_event"),
        (b'{"type":"\\ud800"}', 400, "invalid_event"),
        (b'"\\ud800"', 400, "invalid_json"),
        (b'["\\ud800"]', 400, "invalid_json"),
        (b'{"name":"Home"}', 400, "invalid_event"),
        (b'[{"name":"Home"}]', 400, "invalid_event"),
    ],
)
def test_segmentio__unusable_body__is_refused_and_kept(world: World, body: bytes, status: int, code: str) -> None:
    answer = world.post(body)
    world.digest()

    assert (answer.status_code, answer.json()["code"]) == (status, code)
    kept = Message.objects.get()
    assert (kept.status, kept.reason) == ("rejected", code)
    assert body.startswith(body_of(kept)) or body_of(kept) in body


@pytest.mark.promise("K-24")
@pytest.mark.parametrize("encode", [lambda body: body, gzip.compress], ids=["plain", "gzip"])
@pytest.mark.parametrize(("size", "status"), [(LIMIT - 1, 200), (LIMIT, 200), (LIMIT + 1, 413)])
def test_limit__real_bytes_also_after_gunzip__decide(world: World, encode: Any, size: int, status: int) -> None:
    event = world.event(properties={"filler": ""})
    event["properties"]["filler"] = "x" * (size - len(json.dumps(event)))
    body = json.dumps(event).encode()
    assert len(body) == size
    headers = {"content-encoding": "gzip"} if encode is gzip.compress else {}

    answer = world.post(encode(body), headers=headers)

    assert answer.status_code == status
    if status == 413:
        assert answer.json()["code"] == "too_large"
        assert (Message.objects.get().reason, len(body_of(Message.objects.get()))) == ("too_large", 4096)
    else:
        assert body_of(Message.objects.get()) == body


@pytest.mark.parametrize(
    ("body", "encoding"),
    [
        (b"not gzip", "gzip"),
        (gzip.compress(b"{}", mtime=0)[:-4], "gzip"),
        (gzip.compress(b"{}", mtime=0) * 2, "gzip"),
        (b"x", "br"),
    ],
)
def test_encoding__that_cannot_be_read__is_400(world: World, body: bytes, encoding: str) -> None:
    answer = world.post(body, headers={"content-encoding": encoding})

    assert (answer.status_code, answer.json()["code"]) == (400, "unreadable_encoding")


@pytest.mark.promise("K-24")
def test_limit__gzip_that_inflates_to_nothing_for_ever__is_413(world: World) -> None:
    deflater = zlib.compressobj(wbits=31)
    body = deflater.compress(b"{") + deflater.flush(zlib.Z_SYNC_FLUSH)
    body += b"\x00\x00\x00\xff\xff" * (LIMIT // 4)  # stored blocks of no bytes

    answer = world.post(body, headers={"content-encoding": "gzip"})

    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")


def test_event__nested_beyond_reading__is_rejected_and_not_dead(world: World) -> None:
    body = (
        b'{"type":"track","event":"Buy","userId":"u1","properties":{"a":'
        + b"[" * 600
        + b'"\\u0000"'
        + b"]" * 600
        + b"}}"
    )

    world.post(body)
    world.digest()

    assert world.statuses() == [("rejected", "unreadable_body")]


@pytest.mark.promise("K-33")
def test_integration__switched_off__refuses_and_keeps(world: World) -> None:
    Source.objects.update(is_enabled=False)
    clear_lookups()
    event = world.event()

    answer = world.post(event)

    assert (answer.status_code, answer.json()["code"]) == (403, "integration_off")
    assert (Message.objects.get().status, Message.objects.get().reason) == ("rejected", "integration_off")
    Source.objects.update(is_enabled=True)
    clear_lookups()
    world.send(event)  # a refused event gets a new chance
    assert world.goals() == {"SegmentIO track – Signed Up": 1}


def test_integration__site_without_a_destination__is_off(world: World) -> None:
    Source.objects.all().delete()
    clear_lookups()

    assert world.post(world.event()).json()["code"] == "integration_off"


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE", "HEAD"])
@pytest.mark.parametrize("path", ["/segmentio", "/segmentio/"])
def test_method__other_than_post__is_405_with_allow(world: World, method: str, path: str) -> None:
    answer = world.client.request(method, path)

    assert answer.status_code == 405
    assert answer.headers["allow"] == "OPTIONS, POST"
    assert answer.headers["content-type"] == "application/json"


@pytest.mark.promise("W1")
def test_path__with_a_slash__is_no_redirect(world: World) -> None:
    assert world.post(world.event(), path="/segmentio/").status_code == 200


# Accepted events


@pytest.mark.promise("K-82", "N-02")
def test_answer__new_then_again__says_accepted_then_duplicate(world: World) -> None:
    event = world.event(messageId="m-1")

    answers = [world.post(event).json() for _ in range(3)]

    common = {"success": True, "messageId": "m-1", "trace": f"/api/trace?site={SITECODE}&type=track&messageId=m-1"}
    assert answers[0] == {**common, "status": "accepted"}
    assert answers[1] == answers[2] == {**common, "status": "duplicate"}


def test_answer__without_a_message_id__is_accepted_each_time(world: World) -> None:
    world.send(world.event(messageId=None), world.event(messageId=None))

    assert world.goals() == {"SegmentIO track – Signed Up": 2}


def test_dedupe__same_message_id_under_two_types__is_two_messages(world: World) -> None:
    world.send(world.event(messageId="m-1"), world.event("identify", messageId="m-1"))

    assert world.statuses() == [("done", ""), ("done", "already_known")]


def test_array__with_bad_items__keeps_the_good_and_explains_the_bad(world: World) -> None:
    events: list[Any] = [world.event(messageId="m-1"), 7, world.event(messageId="m-1"), {"type": "nope"}, world.event()]

    answer = world.post(events)
    world.digest()

    body = answer.json()
    assert answer.status_code == 200
    assert (body["accepted"], body["duplicates"]) == (2, 1)
    assert [(item["index"], item["code"]) for item in body["rejected"]] == [(1, "invalid_json"), (3, "invalid_event")]
    assert world.goals() == {"SegmentIO track – Signed Up": 2}
    assert sorted(Message.objects.values_list("status", flat=True)) == ["done", "done", "rejected", "rejected"]


def test_array__of_too_many_events__is_413(world: World) -> None:
    assert world.post([{}] * 4_001).json()["code"] == "too_large"
    assert Message.objects.count() == 1


def test_raw_event__as_a_webhook_sends_it__keeps_its_corrected_timestamp(world: World) -> None:
    world.send(
        world.event(
            "identify",
            traits={"plan": "scale"},
            timestamp="2026-11-22T03:00:00.000Z",
            originalTimestamp="2020-01-01T00:00:00.000Z",
            sentAt="2020-01-01T00:00:01.000Z",
            receivedAt="2026-11-22T03:00:01.000Z",
            version=2,
        )
    )

    assert world.last_message().occurred_at.isoformat() == "2026-11-22T03:00:00+00:00"
    assert world.traits("user-1") == {"plan": "scale"}
