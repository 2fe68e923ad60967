"""Random events of every type about a few people, and the goals that they hit."""

import random
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any, Final

Event = dict[str, Any]

PRIVATE: Final = "private.example"  # part of every id and address: no log may hold it
WEIGHTS: Final = {"track": 45, "page": 15, "identify": 15, "group": 8, "audience": 9, "link": 5, "alias": 3}
KINDS_OF_IDS: Final = ("user", "anonymous", "visitor", "user anonymous", "user visitor", "user anonymous visitor")
PERSONAS: Final = ("big_spenders", "churning", "new_here")


def make_events(chooser: random.Random, *, people: int, goals: int) -> Iterator[Event]:
    """Yield events without end about `people` persons and at most `goals` goals. Times are unordered and often equal.

    Links come late, connect a person to several visitor codes and devices, and aliases connect persons.
    """
    yesterday = datetime.now(UTC).replace(microsecond=0) - timedelta(days=1)
    for number in count():
        kind = chooser.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
        at = yesterday + timedelta(seconds=chooser.randrange(people * 10))
        event = {"messageId": f"message-{number:06}", "timestamp": at.isoformat(), **make_content(chooser, kind, goals)}
        event |= make_ids(chooser, kind, chooser.randrange(people))
        if kind == "alias":
            event["previousId"] = user_id(chooser.randrange(people))
        if "visitorCode" in event:
            name = "k_visitorCode" if kind == "link" else "kameleoonVisitorCode"
            event["properties"][name] = event.pop("visitorCode")
        yield event


def make_content(chooser: random.Random, kind: str, goals: int) -> Event:
    """Return type, name and properties of an event. A third of the goals are pages."""
    event: Event = {"type": kind, "properties": {}}
    if kind == "track":
        event["event"] = f"Goal {chooser.randrange(goals - goals // 3)}"
        event["properties"] = chooser.choice(
            [{}, {"value": "7"}, {"revenue": chooser.randrange(10_000) / 100, "currency": "EUR"}]
        )
    elif kind == "page":
        event["name"] = f"Page {chooser.randrange(goals // 3)}"
    elif kind == "identify":
        email = f"{chooser.randrange(1_000)}@{PRIVATE}"
        traits = {"plan": chooser.choice(["free", "team", None]), "age": chooser.randrange(18, 99), "email": email}
        event["properties"] = dict(chooser.sample(list(traits.items()), 2))
    elif kind == "group":
        event |= {"groupId": f"group-{chooser.randrange(20)}", "properties": {"seats": chooser.randrange(9)}}
    elif kind == "audience":
        event |= {"type": "track", "event": chooser.choice(["Audience Entered", "Audience Exited"])}
        event["properties"] = {"audience_key": chooser.choice(PERSONAS)}
    elif kind == "link":
        event |= {"type": "track", "event": "Kameleoon identifier"}
    return event


def make_ids(chooser: random.Random, kind: str, person: int) -> Event:
    """Return the ids by which an event identifies its person."""
    kinds = "user" if kind == "alias" else "user visitor" if kind == "link" else chooser.choice(KINDS_OF_IDS)
    ids = {
        "userId": user_id(person),
        "anonymousId": f"anonymous-{person}-{chooser.randrange(2)}.{PRIVATE}",
        "visitorCode": f"visitor-{person}-{chooser.randrange(2)}.{PRIVATE}",
    }
    return {name: value for name, value in ids.items() if value.partition("-")[0] in kinds}


def user_id(person: int) -> str:
    return f"user-{person}@{PRIVATE}"


def goal_name(event: Event) -> str | None:
    """Return the conventional name of the goal that an event hits, or None."""
    name = str(event.get("event") or event.get("name"))
    return f"SegmentIO {event['type']} – {name}" if name.startswith(("Goal ", "Page ")) else None


def collect_ids(events: Iterable[Event]) -> list[str]:
    ids = set()
    for event in events:
        properties = event.get("properties", {})
        named = (event.get("userId"), event.get("anonymousId"), event.get("previousId"))
        ids |= {*named, properties.get("kameleoonVisitorCode"), properties.get("k_visitorCode")} - {None}
    return sorted(ids)
