"""Large batches on a real connection get the specified answers and leave no memory behind."""

import gzip
import json
from typing import Any

import httpx
import pytest

from api.models import Message
from tests.contract.bodies import bomb, in_pieces, needs_proc
from tests.contract.server import Shop, resident

MEBIBYTE = 1 << 20
FLAT = 96 * MEBIBYTE  # a few concurrent bodies of 4 MiB with all values decoded from them


def post(shop: Shop, body: bytes | dict[str, Any], **headers: str) -> httpx.Response:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    return shop.client.post("/v1/batch", content=content, headers=given, auth=(shop.write_key, ""))


def batch(count: int, size: int = 0) -> dict[str, Any]:
    events = [
        {"type": "track", "event": "E", "userId": f"u{n}", "messageId": f"m{n}", "properties": {"x": "x" * size}}
        for n in range(count)
    ]
    return {"batch": events}


@pytest.mark.promise("A-04")
@pytest.mark.parametrize("coding", ["length", "chunked", "gzip"])
def test_batch__of_4000_events__is_one_insert(shop: Shop, coding: str) -> None:
    body = json.dumps(batch(4_000, 800)).encode()
    assert len(body) > 3_500_000

    if coding == "chunked":
        answer = shop.client.post("/v1/batch", content=in_pieces(body), auth=(shop.write_key, ""))
    elif coding == "gzip":
        answer = post(shop, gzip.compress(body), content_encoding="gzip")
    else:
        answer = post(shop, body)

    assert answer.status_code == 200
    assert answer.json() == {"success": True, "accepted": 4_000, "duplicates": 0, "rejected": []}
    assert Message.objects.values("received_at").distinct().count() == 1
    inserted_by = Message.objects.extra(select={"by": "xmin::text"}).order_by()
    assert len({message.by for message in inserted_by}) == 1  # type: ignore[attr-defined]  # of the select


@pytest.mark.promise("A-04")
def test_batch__as_altis_fills_it__is_taken(shop: Shop) -> None:
    """Altis sends batches of hundreds of calls with up to 512,000 bytes."""
    events: list[dict[str, Any]] = batch(836, 512_000 // 836 - 105)["batch"]
    body = json.dumps({"batch": events}).encode()
    assert 480_000 < len(body) <= 512_000

    assert post(shop, body).json()["accepted"] == 836


@needs_proc
def test_bodies__large_and_larger__leave_the_memory_flat(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    def rss() -> int:
        return max(resident(pid) for pid in shop.server.processes()) // 1024

    post(shop, batch(4_000, 800))  # allocates the memory that the largest accepted batch needs
    before = rss()
    spaces = bomb(8 * MEBIBYTE)
    assert len(spaces) < 9_000

    for number in range(20):
        events = [{**event, "messageId": f"{number}-{event['messageId']}"} for event in batch(4_000, 800)["batch"]]
        assert post(shop, {"batch": events}).json()["accepted"] == 4_000
        item = {"type": "track", "event": "E", "userId": "u", "properties": {"x": "x" * 100_000}}
        assert post(shop, {"batch": [item]}).json()["accepted"] == 1
        assert post(shop, spaces, content_encoding="gzip").status_code == 413
        assert post(shop, b" " * (5 * MEBIBYTE)).status_code == 413

    after = rss()
    most = shop.server.peak_memory() // 1024
    with capsys.disabled():
        print(f"\nRSS before {before:,} kB, after 80 large bodies {after:,} kB, most ever {most:,} kB")
    assert (after - before) * 1024 < FLAT
