"""Access tokens of remote data."""

import pytest

from tests.world import World

QUERY = "?sdkName=PYTHON&sdkVersion=3.22.2&siteCode=1q2w3e4r5t"
FORM = "grant_type=client_credentials"
SECRETS = "client_id=demo_client&client_secret=demo_secret"
FORM_TYPE = "application/x-www-form-urlencoded"


@pytest.mark.parametrize(
    ("query", "form", "content_type", "is_basic"),
    [
        (QUERY, FORM, FORM_TYPE, True),  # kameleoon-client-python 3.22.2
        ("", f"{SECRETS}&{FORM}", FORM_TYPE, False),  # client-go 3.18.0, client-php 4.20.0
        (QUERY, f"{SECRETS}&{FORM}", FORM_TYPE, False),
        ("", FORM, FORM_TYPE, True),
        ("", f"{SECRETS}&{FORM}", f"{FORM_TYPE}; charset=UTF-8", False),
        ("", "", "", True),
    ],
)
def test_token__in_each_form_that_clients_use__reads_everything(
    world: World, query: str, form: str, content_type: str, *, is_basic: bool
) -> None:
    world.identify(traits={"email": "u@example.com"})

    answer = world.client.post(
        f"/oauth/token{query}",
        content=form,
        headers={
            **({"content-type": content_type} if content_type else {}),
            **({"authorization": "Basic ZGVtb19jbGllbnQ6ZGVtb19zZWNyZXQ="} if is_basic else {}),
        },
    )

    assert (answer.status_code, answer.json()["expires_in"]) == (200, 7200)
    headers = {"authorization": f"Bearer {answer.json()['access_token']}"}
    params = {"siteCode": world.site.sitecode, "key": "IDENTIFY_user-1"}
    read = world.client.get("/map/map", params=params, headers=headers).json()
    assert read == {"traits": {"email": "u@example.com"}}


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
