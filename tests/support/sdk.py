"""Requests of Kameleoon's SDKs, and of browsers that read a visitor back."""

import itertools
import json
from typing import Any
from urllib.parse import quote

import httpx

from api.http.database import connect
from api.ingest.visit_activity import ActivityBuffer, activity_buffer
from tests.world import World

NUMBERS = itertools.count(1)
FLAGS = "&currentVisit=true&customData=true&conversion=true&experiment=true&page=true&geolocation=true&staticData=true"


def line(type_: str, visitor: str | None = "v1", *, nonce: str | None = None, **parameters: Any) -> str:
    """Return a line as the SDK for Python writes it. Objects and booleans become JSON."""
    given = {"nonce": nonce or f"{next(NUMBERS):016X}", "eventType": type_, **parameters}
    given |= {"visitorCode": visitor} if visitor is not None else {}
    return "&".join(f"{name}={quote(_spell(value), safe='')}" for name, value in given.items())


def custom_data(index: int, *values: str, visitor: str | None = "v1", overwrite: bool = True, **others: Any) -> str:
    counts = dict.fromkeys(values, 1)
    return line("customData", visitor, index=index, valuesCountMap=counts, overwrite=overwrite, **others)


def conversion(goal_id: int, visitor: str | None = "v1", **others: Any) -> str:
    return line("conversion", visitor, **{"goalId": goal_id, "revenue": 0.0, "negative": False, **others})


def post_lines(world: World, *lines: str, query: str = "", headers: dict[str, str] | None = None) -> httpx.Response:
    """POST lines as an SDK does."""
    path = f"/visit/events?sdkName=PYTHON&sdkVersion=3.22.2&siteCode={world.site.sitecode}&bodyUa=true{query}"
    return world.client.post(
        path, content="\n".join(lines).encode(), headers={"content-type": "*/*", **(headers or {})}
    )


def send_lines(world: World, *lines: str) -> None:
    """POST lines and digest them."""
    response = post_lines(world, *lines)
    assert response.status_code == 204, response.text
    world.digest()


def get_visitor(world: World, query: str, *, authorization: str | None = None) -> httpx.Response:
    headers = {"authorization": authorization} if authorization is not None else {}
    return world.client.get(f"/visit/visitor?siteCode={world.site.sitecode}&{query}", headers=headers)


def read_visitor(world: World, query: str) -> Any:
    response = get_visitor(world, query + FLAGS)
    assert response.status_code == 200, response.text
    return response.json()


def _spell(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def flush_activity(buffer: ActivityBuffer | None = None) -> None:
    """Write the activity of visits that is in memory, which a thread does every few seconds."""
    with connect() as connection:
        (buffer or activity_buffer()).flush(connection)
