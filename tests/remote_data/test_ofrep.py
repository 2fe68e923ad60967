"""OFREP: evaluations of the flags of the file, and what providers need of each answer."""

import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from api.http.credentials import encode_api_key
from api.ingest.provisioning import create_site
from api.remote_data import ofrep
from api.remote_data.configuration_changes import change_settings
from api.remote_data.flag_import import import_file
from cohorts.models import CustomData
from goals.models import Conversion, Goal
from tests.support.asgi import pending
from tests.support.people import audience
from tests.support.sdk import conversion, custom_data, send_lines
from tests.support.sdk_file import FILE, change
from tests.support.segments import make_segment, skip_imported_ids
from tests.world import CLIENT_ID, SECRET, SITECODE, World

KEY = encode_api_key(CLIENT_ID, SECRET)


def load(world: World, file: Any = FILE) -> None:
    result = import_file(world.site, json.dumps(file), environment="production", actor="ada", now=datetime.now(UTC))
    assert result.problems == []


def ask(
    world: World, key: str = "", body: Any = None, base: str = f"/sites/{SITECODE}", **headers: str
) -> httpx.Response:
    """POST as a provider does: one flag, or all."""
    path = f"{base}/ofrep/v1/evaluate/flags{'/' + key if key else ''}"
    content = body if isinstance(body, bytes) else json.dumps(body or {"context": {"targetingKey": "v1"}}).encode()
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    return world.client.post(path, content=content, headers={"content-type": "application/json", **given})


def variant(world: World, key: str = "persona_flag", **context: Any) -> str:
    answer = ask(world, key, {"context": {"targetingKey": "v1", **context}})
    assert answer.status_code == 200, answer.text
    found: str = answer.json()["variant"]
    return found


def test_flag__of_a_visitor_in_its_segment__is_on_with_all_that_providers_need(world: World) -> None:
    load(world)
    send_lines(world, custom_data(1, "big_spenders"))

    answer = ask(world, "persona_flag")

    assert answer.json() == {
        "key": "persona_flag",
        "value": 2.5,
        "reason": "TARGETING_MATCH",
        "variant": "on",
        "metadata": {"ruleId": 1011, "experimentId": 5011, "variationId": 70111},
    }
    assert answer.headers["access-control-allow-origin"] == "*"
    other = ask(world, "persona_flag", {"context": {"targetingKey": "v2"}}).json()
    assert (other["value"], other["variant"], other["reason"], other["metadata"]) == (1, "off", "STATIC", {})


def test_flag__that_is_off_in_the_environment__is_disabled(world: World) -> None:
    load(world)

    found = ask(world, "plan_flag").json()

    assert (found["value"], found["reason"]) == (False, "DISABLED")


def test_context__with_a_field_named_as_custom_data__takes_its_place(world: World) -> None:
    load(world)
    send_lines(world, custom_data(1, "big_spenders"))

    assert variant(world, personas=["new", "big_spenders"]) == "on"
    assert variant(world, personas="new") == "off"
    assert variant(world, personas=None) == "off"
    assert variant(world, plan="big_spenders") == "on"


@pytest.mark.parametrize(
    ("filled_from", "filling", "fields"),
    [
        ("personas", "", {}),
        ("trait", "shop.kind", {"traits": {"shop": {"kind": "big_spenders"}}}),
        ("group", "", {"groupId": "big_spenders"}),
    ],
)
def test_custom_data__filled_from_a_person__targets_by_it(
    world: World, filled_from: str, filling: str, fields: Mapping[str, Any]
) -> None:
    load(world)
    world.change_site(public_traits=["shop"])
    CustomData.objects.filter(index=1).update(filled_from=filled_from, filling=filling)
    if filled_from == "personas":
        world.send(audience(world, "big_spenders", entered=True, userId="v1"))
    elif filled_from == "trait":
        world.identify(userId="v1", **fields)
    else:
        world.send(world.event("group", userId="v1", **fields))

    assert variant(world) == "on"
    assert ask(world, "persona_flag", {"context": {"targetingKey": "v2"}}).json()["variant"] == "off"


def test_custom_data__filled_from_the_group__has_the_company_if_the_site_says_so(world: World) -> None:
    load(world)
    CustomData.objects.filter(index=1).update(filled_from="group")
    world.identify(userId="v1", traits={"company": {"id": "big_spenders"}})

    assert variant(world) == "off"
    world.change_site(company_is_group=True)
    assert variant(world) == "on"


@pytest.mark.parametrize(("public", "expected"), [(["name"], "on"), (["first_name"], "off")])
def test_custom_data__filled_from_the_name__has_that_of_its_parts(
    world: World, public: list[str], expected: str
) -> None:
    load(world, change("segments", 0, "conditionsData", "firstLevel", 0, "conditions", 0, "value", to="Ada Lovelace"))
    world.change_site(public_traits=public)
    CustomData.objects.filter(index=1).update(filled_from="trait", filling="name")
    world.identify(userId="v1", traits={"first_name": "Ada", "last_name": "Lovelace"})

    assert variant(world) == expected


def test_trait__that_is_not_public__targets_no_reader_without_a_token(world: World) -> None:
    load(world)
    CustomData.objects.filter(index=1).update(filled_from="trait", filling="kind")
    world.identify(userId="v1", traits={"kind": "big_spenders"})

    assert variant(world) == "off"
    body = {"context": {"targetingKey": "v1"}}
    assert ask(world, "persona_flag", body, x_api_key=KEY).json()["variant"] == "on"
    world.change_site(public_traits=["kind"])
    assert variant(world) == "on"


def test_goal__converted_by_the_visitor__targets_by_it(world: World) -> None:
    goal = Goal.objects.create(site=world.site, name="Order")
    condition = {"targetingType": "CONVERSIONS", "isInclude": True, "goalId": goal.pk}
    load(world, change("segments", 0, "conditionsData", "firstLevel", 0, "conditions", 0, to=condition))

    assert variant(world) == "off"
    send_lines(world, conversion(goal.pk))
    assert Conversion.objects.count() == 1
    assert variant(world) == "on"


def test_flags__all_at_once__have_an_etag_until_one_changes(world: World) -> None:
    load(world)

    first = ask(world)
    again = ask(world, if_none_match=first.headers["etag"])
    send_lines(world, custom_data(1, "big_spenders"))
    changed = ask(world, if_none_match=first.headers["etag"])

    assert [flag["key"] for flag in first.json()["flags"]] == ["persona_flag", "plan_flag"]
    assert (again.status_code, again.content) == (304, b"")
    assert (changed.status_code, changed.json()["flags"][0]["variant"]) == (200, "on")


@pytest.mark.parametrize("has_own_segment", [False, True])
def test_flags__of_a_site_with_real_time__say_where_changes_are_told(world: World, *, has_own_segment: bool) -> None:
    load(world)
    if has_own_segment:
        skip_imported_ids()
        make_segment(world.site, [{"on": "group"}])
    assert "eventStreams" not in ask(world).json()

    for has_real_time in (True, False):
        settings = {"has_real_time": has_real_time, "requires_consent": False, "opt_out": "RUN"}
        change_settings(world.site, settings, actor="ada", now=datetime.now(UTC))
        for answer in (ask(world), ask(world, base="", x_api_key=KEY)):
            told = [{"type": "sse", "endpoint": {"requestUri": f"/sse?siteCode={SITECODE}&protocol=ofrep"}}]
            assert answer.json().get("eventStreams") == (told if has_real_time else None)


def test_flags__of_a_large_file__are_evaluated_like_those_of_a_small_one(world: World) -> None:
    flag = FILE["featureFlags"][0]
    flags = [
        {
            **flag,
            "id": number,
            "featureKey": f"flag-{number}",
            "rules": [
                {
                    **flag["rules"][0],
                    "id": number,
                    "experimentId": number,
                    "variationByExposition": [{"variationKey": "on", "exposition": 1.0, "variationId": number}],
                }
            ],
        }
        for number in range(1, 101)
    ]
    load(world, change("featureFlags", to=flags))
    send_lines(world, custom_data(1, "big_spenders"))

    with ThreadPoolExecutor(50) as many:  # more than may wait for a turn of one site
        answers = list(many.map(lambda _: ask(world), range(50)))

    assert [answer.status_code for answer in answers] == [200] * 50
    assert [each["variant"] for answer in answers for each in answer.json()["flags"]] == ["on"] * 5_000


def test_flags__of_a_mutually_exclusive_group__are_on_one_at_a_time(world: World) -> None:
    file = change("featureFlags", 0, "mutuallyExclusiveGroup", to="checkout")
    file["featureFlags"][0]["rules"][0] |= {"segmentId": None, "exposition": 1.0}
    file["featureFlags"][1] |= {"mutuallyExclusiveGroup": "checkout"}
    load(world, file)

    found = {variant(world, targetingKey=f"v{number}") for number in range(20)}

    assert found == {"on", "off"}


def test_read__that_fails__fails_no_other_of_its_batch(world: World) -> None:
    calls = [pending(ofrep.Visitor(world.site.pk, (code,))) for code in ("v\0", "v1")]

    ofrep._fetch(calls)

    assert [call.error is None for call in calls] == [False, True]


def test_targeting_key__with_a_null_character__is_read_as_it_is_stored(world: World) -> None:
    load(world)
    send_lines(world, custom_data(1, "big_spenders", visitor="v\0"))

    assert variant(world, targetingKey="v\0") == "on"


@pytest.mark.parametrize(
    ("key", "body", "status", "code"),
    [
        ("persona_flag", b"{", 400, "PARSE_ERROR"),
        ("persona_flag", b"[]", 400, "PARSE_ERROR"),
        ("", b"\xff", 400, "PARSE_ERROR"),
        ("persona_flag", {"context": 1}, 400, "INVALID_CONTEXT"),
        ("persona_flag", {"x": 1}, 400, "INVALID_CONTEXT"),
        ("persona_flag", {"context": {"plan": "x"}}, 400, "TARGETING_KEY_MISSING"),
        ("", {"context": {"targetingKey": " "}}, 400, "TARGETING_KEY_MISSING"),
        ("", {"context": {"targetingKey": "v1", "personas": ["a"] * 501}}, 400, "INVALID_CONTEXT"),
        ("", b'{"context":{"targetingKey":"v1","personas":' + b"[" * 800 + b"]" * 800 + b"}}", 400, "INVALID_CONTEXT"),
        ("what/ever é", None, 404, "FLAG_NOT_FOUND"),
    ],
)
def test_request__that_cannot_be_answered__is_refused_in_the_words_of_ofrep(
    world: World, key: str, body: Any, status: int, code: str
) -> None:
    load(world)

    answer = ask(world, key, body)

    assert (answer.status_code, answer.json()["errorCode"], answer.json().get("key", "")) == (status, code, key)
    assert answer.json()["errorDetails"]
    assert answer.headers["access-control-allow-origin"] == "*"


@pytest.mark.parametrize(
    "headers",
    [{"authorization": f"Basic {KEY}"}, {"authorization": f"Bearer {KEY}"}, {"x_api_key": KEY}],
)
def test_credential__of_one_site__needs_no_sitecode(world: World, headers: Mapping[str, str]) -> None:
    load(world)

    assert ask(world, "persona_flag", base="", **headers).status_code == 200
    world.credential.sites.add(create_site(name="Other"))
    refused = ask(world, "persona_flag", base="", **headers)
    assert refused.status_code in {200, 404}  # look-ups are remembered for seconds


def test_site__that_demands_a_token__refuses_others(world: World) -> None:
    load(world)
    world.change_site(requires_token=True)
    token = world.client.post("/oauth/token", auth=(CLIENT_ID, SECRET)).json()["access_token"]

    answers = [
        ask(world, "persona_flag"),
        ask(world, "persona_flag", base=""),
        ask(world, "persona_flag", x_api_key="nonsense"),
        ask(world, "persona_flag", authorization=f"Bearer {token}"),
        ask(world, "persona_flag", base="/sites/nosuchsite", authorization=f"Bearer {token}"),
        ask(world, "persona_flag", base=f"/sites/{SITECODE}/staging", authorization=f"Bearer {token}"),
    ]

    assert [answer.status_code for answer in answers] == [401, 401, 401, 200, 404, 404]
    assert all(answer.json()["errorDetails"] for answer in answers if answer.status_code != 200)
