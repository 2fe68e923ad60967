"""Write keys of the tracking API: their places, their end, and the settings that analytics.js reads with one."""

import base64
import json
from datetime import UTC, datetime, timedelta

import pytest

from api.http.credentials import clear_lookups
from api.ingest.provisioning import revoke_write_key, rotate_write_key
from api.models import Message, Source, WriteKey
from tests.support.messages import bodies_of
from tests.support.tracking import EVENTS, KEY, basic, post
from tests.world import CLIENT_ID, SECRET, SITECODE, World


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
    assert [json.loads(body) for body in bodies_of(kept)] == large
    assert world.client.get(f"/v1/projects/{KEY}/settings").status_code == 404


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
