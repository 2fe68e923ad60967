"""A credential may do what its scopes say, at every endpoint that takes one."""

from collections.abc import Sequence
from typing import Any, Final

import httpx
import pytest
from django.db import connection

from api.http.credentials import clear_lookups, encode_api_key
from api.ingest.provisioning import NewCredential, create_credential
from api.models import Credential, Message
from tests.world import SITECODE, World

Scope = Credential.Scope
HEADERS: Final = {"x-segment-settings": SITECODE}


def make(world: World, *scopes: str) -> NewCredential:
    return create_credential([world.site], name="x", scopes=scopes)


def basic(new: NewCredential) -> dict[str, str]:
    return {"authorization": f"Basic {encode_api_key(new.credential.client_id, new.secret)}"}


def token_of(world: World, new: NewCredential) -> httpx.Response:
    return world.client.post("/oauth/token", auth=(new.credential.client_id, new.secret))


def bearer(world: World, new: NewCredential) -> dict[str, str]:
    return {"authorization": f"Bearer {token_of(world, new).json()['access_token']}"}


def read(world: World, headers: dict[str, str], path: str = "/map/map?key=IDENTIFY_user-1") -> httpx.Response:
    return world.client.get(f"{path}&siteCode={SITECODE}", headers=headers)


# Status of each endpoint for credentials with these scopes.
ENDPOINTS: Final[dict[str, Any]] = {
    "segmentio": (Scope.SEND, lambda world, given: world.post(world.event(), headers=given)),
    "getapikey": (Scope.SEND, None),
    "map": (Scope.READ, read),
    "maps": (Scope.READ, lambda world, given: read(world, given, '/map/maps?keys=["IDENTIFY_user-1"]')),
    "api": (Scope.MANAGE, lambda world, given: world.client.get("/api/goals", headers=given)),
}


def ask(world: World, endpoint: str, new: NewCredential) -> httpx.Response:
    _, way = ENDPOINTS[endpoint]
    if way is None:
        return world.client.get(f"/segmentio/getapikey?id={new.credential.client_id}&secret={new.secret}")
    answer: httpx.Response = way(world, basic(new))
    return answer


@pytest.mark.parametrize("endpoint", ENDPOINTS)
@pytest.mark.parametrize("scopes", [[each] for each in Scope.values] + [Scope.values])
def test_endpoint__credential_with_some_scopes__opens_with_the_one_it_needs(
    world: World, endpoint: str, scopes: Sequence[str]
) -> None:
    needed, _ = ENDPOINTS[endpoint]

    answer = ask(world, endpoint, make(world, *scopes))

    if needed in scopes:
        assert answer.status_code == 200, answer.text
    else:
        assert answer.status_code == 403
        reason = answer.headers["goalpost-error"] if endpoint.startswith("map") else answer.text
        assert "insufficient_scope" in reason
        assert f"`{needed}`" in reason
        assert "Settings, Credentials" in reason
        assert endpoint not in {"map", "maps"} or answer.content == b"{}"
    assert Message.objects.count() == (1 if endpoint == "segmentio" and needed in scopes else 0)


@pytest.mark.parametrize("scopes", [[each] for each in Scope.values])
def test_token__of_a_credential__has_its_scopes(world: World, scopes: Sequence[str]) -> None:
    new = make(world, *scopes)

    answer = token_of(world, new)

    if scopes == [Scope.SEND]:
        assert answer.status_code == 403
        assert answer.json()["code"] == "insufficient_scope"
        assert "`read`" in answer.json()["message"]
    else:
        given = {"authorization": f"Bearer {answer.json()['access_token']}"}
        assert world.post(world.event(), headers=given).status_code == 403
        assert read(world, given).status_code == (200 if scopes == [Scope.READ] else 403)
        assert world.client.get("/api/goals", headers=given).status_code == (200 if scopes == [Scope.MANAGE] else 403)


def test_token__credential_narrowed__is_narrowed_too(world: World) -> None:
    new = make(world, *Scope.values)
    given = bearer(world, new)
    assert read(world, given).status_code == 200

    Credential.objects.filter(pk=new.credential.pk).update(scopes=[Scope.SEND])
    clear_lookups()  # in a running process: within seconds

    assert read(world, given).status_code == 403
    assert world.client.get("/api/goals", headers=given).status_code == 403
    assert world.post(world.event(), headers=given).status_code == 200


def test_write_key__beside_a_token_that_may_only_read__sends(world: World) -> None:
    """The write key is what may send; a token only names the sites it is good for."""
    key = world.site.sources.get().write_keys.get().key
    given = bearer(world, make(world, Scope.READ))

    answer = world.client.post("/v1/track", json={**world.event(), "writeKey": key}, headers=given)
    without_key = world.client.post("/v1/track", json=world.event(), headers=given)

    assert (answer.status_code, without_key.status_code) == (200, 401)
    assert Message.objects.count() == 1


def test_remote_data__credential_that_only_sends__gets_less_than_a_stranger(world: World) -> None:
    """It is refused, so that whoever meant to read every trait does not take the public ones for all."""
    world.identify(traits={"plan": "pro", "email": "ada@example.com"})

    assert read(world, {}).json() == {"traits": {"plan": "pro"}}
    assert read(world, basic(make(world, Scope.SEND))).content == b"{}"
    assert read(world, basic(make(world, Scope.READ))).json()["traits"]["email"] == "ada@example.com"


def test_credential__made_without_saying_what_for__only_sends(world: World) -> None:
    assert create_credential([world.site], name="x").credential.scopes == [Scope.SEND]


def test_credential__that_was_there_before_scopes__has_all(world: World) -> None:
    """A row that the version before wrote, or writes while this one starts, names no scopes."""
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO api_credential (client_id, secret_hash, name, created_at) VALUES ('old', '', '', now())"
        )

    assert set(Credential.objects.get(client_id="old").scopes) == set(Scope.values)
