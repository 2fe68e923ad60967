"""Kameleoon's published SDKs start with Goalpost's file and evaluate flags whose targeting Goalpost feeds."""

import pytest

from api.models import SdkConfiguration, Site
from goals.models import Conversion
from goals.visit_models import Exposure, VisitFact
from tests.browser.chromium import needs_browser
from tests.contract.kameleoon_clients import VISITOR, Lab, Start, convert, make_goal, needs_own_network
from tests.contract.kameleoon_flags import MAPPING, PERSONAS, PLAN, SEGMENTS, import_flags
from tests.contract.node import needs_packages
from tests.support.segments import make_segment

pytestmark = [needs_own_network, needs_packages, needs_browser, pytest.mark.xdist_group("kameleoon")]  # one front


@pytest.fixture
def goal_id(lab: Lab) -> int:
    """Import the flags, and return the goal that one of them asks for."""
    goal = make_goal(lab.shop)
    import_flags(lab.shop, goal.pk)
    return goal.pk


def test_sdk__that_starts__gets_the_file_and_later_304(lab: Lab, start: Start, goal_id: int) -> None:
    client = start(refresh_minutes=0.02)

    assert client.call("initialize") is True
    assert client.call("variation", VISITOR, "plan_flag") == "off"
    client.call("restart")
    lab.wait_until(lambda: 304 in lab.front.statuses("GET", "/v3/"))
    assert client.call("variation", VISITOR, "plan_flag") == "off"
    assert set(lab.front.statuses("GET", "/v3/")) == {200, 304}


def test_sdk__that_starts_while_the_server_is_away__works_once_it_is_back(lab: Lab, start: Start, goal_id: int) -> None:
    lab.front.go_away()
    client = start(refresh_minutes=0.02)
    assert client.call("initialize") is not True

    lab.front.come_back()
    lab.wait_until(lambda: client.call("initialize") is True or lab.front.statuses("GET", "/v3/"))

    lab.wait_until(lambda: client.call("variation", VISITOR, "plan_flag") == "off")


@pytest.mark.promise("K-37", "K-56", "K-66", "K-67")
def test_flags__by_persona_and_plan__are_on_for_whom_events_say_so(lab: Lab, start: Start, goal_id: int) -> None:
    shop = lab.shop
    shop.send(
        shop.event("identify", userId="ann", properties={"plan": "enterprise"}),
        shop.event(event="Audience Entered", userId="ann", properties={"audience_key": "big_spenders"}),
        shop.event("identify", userId="bob", properties={"plan": "basic"}),
    )
    client = start()
    client.call("initialize")

    on = {}
    for user in ("ann", "bob"):
        personas, profile = client.call("remote", f"COHORTS_{user}"), client.call("remote", f"IDENTIFY_{user}")
        client.call("add", user, "customData", PERSONAS, *(name for name, is_in in personas.items() if is_in))
        client.call("add", user, "customData", PLAN, profile["traits"]["plan"])
        on[user] = [client.call("variation", user, f"{name}_flag") for name in ("persona", "plan")]
        for _ in range(3):
            client.call("variation", user, "persona_flag")
            client.call("flush", user)

    assert on == {"ann": ["on", "on"], "bob": ["off", "off"]}
    lab.wait_until(lambda: Exposure.objects.count() == 2)
    found = Exposure.objects.order_by("experiment_id").values_list("visitor_code", "experiment_id", "variation_id")
    assert list(found) == [("ann", 5001, 7001), ("ann", 5002, 7002)]


@pytest.mark.promise("N-11")
def test_flag__by_a_segment_of_goalpost__is_on_for_its_members(lab: Lab, start: Start, goal_id: int) -> None:
    shop = lab.shop
    pros = {"on": "trait", "path": ["plan"], "test": {"type": "text", "texts": ["enterprise"]}}
    make_segment(Site.objects.get(pk=shop.site_id), [pros], name="loyal")
    shop.send(
        shop.event("identify", userId="ann", properties={"plan": "enterprise"}),
        shop.event("identify", userId="bob", properties={"plan": "basic"}),
    )
    client = start()
    client.call("initialize")

    on = {}
    for user in ("ann", "bob"):
        segments = client.call("remote", f"SEGMENTS_{user}")
        client.call("add", user, "customData", SEGMENTS, *(name for name, is_in in segments.items() if is_in))
        on[user] = client.call("variation", user, "segment_flag")

    assert on == {"ann": "on", "bob": "off"}


def test_flag__by_a_converted_goal__is_on_after_the_conversion_on_each_device(
    lab: Lab, start: Start, goal_id: int
) -> None:
    client, second = start(), start()
    for each in (client, second):
        each.call("initialize")
    assert client.call("variation", VISITOR, "goal_flag") == "off"

    convert(client, goal_id, 1)
    client.call("flush", VISITOR)
    lab.wait_until(Conversion.objects.exists)

    assert client.call("variation", VISITOR, "goal_flag") == "on"
    assert second.call("variation", VISITOR, "goal_flag") == "off"
    second.call("read", VISITOR)
    assert second.call("variation", VISITOR, "goal_flag") == "on"


def test_person__with_a_unique_identifier_on_two_devices__has_one_visitor_code(
    lab: Lab, start: Start, goal_id: int
) -> None:
    Site.objects.filter(pk=lab.shop.site_id).update(identified_visits_require_token=False)  # pages have no token
    first, second = start(), start()
    for each in (first, second):
        each.call("initialize")

    first.call("add", "device-a", "customData", MAPPING, "ann")
    convert(first, goal_id, 1, visitor="device-a")
    first.call("flush", "device-a")
    lab.wait_until(Conversion.objects.exists)
    first.call("identify", "ann")
    convert(first, goal_id, 2, visitor="ann")
    first.call("flush", "ann")
    lab.wait_until(Conversion.objects.filter(revenue=2).exists)
    second.call("identify", "ann")
    for revenue in (3, 4):  # before and after the second device knows anything of the first
        convert(second, goal_id, revenue, visitor="ann")
        second.call("flush", "ann")
        lab.wait_until(Conversion.objects.filter(revenue=revenue).exists)
        read = second.call("read", "ann")

    assert list(Conversion.objects.values_list("visitor_code", flat=True)) == ["device-a"] * 4
    assert ["conversion", goal_id] in read
    assert second.call("variation", "ann", "goal_flag") == "on"


def test_visitor__without_consent_where_it_is_required__is_sent_once_it_is_given(
    lab: Lab, start: Start, goal_id: int
) -> None:
    SdkConfiguration.objects.filter(site_id=lab.shop.site_id).update(requires_consent=True)
    client = start()
    client.call("initialize")
    client.call("add", VISITOR, "customData", PLAN, "enterprise")

    client.call("flush", VISITOR)
    lab.shop.digest()
    assert not VisitFact.objects.exists()

    client.call("consent", VISITOR, "given")
    client.call("flush", VISITOR)
    lab.wait_until(VisitFact.objects.exists)


def test_visitor__who_refuses_consent__gets_the_default_and_is_not_exposed(
    lab: Lab, start: Start, goal_id: int
) -> None:
    SdkConfiguration.objects.filter(site_id=lab.shop.site_id).update(requires_consent=True)
    client = start()
    client.call("initialize")
    client.call("add", VISITOR, "customData", PLAN, "enterprise")

    client.call("consent", VISITOR, "refused")
    refused = client.call("variation", VISITOR, "plan_flag")
    client.call("flush", VISITOR)
    lab.shop.digest()

    assert refused == "off"
    assert not Exposure.objects.exists()
    client.call("consent", VISITOR, "given")
    assert client.call("variation", VISITOR, "plan_flag") == "on"
    client.call("flush", VISITOR)
    lab.wait_until(Exposure.objects.exists)
