"""Calls of the published, unchanged server SDKs arrive with the meaning that the SDKs document."""

from decimal import Decimal

import pytest

from goals.models import Conversion
from tests.contract.sdks import BURST, CALLS, TRAITS, Sdk, assert_arrived_once, published
from tests.contract.server import Shop


@pytest.mark.promise("I-03", "N-14")
@pytest.mark.parametrize("sdk", published(both_encodings=True))
def test_sdk__every_call_and_a_burst__arrives_once_with_what_it_carries(shop: Shop, sdk: Sdk) -> None:
    calls = [*CALLS, *BURST]

    report = sdk.send(shop.server.url, shop, calls)
    shop.digest()

    assert report == {"version": sdk.version, "errors": []}
    assert_arrived_once(shop, calls)
    assert shop.goals() == {
        "SegmentIO page – Home": ["vc-properties"],
        "SegmentIO screen – Cart": ["vc-properties"],
        "SegmentIO track – Burst": ["user-3"] * len(BURST),
        "SegmentIO track – Order Completed": ["vc-properties"],
        "SegmentIO track – Signed Up": ["vc-context"],
    }
    order = Conversion.objects.get(goal__name="SegmentIO track – Order Completed")
    assert (order.revenue, order.currency) == (Decimal("19.99"), "EUR")
    for id_ in ("user-1", "anon-1", "vc-properties"):
        assert shop.read(f"IDENTIFY_{id_}") == {"traits": TRAITS, "groupId": "initech"}
    assert shop.read("IDENTIFY_old-1") == shop.read("IDENTIFY_new-1") == {"traits": {"plan": "basic"}}
