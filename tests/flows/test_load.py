"""Files of events go into the inbox: each line once, whatever interrupts the load."""

import gzip
import io
import json
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError
from pytest_django import Settings

from api.ingest import file_load
from api.ingest.file_load import LoadLostError, fingerprint, load_lines, read_lines
from api.ingest.provisioning import create_site, create_source
from api.models import Load, Message, Rule, Source
from goals.models import Conversion
from tests.contract.server import ROOT, environment_of_the_test
from tests.support.loads import load
from tests.support.messages import all_bodies, bodies_of, body_of
from tests.world import START, World

Event = Mapping[str, Any]
SECONDS = 120.0  # the longest that anything may take on a slow machine


@pytest.fixture
def source(world: World) -> Source:
    """Return a source of a server with live events, because loading must not depend on the kind of source."""
    return create_source(world.site, name="Archive", kind=Source.Kind.SERVER, write_key="archive-key")


def write(path: Path, lines: Sequence[Event | bytes]) -> Path:
    """Write a file with one event per line, bytes unchanged."""
    content = b"".join((line if isinstance(line, bytes) else json.dumps(line).encode()) + b"\n" for line in lines)
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@contextmanager
def running_load(file: Path, log: Path, directory: Path, *, limit: int) -> Iterator["subprocess.Popen[bytes]"]:
    """Run the command in a separate process, and kill it at the end if it still runs."""
    command = [sys.executable, "manage.py", "load", str(file), "--source", "archive-key"]
    environment = {**environment_of_the_test(directory), "GOALPOST_INBOX_LIMIT": str(limit)}
    with log.open("wb") as output:
        child = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=output, stderr=output)
    try:
        yield child
    finally:
        child.kill()
        child.wait(timeout=SECONDS)


@pytest.mark.parametrize("name", ["past.jsonl", "past.jsonl.gz", "past"])
def test_load__of_events_of_every_type__stores_them_as_the_source_s(
    world: World, source: Source, tmp_path: Path, name: str
) -> None:
    types: dict[str, dict[str, Any]] = {
        "track": {},
        "page": {"name": "Home"},
        "screen": {"name": "Home"},
        "identify": {"event": None},
    }
    events = [world.event(type_, **fields) for type_, fields in types.items()]
    events += [world.event("group", event=None, groupId="g"), world.event("alias", event=None, previousId="p")]
    file = write(tmp_path / name, [*events, b"", b"  "])
    assert load(file) == [f"{name}: 8 lines: 6 stored, 0 duplicates, 0 rejected"]

    messages = list(Message.objects.order_by("id"))
    assert [message.type for message in messages] == [event["type"] for event in events]
    assert [message.message_id for message in messages] == [event["messageId"] for event in events]
    assert [json.loads(body) for body in bodies_of(messages)] == events
    assert {(message.source_id, message.site_id) for message in messages} == {(source.pk, world.site.pk)}
    world.digest()
    assert {status for status, _ in world.statuses()} == {"done"}


@pytest.mark.promise("I-06", "I-08")
def test_load__of_times_in_any_spelling__keeps_the_first_that_can_be_read(
    world: World, source: Source, tmp_path: Path
) -> None:
    seconds = int(START.timestamp())
    times: list[dict[str, Any]] = [
        {"timestamp": seconds},
        {"timestamp": str(seconds * 1000)},
        {"timestamp": "Sun, 22 Nov 2026 03:00:00 GMT"},
        {"timestamp": "2026-11-22 03:00:00 UTC"},
        {"timestamp": "", "originalTimestamp": START.isoformat()},
        {"timestamp": None, "originalTimestamp": seconds, "sentAt": seconds + 86_400},  # an import's clock is believed
    ]
    load(write(tmp_path / "past.jsonl", [world.event(**fields) for fields in times]))

    assert list(Message.objects.values_list("occurred_at", "warnings")) == [(START, [])] * len(times)


def test_load__of_messages_that_came_before__counts_them_as_duplicates(
    world: World, source: Source, tmp_path: Path
) -> None:
    live, past = world.event(), world.event()
    world.send(live)
    file = write(tmp_path / "past.jsonl", [past, live, past, world.event(messageId=None), {**past, "type": "page"}])
    assert load(file) == ["past.jsonl: 5 lines: 3 stored, 2 duplicates, 0 rejected"]
    assert Message.objects.count() == 4


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"{", "invalid_json"),
        (b"[]", "invalid_json"),
        (b"nonsense", "invalid_json"),
        (b'{"type":"track","event":"\xff"}', "invalid_json"),
        (b'{"type":"click","userId":"u"}', "invalid_event"),
        (b'{"type":"track","userId":"u"}', "missing_name"),
        (b'{"type":"track","event":"Buy"}', "no_identity"),
        (b'{"type":"track","event":"' + b"x" * 1_048_576 + b'"}', "too_large"),
        (b"x" * 3_000_000, "too_large"),
    ],
)
def test_load__with_a_bad_line__keeps_it_as_rejected_and_takes_its_neighbours(
    world: World, source: Source, tmp_path: Path, line: bytes, reason: str
) -> None:
    file = write(tmp_path / "past.jsonl", [world.event(), line, world.event()])
    assert load(file) == ["past.jsonl: 3 lines: 2 stored, 0 duplicates, 1 rejected"]
    assert world.statuses() == [("pending", ""), ("rejected", reason), ("pending", "")]
    rejected = Message.objects.get(status="rejected")
    assert rejected.position == 1
    assert body_of(rejected) == (line if len(line) < 4_096 else line[:4_096])


@pytest.mark.parametrize("excess", [-1, 0, 1, 2, 3, 1_048_576, 2_000_000])
@pytest.mark.parametrize("end", [b"\n", b"\r\n", b""])
def test_lines__about_as_long_as_the_limit__are_told_from_longer_ones(excess: int, end: bytes) -> None:
    body = b"x" * (1_048_576 + excess)
    lines = list(read_lines(io.BytesIO(b"\xef\xbb\xbf" * (excess < 0) + b"a\n" + body + end + b"b\n" * bool(end))))
    assert [line.is_too_large for line in lines] == [False, excess > 0, False][: 3 if end else 2]
    assert lines[1].body == (body[:4_096] if excess > 0 else body)
    assert [line.body for line in lines if len(line.body) == 1] == ([b"a", b"b"] if end else [b"a"])


def test_load__of_what_a_rule_keeps_from_being_stored__stores_the_rest(
    world: World, source: Source, tmp_path: Path
) -> None:
    fields = {"action": Rule.Action.DROP_FIELD, "argument": "properties.email"}
    Rule.objects.create(site=world.site, source=source, **fields)
    event = world.event(properties={"email": "ada@example.com", "plan": "team"})
    load(write(tmp_path / "past.jsonl", [event, b'{"email":"ada@example.com"']))
    assert not any(b"ada@" in body for body in all_bodies())
    stored = Message.objects.get(status="pending")
    assert json.loads(body_of(stored)) == {**event, "properties": {"plan": "team"}}


@pytest.mark.promise("I-06")
def test_load__of_the_past__counts_on_the_events_own_days_whatever_sent_at_says(
    world: World, source: Source, tmp_path: Path
) -> None:
    days = [START - timedelta(days=number) for number in range(30)]
    sent_at = (START + timedelta(days=3)).isoformat()
    events = [world.event(timestamp=day.isoformat(), sentAt=sent_at, messageId=None) for day in days]
    load(write(tmp_path / "past.jsonl", events))
    world.digest()
    times = list(Conversion.objects.order_by("-occurred_at").values_list("occurred_at", flat=True))
    assert times == days


@pytest.mark.promise("I-09")
def test_load__of_a_day_in_any_order__has_the_same_conversions_and_people(
    world: World, source: Source, tmp_path: Path
) -> None:
    names = ["Viewed", "Added", "Bought"]
    events = [
        world.event(
            event=names[number % 3],
            at=number * 60,
            userId=f"user-{number % 7}",
            properties={"kameleoonVisitorCode": f"visitor-{number % 5}"} if number % 2 else {},
        )
        for number in range(120)
    ]
    events += [world.event("identify", at=number, traits={"plan": number}, event=None) for number in range(20)]
    load(write(tmp_path / "sorted.jsonl", events))
    world.digest()
    fields = ("goal__name", "visitor_code", "keyed_by", "occurred_at", "user_id")

    def seen() -> tuple[list[Any], Any]:
        return sorted(Conversion.objects.values_list(*fields)), world.traits("user-1")

    first = seen()
    assert len(first[0]) == 120

    other = create_site(name="Other", sitecode="9z8y7x6w5v")
    create_source(other, name="Other archive", kind=Source.Kind.IMPORT)
    random.Random(7).shuffle(events)
    load(write(tmp_path / "shuffled.jsonl", events), source="Other archive")
    world.digest()
    conversions = Conversion.objects.filter(site=other).values_list(*fields)
    assert sorted(conversions) == first[0]


def test_load__of_a_finished_file__does_nothing_unless_told_to(world: World, source: Source, tmp_path: Path) -> None:
    file = write(tmp_path / "past.jsonl", [world.event(), world.event(messageId=None)])
    load(file)
    said = load(file.rename(tmp_path / "renamed.jsonl"))
    assert "was loaded on" in said[0]
    assert Message.objects.count() == 2

    assert load(tmp_path / "renamed.jsonl", again=True) == ["past.jsonl: 2 lines: 1 stored, 1 duplicates, 0 rejected"]
    assert Message.objects.count() == 3
    other = create_source(world.site, name="Other", kind=Source.Kind.IMPORT)
    assert load(tmp_path / "renamed.jsonl", source="Other")[0].startswith("renamed.jsonl: 2 lines: 1 stored")
    assert Load.objects.filter(source=other).count() == 1


@pytest.mark.parametrize("size", [10, 3 * 2**20])
@pytest.mark.parametrize("place", [0, -1])
def test_fingerprint__of_a_file_that_differs_at_its_ends_or_in_size__differs(
    tmp_path: Path, size: int, place: int
) -> None:
    content = bytearray(size)
    file = tmp_path / "file"
    file.write_bytes(content)
    before = fingerprint(file)
    assert fingerprint(file) == before
    content[place] = 1
    file.write_bytes(content)
    assert fingerprint(file) != before
    file.write_bytes(bytes(size + 1))
    assert fingerprint(file) != before


def test_load__of_standard_input__stores_its_lines(world: World, source: Source, tmp_path: Path) -> None:
    file = write(tmp_path / "past.jsonl", [world.event(), b"{"])
    command = [sys.executable, "manage.py", "load", "-", "--source", "archive-key"]
    with file.open("rb") as standard_input:
        done = subprocess.run(
            command,
            cwd=ROOT,
            env=environment_of_the_test(tmp_path),
            stdin=standard_input,
            capture_output=True,
            timeout=SECONDS,
            check=True,
        )
    assert done.stdout.decode().startswith("-: 2 lines: 1 stored, 0 duplicates, 1 rejected")
    assert world.statuses() == [("pending", ""), ("rejected", "invalid_json")]
    assert not Load.objects.exists()


def test_load__that_is_killed__goes_on_where_it_was(world: World, source: Source, tmp_path: Path) -> None:
    """Half of the lines have no messageId: only the place that was saved with them keeps them from coming twice."""
    count = 60_000
    events = [world.event(messageId=f"m-{number}" if number % 2 else None, number=number) for number in range(count)]
    file = write(tmp_path / "past.jsonl.gz", events)
    # No worker runs, so it would wait after half of this: it cannot come to its end before it is killed.
    with running_load(file, tmp_path / "load.log", tmp_path, limit=count) as child:
        until(lambda: child.poll() is not None or Load.objects.filter(lines__gt=0).exists())
        assert child.poll() is None, (tmp_path / "load.log").read_text()
    lines = Load.objects.get().lines
    assert 0 < lines < count
    assert Message.objects.count() == lines

    assert load(file) == [
        f"past.jsonl.gz goes on at line {lines + 1:,}",
        f"past.jsonl.gz: {count:,} lines: {count:,} stored, 0 duplicates, 0 rejected",
    ]
    numbers = Counter(json.loads(body)["number"] for body in all_bodies())
    assert numbers == Counter(range(count))


def test_load__whose_commit_fails__leaves_messages_and_place_alone(
    world: World, source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_load, "CHUNK_ROWS", 2)
    events = [world.event(messageId=None, number=number) for number in range(5)]
    file = write(tmp_path / "past.jsonl", events)
    begun = Load.objects.create(site=source.site, source=source, fingerprint=fingerprint(file), file_name=file.name)
    with file.open("rb") as lines:
        steps = load_lines(lines, begun)
        next(steps)
        Load.objects.update(lines=4)  # as another process would that loads the same file
        with pytest.raises(LoadLostError):
            next(steps)
    assert (Message.objects.count(), Load.objects.get().lines) == (2, 4)


def test_load__while_too_much_is_pending__waits_for_the_digest(
    world: World, source: Source, tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.INBOX_LIMIT = 40
    monkeypatch.setattr(file_load, "POLL_SECONDS", 0.0)
    file = write(tmp_path / "past.jsonl", [world.event() for _ in range(100)])
    begun = Load.objects.create(site=source.site, source=source, fingerprint=fingerprint(file), file_name=file.name)
    most, waits = 0, 0
    with file.open("rb") as lines:
        for pending in load_lines(lines, begun):
            most = max(most, Message.objects.filter(status="pending").count())
            waits += bool(pending)
            if pending:
                world.digest()
    assert begun.lines == Message.objects.count() == 100
    assert waits
    assert 20 < most < 40  # from there on live senders are refused


def test_load__while_too_much_is_pending__says_so(world: World, source: Source, tmp_path: Path) -> None:
    world.post([world.event() for _ in range(3)])
    file, log = write(tmp_path / "past.jsonl", [world.event()]), tmp_path / "load.log"
    with running_load(file, log, tmp_path, limit=4) as child:
        until(lambda: child.poll() is not None or "more than 2 messages wait" in log.read_text())
        assert child.poll() is None, log.read_text()
        world.digest()
        assert child.wait(timeout=SECONDS) == 0
    assert "1 stored" in log.read_text()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"source": "Nothing"}, "no source"),
        ({"source": "Archive", "site": "nowhere"}, "no source"),
        ({"source": "Twin"}, "several"),
        ({"source": "Off"}, "switched off"),
    ],
)
def test_load__for_a_source_that_cannot_be_told__refuses(
    world: World, source: Source, tmp_path: Path, options: dict[str, Any], words: str
) -> None:
    for _ in range(2):
        create_source(world.site, name="Twin", kind=Source.Kind.IMPORT)
    create_source(world.site, name="Off", kind=Source.Kind.IMPORT)
    Source.objects.filter(name="Off").update(is_enabled=False)
    with pytest.raises(CommandError, match=words):
        load(write(tmp_path / "past.jsonl", [world.event()]), **options)
    assert not Message.objects.exists()


def test_load__of_a_gzip_file_that_ends_too_soon__says_where_it_stands(
    world: World, source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_load, "CHUNK_ROWS", 10)
    file = write(tmp_path / "past.jsonl.gz", [world.event(number=random.random()) for _ in range(1_000)])
    file.write_bytes(file.read_bytes()[:-1_000])
    with pytest.raises(CommandError, match="go on at line"):
        load(file)
    assert Message.objects.count() == Load.objects.get().lines > 0


def test_load__of_several_files_one_of_which_is_missing__loads_none(
    world: World, source: Source, tmp_path: Path
) -> None:
    with pytest.raises(CommandError, match="is not a file"):
        load(write(tmp_path / "past.jsonl", [world.event()]), tmp_path / "missing.jsonl")
    assert not Message.objects.exists()
