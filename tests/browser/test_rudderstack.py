"""The published SDK of RudderStack sends from a shop's page to Goalpost on another origin, with and without beacons."""

import json
import re
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import pytest
from playwright.sync_api import Browser

from api.models import Message, Source
from api.pages.guide import read_code
from goals.models import Conversion
from tests.browser.admin import write_key
from tests.browser.chromium import LOOPBACK, Visit, needs_browser, open_visit
from tests.contract.node import needs_packages
from tests.contract.server import Shop
from tests.support.messages import body_of
from tests.support.outages import full_disk

Arrive = Callable[[], Visit]

EVERY_TYPE = ["alias", "group", "identify", "page", "track"]
# The queue of beacons is sent every ten minutes, or when the page is left.
OPTIONS: dict[str, dict[str, Any]] = {
    "requests": {},
    "beacons": {"useBeacon": True, "beaconQueueOptions": {"flushQueueInterval": 500}},
}

pytestmark = [
    needs_browser,
    needs_packages,
    pytest.mark.xdist_group("browser"),  # one browser: it takes both cores of a small machine
]


@pytest.fixture
def arrive(browser: Browser, shop_url: str) -> Iterator[Arrive]:
    """Yield a function that opens the page in a new profile. Assert that it asks no other host."""
    visits: list[Visit] = []

    def arrive() -> Visit:
        visits.append(open_visit(browser, f"{shop_url}rudderstack"))
        return visits[-1]

    yield arrive
    for visit in visits:
        visit.page.context.close()
    assert set().union(*(visit.hosts for visit in visits)) <= LOOPBACK


def messages(shop: Shop) -> list[Message]:
    return list(Message.objects.filter(site__sitecode=shop.sitecode).order_by("type"))


def test_code__of_the_guide__sends_a_page(arrive: Arrive, shop: Shop, source: Source) -> None:
    code = read_code("rudder_browser").replace("https://integrations.example.com", shop.server.url)
    code = re.sub(r"^import .*\n|^export ", "", code.replace("WRITE_KEY", write_key(source).key), flags=re.MULTILINE)
    visit = arrive()

    visit.run(f"const RudderAnalytics = rudder.constructor;\n{code}")  # as a bundler resolves the import
    visit.wait_until(lambda: bool(messages(shop)))
    shop.digest()

    assert [(message.type, message.status) for message in messages(shop)] == [("page", Message.Status.DONE)]


@pytest.mark.promise("N-14")
@pytest.mark.parametrize("transport", OPTIONS)
def test_page__sends_events_of_every_type__each_is_stored_once_and_means_the_right_thing(
    arrive: Arrive, shop: Shop, source: Source, transport: str
) -> None:
    visit = arrive()
    visit.call("start", write_key(source).key, shop.server.url, OPTIONS[transport])

    visit.call("sendEveryType")
    visit.wait_until(lambda: len(messages(shop)) >= len(EVERY_TYPE))
    visit.page.wait_for_timeout(1_500)  # whatever is sent twice comes by now
    shop.digest()

    found = messages(shop)
    assert [each.type for each in found] == EVERY_TYPE
    assert {each.source for each in found} == {source}
    assert {each.status for each in found} == {"done"}
    assert len({each.message_id for each in found}) == len(EVERY_TYPE)
    conversions = Conversion.objects.filter(site__sitecode=shop.sitecode)
    got = {each.goal.name: (each.visitor_code, each.revenue, each.currency) for each in conversions}
    assert got == {
        "SegmentIO page – Home": ("vc 1", None, None),
        "SegmentIO track – Paid": ("vc 1", Decimal("12.5"), "EUR"),
    }
    for person in ("vc 1", "user-1", "lead-1", visit.call("anonymousId")):
        assert shop.read(f"IDENTIFY_{person}") == {"traits": {"plan": "scale"}, "groupId": "g-77"}
    paths = {"requests": "/v1/", "beacons": "/beacon/v1/batch"}
    assert all(posted.path.startswith(paths[transport]) for posted in visit.posted)
    assert visit.errors == []


@pytest.mark.promise("K-83", "N-14")
def test_page__while_nothing_can_be_stored__sends_all_again_with_headers_of_its_own(
    arrive: Arrive, shop: Shop, source: Source
) -> None:
    visit = arrive()
    visit.call("start", write_key(source).key, shop.server.url, {"queueOptions": {"minRetryDelay": 1_000}})

    with full_disk():
        visit.call("sendEveryType")
        visit.wait_until(lambda: any(posted.status == 503 for posted in visit.posted))
    visit.wait_until(lambda: len(messages(shop)) == len(EVERY_TYPE))

    assert any("rsa-retry-attempt" in headers for headers in visit.preflights)
    assert all("anonymousid" in headers for headers in visit.preflights)


@pytest.mark.promise("N-14")
def test_page__left_with_beacons_unsent__sends_them_as_it_goes(arrive: Arrive, shop: Shop, source: Source) -> None:
    visit = arrive()
    visit.call("start", write_key(source).key, shop.server.url, {"useBeacon": True})

    visit.call("sendEveryType")
    visit.page.goto("about:blank")
    visit.wait_until(lambda: len(messages(shop)) >= len(EVERY_TYPE))

    assert [each.type for each in messages(shop)] == EVERY_TYPE


@pytest.mark.promise("N-14")
def test_page__that_adds_headers_which_nobody_listed__loses_neither_events_nor_remote_data(
    arrive: Arrive, shop: Shop, source: Source
) -> None:
    visit, url = arrive(), shop.server.url

    assert visit.call("sendWithHeaders", url, write_key(source).key) == {"success": True}
    shop.digest()
    assert shop.goals() == {"SegmentIO track – Sent": ["user-2"]}
    shop.send(shop.event("identify", userId="user-2", properties={"plan": "scale"}))
    read = visit.call("readWithHeaders", url, shop.sitecode, "IDENTIFY_user-2")
    assert read == [200, {"traits": {"plan": "scale"}}, True]
    assert visit.call("readError", url, "/map/map?siteCode=none&key=a", "GET")[0] == 404
    assert visit.call("readError", url, "/map/map?siteCode=none&key=a", "GET")[2].startswith("unknown_site: ")
    assert visit.call("readError", url, "/v1/track", "PUT")[:2] == [405, "OPTIONS, POST"]
    assert visit.call("readError", url, "/v1/nothing", "POST")[0] == 404


@pytest.mark.promise("N-14")
def test_page__with_a_pixel__shows_it_and_the_event_is_stored(arrive: Arrive, shop: Shop, source: Source) -> None:
    visit = arrive()
    event = {"writeKey": write_key(source).key, "userId": "user-3", "event": "Seen", "properties": {"x": "x" * 30_000}}

    assert visit.call("loadPixel", shop.server.url, event) == [1, 1]
    assert visit.call("loadPixel", shop.server.url, {**event, "writeKey": "unknown"}) == [1, 1]

    assert [json.loads(body_of(each))["event"] for each in messages(shop)] == ["Seen"]
