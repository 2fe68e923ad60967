"""Events as the Segment destination sends them."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.bench.stage import Link, Stage

NAMES = [f"Clicked on button {number}" for number in range(50)]
PAGES = [f"Product page {number}" for number in range(10)]
STRIDE = 1_000_003  # a prime, so that it shares no divisor with the number of people
PLANS = ("free", "team", "business", "enterprise")


@dataclass(frozen=True, slots=True)
class Event:
    """One event of the mix: 70 % track, 10 % page, 15 % identify with five traits, 5 % audience."""

    type: str
    message_id: str
    occurred_at: datetime
    body: bytes
    is_hit: bool


def make_events(count: int, *, people: int, crowd: str, run: str, shift: int = 0) -> Iterator[Event]:
    """Yield `count` events of `people` persons of a crowd, each with a user id, an anonymous id and a visitor code.

    `run` makes the messageIds unique. `shift` gives a person another kind of event than in an earlier run.
    """
    now = datetime.now(UTC)
    for number in range(count):
        at = now + timedelta(milliseconds=number - count)
        yield make_event(number, person=person(crowd, number, people), at=at, message_id=f"{run}-{number}", shift=shift)


def person(crowd: str, number: int, people: int) -> str:
    """Return a person. `people` consecutive numbers give all persons, in an order that is bad for indexes."""
    return f"{crowd}-{number * STRIDE % people}"


def make_event(number: int, *, person: str, at: datetime, message_id: str, shift: int = 0) -> Event:
    kind = (number + shift) % 20
    type_ = "page" if kind in {14, 15} else "identify" if kind in {16, 17, 18} else "track"
    fields: dict[str, Any] = {"revenue": 25.5, "currency": "EUR", "products": [{"id": f"p{kind}", "price": 25.5}]}
    name = {"event": NAMES[number * 7 % len(NAMES)]}
    if type_ == "page":
        name = {"name": PAGES[number // 20 % len(PAGES)]}
        fields = {"url": f"https://shop.example.com/p/{number}", "path": f"/p/{number}", "referrer": ""}
    elif type_ == "identify":
        name = {}
        fields = {
            "plan": PLANS[number % len(PLANS)],
            "email": f"{person}@example.com",
            "seats": number % 97,
            "country": "FR",
            "is_trial": number % 3 == 0,
        }
    elif kind == 19:
        name = {"event": "Audience Entered" if number % 3 else "Audience Exited"}
        fields = {"audience_key": f"audience_{number % 12}", f"audience_{number % 12}": bool(number % 3)}
    body = {
        "anonymousId": f"anonymous-{person}",
        "userId": f"user-{person}",
        "type": type_,
        **name,
        "properties": {**fields, "kameleoonVisitorCode": f"visitor-{person}"},
        "timestamp": at.isoformat(timespec="milliseconds"),
        "context": {"ip": "127.0.0.1", "userAgent": "Mozilla/5.0 (X11; Linux x86_64)", "locale": "en-US"},
        "messageId": message_id,
    }
    encoded = json.dumps(body, separators=(",", ":")).encode()
    return Event(type_, message_id, at, encoded, is_hit=type_ == "page" or (type_ == "track" and kind != 19))


PENDING = "SELECT 1 FROM api_message WHERE site_id = %s AND status = 'pending' ORDER BY id DESC LIMIT 1"


def is_digested(connection: Link, stage: Stage) -> bool:
    """Return True if no message is pending. Search from the newest, because the index still holds old entries."""
    return connection.execute(PENDING, [stage.site_id]).fetchone() is None
