"""Retries of the published server SDKs on a bad network are counted once."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.contract.proxy import Fault, running_proxy
from tests.contract.sdks import BURST, Sdk, assert_arrived_once, published
from tests.contract.server import Shop

PATIENCE = 120.0
# An SDK retries a failed batch before or after the next batch. No batch fails more than three times, because then
# rudder-node gives up.
FAULTS = (Fault.BUSY, Fault.NONE, Fault.AWAY, Fault.NONE, Fault.HALVED, Fault.NONE, Fault.UNHEARD)


@pytest.mark.promise("N-14")
@pytest.mark.parametrize("sdk", published(both_encodings=False))
def test_sdk__over_a_network_that_fails_in_every_way__loses_and_doubles_nothing(shop: Shop, sdk: Sdk) -> None:
    with running_proxy(shop.server, *FAULTS) as proxy:
        report = sdk.send(proxy.url, shop, BURST)
    shop.digest()

    assert report["errors"] == []
    assert tuple(proxy.met[: len(FAULTS)]) == FAULTS
    assert proxy.unheard == [200]
    assert_arrived_once(shop, BURST)


@pytest.mark.promise("N-14")
@pytest.mark.parametrize("sdk", published(both_encodings=False))
def test_sdk__whose_server_is_killed_in_the_middle__loses_and_doubles_nothing(shop: Shop, sdk: Sdk) -> None:
    with ThreadPoolExecutor(1) as pool, running_proxy(shop.server, Fault.NONE, Fault.CRASH) as proxy:
        report = pool.submit(sdk.send, proxy.url, shop, BURST)
        assert proxy.is_down.wait(PATIENCE)
        shop.server.start_again()
        proxy.is_up.set()
        assert report.result()["errors"] == []
    shop.digest()

    assert_arrived_once(shop, BURST)
