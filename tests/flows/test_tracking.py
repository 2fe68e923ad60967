"""The tracking API seen from outside: who may send, what is answered, and what is kept of what is refused."""

import base64
import gzip
import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from pytest_django import Settings

from api.digest.forecast import forecast_rules
from api.http.credentials import clear_lookups
from api.ingest import nudge
from api.ingest.provisioning import create_source, revoke_write_key, rotate_write_key
from api.models import Message, Source, WriteKey
from api.rules.rule import EventRule
from cohorts.models import Group, Identity
from goals.models import Conversion
from tests.support.concurrency import wait_until
from tests.support.outages import forget_backlog
from tests.support.tracking import EVENTS, KEY, basic, post
from tests.world import CLIENT_ID, SECRET, SITECODE, World


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


# Authentication


@pytest.mark.promise("I-03")
@pytest.mark.parametrize("colon", [":", "", ":anything"])
def test_write_key__in_the_header__opens_its_source(world: World, source: Source, colon: str) -> None:
    response = post(world, "/v1/track", EVENTS["track"], headers=basic(colon=colon))

    assert response.status_code == 200
    assert world.last_message().source == source


@pytest.mark.parametrize("headers", [{}, {"authorization": "Basic " + base64.b64encode(b":").decode()}])
def test_write_key__in_the_body_only__opens_its_source(world: World, source: Source, headers: dict[str, str]) -> None:
    """segment-analytics-python 2.3.3 sends it there only."""
    alone = post(world, "/v1/track", {**EVENTS["track"], "writeKey": KEY}, headers=headers)
    batch = post(
        world, "/v1/batch", {"batch": [{"type": "track", **EVENTS["track"]}], "writeKey": KEY}, headers=headers
    )

    assert (alone.status_code, batch.status_code) == (200, 200)
    assert Message.objects.filter(source=source).count() == 2


def test_write_key__in_the_events_of_a_batch_only__opens_its_source(world: World, source: Source) -> None:
    """analytics-next's batches."""
    events = [{"type": "track", **EVENTS["track"], "writeKey": KEY, "messageId": f"m{number}"} for number in range(3)]

    assert post(world, "/v1/b", {"batch": events}, headers={}).status_code == 200
    assert Message.objects.filter(source=source).count() == 3


@pytest.mark.parametrize(
    "headers",
    [
        {},
        basic("unknown"),
        basic("unknown key with spaces"),
        {"authorization": "Basic !!!"},
        {"authorization": "Basic"},
        {"authorization": "Digest x"},
        {"authorization": "Bearer nonsense"},
    ],
)
def test_write_key__missing_or_unknown__is_refused_with_code_and_message(
    world: World, source: Source, headers: dict[str, str]
) -> None:
    response = post(world, "/v1/track", EVENTS["track"], headers=headers)

    assert response.status_code == 401
    assert response.json().keys() == {"success", "code", "message"}
    assert not Message.objects.exists()


def test_bearer__of_our_own__writes_to_the_source_that_the_body_names(world: World, source: Source) -> None:
    form = {"grant_type": "client_credentials", "client_id": CLIENT_ID, "client_secret": SECRET}
    token = world.client.post("/oauth/token", data=form).json()["access_token"]
    headers = {"authorization": f"Bearer {token}"}

    assert post(world, "/v1/track", EVENTS["track"], headers=headers).status_code == 401
    assert post(world, "/v1/track", {**EVENTS["track"], "writeKey": KEY}, headers=headers).status_code == 200


@pytest.mark.promise("B-02")
def test_write_key__at_endpoints_of_readers_and_administrators__opens_nothing(world: World, source: Source) -> None:
    world.identify(traits={"secret": 1})

    for path in ("/api/goals", "/api/sites"):
        assert world.client.get(path, headers=basic()).status_code in {401, 404}
    remote = world.client.get("/map/map", params={"siteCode": SITECODE, "key": "IDENTIFY_user-1"}, headers=basic())
    assert "secret" not in remote.text


def test_write_key__rotated__both_work_until_the_old_one_ends(world: World, source: Source) -> None:
    now = datetime.now(UTC)
    new = rotate_write_key(source, overlap=timedelta(hours=1), now=now)

    assert [post(world, "/v1/track", EVENTS["track"], headers=basic(key)).status_code for key in (KEY, new.key)] == [
        200,
        200,
    ]
    revoke_write_key(WriteKey.objects.get(key=KEY), now=now)
    clear_lookups()
    assert [post(world, "/v1/track", EVENTS["track"], headers=basic(key)).status_code for key in (KEY, new.key)] == [
        401,
        200,
    ]


def test_source__switched_off__refuses_and_keeps_what_was_sent(world: World, source: Source) -> None:
    Source.objects.filter(pk=source.pk).update(is_enabled=False)

    response = post(world, "/v1/track", EVENTS["track"])

    assert (response.status_code, response.json()["code"]) == (403, "source_off")
    assert (world.last_message().status, world.last_message().reason) == ("rejected", "source_off")
    large = [{"type": "track", **EVENTS["track"], "messageId": f"m{number}", "x": "x" * 900} for number in range(30)]
    assert post(world, "/v1/batch", {"batch": large}).status_code == 403
    kept = Message.objects.filter(reason="source_off", type="track").exclude(message_id=None).order_by("position")
    assert [json.loads(bytes(message.body)) for message in kept] == large
    assert world.client.get(f"/v1/projects/{KEY}/settings").status_code == 404


# Answers


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
        assert bytes(world.last_message().body) == body


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
    assert json.loads(bytes(world.last_message().body))["context"] == {**context, "kameleoonVisitorCode": "own"}
    assert json.loads(bytes(world.last_message().body))["integrations"] == {"All": True}


NOT_HERE = (
    {"All": False},
    {"all": False, "Mixpanel": True},
    {"All": False, "Goalpost": None},
    {"Goalpost": False},
    {"Kameleoon": False},
    {"All": True, "kameleoon": False},
    {"All": False, "Goalpost": True, "Kameleoon (Actions)": False},
)
HERE: tuple[Any, ...] = (
    None,
    {},
    [],
    "All",
    {"All": True},
    {"All": False, "Goalpost": True},
    {"All": False, "Kameleoon": {"visitorCode": "x"}},
    {"All": False, "GOALPOST": []},
    {"Mixpanel": False},
    {"All": "false"},
)


@pytest.mark.parametrize("place", ["/segmentio", "/v1/track", "the event of a batch", "the batch"])
@pytest.mark.parametrize(
    ("integrations", "is_taken"), [*((each, False) for each in NOT_HERE), *((each, True) for each in HERE)]
)
def test_integrations__that_exclude_us__are_the_senders_wish(
    world: World, source: Source, place: str, integrations: Any, *, is_taken: bool
) -> None:
    event: dict[str, Any] = {"type": "track", "userId": "u1", "event": "Buy", "integrations": integrations}
    if place == "/segmentio":
        answer = world.post(event)
    elif place == "/v1/track":
        answer = post(world, place, event)
    elif place == "the batch":
        del event["integrations"]
        answer = post(world, "/v1/batch", {"batch": [event], "integrations": integrations})
    else:
        beneath = {"All": not (integrations and "All" in integrations), "Goalpost": True} if is_taken else {"All": True}
        answer = post(world, "/v1/batch", {"batch": [event], "integrations": beneath})
    assert answer.status_code == 200

    world.digest()

    message = world.last_message()
    if is_taken:
        assert (message.status, message.reason, len(world.visitors())) == ("done", "", 1)
    else:
        assert (message.status, message.reason) == ("done", "excluded_by_sender")
        assert (message.effects, world.visitors(), Identity.objects.count()) == (["nothing"], [], 0)
        assert json.loads(bytes(message.body))["userId"] == "u1"


def test_integrations__of_a_batch__stand_beneath_the_events_own(world: World, source: Source) -> None:
    events = [
        {"type": "track", "userId": "u1", "event": "A"},
        {"type": "track", "userId": "u1", "event": "B", "integrations": {"Goalpost": True}},
        {"type": "track", "userId": "u1", "event": "C", "integrations": {"Mixpanel": True}},
    ]

    post(world, "/v1/batch", {"batch": events, "integrations": {"All": False}})
    world.digest()

    assert world.goals() == {"SegmentIO track – B": 1}


def test_integrations__of_what_segment_computed__are_its_routing(world: World, source: Source) -> None:
    """Engage names the destinations that it sends to, and a webhook that leads here is none of our names."""
    personas = {"computation_class": "audience", "computation_key": "vip"}
    routed = {"All": False, "Webhooks": True, "Warehouses": {"all": False}}
    event = {"type": "identify", "userId": "u1", "traits": {"vip": True}, "context": {"personas": personas}}

    world.send({**event, "integrations": routed}, {**event, "userId": "u2", "integrations": {"Kameleoon": False}})

    assert (world.read("COHORTS_u1"), world.read("COHORTS_u2")) == ({"vip": True}, {})


@pytest.mark.parametrize("type_", ["track", "identify", "group", "page"])
def test_objects__that_php_writes_as_empty_lists__are_empty_without_a_warning(
    world: World, source: Source, type_: str
) -> None:
    event = {
        "type": type_,
        "userId": "u1",
        "event": "E",
        "groupId": "g",
        "properties": [],
        "traits": [],
        "integrations": [],
    }

    world.send({**event, "context": []}, {**event, "context": {"traits": [], "personas": []}})

    assert [(message.status, message.warnings) for message in Message.objects.all()] == [("done", [])] * 2
    world.send({"type": "identify", "userId": "u1", "traits": {"address": [], "company": []}})
    assert world.last_message().warnings == []
    world.send({**event, "properties": [1]})
    assert world.last_message().warnings == ["unreadable_properties"]


@pytest.mark.parametrize("place", ["/segmentio", "/v1/group", "/v1/batch"])
@pytest.mark.parametrize("who", [{}, {"userId": None}, {"anonymousId": "(null)"}])
def test_group__without_a_person__sets_the_traits_of_the_group(
    world: World, source: Source, place: str, who: dict[str, Any]
) -> None:
    event: dict[str, Any] = {"type": "group", "groupId": "g", "traits": {"name": "ACME"}, **who}
    bodies: dict[str, Any] = {"/segmentio": event, "/v1/group": event, "/v1/batch": {"batch": [event]}}
    answer = world.post(event) if place == "/segmentio" else post(world, place, bodies[place])
    assert answer.status_code == 200

    world.digest()

    group = Group.objects.get()
    assert (group.group_id, group.registers["traits"]["name"][3]) == ("g", "ACME")
    assert (world.statuses(), world.last_message().effects) == ([("done", "")], ["profile_updated"])
    assert not Identity.objects.exists()
    world.send(event)
    assert world.statuses()[1] == ("done", "already_known")


@pytest.mark.parametrize("type_", ["track", "identify", "page", "screen"])
def test_event__of_another_type_with_a_group_and_no_person__names_nobody(world: World, type_: str) -> None:
    world.send({"type": type_, "event": "E", "groupId": "g", "traits": {"plan": 1}})

    assert world.statuses() == [("rejected", "no_identity")]


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


# Browsers


def test_settings__of_a_write_key__send_analytics_js_to_this_host(world: World, source: Source) -> None:
    for slash in ("", "/"):
        answer = world.client.get(
            f"/v1/projects/{KEY}/settings{slash}", headers={"host": "events.example", "x-forwarded-proto": "https"}
        )
        settings = answer.json()
        assert list(settings["integrations"]) == ["Segment.io"]
        assert settings["integrations"]["Segment.io"]["apiKey"] == KEY
        assert settings["integrations"]["Segment.io"]["apiHost"] == "events.example/v1"
        assert settings["integrations"]["Segment.io"]["protocol"] == "https"
        assert settings["metrics"] == {"sampleRate": 0}


def test_settings__of_a_made_up_host__are_kept_by_no_cache(world: World, source: Source) -> None:
    answer = world.client.get(f"/v1/projects/{KEY}/settings", headers={"host": "evil.example"})

    assert answer.headers["cache-control"] == "private, no-store"
    assert {each.strip() for each in answer.headers["vary"].split(",")} == {
        *("Host", "X-Forwarded-Host", "X-Forwarded-Proto")
    }


def test_metrics__of_analytics_js__are_dropped(world: World, source: Source) -> None:
    response = post(world, "/v1/m", {"series": [{"type": "Counter"}]}, headers={})

    assert (response.status_code, response.json()) == (200, {"success": True})
    assert not Message.objects.exists()


# How much


def test_event__over_a_mebibyte__is_refused_by_itself(world: World, source: Source) -> None:
    large = {"type": "track", "event": "E", "userId": "u1", "properties": {"x": "x" * 1_048_576}}

    assert post(world, "/v1/track", large).status_code == 413
    assert post(world, "/v1/track", {**EVENTS["track"], "x": "x" * 1_048_400}).status_code == 200
    answer = post(world, "/v1/batch", {"batch": [large, {"type": "track", **EVENTS["track"]}]})
    assert answer.status_code == 200
    assert [(each["index"], each["code"]) for each in answer.json()["rejected"]] == [(0, "too_large")]
    assert {len(message.body) for message in Message.objects.filter(reason="too_large")} == {4096}


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


# Money and properties (the Ibexa Connect dialog's fields)


@pytest.mark.promise("I-19", "I-20", "I-21", "I-22", "I-24")
@pytest.mark.parametrize(
    ("properties", "expected", "warnings"),
    [
        ({"revenue": 19.99, "currency": "EUR", "value": 5}, ("19.99", "EUR", "5"), []),
        ({"revenue": "19.99"}, ("19.99", "USD", None), []),
        ({"value": "3"}, (None, None, "3"), []),
        ({"revenue": 1, "currency": "usd"}, ("1", "USD", None), []),
        ({"revenue": 1, "currency": "EURO"}, ("1", "XXX", None), ["unknown_currency"]),
        ({"revenue": "$19.99"}, (None, None, None), ["invalid_revenue"]),
        ({"revenue": "19,99", "value": "many"}, (None, None, None), ["invalid_revenue", "invalid_value"]),
        ({"revenue": -5}, ("-5", "USD", None), []),
        ({"revenue": 10**20}, (None, None, None), ["invalid_revenue"]),
        ({"revenue": True}, (None, None, None), ["invalid_revenue"]),
    ],
)
def test_money__of_a_track__is_exact_and_apart_from_value(
    world: World, source: Source, properties: dict[str, Any], expected: tuple[Any, ...], warnings: list[str]
) -> None:
    post(world, "/v1/track", {"userId": "u1", "event": "E", "properties": properties})
    world.digest()

    conversion = Conversion.objects.get()
    revenue, currency, value = expected
    assert conversion.revenue == (None if revenue is None else Decimal(revenue))
    assert conversion.currency == currency
    assert conversion.value == (None if value is None else Decimal(value))
    assert world.last_message().warnings == warnings


@pytest.mark.promise("I-23", "K-78")
def test_properties__of_any_name_and_type__are_kept_with_the_conversion(world: World, source: Source) -> None:
    properties = {"coupon": "SPRING", "deep": {"list": [1, {"a": None}]}, "Größe": 1.5, "is_gift": True}

    post(world, "/v1/track", {"userId": "u1", "event": "E", "properties": properties})
    world.digest()

    assert Conversion.objects.get().properties == properties
    of_coupon = EventRule("drop", path="properties.coupon", path_test="equals", path_value="SPRING")
    assert forecast_rules(world.site, [(None, of_coupon)]).dropped_then == 1


# Identity


@pytest.mark.promise("K-49", "K-45")
@pytest.mark.parametrize("place", ["properties", "context", "context.traits", "traits"])
@pytest.mark.parametrize("name", ["kameleoonVisitorCode", "k_visitorCode"])
def test_visitor_code__in_any_place__is_whose_conversion_it_is(
    world: World, source: Source, place: str, name: str
) -> None:
    inner: dict[str, Any] = {name: "vc1"}
    for part in reversed(place.split(".")):
        inner = {part: inner}

    post(world, "/v1/track", {"userId": "u1", "anonymousId": "a1", "event": "E", **inner})
    world.digest()

    assert world.visitors() == ["vc1"]
    assert [world.read(f"IDENTIFY_{id_}") for id_ in ("vc1", "u1", "a1")] == [{}, {}, {}]


def test_alias__of_an_anonymous_id__makes_one_person(world: World, source: Source) -> None:
    post(world, "/v1/identify", {"anonymousId": "a1", "traits": {"plan": "gold"}})
    post(world, "/v1/track", {"anonymousId": "a1", "event": "E"})
    post(world, "/v1/alias", {"previousId": "a1", "userId": "u1"})
    world.digest()

    assert world.traits("u1") == world.traits("a1") == {"plan": "gold"}


@pytest.mark.promise("K-44")
def test_user_id__of_a_site_whose_users_are_visitors__is_the_visitor_code(world: World, source: Source) -> None:
    world.change_site(user_id_is_visitor_code=True)

    post(world, "/v1/track", {"userId": "vc1", "event": "E"})
    world.digest()

    assert Conversion.objects.values_list("visitor_code", "keyed_by").get() == ("vc1", 0)


@pytest.mark.promise("K-62", "K-63", "K-65")
@pytest.mark.parametrize("type_", ["track", "identify"])
def test_audience__sent_as_track_or_identify__is_a_persona_and_no_goal(
    world: World, source: Source, type_: str
) -> None:
    facts = {"first_time_shopper": True}
    personas = {"computation_class": "audience", "computation_key": "first_time_shopper", "namespace": "spa_1"}
    event = {
        "userId": "u1",
        **({"event": "Audience Entered", "properties": facts} if type_ == "track" else {"traits": facts}),
        "context": {"personas": personas},
        "integrations": {"All": False, "Goalpost": True},
    }

    post(world, f"/v1/{type_}", event)
    world.digest()

    assert world.read("COHORTS_u1") == {"first_time_shopper": True}
    assert world.goals() == {}
    assert world.traits("u1") == (facts if type_ == "identify" else {})


@pytest.mark.promise("I-10", "I-17")
def test_trait__reserved_and_of_a_foreign_type__warns_in_words_and_is_kept(world: World, source: Source) -> None:
    post(world, "/v1/identify", {"userId": "u1", "traits": {"age": "old", "plan": "gold"}})
    world.digest()

    assert world.traits("u1") == {"age": "old", "plan": "gold"}
    message = world.last_message()
    assert (message.status, message.warnings) == ("done", ["odd_trait"])
    assert "age" in message.detail


@pytest.mark.promise("I-16")
def test_username__of_another_user__warns_and_merges_nothing(world: World, source: Source) -> None:
    for user in ("u1", "u2"):
        post(world, "/v1/identify", {"userId": user, "traits": {"username": "ada", "of": user}})
    world.digest()

    assert world.last_message().warnings == ["username_taken"]
    assert world.traits("u1")["of"] == "u1"
