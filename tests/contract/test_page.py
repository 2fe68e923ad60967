"""A page with the snippets of Kameleoon's guide reads remote data, in Node.js from a running server."""

from pathlib import Path
from typing import Any

import pytest

from api.models import Site
from tests.contract.node import needs_node, run_node
from tests.contract.server import Shop

PAGE = Path(__file__).with_name("page.mjs")
NOBODY: dict[str, Any] = {"personas": [], "plan": None, "groupId": None, "traits": None}

pytestmark = needs_node


def visit(shop: Shop, *users: str, bulk: tuple[str, ...] = ("common",)) -> Any:
    return run_node(PAGE, {"url": shop.server.url, "sitecode": shop.sitecode, "users": users, "bulk": bulk})


def audience(shop: Shop, change: str, persona: str, **fields: Any) -> dict[str, Any]:
    """Return the event with which Segment reports that a person enters or leaves an audience."""
    context = {"personas": {"computation_class": "audience", "computation_key": persona}}
    properties = {"audience_key": persona, persona: change == "Entered"}
    return shop.event(event=f"Audience {change}", context=context, properties=properties, **fields)


@pytest.mark.promise("K-57", "K-60", "K-76", "W9")
def test_page__of_a_site_without_events__reads_empty_answers(shop: Shop) -> None:
    result = visit(shop, "never-seen", bulk=("common", "COHORTS_never-seen"))

    assert result["common"] == []
    assert result["users"] == {"never-seen": NOBODY}
    assert result["bulk"] == {"common": {"cohorts": []}, "COHORTS_never-seen": {}}
    assert result["preflights"] == [True, True]
    assert result["refused"] == [404, "{}"]


@pytest.mark.promise("K-56", "K-57", "K-58", "K-59", "K-66", "W9")
def test_page__for_entered_exited_and_never_seen_users__reads_the_personas_they_are_in(shop: Shop) -> None:
    shop.send(
        audience(shop, "Entered", "vip", userId="in"),
        audience(shop, "Entered", "new", userId="in"),
        audience(shop, "Entered", "vip", userId="out"),
        audience(shop, "Exited", "vip", userId="out"),
    )

    result = visit(shop, "in", "out", "never-seen", bulk=("COHORTS_in", "COHORTS_out", "common", "COHORTS_nobody"))

    assert {user: read["personas"] for user, read in result["users"].items()} == {
        "in": ["new", "vip"],
        "out": [],
        "never-seen": [],
    }
    assert result["common"] == [{"value": "new", "label": "new"}, {"value": "vip", "label": "vip"}]
    assert result["bulk"] == {
        "COHORTS_in": {"new": True, "vip": True},
        "COHORTS_out": {"vip": False},
        "COHORTS_nobody": {},
        "common": {"cohorts": ["new", "vip"]},
    }


@pytest.mark.promise("K-53", "K-68", "K-69", "K-70", "K-71", "K-74")
def test_page__under_each_of_a_persons_ids__reads_plan_and_group(shop: Shop) -> None:
    ids: dict[str, Any] = {"userId": "user 1/é+%", "anonymousId": "anon&1"}
    code = {"kameleoonVisitorCode": "vc0123456789abcd"}
    shop.send(
        shop.event("identify", **ids, properties={"plan": "freemium", **code}),
        shop.event("group", **ids, groupId=42, properties={"plan": "the group's own", **code}),
        shop.event("identify", **ids, properties={"plan": "enterprise", "email": "ann@example.com", **code}),
    )

    result = visit(shop, "user 1/é+%", "anon&1", "vc0123456789abcd", "never-seen")

    person = {"personas": [], "plan": "enterprise", "groupId": "42", "traits": {"plan": "enterprise"}}
    assert result["users"] == {
        "user 1/é+%": person,
        "anon&1": person,
        "vc0123456789abcd": person,
        "never-seen": NOBODY,
    }


@pytest.mark.promise("K-68", "K-72", "K-73")
def test_page__for_traits_of_every_type__reads_them_as_they_were_sent(shop: Shop) -> None:
    traits = {"plan": 3, "beta": True, "address": {"city": "Kraków"}, "sizes": [1, "L", None], "Ünusual": 0.5}
    Site.objects.filter(sitecode=shop.sitecode).update(public_traits=[*traits, "gone"])
    shop.send(
        shop.event("identify", properties={**traits, "gone": "soon"}),
        shop.event("identify", properties={"gone": None}),
    )

    assert visit(shop, "user-1")["users"]["user-1"]["traits"] == traits


@pytest.mark.promise("K-92")
def test_page__asked_twice__reads_the_full_state_again(shop: Shop) -> None:
    shop.send(
        shop.event("identify", properties={"plan": "scale"}),
        audience(shop, "Entered", "vip"),
    )

    assert visit(shop, "user-1") == visit(shop, "user-1")
    assert visit(shop, "user-1")["users"]["user-1"]["personas"] == ["vip"]
