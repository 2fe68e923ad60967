"""Ada and Grace, the people of several tests."""

from typing import Any

from tests.world import World

ENTERED: dict[str, Any] = {"event": "Audience Entered", "properties": {"audience_key": "vip", "vip": True}}
EXITED: dict[str, Any] = {"event": "Audience Exited", "properties": {"audience_key": "vip", "vip": False}}


def send_ada(world: World) -> None:
    """Ada with all her identifiers, a group, a persona she left and one conversion; and Grace in that persona."""
    world.send(
        world.event(
            "identify", userId="ada-king", anonymousId="anon-1", properties={"plan": "pro", "username": "lovelace"}
        ),
        world.event("identify", at=1, userId="ada-king", properties={"kameleoonVisitorCode": "visitor-1", "age": 36}),
        world.event("group", at=2, userId="ada-king", groupId="acme", traits={"tier": "gold"}),
        world.event("track", at=3, userId="ada-king", **ENTERED),
        world.event("track", at=4, userId="ada-king", **EXITED),
        world.event("track", at=5, event="Bought", userId="ada-king", properties={"revenue": 12.5, "currency": "EUR"}),
        world.event("track", at=6, userId="grace", **ENTERED),
    )
