"""Lookups of remote data by the ids of a person, with and without a token."""

import json

import pytest
from django.db import connection

from api.http.credentials import clear_lookups
from api.http.database import fetch_all
from api.ingest.provisioning import create_site
from api.remote_data import map_reads
from cohorts import remote_data
from cohorts.models import Identity
from tests.support.asgi import pending
from tests.support.concurrency import in_threads
from tests.support.people import audience
from tests.world import CLIENT_ID, SECRET, SITECODE, World


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
    parameters = remote_data.parameters(world.site.pk, ["test"])
    assert len(fetch_all(remote_data.READ_PEOPLE, parameters)) == 1 + remote_data.MOST_POINTING


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
    calls = [pending([(world.site.pk, id_)]) for id_ in ("user-1", "nobody")]
    slow = f"""
        SELECT found.* FROM (SELECT pg_sleep(1.2 * cardinality(%(ids)b::text[]))) AS slow,
               LATERAL ({remote_data.READ_PEOPLE}) AS found
    """
    monkeypatch.setattr(remote_data, "READ_PEOPLE", slow)

    map_reads._fetch(calls)

    assert [call.error for call in calls] == [None, None]
    assert [len((call.result or {})[call.argument[0]]) for call in calls] == [1, 0]


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
