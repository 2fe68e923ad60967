"""Hostile and unlucky senders harm no other sender, and cause no lost, doubled or forbidden data."""

import gzip
import json
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.db import connections
from django.test import override_settings

from api.digest import hooks
from api.http.bodies import STRANGERS
from api.http.credentials import clear_lookups
from api.ingest.provisioning import add_write_key, create_source, note_rules_changed
from api.ingest.write_keys import read_keys
from api.models import Message, Rule, Source, WriteKey
from api.rules.patterns import matches_pattern
from goals.models import Conversion
from tests.support.asgi import ask, full
from tests.support.messages import all_bodies, body_of
from tests.support.tracking import EVENTS, KEY, basic, post
from tests.world import START, World


def add_rule(world: World, action: str, argument: str = "", **fields: Any) -> None:
    Rule.objects.create(site=world.site, action=action, argument=argument, **fields)
    clear_lookups()


# Size and time


def test_batch__whose_context_would_fill_the_memory__is_refused(world: World, source: Source) -> None:
    events = [{"type": "track", "event": "E", "userId": f"u{n}"} for n in range(400)]
    body = json.dumps({"context": {"a": "x" * 900_000}, "batch": events}).encode()

    refused = post(world, "/v1/batch", gzip.compress(body), headers={**basic(), "content-encoding": "gzip"})

    assert (refused.status_code, refused.json()["code"]) == (413, "too_large")
    assert Message.objects.get().reason == "too_large"
    small = json.dumps({"context": {"a": "x" * 9_000}, "batch": events}).encode()
    assert post(world, "/v1/batch", small).json()["accepted"] == 400


@pytest.mark.parametrize("pattern", ["{any} in {any} category", "{any}{id}", "{any}{any}{word}!", "{word} {any}{n}"])
def test_pattern__against_a_long_name__takes_no_time(pattern: str) -> None:
    begun = time.process_time()

    for name in (" in " * 100_000, "a1" * 200_000, "a" * 400_000, " in " * 125, "a1" * 250):
        matches_pattern(name, pattern)

    assert time.process_time() - begun < 20  # it was hours


def test_key__in_the_page_of_a_browser_source__gives_no_leave_to_take_the_room_of_others(
    world: World, source: Source
) -> None:
    """Whoever shows it is a stranger as far as waiting for bodies goes; a server's key is not in any page."""
    create_source(world.site, name="Server", kind="server", write_key="server_key")
    body = json.dumps(EVENTS["track"]).encode()
    with full(STRANGERS):
        for key, status in ((KEY, 503), ("server_key", 200)):
            headers = [(b"authorization", basic(key)["authorization"].encode())]
            assert ask("POST", "/v1/track", body=body, headers=headers) == status
    assert post(world, "/v1/track", EVENTS["track"]).status_code == 200


def test_keys__of_a_body_full_of_numbers__are_found_in_no_time() -> None:
    body = b'{"x":["\\ud800"' + b",1e300" * 200_000 + b'],"writeKey":"k"}'
    begun = time.process_time()

    assert read_keys(body).top == "k"
    assert time.process_time() - begun < 5


def test_event__nested_beyond_reading__under_a_redaction__loses_no_neighbour(world: World, source: Source) -> None:
    add_rule(world, "drop_field", "properties.items.price")
    deep = b'{"type":"track","event":"E","userId":"u","properties":{"items":' + b"[" * 500 + b"]" * 500 + b"}}"
    good = json.dumps({"type": "track", **EVENTS["track"]}).encode()

    answer = post(world, "/v1/batch", b'{"batch":[' + deep + b"," + good + b"]}")

    assert (answer.status_code, answer.json()["accepted"]) == (200, 2)


def test_visitor__of_thousands_of_events_in_a_moment__is_searched_for_twins_in_no_time(
    world: World, source: Source
) -> None:
    create_source(world.site, name="Server", kind="server", write_key="server_key")
    events = [
        {"type": "track", "event": "E", "userId": "u", "messageId": f"m{n}", "timestamp": START.isoformat()}
        for n in range(2_000)
    ]
    post(world, "/v1/batch", {"batch": events})
    world.digest()
    with connections["default"].cursor() as cursor:
        cursor.execute("ANALYZE goals_conversion")
    post(world, "/v1/track", {**EVENTS["track"], "event": "E", "userId": "u", "timestamp": START.isoformat()})
    before = rows_read()
    world.digest()

    assert rows_read() - before < 1_000
    assert Conversion.objects.count() == 2_001


def rows_read() -> int:
    """Rows of conversions that indexes gave so far."""
    with connections["default"].cursor() as cursor:
        cursor.execute("SELECT pg_stat_force_next_flush()")
        cursor.execute("SELECT pg_stat_clear_snapshot()")
        cursor.execute(
            """
            SELECT sum(idx_tup_read) FROM pg_stat_user_indexes
             WHERE relname = 'goals_conversion' AND indexrelname = 'goals_conversion_visitor'
            """
        )
        return int(cursor.fetchone()[0] or 0)


# Data that must not be stored


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/batch", {"batch": [{"type": "Identity", "userId": "u", "traits": {"email": "ada@example.com"}}]}),
        ("/v1/batch", {"batch": [{"type": "user", "userId": "u", "properties": {"email": "ada@example.com"}}]}),
        ("/v1/batch", {"batch": {"traits": {"email": "ada@example.com"}}}),
        ("/v1/batch", {"events": [{"traits": {"email": "ada@example.com"}}]}),
        ("/v1/identify", [{"userId": "u", "traits": {"email": "ada@example.com"}}]),
    ],
)
def test_redaction__of_what_is_refused__keeps_nothing_that_rules_forbid(
    world: World, source: Source, path: str, body: Any
) -> None:
    add_rule(world, "drop_field", "traits.email", event_type="identify")

    assert post(world, path, body).status_code == 400
    assert b"ada@example.com" not in b"".join(all_bodies())


def test_redaction__of_a_type_in_another_case__acts_as_on_any(world: World, source: Source) -> None:
    fields = {"path": "type", "path_test": "equals", "path_value": "identify"}
    add_rule(world, "drop_field", "traits.email", event_type="identify", **fields)
    event = {"type": "Identify", "userId": "u", "traits": {"email": "ada@example.com", "plan": "x"}}

    assert post(world, "/v1/batch", {"batch": [event]}).status_code == 200
    assert json.loads(body_of(world.last_message())) == {**event, "traits": {"plan": "x"}}


# Data that must not be lost


@pytest.mark.promise("B-07")
@pytest.mark.parametrize("how", ["takes no track", "drops", "takes no pages for tracks"])
@pytest.mark.parametrize("is_first", [True, False])
def test_event__that_one_source_may_not_count__counts_through_another(
    world: World, source: Source, how: str, *, is_first: bool
) -> None:
    """analytics.js sends an event directly, Segment forwards it with the same messageId a moment later."""
    if how == "drops":
        add_rule(world, "drop", source=source, name_test="prefix", name_value="Signed")
    else:
        Source.objects.filter(pk=source.pk).update(takes_track=False)
    type_ = "page" if how == "takes no pages for tracks" else "track"
    if type_ == "page":
        add_rule(world, "page_to_track", event_type="page")
    clear_lookups()
    event = {
        "userId": "u1",
        "messageId": "m1",
        **({"event": "Signed Up"} if type_ == "track" else {"name": "Signed Up"}),
    }

    for is_direct in (is_first, not is_first):
        if is_direct:
            assert post(world, f"/v1/{type_}", event).status_code == 200
        else:
            world.post({"type": type_, **event})
        world.digest()

    assert world.goals() == {"SegmentIO track – Signed Up": 1}


def test_event__of_bytes_that_are_no_text__is_refused_at_once(world: World, source: Source) -> None:
    body = '{"userId":"u1","event":"Zürich"}'.encode("latin-1")

    assert (post(world, "/v1/track", body).status_code, post(world, "/v1/track", body).json()["code"]) == (
        400,
        "invalid_json",
    )
    assert world.last_message().reason == "invalid_json"


@pytest.mark.parametrize("where", ["event", "context"])
def test_emoji__cut_in_half__leaves_the_context_of_its_batch(world: World, source: Source, where: str) -> None:
    cut = b'"\\ud83d"'
    context = b'{"kameleoonVisitorCode":"vc","x":%s}' % (cut if where == "context" else b"1")
    events = b",".join(
        b'{"type":"track","event":"E","userId":"u%d","properties":{"x":%s}}'
        % (n, cut if where == "event" and n else b"1")
        for n in range(2)
    )

    assert post(world, "/v1/batch", b'{"context":%s,"batch":[%s]}' % (context, events)).json()["accepted"] == 2
    world.digest()
    assert world.visitors() == ["vc", "vc"]


@pytest.mark.parametrize("sent_at", ["", "nonsense", None, 5])
def test_clock__of_a_batch__corrects_an_event_whose_own_says_nothing(
    world: World, source: Source, sent_at: Any
) -> None:
    hours_ago = "2020-01-01T00:00:00Z"
    event = {"type": "track", **EVENTS["track"], "timestamp": hours_ago, "sentAt": sent_at}

    post(world, "/v1/batch", {"batch": [event], "sentAt": hours_ago})

    assert world.last_message().warnings == ["clock_corrected"]


@pytest.mark.parametrize("body", [{**EVENTS["track"], "writeKey": ""}, {**EVENTS["track"], "writeKey": None}])
def test_write_key__empty_in_the_body__is_none(world: World, source: Source, body: dict[str, Any]) -> None:
    assert post(world, "/v1/track", body).status_code == 200


def test_batch__of_which_nothing_is_good__is_400_whatever_was_wrong_first(world: World, source: Source) -> None:
    large = {"type": "track", "event": "E", "userId": "u", "x": "x" * 1_048_576}
    bad = {"type": "track", "userId": "u"}

    for events in ([large, bad], [bad, large]):
        assert post(world, "/v1/batch", {"batch": events}).status_code == 400


@pytest.mark.parametrize("odd", [["audience"], {"a": 1}, 5, None])
def test_personas__of_an_odd_class__kill_no_message(world: World, source: Source, odd: Any) -> None:
    context = {"personas": {"computation_class": odd, "computation_key": "x"}}

    post(world, "/v1/track", {**EVENTS["track"], "context": context, "properties": {"x": True}})
    world.digest()

    assert world.last_message().status == "done"


def test_write_key__taken_by_two_at_once__is_one_sources(world: World, source: Source) -> None:
    start = threading.Barrier(6)

    def take(_: int) -> str:
        start.wait(30)
        try:
            return add_write_key(source, key="wanted").key
        except ValidationError:
            return ""
        finally:
            connections.close_all()

    with ThreadPoolExecutor(6) as threads:
        assert sorted(threads.map(take, range(6))) == [""] * 5 + ["wanted"]
    assert WriteKey.objects.filter(key="wanted").count() == 1


# Waiting names


def test_messages__that_wait_for_quota__go_on_at_once_when_a_rule_speaks_of_them(world: World, source: Source) -> None:
    world.change_site(goals_per_10_seconds=1, goals_per_hour=1)
    names = ["First", *["Noise"] * 30, "Other"]
    events = [{"type": "track", "event": name, "userId": "u", "messageId": f"m{n}"} for n, name in enumerate(names)]
    post(world, "/v1/batch", {"batch": events})
    world.digest()
    assert Message.objects.filter(status="deferred").count() == 31

    add_rule(world, "drop", "noise", name_test="equals", name_value="Noise")
    note_rules_changed(world.site.pk, now=datetime.now(UTC))
    world.tend()

    assert Message.objects.filter(reason="dropped_by_rule").count() == 30
    assert list(Message.objects.filter(status="deferred").values_list("waiting_for", flat=True)) == [
        "SegmentIO track – Other"
    ]
    world.pass_time(3_601)
    world.tend()
    assert world.goals() == {"SegmentIO track – First": 1, "SegmentIO track – Other": 1}


# Hooks


HOOKS = """
from django.db import connection

def transform(event):
    name = event.get("event")
    with connection.cursor() as cursor:
        if name == "Bad":
            cursor.execute("SELECT nope")
        if name == "Swallowed":
            try:
                cursor.execute("SELECT nope")
            except Exception:
                pass
        if name == "Slow":
            cursor.execute("SELECT pg_sleep(60)")
    if name == "Nul":
        event["properties"] = {"x\\0": "\\0"}
    return event
"""


@pytest.mark.promise("A-14")
@pytest.mark.parametrize("name", ["Bad", "Swallowed", "Slow"])
def test_hook__whose_sql_fails__leaves_its_message_dead_and_hurts_no_other(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    (tmp_path / "sql_hooks.py").write_text(HOOKS)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(hooks, "SECONDS", 1.0)

    with override_settings(HOOKS="sql_hooks"):
        world.send(*(world.event("track", event=each) for each in ("Before", name, "Nul", "After")))
        world.digest()

    hooks._find_transform.cache_clear()
    sys.modules.pop("sql_hooks", None)
    assert world.goals() == {"SegmentIO track – After": 1, "SegmentIO track – Before": 1, "SegmentIO track – Nul": 1}
    message = Message.objects.get(status="failed")
    assert message.reason == "transform_failed"
    assert message.detail
