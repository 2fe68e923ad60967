"""Refused bodies are kept as far as they came: looked at, replayed once they can be read, erased with their people."""

import codecs
import gzip
import io
import json
import zlib
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.test import Client
from django.utils import timezone

from api.digest.replay import plan_replay, replay
from api.erasure import erase as erasure
from api.events.encodings import WINDOW_BITS, decode
from api.http.credentials import clear_lookups
from api.ingest.provisioning import create_source
from api.models import Erasure, Message, MessageBody, Rule, Source
from tests.support.asgi import ask
from tests.support.messages import body_of, forget_messages, store_messages, stored_body
from tests.support.tracking import EVENTS, KEY, basic, post
from tests.world import SITECODE, World

GOOD = {"type": "track", **EVENTS["track"]}
ONE = json.dumps(GOOD).encode()
LONG = json.dumps({**GOOD, "properties": {"list": list(range(5_000))}}).encode()


@pytest.fixture
def source(world: World) -> Source:
    return create_source(world.site, name="Web", kind="server", write_key=KEY)


def send(world: World, path: str, body: bytes, encoding: str) -> tuple[int, str]:
    headers = {"content-encoding": encoding}
    answer = (
        world.post(body, headers=headers)
        if path == "/segmentio"
        else post(world, path, body, headers={**basic(), **headers})
    )
    return answer.status_code, answer.json().get("code", "")


def kept() -> tuple[str, str, bytes, str]:
    message = Message.objects.get()
    stored = stored_body(message)
    return message.status, message.reason, stored.body, stored.content_encoding


def erase(world: World, id_: str) -> Erasure:
    receipt = erasure.erase(world.site, id_, by="test", now=timezone.now())
    assert receipt is not None
    while erasure.sweep(now=timezone.now()):
        pass
    receipt.refresh_from_db()
    return receipt


PATHS = ("/v1/track", "/v1/batch", "/segmentio")


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("encoding", ["br", "zstd", "compress", "gzip, br", "x" * 60])
def test_body__of_an_encoding_that_is_not_read__is_kept_as_it_came(
    world: World, source: Source, path: str, encoding: str
) -> None:
    body = b"\x8b\x05\x80\0any bytes\xff"

    assert send(world, path, body, encoding) == (400, "unreadable_encoding")
    assert kept() == ("rejected", "unreadable_encoding", body, encoding[:40])
    assert encoding[:40] in Message.objects.get().detail


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("encoding", ["gzip", "x-gzip", "deflate", "GZIP"])
def test_body__that_is_not_in_its_encoding__is_kept_as_it_came(
    world: World, source: Source, path: str, encoding: str
) -> None:
    assert send(world, path, b"\x01\x02no such thing", encoding) == (400, "unreadable_encoding")
    assert kept() == ("rejected", "unreadable_encoding", b"\x01\x02no such thing", encoding.lower())


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("damage", ["cut", "cut in its trailer", "changed", "followed"])
def test_gzip__that_is_damaged__is_kept_as_far_as_it_can_be_read(
    world: World, source: Source, path: str, damage: str
) -> None:
    whole = gzip.compress(LONG, mtime=0)
    middle = len(whole) // 2
    damaged = {
        "cut": whole[:middle],
        "cut in its trailer": whole[:-4],
        "changed": whole[:middle] + b"\xff" * 40 + whole[middle + 40 :],
        "followed": whole + b"something else",
    }[damage]

    assert send(world, path, damaged, "gzip") == (400, "unreadable_encoding")
    status, reason, body, encoding = kept()
    assert (status, reason, encoding) == ("rejected", "unreadable_encoding", "")
    assert len(body) > 100
    assert body[: len(LONG) // 4] == LONG[: len(LONG) // 4]


@pytest.mark.parametrize("wbits", [15, -15])
def test_deflate__with_and_without_its_frame__is_read(world: World, source: Source, wbits: int) -> None:
    deflater = zlib.compressobj(wbits=wbits)
    body = deflater.compress(LONG) + deflater.flush()

    assert send(world, "/v1/track", body, "deflate") == (200, "")
    assert body_of(world.last_message()) == LONG


@pytest.mark.parametrize(("encoding", "compress"), [("", bytes), ("gzip", gzip.compress), ("br", bytes)])
@pytest.mark.parametrize("path", ["/v1/track", "/segmentio"])
def test_connection__that_ends_too_soon__leaves_what_came(
    world: World, source: Source, path: str, encoding: str, compress: Any
) -> None:
    body = compress(LONG)
    headers = [(b"authorization", basic()["authorization"].encode())]
    if path == "/segmentio":
        headers = [
            (b"authorization", world.post(b"{}").request.headers["authorization"].encode()),
            (b"x-segment-settings", SITECODE.encode()),
        ]
        forget_messages()
    cut = body[: len(body) // 2]

    headers += [(b"content-encoding", encoding.encode()), (b"content-length", b"%d" % len(body))]

    status = ask("POST", path, body=cut, headers=headers, is_cut=True)

    assert status == 400
    status_, reason, came, kept_encoding = kept()
    assert (status_, reason) == ("rejected", "invalid_json")
    assert (
        (came, kept_encoding) == (cut, "br")
        if encoding == "br"
        else (LONG.startswith(came), kept_encoding) == (True, "")
    )
    assert len(came) > 100


def test_body__too_large_in_an_encoding_that_is_not_read__is_kept_in_its_beginning(
    world: World, source: Source
) -> None:
    assert send(world, "/v1/track", b"\xff" * 1_048_577, "br") == (413, "too_large")
    assert kept() == ("rejected", "too_large", b"\xff" * 4_096, "br")


def test_line__too_long__says_so(world: World, source: Source, tmp_path: Any) -> None:
    (tmp_path / "past.jsonl").write_bytes(b'{"a":"' + b"x" * 1_048_576 + b'"}')
    call_command("load", str(tmp_path / "past.jsonl"), source="Web", stdout=io.StringIO())

    assert "longer than 1,048,576 bytes" in Message.objects.get().detail


def test_refusal__of_an_event__keeps_what_its_sender_was_told(world: World, source: Source) -> None:
    told = post(world, "/v1/batch", {"batch": [{"type": "track", "userId": "u"}]}).json()["message"]

    assert world.last_message().detail == told


# Replay


def test_replay__of_plain_json_under_a_wrong_encoding__takes_it(world: World, source: Source) -> None:
    """A proxy took the encoding off and left its name."""
    for path, body in (("/v1/track", ONE), ("/v1/batch", {"batch": [GOOD, GOOD], "context": {"k_visitorCode": "v"}})):
        send(world, path, body if isinstance(body, bytes) else json.dumps(body).encode(), "br")
    send(world, "/segmentio", json.dumps([GOOD, {"type": "none"}, GOOD]).encode(), "br")
    send(world, "/v1/track", b"\x8b\x05\x80", "br")

    foreseen = plan_replay(world.site, "unreadable_encoding").forecast
    done = replay(world.site.pk, "unreadable_encoding", who="test")
    world.digest()

    assert foreseen is not None
    assert foreseen.conversions_then == 5
    assert (done.messages, done.unreadable) == (5, 1)
    assert world.goals() == {"SegmentIO track – Signed Up": 5}
    assert set(world.visitors()) == {"v"}  # of the batch's context, and all are of one person
    assert sorted(world.statuses()) == sorted(
        [("done", "")] * 5 + [("rejected", "invalid_event"), ("rejected", "unreadable_encoding")]
    )
    encoded = MessageBody.objects.exclude(content_encoding="").values_list("pk", flat=True)
    assert list(Message.objects.filter(pk__in=list(encoded)).values_list("reason", flat=True)) == [
        "unreadable_encoding"
    ]


def test_replay__of_an_encoding_that_a_later_version_reads__takes_it(
    world: World, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    bits = dict(WINDOW_BITS)
    monkeypatch.delitem(WINDOW_BITS, "deflate")  # the version before
    send(world, "/v1/batch", zlib.compress(json.dumps({"batch": [GOOD]}).encode()), "deflate")
    assert replay(world.site.pk, "unreadable_encoding", who="test").unreadable == 1
    monkeypatch.setitem(WINDOW_BITS, "deflate", bits["deflate"])

    assert replay(world.site.pk, "unreadable_encoding", who="test").messages == 1
    world.digest()
    assert world.goals() == {"SegmentIO track – Signed Up": 1}


def test_replay__of_what_the_version_before_could_not_read__takes_it(world: World, source: Source) -> None:
    """With a byte order mark, a type in capitals, and a bad event in a batch: each was refused."""
    bodies: list[tuple[str, str, bytes]] = [
        ("invalid_json", "", codecs.BOM_UTF8 + ONE),
        ("invalid_json", "track", codecs.BOM_UTF8 + ONE),
        ("invalid_json", "", codecs.BOM_UTF8 + json.dumps({"batch": [GOOD]}).encode()),
        ("invalid_json", "", b"[" + ONE + b',{"a":NaN}]'),
        ("invalid_json", "", b"not JSON at all"),
        ("invalid_event", "", json.dumps({**GOOD, "type": "Track"}).encode()),
    ]
    now = timezone.now()
    common = {"site": world.site, "source": source, "received_at": now, "occurred_at": now, "status": "rejected"}
    store_messages((Message(**common, type=type_, reason=reason), body) for reason, type_, body in bodies)

    done = [replay(world.site.pk, reason, who="test") for reason in ("invalid_json", "invalid_event")]
    world.digest()

    assert [(each.messages, each.unreadable) for each in done] == [(4, 1), (1, 0)]
    assert world.goals() == {"SegmentIO track – Signed Up": 5}


# Looking at them


@pytest.mark.parametrize(("body", "shown"), [(ONE, "Signed Up"), (b"\x8b\x05\x80", "\\x8b\x05")])
def test_page__of_a_body_in_an_encoding__shows_it_and_says_so(
    world: World, source: Source, body: bytes, shown: str
) -> None:
    admin_client = Client()
    admin_client.force_login(User.objects.create_superuser("operator"))
    send(world, "/v1/track", body, "br")

    page = admin_client.get(f"/admin/s/{SITECODE}/events/{Message.objects.get().pk}/").content.decode()
    assert "Content-Encoding: br" in page
    assert shown in page
    assert "is not read here" in page
    listed = admin_client.get(f"/admin/s/{SITECODE}/events/?text=Signed").status_code
    assert listed == 200


# Personal data


def test_redaction__of_a_body_that_cannot_be_read__keeps_nothing(world: World, source: Source) -> None:
    Rule.objects.create(site=world.site, action="drop_field", argument="traits.email")
    clear_lookups()

    send(world, "/v1/identify", b"\x8b ada@example.com", "br")
    send(world, "/v1/batch", gzip.compress(LONG)[:-9], "gzip")

    assert {(each.body, each.content_encoding) for each in map(stored_body, Message.objects.all())} == {(b"", "")}


def test_erasure__of_somebody_in_bodies_under_an_encoding__leaves_none(world: World, source: Source) -> None:
    world.identify(userId="ada@example.com", traits={"plan": "x"})
    name = json.dumps({**GOOD, "userId": "ada@example.com"}).encode()
    send(world, "/v1/track", name, "br")  # plain in truth
    send(world, "/v1/track", zlib.compress(name), "br")  # hers, but unreadable
    send(world, "/v1/track", ONE, "br")  # another person's
    send(world, "/v1/track", gzip.compress(name, mtime=0)[:-4], "gzip")
    post(world, "/v1/track", name[:-9])  # cut short, but she is in it

    receipt = erase(world, "ada@example.com")

    left = {each.body: each.content_encoding for each in map(stored_body, Message.objects.all())}
    assert left == {b"": "", ONE: "br"}
    assert (receipt.replaced or {})["emptied"] == 1
    assert "cannot be searched" in Message.objects.get(size=0).detail
    call_command("verify", stdout=io.StringIO())


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16-le", "utf-16-be"])
def test_erasure__of_somebody_in_a_body_that_is_no_utf_8__leaves_none(
    world: World, source: Source, encoding: str
) -> None:
    world.identify(userId="josé", traits={"plan": "x"})
    assert post(
        world, "/v1/track", json.dumps({**GOOD, "userId": "josé"}, ensure_ascii=False).encode(encoding)
    ).is_error

    erase(world, "josé")

    assert not Message.objects.exists()


def test_decode__beyond_its_limit__is_none() -> None:
    bomb = gzip.compress(b'{"a":"' + b" " * 5_000_000 + b'"}')

    assert decode(bomb, "gzip", most=1_000_000) is None
    assert decode(bomb, "gzip", most=6_000_000) is not None
