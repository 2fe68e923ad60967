"""Kameleoon's published Python SDK reads the remote data of events, over TLS on the names of its `network_domain`."""

import sys
from collections.abc import Callable
from decimal import Decimal
from typing import Any, Final

import pytest

from api.models import Site
from api.pages.guide import read_code
from goals.flags.models import FeatureFlag
from goals.models import Conversion
from tests.contract.kameleoon_clients import Lab, make_goal, needs_own_network
from tests.contract.kameleoon_flags import flag
from tests.contract.server import Shop
from tests.contract.tls_front import DOMAIN

pytestmark = [needs_own_network, pytest.mark.xdist_group("kameleoon")]  # one front
USER = "user/1 é+&"
KEYS = [f"IDENTIFY_{USER}", f"COHORTS_{USER}", "common", "IDENTIFY_no such key/é", f"IDENTIFY_{USER}\n"]
OpenLab = Callable[[Shop], Lab]
COPIED: Final = """
import json, sys, time
task = json.loads(sys.argv[1])
client_id, client_secret, user_id = task["client_id"], task["secret"], "user/1 é+&"
visitor_code, goal_id = "vc-1234567890", task["goal_id"]
{code}
client.flush(visitor_code, instant=True)
time.sleep(2)  # a thread of the SDK sends it, and a server would live on
print(json.dumps([personas, profile, client.is_feature_active(visitor_code, "new_checkout")]))
"""


def read(lab: Lab, *keys: str, secret: str = "", is_token_revoked: bool = False) -> dict[str, Any]:
    """Return the result of the SDK's `get_remote_data` for each key."""
    client = lab.start_python(**({"secret": secret} if secret else {}))
    if is_token_revoked:
        client.call("spoil_token")
    return {key: client.call("remote", key) for key in keys}


@pytest.fixture
def stocked(shop: Shop) -> Shop:
    """Store a user with traits, a group and personas."""
    shop.send(
        shop.event("identify", userId=USER, properties={"plan": "scale", "email": "ann@example.com", "age": 42}),
        shop.event("group", userId=USER, groupId="initech"),
        shop.event(event="Audience Entered", userId=USER, properties={"audience_key": "vip", "vip": True}),
        shop.event(event="Audience Exited", userId=USER, properties={"audience_key": "new", "new": False}),
    )
    return shop


@pytest.mark.promise("K-37", "K-53", "K-66", "K-68", "K-69", "K-74", "K-76", "K-77", "W10")
def test_sdk__with_its_credentials__reads_everything_by_token(stocked: Shop, open_lab: OpenLab) -> None:
    profile = {"traits": {"age": 42, "email": "ann@example.com", "plan": "scale"}, "groupId": "initech"}

    assert read(open_lab(stocked), *KEYS) == {
        KEYS[0]: profile,
        KEYS[1]: {"new": False, "vip": True},
        "common": {"cohorts": ["new", "vip"]},
        KEYS[3]: {},
        KEYS[4]: profile,
    }


@pytest.mark.promise("K-66", "W10")
@pytest.mark.parametrize("refused", ["token endpoint", "remote data"])
def test_sdk__whose_credentials_are_refused__goes_on_without_and_reads_what_is_public(
    stocked: Shop, open_lab: OpenLab, refused: str
) -> None:
    lab = open_lab(stocked)
    if refused == "token endpoint":
        values = read(lab, *KEYS, secret="wrong")
    else:
        values = read(lab, *KEYS, is_token_revoked=True)

    assert values[KEYS[0]] == {"traits": {"plan": "scale"}, "groupId": "initech"}
    assert values[KEYS[1]] == {"new": False, "vip": True}
    assert values["common"] == {"cohorts": ["new", "vip"]}
    assert values[KEYS[3]] == {}


@pytest.mark.promise("K-76", "W10")
def test_sdk__without_a_token_where_one_is_demanded__gets_an_empty_object(closed_shop: Shop, open_lab: OpenLab) -> None:
    lab = open_lab(closed_shop)
    closed_shop.send(closed_shop.event("identify", userId=USER, properties={"plan": "scale"}))

    assert read(lab, KEYS[0]) == {KEYS[0]: {"traits": {"plan": "scale"}}}
    assert read(lab, KEYS[0], secret="wrong") == {KEYS[0]: {}}


@pytest.mark.promise("K-75", "W10")
def test_code_of_the_guide__run_as_copied__reads_and_counts(stocked: Shop, open_lab: OpenLab) -> None:
    goal = make_goal(stocked)
    on = {**flag(1, "new_checkout", 1), "rules": [], "defaultVariationKey": "on"}
    FeatureFlag.objects.create(
        site=Site.objects.get(pk=stocked.site_id), key="new_checkout", document=on, enabled_in=["production"]
    )
    code = read_code("kameleoon").replace("example.com", DOMAIN).replace("SITECODE", stocked.sitecode)
    lab = open_lab(stocked)

    personas, profile, is_active = lab.run(sys.executable, "-P", "-c", COPIED.format(code=code), goal_id=goal.pk)
    lab.wait_until(Conversion.objects.exists)

    assert personas == {"new": False, "vip": True}
    assert profile["traits"]["plan"] == "scale"
    assert is_active is True
    assert Conversion.objects.get().revenue == Decimal("25.5")
