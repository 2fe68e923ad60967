"""The streams of pages through the real web server."""

import time
from pathlib import Path

import httpx
import pytest

from api.models import Site
from tests.contract.server import STOP_SECONDS, open_shop, running_server
from tests.support.pages import browser_of, cookie_of


@pytest.mark.usefixtures("transactional_db")
def test_stream__through_the_web_server__has_events_and_does_not_delay_a_stop(tmp_path: Path) -> None:
    with running_server(tmp_path) as server, open_shop(server) as shop:
        headers = {"cookie": cookie_of(browser_of(Site.objects.get(), "viewer"))}
        url = f"{server.url}/admin/s/{shop.sitecode}/changes/"
        with httpx.stream("GET", url, headers=headers, timeout=30) as answer:
            lines = (line for line in answer.iter_lines() if line)
            assert next(lines) == "data: changed"
            event = {"event": "Buy", "userId": "user-1"}
            sent = httpx.post(f"{server.url}/v1/track", json=event, auth=(shop.write_key, ""), timeout=30)
            assert sent.status_code == 200
            assert next(lines) == "data: changed"

            server.child.process.terminate()
            begun = time.monotonic()
            assert server.child.process.wait(30) == 0
            assert time.monotonic() - begun < STOP_SECONDS  # otherwise it would be killed
            assert list(lines) == []
