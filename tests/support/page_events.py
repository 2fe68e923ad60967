"""Events of a shop that a browser looks at."""

import httpx

from tests.contract.server import Shop


def send(shop: Shop, name: str) -> None:
    """Send an event as an SDK does, with the write key."""
    event = {"event": name, "userId": "user-1", "properties": {"kameleoonVisitorCode": "visitor-1"}}
    answer = httpx.post(f"{shop.server.url}/v1/track", json=event, auth=(shop.write_key, ""), timeout=30)
    assert answer.status_code == 200, answer.text
