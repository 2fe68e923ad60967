"""Requests of Segment's genuine Kameleoon destination, for a site of a running server."""

import json
from pathlib import Path
from typing import Any

from tests.contract.server import Shop

CAPTURED: list[dict[str, Any]] = json.loads(
    (Path(__file__).parents[1] / "fixtures" / "kameleoon-destination.json").read_text()
)
BODIES: list[dict[str, Any]] = [request["body"] for request in CAPTURED if "body" in request]
IDS = ("user-1", "anon-1", "vc0123456789abcd")
GOALS = {
    "SegmentIO page – Checkout": ["vc0123456789abcd"],
    "SegmentIO screen – Cart": ["vc0123456789abcd"],
    "SegmentIO track – Clicked on Checkout": ["vc0123456789abcd", "vc0123456789abcd"],
}


def send_captured(shop: Shop) -> None:
    """Send each captured event, with the key and the sitecode of the site."""
    for body in BODIES:
        answer = shop.post(body, accept_encoding="gzip,deflate", connection="close")
        assert answer.status_code == 200, answer.text


def remote_data(shop: Shop) -> dict[str, Any]:
    """Return the remote data under every key that the events name."""
    keys = [f"{prefix}_{id_}" for prefix in ("IDENTIFY", "COHORTS") for id_ in IDS]
    return {key: shop.read(key) for key in [*keys, "common"]}
