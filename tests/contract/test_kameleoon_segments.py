"""Segments of Goalpost in Kameleoon's published SDKs: in their file, or as custom data that Goalpost fills.

No page or server has code for them: it reads the visitor back, as every user of an SDK does.
"""

from typing import Any

import pytest

from api.models import Site
from cohorts.models import CustomData
from cohorts.segment_tables import Segment
from goals.models import Conversion
from tests.browser.chromium import needs_browser
from tests.contract.kameleoon_clients import VISITOR, Lab, Start, convert, make_goal, needs_own_network
from tests.contract.kameleoon_flags import PERSONAS, PLAN, SEGMENTS, import_flags
from tests.contract.node import needs_packages
from tests.support.segments import make_segment, skip_imported_ids

pytestmark = [needs_own_network, needs_packages, needs_browser, pytest.mark.xdist_group("kameleoon")]  # one front
PROS = {"on": "trait", "path": ["plan"], "test": {"type": "text", "texts": ["enterprise"]}}
VIP = {"on": "persona", "name": "big_spenders"}


def make(lab: Lab, condition: Any, name: str) -> Segment:
    skip_imported_ids()
    return make_segment(Site.objects.get(pk=lab.shop.site_id), [condition], name=name)


def fill(index: int, filled_from: str, filling: str = "") -> None:
    CustomData.objects.filter(index=index).update(filled_from=filled_from, filling=filling)


def say_who_ann_is(lab: Lab) -> None:
    shop = lab.shop
    shop.send(
        shop.event("identify", userId="ann", properties={"plan": "enterprise"}),
        shop.event(event="Audience Entered", userId="ann", properties={"audience_key": "big_spenders"}),
        shop.event("identify", userId="bob", properties={"plan": "basic"}),
    )


@pytest.mark.promise("K-61", "N-11")
def test_flags__by_persona_plan_and_segment__need_no_code_in_the_page(lab: Lab, start: Start) -> None:
    loyal = make(lab, VIP, "loyal")
    import_flags(lab.shop, make_goal(lab.shop).pk, has_segment="true")
    fill(PERSONAS, "personas")
    fill(PLAN, "trait", "plan")
    fill(SEGMENTS, "segment", str(loyal.pk))
    say_who_ann_is(lab)
    client = start()
    client.call("initialize")

    on = {}
    for user in ("ann", "bob", "stranger"):
        client.call("read", user)
        on[user] = [client.call("variation", user, f"{name}_flag") for name in ("persona", "plan", "segment")]

    assert on == {"ann": ["on"] * 3, "bob": ["off"] * 3, "stranger": ["off"] * 3}


@pytest.mark.promise("K-88", "N-11")
def test_flag__by_a_segment_in_the_file__is_judged_by_the_sdk(lab: Lab, start: Start) -> None:
    goal_id = make_goal(lab.shop).pk
    buyers = make(lab, {"on": "goal", "goal": goal_id}, "buyers")
    others = make(lab, {"on": "segment", "segment": buyers.pk, "negated": True}, "others")
    import_flags(lab.shop, goal_id, segment_ids={"goal": buyers.pk, "segment": others.pk})
    client, second = start(), start()
    for each in (client, second):
        each.call("initialize")
    flags = ("goal_flag", "segment_flag")
    assert [client.call("variation", VISITOR, flag) for flag in flags] == ["off", "on"]

    convert(client, goal_id, 1)
    client.call("flush", VISITOR)
    lab.wait_until(Conversion.objects.exists)
    second.call("read", VISITOR)

    assert [second.call("variation", VISITOR, flag) for flag in flags] == ["on", "off"]


def test_flag__by_a_segment_that_sdks_cannot_judge__is_off_for_all(lab: Lab, start: Start) -> None:
    loyal = make(lab, PROS, "loyal")
    import_flags(lab.shop, make_goal(lab.shop).pk, segment_ids={"segment": loyal.pk})
    say_who_ann_is(lab)
    client = start()
    client.call("initialize")

    client.call("read", "ann")

    assert [client.call("variation", user, "segment_flag") for user in ("ann", "bob")] == ["off", "off"]
