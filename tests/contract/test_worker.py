"""Everything real: the web server, a Celery worker and beat, PostgreSQL and Valkey."""

import time

import pytest

from tests.contract.captured import GOALS, remote_data, send_captured
from tests.contract.server import Shop, running_worker

PATIENCE = 60.0


@pytest.mark.promise("B-05", "K-01", "K-03", "K-22", "K-67")
def test_worker__beside_the_server__makes_goals_and_remote_data_of_events(shop: Shop) -> None:
    send_captured(shop)

    with running_worker(shop.server):
        deadline = time.monotonic() + PATIENCE
        while shop.goals() != GOALS and time.monotonic() < deadline:
            time.sleep(0.1)
        known = remote_data(shop)
        shop.post(shop.event("identify", userId="user-1", properties={"plan": "scale"}))
        while shop.read("IDENTIFY_user-1") == known["IDENTIFY_user-1"] and time.monotonic() < deadline:
            time.sleep(0.05)

    assert shop.goals() == GOALS
    assert known["IDENTIFY_anon-1"]["groupId"] == "group-1"
    assert known["COHORTS_vc0123456789abcd"] == {"big_spenders": False}
    assert known["common"] == {"cohorts": ["big_spenders"]}
    assert shop.read("IDENTIFY_vc0123456789abcd")["traits"]["plan"] == "scale"
