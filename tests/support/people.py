"""Events about people."""

from typing import Any

from tests.world import World


def audience(world: World, name: str, *, entered: bool, at: float = 0, **fields: Any) -> dict[str, Any]:
    return world.event(
        event="Audience Entered" if entered else "Audience Exited",
        at=at,
        **{"properties": {"audience_key": name, name: entered}, **fields},
    )
