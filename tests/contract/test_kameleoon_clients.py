"""Kameleoon's published SDKs against a running Goalpost, over TLS on the names of a `network_domain`.

Each test runs with the SDK for Python, the JavaScript core in Node.js, and the web SDK on a page of another origin.
"""

from decimal import Decimal
from typing import Any

import pytest

from goals.models import Cancellation, Conversion
from goals.visit_models import VisitFact
from tests.browser.chromium import needs_browser
from tests.contract.kameleoon_clients import VISITOR, Lab, Start, convert, make_goal, needs_own_network
from tests.contract.node import needs_packages

pytestmark = [needs_own_network, needs_packages, needs_browser, pytest.mark.xdist_group("kameleoon")]  # one front


def test_sdk__with_its_credentials__reads_remote_data_of_events_and_of_the_operator(lab: Lab, start: Start) -> None:
    shop = lab.shop
    shop.send(shop.event("identify", userId="user/1 é", properties={"plan": "scale", "email": "ann@example.com"}))
    prices: dict[str, Any] = {"basic": 1.5}
    headers = {"authorization": shop.headers["authorization"]}
    written = shop.client.post(
        "/map/maps", params={"siteCode": shop.sitecode}, json={"prices": prices}, headers=headers
    )
    client = start()

    read = {key: client.call("remote", key) for key in ("IDENTIFY_user/1 é", "common", "prices", "none")}

    assert written.status_code == 204
    assert read["IDENTIFY_user/1 é"]["traits"]["plan"] == "scale"
    assert [read[key] for key in ("common", "prices", "none")] == [{"cohorts": []}, prices, {}]
    assert set(lab.front.statuses("GET", "/map/map")) == {200}


@pytest.mark.parametrize("wrong", ["secret", "site"])
def test_sdk__with_a_wrong_secret_or_site__reads_what_is_public_or_nothing(lab: Lab, start: Start, wrong: str) -> None:
    shop = lab.shop
    shop.send(shop.event("identify", userId="user-1", properties={"plan": "scale", "email": "ann@example.com"}))
    client = start(**({"secret": "wrong"} if wrong == "secret" else {"sitecode": "nosuchsite"}))

    read = client.call("remote", "IDENTIFY_user-1")

    if wrong == "secret":
        assert read == {"traits": {"plan": "scale"}}
    else:
        assert "traits" not in (read or {})
        assert client.call("initialize") is not True


def test_conversion__of_an_sdk_whose_token_is_refused__counts(lab: Lab, start: Start) -> None:
    goal = make_goal(lab.shop)
    client = start()
    client.call("initialize")
    client.call("spoil_token")  # the JavaScript SDKs have none

    convert(client, goal.pk, 10.25)
    client.call("flush", VISITOR)
    lab.wait_until(Conversion.objects.exists)

    assert set(lab.front.statuses("POST", "/visit/events")) == {204}


def test_conversion__of_an_sdk__counts_with_revenue_and_metadata_until_it_is_taken_back(lab: Lab, start: Start) -> None:
    goal = make_goal(lab.shop)
    client = start()
    client.call("initialize")

    convert(client, goal.pk, 10.25, metadata=[[1, ["m1", "m2"]]])
    client.call("flush", VISITOR)
    lab.wait_until(Conversion.objects.exists)

    rows = Conversion.objects.values_list("visitor_code", "goal_id", "revenue")
    assert list(rows) == [(VISITOR, goal.pk, Decimal("10.25"))]
    assert "m2" in str(Conversion.objects.get().properties)
    convert(client, goal.pk, 2.5, negative=True)
    client.call("flush", VISITOR)
    lab.wait_until(Cancellation.objects.exists)
    cancelled = Cancellation.objects.values_list("visitor_code", "goal_id", "revenue")
    assert list(cancelled) == [(VISITOR, goal.pk, Decimal("2.5"))]
    assert Conversion.objects.count() == 1


def test_visitor__of_one_device__is_read_back_by_a_second_one(lab: Lab, start: Start) -> None:
    goal = make_goal(lab.shop)
    first, second = start(), start()
    for client in (first, second):
        client.call("initialize")

    first.call("add", VISITOR, "userAgent", "Mozilla/5.0 (X11) +https://x.example/?a=b&c=d&revenue=1000 100%")
    first.call("add", VISITOR, "customData", 2, "alpha", "be ta&=é+%")
    first.call("add", VISITOR, "page", "https://shop.example/checkout?a=1&b=2#x", "Check out é")
    first.call("add", VISITOR, "geolocation", "France", "Île-de-France", "Paris")
    convert(first, goal.pk, 10.25)
    first.call("flush", VISITOR)
    lab.wait_until(lambda: Conversion.objects.exists() and VisitFact.objects.count() >= 3)

    read = second.call("read", VISITOR)

    assert ["conversion", goal.pk] in read
    assert ["customData", [2, ["alpha", "be ta&=é+%"]]] in read
    assert ["page", "https://shop.example/checkout?a=1&b=2#x"] in read
    assert ["geolocation", "Paris"] in read
    assert Conversion.objects.get().revenue == Decimal("10.25")


def test_server__that_is_away_and_comes_back__gets_each_conversion_once(lab: Lab, start: Start) -> None:
    goal = make_goal(lab.shop)
    client = start()
    client.call("initialize")

    lab.front.go_away()
    convert(client, goal.pk, 1)
    client.call("flush", VISITOR)
    lab.front.come_back()
    lab.wait_until(Conversion.objects.exists)

    assert Conversion.objects.count() == 1


def test_answer__that_is_lost__counts_the_conversion_once(lab: Lab, start: Start) -> None:
    goal = make_goal(lab.shop)
    client = start()
    client.call("initialize")

    lab.front.answers_to_lose = 1
    convert(client, goal.pk, 1)
    client.call("flush", VISITOR)
    lab.wait_until(lambda: len(lab.front.statuses("POST", "/visit/events")) >= 2)
    lab.wait_until(Conversion.objects.exists)

    assert Conversion.objects.count() == 1
