"""Refused events are stored once with a count, within a daily limit."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from pytest_django import Settings

from api.digest.prune import OLD_MESSAGES, Retention, prune_old
from api.digest.replay import replay
from api.http.credentials import clear_lookups
from api.http.database import connect
from api.ingest import refusals
from api.ingest.provisioning import create_source
from api.ingest.refusals import Allowance, RefusalCounter, RefusalCounts, load_refusal_counts
from api.ingest.source_counts import load_source_counts
from api.models import Message, RefusalCount, Source
from tests.support.asgi import ask
from tests.support.concurrency import wait_until
from tests.support.messages import body_of, store_message
from tests.support.outages import database_down
from tests.support.rules import add_rule
from tests.support.tracking import KEY, basic, post
from tests.world import World


@pytest.fixture
def source(world: World) -> Source:
    return create_source(world.site, name="Web", kind="browser", write_key=KEY)


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Limit the stored refused events of a source to three per reason and day."""
    monkeypatch.setattr(refusals, "ALLOWANCE", Allowance(3, 1_000_000))
    monkeypatch.setattr(refusals, "SWITCHED_OFF_ALLOWANCE", Allowance(3, 1_000_000))


def switch(source: Source, *, on: bool) -> None:
    Source.objects.filter(pk=source.pk).update(is_enabled=on)
    clear_lookups()


def track(world: World, **fields: Any) -> tuple[int, str]:
    answer = post(world, "/v1/track", {"userId": "u1", **fields})
    return answer.status_code, answer.json().get("code", "")


def counts(source: Source, reason: str) -> tuple[int, int, int]:
    stored = load_refusal_counts(source.site_id, [source.pk])[source.pk].get(reason, RefusalCounts())
    return stored.kept, stored.copies, stored.not_kept


# Once


def test_refused__with_one_message_id__is_stored_once_with_a_count(world: World, source: Source) -> None:
    for number in range(5):
        assert track(world, messageId="m1", sentAt=f"2026-11-22T03:00:0{number}Z") == (400, "missing_name")
    wait_until(lambda: counts(source, "missing_name") == (1, 4, 0))

    message = Message.objects.get()
    assert (message.message_id, message.status, message.copies) == ("m1", "rejected", 4)


def test_refused__without_a_message_id__is_known_by_its_body(world: World, source: Source) -> None:
    for text in ("a", "a", "b", "a"):
        assert track(world, properties={"text": text})[0] == 400
    wait_until(lambda: counts(source, "missing_name") == (2, 2, 0))

    assert sorted(Message.objects.values_list("copies", flat=True), key=bool) == [None, 2]


def test_refused__of_another_reason_type_source_or_site__is_another(world: World, source: Source) -> None:
    create_source(world.site, name="Other", kind="server", write_key="other_key")
    track(world, messageId="m1")
    post(world, "/v1/group", {"userId": "u1", "messageId": "m1"})
    post(world, "/v1/track", {"messageId": "m1", "event": "E"})
    post(world, "/v1/track", {"userId": "u1", "messageId": "m1"}, headers=basic("other_key"))

    assert sorted(Message.objects.values_list("reason", flat=True)) == [
        "missing_group_id",
        "missing_name",
        "missing_name",
        "no_identity",
    ]


def test_refused__corrected_by_its_sender__is_accepted(world: World, source: Source) -> None:
    track(world, messageId="m1")
    track(world, messageId="m1")

    assert track(world, messageId="m1", event="Buy") == (200, "")
    world.digest()

    assert world.goals() == {"SegmentIO track – Buy": 1}
    assert Message.objects.filter(status="rejected").count() == 1


def test_batch__with_refused_copies__is_answered_as_ever(world: World, source: Source) -> None:
    bad = {"type": "track", "userId": "u1", "messageId": "m1"}
    good = {**bad, "event": "Buy", "messageId": "m2"}
    for _ in range(2):
        answer = post(world, "/v1/batch", {"batch": [bad, good, bad]}).json()
        assert [rejection["index"] for rejection in answer["rejected"]] == [0, 2]

    assert (answer["accepted"], answer["duplicates"]) == (0, 1)
    assert world.statuses() == [("rejected", "missing_name"), ("pending", "")]


@pytest.mark.parametrize("reason", ["source_off", "integration_off"])
def test_off__events_without_message_ids__count_each_when_they_are_tried_again(
    world: World, source: Source, reason: str
) -> None:
    off = source if reason == "source_off" else world.site.sources.get(kind="destination")
    switch(off, on=False)
    event = {"type": "track", "event": "Buy", "userId": "u1"}
    for _ in range(2):
        answer = post(world, "/v1/track", event) if reason == "source_off" else world.post(event)
        assert (answer.status_code, answer.json()["code"]) == (403, reason)
    switch(off, on=True)

    assert replay(world.site.pk, reason, who="test").messages == 2
    world.digest()

    assert world.goals() == {"SegmentIO track – Buy": 2}


def test_refused__tried_again__makes_room_for_another(world: World, source: Source) -> None:
    switch(source, on=False)
    for _ in range(2):
        assert track(world, messageId="m1", event="Buy") == (403, "source_off")
    assert Message.objects.count() == 1

    replay(world.site.pk, "source_off", who="test")
    assert track(world, messageId="m1", event="Buy") == (403, "source_off")
    world.digest()

    assert world.statuses() == [("done", ""), ("rejected", "source_off")]


def test_refused__tried_again_and_rejected_by_the_digest__does_not_meet_its_copy(world: World, source: Source) -> None:
    switch(source, on=False)
    track(world, messageId="m1", event="x" * 501)
    replay(world.site.pk, "source_off", who="test")
    track(world, messageId="m1", event="x" * 501)

    world.digest()

    assert sorted(world.statuses()) == [("rejected", "name_too_long"), ("rejected", "source_off")]


def test_refused__of_a_site_that_redacts__is_known_by_what_is_stored(world: World, source: Source) -> None:
    add_rule(world, "drop_field", "properties.email")
    for mail in ("a@example.com", "b@example.com"):
        track(world, properties={"email": mail})

    message = Message.objects.get()
    assert b"example.com" not in body_of(message)


# No more than is of use


def test_refused__over_the_allowance__is_counted_only(world: World, source: Source, few: None) -> None:
    for number in range(10):
        assert track(world, messageId=f"m{number}") == (400, "missing_name")
    assert track(world, messageId="m1", event="Buy") == (200, "")
    assert post(world, "/v1/group", {"userId": "u1"}).json()["code"] == "missing_group_id"

    assert Message.objects.filter(reason="missing_name").count() == 3
    assert Message.objects.filter(reason="missing_group_id").count() == 1
    wait_until(lambda: counts(source, "missing_name") == (3, 0, 7))

    def came() -> tuple[int, int, int]:
        source_counts = load_source_counts(source.site_id, [source.pk])[source.pk]
        return source_counts.received, source_counts.duplicates, source_counts.rejected

    wait_until(lambda: came() == (12, 0, 11))  # the counts of the last two requests may be written later


def test_refused__in_a_batch_over_the_allowance__is_answered_as_ever(world: World, source: Source, few: None) -> None:
    bad = [{"type": "track", "userId": "u1", "messageId": f"m{number}"} for number in range(5)]
    good = {"type": "track", "userId": "u1", "messageId": "good", "event": "Buy"}

    answer = post(world, "/v1/batch", {"batch": [*bad, good]})

    assert answer.status_code == 200
    assert (answer.json()["accepted"], answer.json()["duplicates"]) == (1, 0)
    assert [rejection["index"] for rejection in answer.json()["rejected"]] == [0, 1, 2, 3, 4]
    assert post(world, "/v1/batch", {"batch": bad}).status_code == 400
    assert Message.objects.count() == 4


def test_off__large_events__take_bounded_room(world: World, source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refusals, "SWITCHED_OFF_ALLOWANCE", Allowance(1_000, 3_000_000))
    switch(source, on=False)

    for number in range(8):
        assert track(world, messageId=f"m{number}", event="E", x="x" * 900_000) == (403, "source_off")

    assert Message.objects.count() == 3
    wait_until(lambda: counts(source, "source_off") == (3, 0, 5))


def test_destination__that_is_off__takes_bounded_room(world: World, few: None) -> None:
    switch(world.site.sources.get(), on=False)
    for _ in range(8):
        assert world.post(world.event()).json()["code"] == "integration_off"

    assert Message.objects.count() == 3


def test_requests__that_break_off__are_kept_up_to_the_allowance(world: World, source: Source, few: None) -> None:
    authorization = (b"authorization", basic()["authorization"].encode())
    for number in range(8):
        body = b'{"userId": "u%d", ' % number
        length = (b"content-length", b"%d" % (len(body) + 9))
        assert ask("POST", "/v1/track", body=body, headers=[authorization, length], is_cut=True) == 400

    assert Message.objects.count() == 3


def test_refused__of_a_site_whose_limit_is_taken__is_counted_only(
    world: World, source: Source, settings: Settings
) -> None:
    """Refused events count against the backlog of their site, but do not delay acceptable events."""
    settings.SITE_INBOX_LIMIT = 4
    for number in range(3):
        track(world, messageId=f"m{number}")
        wait_until(lambda number=number: counts(source, "missing_name")[0] == number + 1)  # type: ignore[misc]
    post(world, "/v1/group", {"userId": "u1"})
    wait_until(lambda: counts(source, "missing_group_id") == (1, 0, 0))

    assert track(world, messageId="m9") == (400, "missing_name")
    assert track(world, messageId="m9", event="Buy") == (200, "")

    assert Message.objects.filter(status="rejected").count() == 4
    wait_until(lambda: counts(source, "missing_name") == (3, 0, 1))


def test_refused__while_the_database_is_away__is_not_counted_as_kept(world: World, source: Source) -> None:
    track(world, messageId="m1")
    wait_until(lambda: counts(source, "missing_name") == (1, 0, 0))
    with database_down():
        assert track(world, messageId="m2") == (503, "unavailable")
    track(world, messageId="m2")

    wait_until(lambda: counts(source, "missing_name") == (2, 0, 0))


def test_refusals__of_several_processes__share_the_allowance(transactional_db: None, few: None) -> None:
    one, other = RefusalCounter(), RefusalCounter()
    room = (100, 100_000)
    with connect() as connection:
        assert [one.take(1, 7, "missing_name", 10, room=room) for _ in range(2)] == [True, True]
        one.write(connection)
        assert other.take(1, 7, "missing_name", 10, room=room)
        other.write(connection)
        one.take(1, 7, "invalid_json", 10, room=room)
        one.take(1, 7, "missing_name", 10, room=room)
        one.write(connection)

    assert not other.take(1, 7, "missing_name", 10, room=room)
    assert one.is_written
    assert load_refusal_counts(1, [7])[7] == {
        "invalid_json": RefusalCounts(1, 10, 0, 0),
        "missing_name": RefusalCounts(4, 40, 0, 0),
    }
    RefusalCount.objects.update(day="2026-01-01")
    with connect() as connection:  # another day
        other.write(connection)
    assert other.take(1, 7, "invalid_json", 10, room=room)


# Their end


@pytest.mark.parametrize(
    ("status", "days", "ages_gone"),
    [("rejected", None, {31, 95}), ("rejected", 60, {95}), ("failed", None, {95}), ("failed", 100, set())],
)
def test_prune__of_rejected_and_failed_messages__keeps_them_as_long_as_told(
    world: World, source: Source, status: str, days: int | None, ages_gone: set[int]
) -> None:
    world.change_site(keeps_done_days=days)
    now = datetime.now(UTC)
    ages = {}
    for age in (1, 29, 31, 95):
        at = now - timedelta(days=age)
        message = store_message(site=world.site, type="track", received_at=at, occurred_at=at, status=status)
        ages[message.pk] = age
        RefusalCount.objects.create(
            site=world.site,
            source=source,
            day=at.date(),
            reason="x",
            kept=1,
            kept_bytes=2,
            copies=0,
            not_kept=0,
            last_at=at,
        )

    assert prune_old(now=now, seconds=60) == len(ages_gone)

    left = {ages[pk] for pk in Message.objects.values_list("pk", flat=True)}
    assert set(ages.values()) - left == ages_gone
    assert counts(source, "x")[0] == sum(age <= (days or 30) for age in ages.values())


def test_prune__of_rejected_messages__finds_the_oldest_by_their_index(world: World) -> None:
    """Otherwise it would read all messages of a site with few rejected ones."""
    now = datetime.now(UTC)
    messages = (
        Message(
            site=world.site,
            type="track",
            received_at=now,
            occurred_at=now,
            digested_at=now,
            status="done" if number % 1_000 else "rejected",
        )
        for number in range(5_000)
    )
    Message.objects.bulk_create(messages, batch_size=1_000)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE api_message")
        cursor.execute(
            "EXPLAIN " + OLD_MESSAGES["rejected"],
            {**Retention(world.site, now, now).parameters(0, 2**63 - 1), "chunk": 5_000},
        )
        plan = "\n".join(row[0] for row in cursor.fetchall())
    assert "api_message_failures" in plan
