"""Requests of `/api/sources`: sources, their write keys and their figures."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from django.utils import timezone

from api.http.credentials import clear_lookups
from api.ingest.provisioning import create_source
from api.models import AuditEntry, Site, Source, WriteKey
from tests.support.concurrency import wait_until
from tests.support.management_api import Caller, body, message, refusal
from tests.world import SITECODE, World

KEY = "write-key-of-the-web"


@pytest.fixture
def web(world: World) -> Source:
    return create_source(world.site, name="Web", kind="browser", write_key=KEY)


def wire(time: datetime) -> str:
    return time.isoformat().replace("+00:00", "Z")


def send(world: World, key: str, **event: Any) -> int:
    """Send a tracking call with this key past the caches, and return its status."""
    clear_lookups()
    return world.client.post("/v1/track", json={"userId": "ann", "event": "Buy", "writeKey": key, **event}).status_code


# Reading


@pytest.mark.promise("I-25")
def test_source__through_which_events_came__tells_all_of_it(world: World, web: Source, owner: Caller) -> None:
    for event in ({"messageId": "m1"}, {"messageId": "m1"}, {"event": ""}):
        send(world, KEY, **event)
    wait_until(lambda: owner.get(f"/api/sources/{web.pk}")["budgets"][1]["events"] == 3)  # written once a second

    read = owner.get(f"/api/sources/{web.pk}")

    seen = read.pop("lastSeenAt")
    minute = {name: read["budgets"][0][name] for name in ("events", "bytes", "turnedAway")}
    day_bytes = read["budgets"][1]["bytes"]
    assert timezone.now() - timedelta(minutes=10) < datetime.fromisoformat(seen) <= timezone.now()
    assert read == {
        "id": web.pk,
        "sitecode": SITECODE,
        "name": "Web",
        "kind": "browser",
        "isEnabled": True,
        "takesTrack": True,
        "dateCreated": wire(web.created_at),
        "writeKeys": [{"key": KEY, "dateCreated": wire(web.write_keys.get().created_at), "endsAt": None}],
        "received": 3,
        "duplicates": 1,
        "rejected": 1,
        "last24Hours": {"received": 3, "duplicates": 1, "rejected": 1},
        "duplicateSources": [],
        "eventsPerMinute": None,
        "bytesPerMinute": None,
        "eventsPerDay": None,
        "bytesPerDay": None,
        "budgets": [
            {
                "span": "minute",
                "mostEvents": 30_000,
                "mostBytes": 33_554_432,
                **minute,
            },
            {
                "span": "day",
                "mostEvents": 5_000_000,
                "mostBytes": 4_294_967_296,
                "events": 3,
                "bytes": day_bytes,
                "turnedAway": 0,
            },
        ],
        "rejectedByReason": [{"reason": "missing_name", "kept": 1, "copies": 0, "notKept": 0}],
    }
    assert day_bytes > 100
    assert minute["events"] in {0, 1, 2, 3}  # a minute may have ended


def test_source__unheard_of__has_never_been_seen(web: Source, owner: Caller) -> None:
    read = owner.get(f"/api/sources/{web.pk}")

    assert (read["lastSeenAt"], read["received"], read["last24Hours"]["received"]) == (None, 0, 0)


@pytest.mark.promise("B-06")
def test_source__whose_events_another_sends_too__names_the_other(world: World, web: Source, owner: Caller) -> None:
    server = create_source(world.site, name="Server", kind="server", write_key="write-key-of-the-server")
    for key in (KEY, "write-key-of-the-server"):
        send(world, key, timestamp="2026-11-22T03:00:00Z")
    world.digest()

    for one, other in ((web, server), (server, web)):
        (duplicate,) = owner.get(f"/api/sources/{one.pk}")["duplicateSources"]
        assert (duplicate["source"], duplicate["eventName"], duplicate["count"]) == (other.pk, "Buy", 1)
        assert duplicate["lastSeenAt"].endswith("Z")


@pytest.mark.parametrize("path", ["/api/sources", "/api/sources/", f"/api/sources?site={SITECODE}"])
def test_list__of_my_sites__is_oldest_first(web: Source, owner: Caller, path: str) -> None:
    assert [source["kind"] for source in owner.get(path)] == ["destination", "browser"]


@pytest.mark.parametrize("count", [1, 20])
def test_list__many_sources__takes_the_same_queries(
    world: World, owner: Caller, django_assert_num_queries: Any, count: int
) -> None:
    for number in range(count):
        create_source(world.site, name=f"Source {number}", kind="server")

    with django_assert_num_queries(7):  # sources; keys; figures, of all time and of a day; budgets; refused; duplicates
        assert len(owner.get("/api/sources")) == count + 1


# Permissions


@pytest.mark.promise("K-40")
def test_list__outsider_and_nobody__see_nothing_of_it(
    web: Source, owner: Caller, teammate: Caller, outsider: Caller
) -> None:
    assert len(owner.get("/api/sources")) == 2
    assert len(teammate.get("/api/sources")) == 3
    assert [source["kind"] for source in outsider.get("/api/sources")] == ["destination"]
    assert refusal(outsider.ask("GET", f"/api/sources?site={SITECODE}")) == (404, "unknown_site")
    assert refusal(owner.ask("GET", "/api/sources", authorization="")) == (401, "unauthorized")
    assert refusal(owner.ask("GET", "/api/sources?sitecode=x")) == (400, "invalid_request")


@pytest.mark.parametrize(
    "request_",
    [
        (method, f"{path}{slash}", sent)
        for slash in ("", "/")
        for method, path, sent in (
            ("GET", "", None),
            ("PATCH", "", {"name": "Mine"}),
            ("POST", "/write-keys", {}),
            ("DELETE", f"/write-keys/{KEY}", None),
        )
    ],
)
def test_source__of_a_teammate_or_of_another_site__is_open_or_not_there(
    web: Source, teammate: Caller, outsider: Caller, request_: tuple[str, str, Any]
) -> None:
    method, path, sent = request_
    whole = f"/api/sources/{web.pk}{path}"

    assert refusal(outsider.ask(method, whole, sent)) == (404, "not_found")
    assert refusal(teammate.ask(method, whole, sent, authorization="")) == (401, "unauthorized")
    web.refresh_from_db()
    assert (web.name, web.write_keys.get().ends_at) == ("Web", None)
    assert teammate.ask(method, whole, sent).status_code in {200, 201, 204}


@pytest.mark.promise("B-02")
@pytest.mark.parametrize("scheme", ["Basic", "Bearer"])
def test_write_key__shown_at_the_management_api__opens_nothing(web: Source, owner: Caller, scheme: str) -> None:
    """A write key is public in every page, so it must not read or change anything."""
    key = "d3JpdGUta2V5LW9mLXRoZS13ZWI6" if scheme == "Basic" else KEY  # base64 of `KEY:`

    for path in ("/api/sources", f"/api/sources/{web.pk}", "/api/goals", f"/api/sites/{SITECODE}/rules"):
        assert refusal(owner.ask("GET", path, authorization=f"{scheme} {key}")) == (401, "unauthorized")
    assert (
        refusal(owner.ask("POST", f"/api/sources/{web.pk}/write-keys", {}, authorization=f"{scheme} {key}"))[0] == 401
    )


# Creating


@pytest.mark.promise("A-02")
@pytest.mark.parametrize("kind", ["server", "browser", "import", "altis"])
def test_create__each_kind__has_a_key_that_sends(world: World, owner: Caller, kind: str) -> None:
    response = owner.post("/api/sources", {"name": "Shop", "kind": kind})

    assert response.status_code == 201, response.content
    made = body(response)
    assert (made["name"], made["kind"], made["sitecode"]) == ("Shop", kind, SITECODE)
    (key,) = made["writeKeys"]
    assert send(world, key["key"]) == 200
    rules = owner.get(f"/api/sites/{SITECODE}/rules")["rules"]
    assert len(rules) == (2 if kind == "altis" else 0)


def test_create__with_a_key_of_its_senders__takes_that(world: World, owner: Caller) -> None:
    made = body(owner.post("/api/sources", {"name": "Shop", "kind": "server", "writeKey": "as-at-Segment_1"}))

    assert [key["key"] for key in made["writeKeys"]] == ["as-at-Segment_1"]


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"name": None}, "name: "),
        ({"name": " "}, "name: "),
        ({"name": "x" * 101}, "name: "),
        ({"name": "a\0b"}, "name: "),
        ({"kind": "phone"}, "kind: "),
        ({"kind": "destination"}, "kind: "),
        ({"writeKey": KEY}, "writeKey: "),
        ({"writeKey": "a b"}, "writeKey: "),
        ({"writeKey": "k" * 65}, "writeKey: "),
    ],
)
def test_create__wrong_field__is_named_and_nothing_made(
    web: Source, owner: Caller, changes: dict[str, Any], named: str
) -> None:
    response = owner.post("/api/sources", {"name": "Shop", "kind": "server", **changes})

    assert refusal(response) == (400, "invalid_request")
    assert message(response).startswith(named)
    assert Source.objects.filter(site=web.site).count() == 2


def test_create__for_a_site_of_others_or_none_of_several__is_refused(
    world: World, teammate: Caller, outsider: Caller
) -> None:
    sent = {"name": "Shop", "kind": "server"}

    assert refusal(outsider.post("/api/sources", {**sent, "sitecode": SITECODE})) == (404, "unknown_site")
    assert refusal(teammate.post("/api/sources", sent)) == (400, "invalid_request")
    assert teammate.post("/api/sources", {**sent, "sitecode": SITECODE}).status_code == 201


# Changing


def test_change__of_its_budget__holds_and_is_noted(world: World, web: Source, owner: Caller) -> None:
    changed = body(owner.patch(f"/api/sources/{web.pk}", {"eventsPerDay": 1, "bytesPerMinute": 5_000_000}))

    assert (changed["eventsPerDay"], changed["bytesPerMinute"], changed["eventsPerMinute"]) == (1, 5_000_000, None)
    assert [(budget["mostEvents"], budget["mostBytes"]) for budget in changed["budgets"]] == [
        (30_000, 5_000_000),
        (1, 4_294_967_296),
    ]
    entry = AuditEntry.objects.get()
    assert entry.before == {"events_per_day": None, "bytes_per_minute": None}
    assert entry.after == {"events_per_day": 1, "bytes_per_minute": 5_000_000}
    assert [send(world, KEY), send(world, KEY)] == [200, 429]
    assert body(owner.patch(f"/api/sources/{web.pk}", {"eventsPerDay": None}))["eventsPerDay"] is None
    assert send(world, KEY) == 200


@pytest.mark.parametrize("value", [0, -1, 10**15 + 1, 10**30, 1.5, "many", [], True])
@pytest.mark.parametrize("name", ["eventsPerMinute", "bytesPerMinute", "eventsPerDay", "bytesPerDay"])
def test_change__to_an_odd_budget__is_refused(web: Source, owner: Caller, name: str, value: Any) -> None:
    response = owner.patch(f"/api/sources/{web.pk}", {name: value})

    assert refusal(response) == (400, "invalid_request")
    assert message(response).startswith(f"{name}: ")
    web.refresh_from_db()
    assert web.budget == Source(kind="browser").budget


@pytest.mark.promise("B-07")
def test_change__takes_track_off__leaves_its_other_events_and_other_sources(
    world: World, web: Source, owner: Caller
) -> None:
    create_source(world.site, name="Server", kind="server", write_key="write-key-of-the-server")

    changed = body(owner.patch(f"/api/sources/{web.pk}", {"takesTrack": False}))
    send(world, KEY)
    world.client.post("/v1/page", json={"userId": "ann", "name": "Home", "writeKey": KEY})
    send(world, "write-key-of-the-server")
    world.digest()

    assert changed["takesTrack"] is False
    assert world.goals() == {"SegmentIO page – Home": 1, "SegmentIO track – Buy": 1}
    assert world.statuses() == [("done", "track_not_taken"), ("done", ""), ("done", "")]


def test_change__takes_track__notes_that_events_mean_something_else(world: World, web: Source, owner: Caller) -> None:
    owner.patch(f"/api/sources/{web.pk}", {"name": "Pages", "isEnabled": True})
    assert Site.objects.get().rules_changed_at is None

    owner.patch(f"/api/sources/{web.pk}", {"takesTrack": False})
    assert Site.objects.get().rules_changed_at is not None


def test_change__switched_off__refuses_its_events(world: World, web: Source, owner: Caller) -> None:
    changed = body(owner.patch(f"/api/sources/{web.pk}", {"isEnabled": False, "name": "Pages"}))

    assert (changed["isEnabled"], changed["name"]) == (False, "Pages")
    assert send(world, KEY) == 403


@pytest.mark.parametrize(
    "changes",
    [
        {"kind": "server"},
        {"sitecode": "0000000000"},
        {"id": 1},
        {"isEnabled": "maybe"},
        {"name": ""},
        {"takesTrack": None},
    ],
)
def test_change__what_is_fixed_or_wrong__is_refused_and_named(
    web: Source, owner: Caller, changes: dict[str, Any]
) -> None:
    response = owner.patch(f"/api/sources/{web.pk}", {"name": "Pages", **changes})

    assert refusal(response) == (400, "invalid_request")
    assert message(response).startswith(f"{next(iter(changes))}: ")
    web.refresh_from_db()
    assert web.name == "Web"


def test_change__sent_back_as_it_was_read__changes_nothing(web: Source, owner: Caller) -> None:
    read = owner.get(f"/api/sources/{web.pk}")

    assert body(owner.patch(f"/api/sources/{web.pk}", read)) == read


def test_delete__of_a_source__is_no_method(web: Source, owner: Caller) -> None:
    assert refusal(owner.ask("DELETE", f"/api/sources/{web.pk}")) == (405, "method_not_allowed")


# Keys


@pytest.mark.promise("A-10")
@pytest.mark.parametrize(("sent", "hours"), [(None, 24), ({}, 24), ({"overlapHours": 1}, 1)])
def test_rotate__a_key__lets_the_old_one_work_for_a_while(
    world: World, web: Source, owner: Caller, sent: Any, hours: int
) -> None:
    response = owner.ask("POST", f"/api/sources/{web.pk}/write-keys", sent)

    assert response.status_code == 201, response.content
    new = body(response)
    old, same = owner.get(f"/api/sources/{web.pk}")["writeKeys"]
    assert (old["key"], same, new["endsAt"]) == (KEY, new, None)
    left = datetime.fromisoformat(old["endsAt"]) - timezone.now()
    assert timedelta(hours=hours, minutes=-10) < left <= timedelta(hours=hours)
    assert {send(world, KEY), send(world, new["key"])} == {200}


@pytest.mark.promise("A-10")
def test_rotate__without_overlap__ends_the_old_key_at_once(world: World, web: Source, owner: Caller) -> None:
    new = body(owner.post(f"/api/sources/{web.pk}/write-keys", {"overlapHours": 0}))

    assert (send(world, KEY), send(world, new["key"])) == (401, 200)


@pytest.mark.parametrize("overlap", [-1, 8761, "soon", None, 10**30])
def test_rotate__by_an_impossible_time__is_refused(web: Source, owner: Caller, overlap: Any) -> None:
    response = owner.post(f"/api/sources/{web.pk}/write-keys", {"overlapHours": overlap})

    assert refusal(response) == (400, "invalid_request")
    assert message(response).startswith("overlapHours: ")
    assert WriteKey.objects.get(source=web).ends_at is None


@pytest.mark.promise("A-10")
def test_revoke__one_of_two_keys__leaves_the_other(world: World, web: Source, owner: Caller) -> None:
    new = body(owner.post(f"/api/sources/{web.pk}/write-keys"))
    path = f"/api/sources/{web.pk}/write-keys/{KEY}"

    assert owner.ask("DELETE", path).status_code == 204
    assert (send(world, KEY), send(world, new["key"])) == (401, 200)
    ended = WriteKey.objects.get(key=KEY).ends_at
    assert owner.ask("DELETE", path).status_code == 204
    assert WriteKey.objects.get(key=KEY).ends_at == ended


def test_revoke__a_key_of_another_source__is_not_there(world: World, web: Source, owner: Caller) -> None:
    destination = world.site.sources.get(kind="destination")

    for source, key in ((destination, KEY), (web, "none"), (web, "%00")):
        assert refusal(owner.ask("DELETE", f"/api/sources/{source.pk}/write-keys/{key}")) == (404, "not_found")
    assert WriteKey.objects.get(key=KEY).ends_at is None
