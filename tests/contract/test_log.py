"""The server's logs contain no secret and no personal data (promise K-36)."""

import base64
from typing import Any

import pytest

from api.http.credentials import encode_api_key
from tests.contract.server import Shop

MARK = "7f3c9a1e"  # part of all personal data that must not be logged
EMAIL = f"ann.{MARK}@example.com"
BAD_KEY = base64.b64encode(f'{{"id":"{MARK}","secret":"{MARK}"}}'.encode()).decode()


def requests(shop: Shop) -> list[tuple[int, str, str, dict[str, Any]]]:
    """Return (expected status, method, path, options) of requests with secrets and personal data."""
    read = {"siteCode": shop.sitecode, "key": f"IDENTIFY_{EMAIL}"}
    form = {"client_id": shop.client_id, "client_secret": shop.secret}
    event = shop.event(userId=EMAIL, properties={"email": EMAIL, "revenue": EMAIL})
    key = f"/segmentio/getapikey?id={shop.client_id}"
    return [
        (200, "GET", f"{key}&secret={shop.secret}", {}),
        (401, "GET", f"{key}&secret={MARK}", {}),
        (405, "POST", f"{key}&secret={shop.secret}", {}),
        (401, "POST", "/segmentio", {"headers": {"authorization": f"Basic {BAD_KEY}"}}),
        (401, "POST", "/segmentio", {"headers": {"authorization": MARK}}),
        (200, "POST", f"/segmentio?email={EMAIL}", {"headers": shop.headers, "json": event}),
        (400, "POST", "/segmentio", {"headers": shop.headers, "json": {"type": EMAIL}}),
        (400, "POST", "/segmentio", {"headers": shop.headers, "content": f'{{"email":"{EMAIL}"'.encode()}),
        (400, "POST", "/segmentio", {"headers": shop.headers, "content": b"\xff" + EMAIL.encode()}),
        (200, "GET", "/map/map", {"params": read}),
        (401, "GET", "/map/map", {"params": read, "headers": {"authorization": f"Bearer {MARK}"}}),
        (400, "GET", "/map/maps", {"params": {**read, "keys": f"[{EMAIL}"}}),
        (200, "POST", "/oauth/token", {"data": form}),
        (401, "POST", "/oauth/token", {"data": {**form, "client_secret": MARK}}),
        (404, "GET", f"/no/such/page/{EMAIL}?secret={shop.secret}", {}),
        (200, "GET", f"/admin/login/?next={EMAIL}", {}),
        (403, "POST", "/admin/login/", {"data": {"username": EMAIL, "password": shop.secret}}),
        (400, "GET", f"/admin/?email={EMAIL}", {"headers": {"host": f"{MARK}.example.com"}}),
    ]


@pytest.mark.promise("K-36")
def test_log__of_good_and_bad_requests__holds_no_secret_and_no_personal_data(shop: Shop) -> None:
    expected = requests(shop)
    known = len(shop.server.log.read_text())

    answers = [shop.client.request(method, path, **rest) for _, method, path, rest in expected]

    written = shop.server.log.read_text()[known:]
    assert [answer.status_code for answer in answers] == [status for status, *_ in expected], written
    for word in (MARK, shop.secret, encode_api_key(shop.client_id, shop.secret), BAD_KEY):
        assert word not in written
