"""The published analytics.js sends from a shop's page to Goalpost on another origin, and the page reads from it."""

from base64 import b64encode
from collections import Counter, defaultdict
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from itertools import chain
from typing import Any

import pytest
from playwright.sync_api import Error as BrowserError

from api.ingest.provisioning import revoke_write_key
from api.models import Message, Source
from api.pages.guide import read_code
from goals.models import Conversion
from tests.browser.admin import write_key
from tests.browser.chromium import INBOX_LIMIT, Visit, needs_browser
from tests.contract.node import needs_packages
from tests.contract.server import Shop
from tests.support.outages import full_disk

Arrive = Callable[..., Visit]

EVERY_TYPE = ("track", "alias", "identify", "group", "page", "screen")
BURST = 60
MODES: dict[str, dict[str, Any]] = {
    "standard": {},
    "batching": {"deliveryStrategy": {"strategy": "batching", "config": {"size": 10, "timeout": 500}}},
}

pytestmark = [
    needs_browser,
    needs_packages,
    pytest.mark.xdist_group("browser"),  # one browser: it takes both cores of a small machine
]


def start(visit: Visit, shop: Shop, source: Source, *, mode: str, **integration: str) -> None:
    """Load analytics.js as the guide says; where to send is what Goalpost answers, unless the page says it."""
    integrations = {"Segment.io": {**MODES[mode], **integration}}
    visit.call("start", {"writeKey": write_key(source).key, "cdnURL": shop.server.url}, {"integrations": integrations})


def sent(visit: Visit) -> list[str]:
    """Return the messageId of each event at each answered try."""
    return [each for posted in visit.posted for each in posted.message_ids]


def arrived(shop: Shop) -> list[str]:
    """Return the messageIds in the inbox that come from analytics.js."""
    messages = Message.objects.filter(site__sitecode=shop.sitecode, message_id__startswith="ajs-next-")
    return sorted(filter(None, messages.values_list("message_id", flat=True)))


def conversions(shop: Shop) -> dict[str, list[dict[str, Any]]]:
    """Return the conversions of analytics.js by goal."""
    fields = ("visitor_code", "revenue", "currency", "value")
    by_goal: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for conversion in Conversion.objects.filter(site__sitecode=shop.sitecode, message_key__contains="ajs-next-"):
        by_goal[conversion.goal.name].append({field: getattr(conversion, field) for field in fields})
    return by_goal


@pytest.mark.promise("B-01", "B-16", "I-21", "K-46", "K-47", "K-53", "K-68", "K-75", "N-14")
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("told_by", ["settings", "page"])
def test_page__sends_events_of_every_type_and_a_burst__all_arrive_once_and_are_read_by_the_page(
    arrive: Arrive, shop: Shop, source: Source, mode: str, told_by: str
) -> None:
    visit = arrive(visitor_code="vc 1")
    where = {"apiHost": f"127.0.0.1:{shop.server.port}/v1", "protocol": "http"} if told_by == "page" else {}
    start(visit, shop, source, mode=mode, **where)
    visit.run(read_code("visitor_code"))
    visit.run(read_code("read_visitor"))

    visit.call("sendEveryType")
    visit.call("sendBurst", BURST)
    visit.wait_until(lambda: len(visit.answered(200)) == len(EVERY_TYPE) + BURST)
    shop.digest()

    assert sorted(sent(visit)) == arrived(shop)
    messages = Message.objects.filter(site__sitecode=shop.sitecode, source=source, status="done", reason="")
    assert Counter(messages.values_list("type", flat=True)) == {**dict.fromkeys(EVERY_TYPE, 1), "track": 1 + BURST}
    mine = {"visitor_code": "vc 1", "revenue": None, "currency": None, "value": None}
    bought = {"revenue": Decimal("19.99"), "currency": "EUR", "value": Decimal(3)}
    assert conversions(shop) == {
        "SegmentIO track – Ordered": [{**mine, **bought}],
        "SegmentIO page – Home": [mine],
        "SegmentIO screen – Settings": [mine],
        "SegmentIO track – Clicked": [mine] * BURST,
    }
    clicks = Conversion.objects.filter(goal__name="SegmentIO track – Clicked")
    assert sorted(clicks.values_list("properties__n", flat=True)) == list(range(BURST))
    for person in ("vc 1", "user-1", "lead-1", visit.call("anonymousId")):
        assert shop.read(f"IDENTIFY_{person}") == {"traits": {"plan": "scale", "seats": 3}, "groupId": "initech"}
        read = visit.call("readVisitor", shop.sitecode, person, shop.server.url)
        assert read == {"personas": [], "traits": {"plan": "scale"}, "groupId": "initech"}
    assert visit.errors == visit.console == []
    assert {posted.status for posted in visit.posted} == {200}


@pytest.mark.promise("K-83", "N-14")
def test_page__told_that_the_inbox_is_full__sends_all_again_and_it_counts_once(
    arrive: Arrive, shop: Shop, source: Source
) -> None:
    visits = start_in_every_mode(arrive, shop, source)
    shop.post([shop.event() for _ in range(INBOX_LIMIT)])
    visits[0].wait_until(lambda: shop.post(shop.event()).status_code == 429)

    for visit in visits:
        visit.call("sendEveryType")
    visits[0].wait_until(lambda: all(visit.answered(429) for visit in visits))
    basic = f"Basic {b64encode(f'{write_key(source).key}:'.encode()).decode()}"
    assert arrive().call("askLater", f"{shop.server.url}/v1/t", basic) == [429, True]  # the page may read when
    shop.digest()

    await_second_tries(visits, shop)


@pytest.mark.promise("K-83", "N-14")
def test_page__while_nothing_can_be_stored__sends_all_again_and_it_counts_once(
    arrive: Arrive, shop: Shop, source: Source
) -> None:
    visits = start_in_every_mode(arrive, shop, source)

    with full_disk():
        for visit in visits:
            visit.call("sendEveryType")
        visits[0].wait_until(lambda: all(visit.answered(503) for visit in visits))

    await_second_tries(visits, shop)


def start_in_every_mode(arrive: Arrive, shop: Shop, source: Source) -> list[Visit]:
    visits = []
    for mode in MODES:
        visits.append(arrive())
        start(visits[-1], shop, source, mode=mode)
    return visits


def await_second_tries(visits: list[Visit], shop: Shop) -> None:
    """Wait for all events, and assert that each was sent twice, marked as such, and stored once."""
    visits[0].wait_until(lambda: all(len(visit.answered(200)) == len(EVERY_TYPE) for visit in visits))
    shop.digest()
    for visit in visits:
        assert len(sent(visit)) > len(set(sent(visit))) == len(EVERY_TYPE)
        assert any(posted.status == 200 and posted.retry for posted in visit.posted)
        assert visit.errors == []
    assert sorted(chain.from_iterable(visit.answered(200) for visit in visits)) == arrived(shop)
    goals = ("SegmentIO track – Ordered", "SegmentIO page – Home", "SegmentIO screen – Settings")
    assert {name: len(found) for name, found in conversions(shop).items()} == dict.fromkeys(goals, len(visits))


@pytest.mark.promise("K-83", "N-14")
def test_page__left_before_the_second_try__makes_it_at_the_next_visit(
    arrive: Arrive, shop: Shop, source: Source
) -> None:
    """A new profile remembers no preflight, so that the browser asks leave for the header of a second try."""
    left = arrive()
    start(left, shop, source, mode="standard")
    with full_disk():
        left.call("sendEveryType")
        left.wait_until(lambda: len(left.answered(503)) == len(EVERY_TYPE))
        left.page.goto("about:blank")

    back = arrive(storage=left.page.context.storage_state())
    start(back, shop, source, mode="standard")
    back.wait_until(lambda: len(back.answered(200)) == len(EVERY_TYPE))
    shop.digest()

    assert set(back.preflights) == {"authorization,x-retry-count"}
    assert all(posted.retry for posted in back.posted)
    assert sorted(sent(back)) == sorted(left.answered(503)) == arrived(shop)
    assert back.errors == back.console == []
    assert [len(found) for found in conversions(shop).values()] == [1, 1, 1]


@pytest.mark.promise("N-14")
@pytest.mark.parametrize("reason", ["unknown key", "revoked key", "source switched off"])
def test_page__with_a_key_that_nothing_may_be_sent_with__fails_to_load(
    arrive: Arrive, shop: Shop, source: Source, reason: str
) -> None:
    key = write_key(source)
    if reason == "unknown key":
        key.delete()
        source.write_keys.create(key="another")
    elif reason == "revoked key":
        revoke_write_key(key, now=datetime.now(UTC))
    else:
        Source.objects.filter(pk=source.pk).update(is_enabled=False)
    visit = arrive()

    with pytest.raises(BrowserError, match='"code":"unknown_write_key"'):
        visit.call("start", {"writeKey": key.key, "cdnURL": shop.server.url}, {})

    assert visit.posted == []
