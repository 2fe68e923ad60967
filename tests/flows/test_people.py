"""Traits, groups and personas become remote data, readable under every id of a person."""

import itertools
import json
import random
from typing import Any

import pytest
from django.db import connection

from api.http.batching import PendingCall
from api.http.credentials import clear_lookups
from api.http.database import fetch_all
from api.ingest.provisioning import create_site
from api.remote_data import map_reads
from cohorts import remote_data
from cohorts.models import Group, Identity, Persona
from goals.models import Goal
from tests.support.concurrency import in_threads
from tests.support.people import audience
from tests.world import CLIENT_ID, SECRET, SITECODE, World


@pytest.mark.promise("K-53", "K-67", "K-66")
def test_identify__with_three_ids__is_read_alike_under_each(world: World) -> None:
    world.identify(traits={"plan": "scale"}, anonymousId="anon-1", kameleoonVisitorCode="vc1")

    bodies = {world.get(f"IDENTIFY_{id_}").content for id_ in ("user-1", "anon-1", "vc1")}

    assert bodies == {b'{"traits":{"plan":"scale"}}'}


@pytest.mark.promise("W4", "K-50")
def test_identify__traits_and_properties__are_joined_without_the_visitor_code(world: World) -> None:
    world.send(world.event("identify", traits={"a": 1, "b": 1}, properties={"b": 2, "kameleoonVisitorCode": "vc1"}))

    assert world.traits("user-1") == {"a": 1, "b": 2}


@pytest.mark.promise("K-68", "K-73")
@pytest.mark.parametrize(
    "value", ["scale", 42, 2.5, True, False, ["a", {"b": 1}], {"city": {"zip": "1"}}, "", 0, {}, []]
)
def test_trait__of_any_type__comes_back_as_sent(world: World, value: object) -> None:
    world.identify(traits={"plan": value})

    assert world.traits("user-1") == {"plan": value}
    assert type(world.traits("user-1")["plan"]) is type(value)


@pytest.mark.promise("K-72")
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_trait__null__removes_it_whatever_comes_first(world: World, order: tuple[int, ...]) -> None:
    events = [
        world.event("identify", at=1, traits={"plan": "free", "keep": 1}),
        world.event("identify", at=2, traits={"plan": "scale"}),
        world.event("identify", at=3, traits={"plan": None}),
    ]

    world.send(*(events[index] for index in order))

    assert world.traits("user-1") == {"keep": 1}


@pytest.mark.promise("K-71", "K-92")
def test_profile__identify_and_group_interleaved__equals_a_plain_model(world: World) -> None:
    chooser = random.Random(7)
    events: list[dict[str, Any]] = []
    expected: dict[str, Any] = {"traits": {}}
    for second in range(100):
        if chooser.random() < 0.3:
            events.append(world.event("group", at=second, groupId=f"g{second}", traits={"size": second}))
            expected["groupId"] = f"g{second}"
        else:
            trait, value = chooser.choice("abc"), chooser.choice([1, "x", None, [2]])
            events.append(world.event("identify", at=second, traits={trait: value}))
            expected["traits"].pop(trait, None)
            expected["traits"] |= {} if value is None else {trait: value}
    chooser.shuffle(events)

    world.send(*events)

    assert world.read("IDENTIFY_user-1") == expected
    assert world.read("IDENTIFY_user-1") == expected


@pytest.mark.promise("K-69", "K-70")
def test_group__latest_by_time__is_the_persons_and_a_string(world: World) -> None:
    world.send(
        world.event("group", at=2, groupId=42, traits={"name": "Initech"}),
        world.event("group", at=1, groupId="older", traits={"name": "Older"}),
        world.event("identify", at=3, traits={"plan": "scale"}),
    )

    assert world.read("IDENTIFY_user-1") == {"traits": {"plan": "scale"}, "groupId": "42"}
    assert set(Group.objects.values_list("group_id", flat=True)) == {"42", "older"}
    assert Group.objects.get(group_id="42").registers["traits"]["name"][3] == "Initech"


FIRST, LAST, GIVEN = {"firstName": "Ada"}, {"last_name": "Lovelace"}, {"name": "Countess"}


@pytest.mark.promise("I-14", "I-15")
@pytest.mark.parametrize(
    ("said", "name"),
    [
        ([FIRST, LAST], "Ada Lovelace"),
        ([FIRST], None),
        ([FIRST, LAST, GIVEN], "Countess"),
        ([GIVEN, FIRST, LAST], "Countess"),
        ([FIRST, LAST, {"firstName": "Augusta Ada"}], "Augusta Ada Lovelace"),
        ([FIRST, LAST, {"last_name": None}], None),
        ([GIVEN, FIRST, LAST, {"name": None}], "Ada Lovelace"),
        ([FIRST, LAST, {"name": ""}], ""),
    ],
)
@pytest.mark.parametrize("is_reversed", [False, True])
def test_name__of_first_and_last__is_filled_in_unless_given(
    world: World, said: list[dict[str, Any]], name: str | None, *, is_reversed: bool
) -> None:
    events = [world.event("identify", at=second, traits=traits) for second, traits in enumerate(said)]

    world.send(*(reversed(events) if is_reversed else events))

    assert world.traits("user-1").get("name") == name
    stored = Identity.objects.get().registers["traits"]
    assert ("name" in stored) is any("name" in traits for traits in said)


@pytest.mark.promise("I-14")
def test_name__filled_in__is_seen_without_token_only_where_it_is_allowed(world: World) -> None:
    world.identify(traits={**FIRST, **LAST, "plan": "scale"})

    assert world.read("IDENTIFY_user-1", token=False) == {"traits": {"plan": "scale"}}
    world.change_site(public_traits=["name"])
    assert world.read("IDENTIFY_user-1", token=False) == {"traits": {"name": "Ada Lovelace"}}


@pytest.mark.promise("I-12")
@pytest.mark.parametrize(("id_", "group"), [("c-7", "c-7"), (7, "7"), (7.0, "7"), (None, None), ("null", None)])
def test_company__of_whom_no_group_call_tells__is_the_group_where_the_site_wants_it(
    world: World, id_: object, group: str | None
) -> None:
    company = {"name": "Initech", "id": id_}
    world.identify(traits={"company": company})

    assert world.read("IDENTIFY_user-1") == {"traits": {"company": company}}
    world.change_site(company_is_group=True)
    assert world.read("IDENTIFY_user-1").get("groupId") == group
    assert world.read("IDENTIFY_user-1", token=False) == ({"traits": {}, "groupId": group} if group else {})
    assert not Group.objects.exists()


@pytest.mark.promise("I-12")
@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_company__beside_a_group_call__never_wins(world: World, order: tuple[int, ...]) -> None:
    world.change_site(company_is_group=True)
    events = [
        world.event("group", at=1, groupId="g1"),
        world.event("identify", at=0, traits={"company": {"id": "old"}}),
        world.event("identify", at=2, traits={"company": {"id": "new"}}),
    ]

    world.send(*(events[index] for index in order))

    assert world.read("IDENTIFY_user-1") == {"traits": {"company": {"id": "new"}}, "groupId": "g1"}


@pytest.mark.promise("W6")
def test_types__left_out_by_old_versions__are_inferred(world: World) -> None:
    for event in (
        world.event("identify", properties={"plan": "scale"}),
        world.event("group", groupId="g1", properties={"name": "Initech"}),
    ):
        del event["type"]
        world.send(event)

    assert world.read("IDENTIFY_user-1") == {"traits": {"plan": "scale"}, "groupId": "g1"}


# Personas


@pytest.mark.promise("K-55", "K-56", "K-63", "K-64")
@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_persona__entered_then_exited__is_false_in_any_order(world: World, order: tuple[int, ...]) -> None:
    events = [audience(world, "vip", entered=True, at=1), audience(world, "vip", entered=False, at=2)]

    world.send(*(events[index] for index in order))

    assert world.read("COHORTS_user-1") == {"vip": False}
    assert Goal.objects.count() == 0


@pytest.mark.promise("K-62")
@pytest.mark.parametrize(
    ("properties", "personas", "expected"),
    [
        ({"audience_key": "a", "a": True}, {"computation_key": "b"}, {"a": True}),
        ({"a": True}, {"computation_class": "audience", "computation_key": "a"}, {"a": True}),
        ({"a": True, "x": "text"}, {}, {"a": True}),
        ({"audience_key": "j_o_1", "recent_buyer": True}, {}, {"j_o_1": True}),
        ({"a": True, "b": False}, {}, {}),
        ({}, {}, {}),
    ],
)
def test_persona__named_in_several_ways__is_found(
    world: World, properties: dict[str, Any], personas: dict[str, Any], expected: dict[str, bool]
) -> None:
    world.track("Audience Entered", properties=properties, context={"personas": personas})

    assert world.read("COHORTS_user-1") == expected
    assert world.last_message().effects == (["profile_updated"] if expected else ["nothing"])


@pytest.mark.promise("K-55")
def test_persona__event_with_a_configured_name__is_recognised(world: World) -> None:
    world.change_site(entered_event_names=["Segment Joined"], exited_event_names=["Segment Left"])

    world.track("Segment Left", properties={"audience_key": "vip"})

    assert world.read("COHORTS_user-1") == {"vip": False}


@pytest.mark.promise("K-63")
def test_persona__site_wants_goals_of_audiences__makes_one(world: World) -> None:
    world.change_site(audience_events_make_goals=True)

    world.send(audience(world, "vip", entered=True))

    assert world.goals() == {"SegmentIO track – Audience Entered": 1}
    assert world.read("COHORTS_user-1") == {"vip": True}


@pytest.mark.promise("K-65")
def test_persona__audience_as_identify__is_persona_and_trait_where_the_context_says_so(world: World) -> None:
    personas = {"computation_class": "audience", "computation_key": "vip"}
    world.send(
        world.event("identify", traits={"vip": True}, context={"personas": personas}),
        world.event("identify", traits={"plain": True}),
    )

    assert world.read("COHORTS_user-1") == {"vip": True}
    assert world.traits("user-1") == {"vip": True, "plain": True}


def test_trait_computed__track__is_a_trait_and_no_goal(world: World) -> None:
    world.track("Trait Computed", properties={"trait_key": "total", "total": 450.0})

    assert world.traits("user-1") == {"total": 450.0}
    assert Goal.objects.count() == 0


@pytest.mark.promise("K-58", "K-59")
def test_common__personas_of_two_people__are_listed_once_and_sorted_after_exits_too(world: World) -> None:
    world.send(
        audience(world, "vip", entered=True, at=1),
        audience(world, "VIP", entered=True, at=1, userId="user-2"),
        audience(world, "beta", entered=True, at=1, userId="user-2"),
        audience(world, "vip", entered=False, at=2),
    )

    assert world.read("common") == {"cohorts": ["VIP", "beta", "vip"]}
    assert Persona.objects.count() == 3


# Remote data at the door


@pytest.mark.promise("K-60", "K-76")
@pytest.mark.parametrize(
    ("key", "expected"),
    [("common", {"cohorts": []}), ("IDENTIFY_nobody", {}), ("COHORTS_nobody", {}), ("what", {}), ("IDENTIFY_", {})],
)
def test_lookup__nothing_known__answers_an_object(world: World, key: str, expected: object) -> None:
    answer = world.get(key)

    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.json() == expected


@pytest.mark.promise("K-74")
@pytest.mark.parametrize("key", ["IDENTIFY_user-1\n", " IDENTIFY_user-1 ", "IDENTIFY_user-1%20"])
def test_lookup__white_space_round_the_key__is_ignored(world: World, key: str) -> None:
    world.identify(traits={"plan": "scale"})

    expected = {} if "%" in key else {"traits": {"plan": "scale"}}
    assert world.read(key) == expected


@pytest.mark.promise("K-77")
@pytest.mark.parametrize(
    "id_",
    [
        "a+b",
        "100%",
        "a/b",
        "a b",
        "u@example.com",
        "😀",
        "ü",
        "%41",
        "a&b=c#d?e",
        "'\";--",
        "a\\b",
        "COHORTS_x",
        "x" * 255,
    ],
)
def test_lookup__ids_with_special_characters__are_decoded_exactly_once(world: World, id_: str) -> None:
    world.identify(userId=id_, traits={"plan": "scale"})

    assert world.traits(id_) == {"plan": "scale"}


@pytest.mark.promise("K-53")
def test_lookup__equal_strings_of_two_kinds__are_two_people(world: World) -> None:
    world.identify(userId="same", traits={"who": "user"})
    world.identify(userId=None, anonymousId="same", traits={"who": "anonymous"})

    assert world.traits("same") == {"who": "user"}
    assert Identity.objects.count() == 2


@pytest.mark.promise("K-54")
def test_owner__shared_device__points_at_its_latest_user_and_says_so(world: World) -> None:
    world.identify(at=1, kameleoonVisitorCode="vc1", traits={"plan": "one"})
    world.identify(at=2, kameleoonVisitorCode="vc1", userId="user-2", traits={"plan": "two"})

    assert world.traits("vc1") == {"plan": "two"}
    assert world.traits("user-1") == {"plan": "one"}
    assert world.last_message().warnings == ["visitor_moved"]


@pytest.mark.promise("K-54", "K-53")
def test_owner__facts_of_a_device__join_its_users(world: World) -> None:
    world.identify(at=1, userId=None, anonymousId="anon-1", traits={"colour": "red", "plan": "free"})
    world.identify(at=2, userId=None, kameleoonVisitorCode="vc1", anonymousId="anon-1")
    world.identify(at=3, anonymousId="anon-1", traits={"plan": "scale"})

    expected = {"colour": "red", "plan": "scale"}
    assert [world.traits(id_) for id_ in ("user-1", "anon-1", "vc1")] == [expected] * 3


def test_alias__previous_id__becomes_the_users_person(world: World) -> None:
    world.identify(at=1, userId="old", traits={"a": 1})
    world.identify(at=1, userId=None, anonymousId="anon-9", traits={"b": 2})
    world.send(
        world.event("alias", at=2, previousId="old", userId="new"),
        world.event("alias", at=2, previousId="anon-9", userId="new"),
    )

    assert world.traits("new") == world.traits("old") == world.traits("anon-9") == {"a": 1, "b": 2}


def test_alias__in_a_ring__ends(world: World) -> None:
    for previous, user in itertools.pairwise(["a", "b", "c", "a"]):
        world.send(world.event("alias", previousId=previous, userId=user))
    world.identify(userId="b", traits={"plan": "scale"})

    assert world.traits("a") == world.traits("b") == world.traits("c") == {"plan": "scale"}


def test_lookup__reader_without_token__gets_the_allow_list_group_and_personas(world: World) -> None:
    world.identify(traits={"plan": "scale", "email": "u@example.com"})
    world.send(world.event("group", groupId="g1"), audience(world, "vip", entered=True))

    assert world.read("IDENTIFY_user-1", token=False) == {"traits": {"plan": "scale"}, "groupId": "g1"}
    assert world.read("COHORTS_user-1", token=False) == {"vip": True}
    assert world.traits("user-1") == {"plan": "scale", "email": "u@example.com"}


def test_lookup__known_id_without_anything_public__is_answered_as_an_unknown_one(world: World) -> None:
    world.identify(traits={"email": "u@example.com"}, anonymousId="anon-1", kameleoonVisitorCode="vc1")
    world.identify(userId="former", at=1, traits={"plan": "scale"})
    world.identify(userId="former", at=2, traits={"plan": None})
    world.track("Signed Up", userId="buyer")
    known = ("user-1", "anon-1", "vc1", "former", "buyer")

    for prefix in ("IDENTIFY_", "COHORTS_"):
        unknown = world.get(f"{prefix}nobody", token=False)
        for id_ in known:
            answer = world.get(f"{prefix}{id_}", token=False)
            assert (answer.status_code, answer.content) == (unknown.status_code, unknown.content) == (200, b"{}")
            assert {**answer.headers, "date": ""} == {**unknown.headers, "date": ""}
    keys = json.dumps([f"IDENTIFY_{id_}" for id_ in (*known, "nobody")])
    several = world.client.get("/map/maps", params={"siteCode": SITECODE, "keys": keys}).json()
    assert [*several.values()] == [{}] * 6
    assert world.read("IDENTIFY_former") == {"traits": {}}


def test_lookup__site_that_demands_a_token__answers_401_without(world: World) -> None:
    world.change_site(requires_token=True)

    answer = world.get("common", token=False)

    assert (answer.status_code, answer.content) == (401, b"{}")
    assert answer.headers["goalpost-error"].startswith("unauthorized: ")
    assert world.get("common").status_code == 200


@pytest.mark.promise("W9")
def test_maps__several_keys__answer_by_key_as_asked(world: World) -> None:
    world.identify(traits={"plan": "scale"})
    world.send(audience(world, "vip", entered=True))
    keys = '["IDENTIFY_user-1", "COHORTS_user-1\\n", "common", "IDENTIFY_nobody"]'

    answer = world.client.get("/map/maps", params={"siteCode": world.site.sitecode, "keys": keys})

    assert answer.json() == {
        "IDENTIFY_user-1": {"traits": {"plan": "scale"}},
        "COHORTS_user-1\n": {"vip": True},
        "common": {"cohorts": ["vip"]},
        "IDENTIFY_nobody": {},
    }


@pytest.mark.promise("K-76")
@pytest.mark.parametrize(
    ("path", "params", "status"),
    [
        ("/map/map", {"key": "common"}, 404),
        ("/map/map", {"siteCode": "unknown000", "key": "common"}, 404),
        ("/map/map", {"siteCode": "a\0b", "key": "common"}, 404),
        ("/map/map", {"siteCode": "1q2w3e4r5t"}, 400),
        ("/map/map", {"siteCode": "1q2w3e4r5t", "key": "IDENTIFY_\0"}, 200),
        ("/map/maps", {"siteCode": "1q2w3e4r5t"}, 400),
        ("/map/maps", {"siteCode": "1q2w3e4r5t", "keys": "common"}, 400),
        ("/map/maps", {"siteCode": "1q2w3e4r5t", "keys": "[1]"}, 400),
        ("/map/maps", {"siteCode": "1q2w3e4r5t", "keys": "[" * 100_00}, 400),
        ("/map/maps", {"siteCode": "1q2w3e4r5t", "keys": str(["k"] * 101).replace("'", '"')}, 400),
        ("/map/maps", {"siteCode": "1q2w3e4r5t", "keys": "[]"}, 200),
    ],
)
def test_lookup__bad_input__answers_an_empty_object_and_the_reason(
    world: World, path: str, params: dict[str, str], status: int
) -> None:
    answer = world.client.get(path, params=params)

    assert (answer.status_code, answer.content) == (status, b"{}")
    assert ("goalpost-error" in answer.headers) is (status != 200)
    assert answer.headers["access-control-allow-origin"] == "*"


def test_lookup__reason_with_other_characters__is_an_ascii_header(world: World) -> None:
    answer = world.get("common", token=False, headers={"authorization": "Basic e30="})

    assert answer.status_code == 401
    assert answer.headers["goalpost-error"].isascii()


def test_lookup__id_on_very_many_devices__reads_a_bounded_number_of_them(world: World) -> None:
    """An id such as "test" may be on every device; reading it must not hold up the others."""
    devices = [world.event("identify", userId="test", anonymousId=f"anon-{number}") for number in range(1_200)]
    world.post(devices)
    world.send(world.event("identify", userId="test", traits={"plan": "scale"}))
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE cohorts_identity")  # as autovacuum does; statistics may be those of another test

    assert world.traits("test") == world.traits("anon-1199") == {"plan": "scale"}
    parameters = remote_data.parameters([(world.site.pk, "test")])
    assert len(fetch_all(remote_data.STATEMENT, parameters)) == 1 + remote_data.MOST_POINTING


def test_lookup__many_readers_at_once__each_gets_its_own(world: World) -> None:
    """Concurrent reads share a statement, also those of several sites."""
    other = create_site(name="Other", sitecode="bbbbbbbbbb")
    world.credential.sites.add(other)
    clear_lookups()
    people = [f"user-{number}" for number in range(40)]
    for site in (SITECODE, other.sitecode):
        events = [world.event("identify", userId=id_, traits={"is": f"{site} {id_}"}) for id_ in people]
        assert world.post(events, sitecode=site).status_code == 200
        entered = world.event(event="Audience Entered", properties={"audience_key": f"audience of {site}"})
        assert world.post(entered, sitecode=site).status_code == 200
    world.digest()

    def read(number: int) -> bool:
        site, id_ = (SITECODE, other.sitecode)[number % 2], people[number % 40]
        keys = [f"IDENTIFY_{id_}", "common", "IDENTIFY_nobody"]
        answer = world.client.get(
            "/map/maps", params={"siteCode": site, "keys": json.dumps(keys)}, auth=(CLIENT_ID, SECRET)
        )
        return bool(
            answer.json()
            == {
                f"IDENTIFY_{id_}": {"traits": {"is": f"{site} {id_}"}},
                "common": {"cohorts": [f"audience of {site}"]},
                "IDENTIFY_nobody": {},
            }
        )

    assert all(in_threads(16, lambda thread: all(read(16 * turn + thread) for turn in range(20))))


def test_lookup__too_slow_together__is_read_alone(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.identify(traits={"plan": "scale"})
    calls: list[PendingCall[Any, Any]] = [
        PendingCall([(world.site.pk, id_)], timeout=60) for id_ in ("user-1", "nobody")
    ]
    slow = f"""
        SELECT found.* FROM (SELECT pg_sleep(1.2 * cardinality(%(ids)b::text[]))) AS slow,
               LATERAL ({remote_data.STATEMENT}) AS found
    """
    monkeypatch.setattr(remote_data, "STATEMENT", slow)

    map_reads._fetch(calls)

    PendingCall.wake_all(calls)
    assert [len(call.wait()[call.argument[0]]) for call in calls] == [1, 0]


def test_lookup__known_etag__answers_304_until_something_changes(world: World) -> None:
    world.identify(at=1, traits={"plan": "scale"})
    first = world.get("IDENTIFY_user-1")

    world.identify(at=2, traits={"plan": "scale"})
    again = world.get("IDENTIFY_user-1", headers={"If-None-Match": f'W/{first.headers["etag"]}, "other"'})
    world.identify(at=3, traits={"plan": "free"})
    changed = world.get("IDENTIFY_user-1", headers={"If-None-Match": first.headers["etag"]})

    assert (again.status_code, again.content) == (304, b"")
    assert changed.status_code == 200
    assert first.headers["vary"] == "Authorization, Origin"
    assert first.headers["cache-control"] == "private, no-cache"


@pytest.mark.promise("I-02")
def test_identify__repeated__changes_no_document(world: World) -> None:
    world.identify(at=1, traits={"plan": "scale"})
    before = world.get("IDENTIFY_user-1").headers["etag"]

    world.identify(at=2, traits={"plan": "scale"})

    assert world.get("IDENTIFY_user-1").headers["etag"] == before
    assert world.last_message().effects == ["nothing"]
    assert world.last_message().reason == "already_known"


# Tokens


def test_token__by_basic_or_form__reads_everything(world: World) -> None:
    world.identify(traits={"email": "u@example.com"})
    by_basic = world.client.post(
        "/oauth/token", data={"grant_type": "client_credentials"}, auth=("demo_client", "demo_secret")
    )
    form = {"grant_type": "client_credentials", "client_id": "demo_client", "client_secret": "demo_secret"}
    by_form = world.client.post("/oauth/token", data=form)

    for answer in (by_basic, by_form):
        assert answer.json()["expires_in"] == 7200
        headers = {"authorization": f"Bearer {answer.json()['access_token']}"}
        params = {"siteCode": world.site.sitecode, "key": "IDENTIFY_user-1"}
        assert world.client.get("/map/map", params=params, headers=headers).json() == {
            "traits": {"email": "u@example.com"}
        }


@pytest.mark.parametrize(
    ("data", "status", "code"),
    [
        (
            {"grant_type": "password", "client_id": "demo_client", "client_secret": "demo_secret"},
            400,
            "invalid_request",
        ),
        (
            {"grant_type": "client_credentials", "client_id": "demo_client", "client_secret": "wrong"},
            401,
            "unauthorized",
        ),
        ({"grant_type": "client_credentials"}, 401, "unauthorized"),
        ({}, 401, "unauthorized"),
    ],
)
def test_token__bad_request__is_refused(world: World, data: dict[str, str], status: int, code: str) -> None:
    answer = world.client.post("/oauth/token", data=data)

    assert (answer.status_code, answer.json()["code"]) == (status, code)


@pytest.mark.parametrize("token", ["", "nonsense", "WyJkZW1vX2NsaWVudCIsIngiXQ:1t:x", "\0"])
def test_token__unknown__is_refused(world: World, token: str) -> None:
    answer = world.get("common", token=False, headers={"authorization": f"Bearer {token}"})

    assert (answer.status_code, answer.content) == (401, b"{}")
