"""Access tokens of remote data."""

import pytest

from tests.world import World


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
