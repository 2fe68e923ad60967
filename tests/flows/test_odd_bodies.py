"""Bodies as other programs write them: with a byte order mark, in another case, or with a bad part among good ones."""

import codecs
import gzip
import io
import json
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command

from api.ingest.provisioning import create_source
from api.models import Message, Source
from tests.support.loads import load
from tests.support.messages import all_bodies, body_of, forget_messages
from tests.support.tracking import EVENTS, KEY, basic, post
from tests.world import CLIENT_ID, SECRET, SITECODE, World

UTF_8 = codecs.BOM_UTF8
GOOD = {"type": "track", **EVENTS["track"]}
PATHS = {
    "/v1/track": EVENTS["track"],
    "/v1/batch": {"batch": [GOOD]},
    "/v1/import": {"batch": [GOOD]},
    "/segmentio": GOOD,
    "/segmentio array": [GOOD],
}


@pytest.fixture
def source(world: World) -> Source:
    return create_source(world.site, name="Web", kind="server", write_key=KEY)


def send(world: World, path: str, body: bytes, **headers: str) -> int:
    """POST to a path with the credential that it takes; the status of the answer."""
    if path.startswith("/segmentio"):
        return world.post(body, headers=headers).status_code
    return post(world, path, body, headers={**basic(), **headers}).status_code


# Byte order marks


@pytest.mark.parametrize(
    "encode",
    [
        lambda text: UTF_8 + text.encode(),
        lambda text: UTF_8 * 2 + text.encode(),
        lambda text: text.encode("utf-16"),
        lambda text: codecs.BOM_UTF16_BE + text.encode("utf-16-be"),
    ],
    ids=["utf-8", "twice", "utf-16-le", "utf-16-be"],
)
@pytest.mark.parametrize("path", PATHS)
def test_body__with_a_byte_order_mark__is_taken_as_utf_8(world: World, source: Source, path: str, encode: Any) -> None:
    text = json.dumps(PATHS[path]).replace("u1", "é1")

    assert send(world, path, encode(text)) == 200
    assert send(world, path, gzip.compress(encode(text)), **{"content-encoding": "gzip"}) == 200

    assert {json.loads(body)["userId"] for body in all_bodies()} == {"é1"}
    world.digest()
    assert {status for status, _ in world.statuses()} == {"done"}


def test_body__with_a_mark_that_is_wrong__is_refused_and_kept(world: World, source: Source) -> None:
    for body in (codecs.BOM_UTF16_LE + b"{}a", codecs.BOM_UTF16_LE + b"\x00\xd8{\x00", codecs.BOM_UTF32_LE + b"{}  "):
        assert send(world, "/v1/track", body) == 400
        assert world.last_message().reason == "invalid_json"


def test_body__in_utf_16__is_measured_as_utf_8(world: World) -> None:
    text = '{"type":"track","event":"E","userId":"u","properties":{"a":"' + "漢" * 400_000 + '"}}'

    assert len(text.encode("utf-16")) < 1_048_576 < len(text.encode())
    assert send(world, "/segmentio", text.encode("utf-16")) == 413
    assert world.last_message().reason == "too_large"


def test_token__for_a_form_with_a_byte_order_mark__is_given(world: World) -> None:
    form = f"client_id={CLIENT_ID}&client_secret={SECRET}&grant_type=client_credentials".encode()

    assert world.client.post("/oauth/token", content=UTF_8 + form).status_code == 200


def test_load__of_files_that_windows_wrote__takes_every_line(world: World, source: Source, tmp_path: Path) -> None:
    lines = [json.dumps({**GOOD, "messageId": f"m{number}", "userId": "é"}) for number in range(3)]
    joined = b"".join(UTF_8 + f"{line}\r\n".encode() for line in lines)
    text = "\r\n".join(lines)
    contents = {
        "joined": joined,
        "le.jsonl": text.encode("utf-16"),
        "be.jsonl.gz": gzip.compress(text.encode("utf-16")),
    }

    for name, content in contents.items():
        forget_messages()
        (tmp_path / name).write_bytes(content)
        assert load(tmp_path / name, source="Web") == [f"{name}: 3 lines: 3 stored, 0 duplicates, 0 rejected"]
        assert {json.loads(body)["userId"] for body in all_bodies()} == {"é"}


def test_load__of_utf_16_with_a_line_that_is_too_long__loads_the_others(
    world: World, source: Source, tmp_path: Path
) -> None:
    long = {**GOOD, "properties": {"a": "漢" * 400_000}}
    path = tmp_path / "events.jsonl"
    path.write_bytes("\n".join(json.dumps(each, ensure_ascii=False) for each in (GOOD, long, GOOD)).encode("utf-16"))

    assert load(path, source="Web") == ["events.jsonl: 3 lines: 2 stored, 0 duplicates, 1 rejected"]


@pytest.mark.parametrize("content", ["type,name\ntrack,É\npage,Home", "type\tname\ntrack\tÉ\npage\tHome"])
@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_load_plan__of_a_spreadsheet__makes_its_goals(
    world: World, tmp_path: Path, content: str, encoding: str
) -> None:
    (tmp_path / "plan.csv").write_bytes(content.encode(encoding))

    call_command("load_plan", str(tmp_path / "plan.csv"), site=SITECODE, stdout=io.StringIO())

    assert set(world.goals()) == {"SegmentIO track – É", "SegmentIO page – Home"}


# The type, in any case


@pytest.mark.promise("K-01")
@pytest.mark.parametrize("type_", ["Track", "TRACK", " track "])
def test_type__in_any_case__is_the_type(world: World, source: Source, tmp_path: Path, type_: str) -> None:
    event = {**GOOD, "type": type_}
    (tmp_path / "past.jsonl").write_text(json.dumps(event))

    assert send(world, "/v1/batch", json.dumps({"batch": [event]}).encode()) == 200
    assert send(world, "/segmentio", json.dumps(event).encode()) == 200
    assert send(world, "/segmentio", json.dumps([event]).encode()) == 200
    load(tmp_path / "past.jsonl", source="Web")

    assert list(Message.objects.values_list("type", flat=True)) == ["track"] * 4
    world.digest()
    assert {status for status, _ in world.statuses()} == {"done"}


@pytest.mark.parametrize("path", ["/v1/Track", "/V1/track", "/v1/TRACK/", "/v1/Batch"])
def test_path__in_any_case__leads_to_the_same(world: World, source: Source, path: str) -> None:
    assert send(world, path, json.dumps({**GOOD, "batch": [GOOD]}).encode()) == 200
    assert world.last_message().type == "track"


# One bad part among good ones

BAD = [
    b'{"type":"track","userId":"n","event":"N","properties":{"x":NaN}}',
    b'{"type":"track","userId":"n","event":"N","properties":{"x":-Infinity}}',
    b'{"type":"track","userId":"n","event":"N","properties":{"x":undefined}}',
    b'{"type":"track","userId":"n","event":"N","properties":{"x":1,}}',
    b'{"type":"track","userId":"n","event":"N\xe9"}',
    b'{"type":"track","userId":"n","event":"N\\x"}',
    b'{"type":"track","userId":"n","event":"N\nM"}',
    b"{'type': 'track', 'userId': None}",
    b'{"type":"track","userId":"n","event":"N","properties":{"x":' + b"[" * 5_000 + b"]" * 5_000 + b"}}",
    b"NaN",
    b"",
]


@pytest.mark.promise("K-80", "K-81")
@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("path", ["/v1/batch", "/v1/import", "/segmentio"])
def test_array__with_an_item_that_is_no_json__loses_no_neighbour(
    world: World, source: Source, path: str, bad: bytes
) -> None:
    good = [json.dumps({**GOOD, "event": name}).encode() for name in ("First", "Last")]
    array = b"[" + good[0] + b"," + bad + b"," + good[1] + b"]"

    answer = (
        world.post(array)
        if path == "/segmentio"
        else post(world, path, b'{"context":{"kameleoonVisitorCode":"v"},"batch":' + array + b',"sentAt":null}')
    )

    assert (answer.status_code, answer.json()["accepted"]) == (200, 2)
    assert [(each["index"], each["code"]) for each in answer.json()["rejected"]] == [(1, "invalid_json")]
    kept = Message.objects.get(position=1)
    assert (kept.status, kept.reason) == ("rejected", "invalid_json")
    assert body_of(kept).startswith(bad[:-1])  # as it came, or with the context of its batch
    world.digest()
    assert set(world.goals()) == {"SegmentIO track – First", "SegmentIO track – Last"}
    if path != "/segmentio":
        assert set(world.visitors()) == {"v"}


@pytest.mark.parametrize("number", [b"1e999", b"9" * 5_000, b"-0.0", b"1E400"])
def test_array__with_a_number_no_reader_holds__is_taken_whole(world: World, source: Source, number: bytes) -> None:
    odd = b'{"type":"track","userId":"n","event":"N","properties":{"x":' + number + b',"y":"\\ud83d"}}'
    good = json.dumps(GOOD).encode()

    assert post(world, "/v1/batch", b'{"batch":[' + odd + b"," + good + b"]}").json()["accepted"] == 2
    assert world.post(b"[" + odd + b"," + good + b"]").json()["accepted"] == 2
    assert all_bodies()[0] == odd  # as it was received
    world.digest()
    assert {status for status, _ in world.statuses()} == {"done"}


@pytest.mark.parametrize(
    "body",
    [
        b'{"batch":[{"type":"track","userId":"u","event":"E"},{"type":"tra',
        b'{"batch":[{"type":"track","userId":"u","event":"E"},{"type":"track}]}',
        b'{"batch":[{"type":"track","userId":"u","event":"E"}]',
        b'{"context":{"kameleoonVisitorCode":NaN},"batch":[{"type":"track","userId":"u","event":"E"}]}',
        b'{"context":{"k_visitorCode":"\xe9"},"batch":[{"type":"track","userId":"u","event":"E"}]}',
    ],
)
def test_batch__of_which_nobody_can_tell_what_holds_for_all__is_refused_as_a_whole_and_kept(
    world: World, source: Source, body: bytes
) -> None:
    answer = post(world, "/v1/batch", body)

    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_json")
    kept = Message.objects.get()
    assert (kept.status, kept.reason, body_of(kept)) == ("rejected", "invalid_json", body)


@pytest.mark.promise("K-80")
def test_load__of_a_line_that_is_no_json__loses_no_neighbour(world: World, source: Source, tmp_path: Path) -> None:
    path = tmp_path / "past.jsonl"
    bad = [each for each in BAD if each and b"\n" not in each]
    path.write_bytes(b"\n".join([json.dumps(GOOD).encode(), *bad, json.dumps(GOOD).encode()]))

    counted = f"{len(bad) + 2} lines: 2 stored, 0 duplicates, {len(bad)} rejected"
    assert load(path, source="Web") == [f"past.jsonl: {counted}"]
