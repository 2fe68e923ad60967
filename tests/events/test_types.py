"""Event types: their paths."""

from functools import partial

import pytest

from api.events.types import EVENT_TYPES, EventType
from api.ingest.tracking import RECEIVERS


@pytest.mark.parametrize("event_type", EVENT_TYPES.values(), ids=list(EVENT_TYPES))
def test_paths__of_a_type__are_its_own(event_type: EventType) -> None:
    for path in (event_type.name, event_type.short_path):
        receiver = RECEIVERS[f"/v1/{path}"]

        assert isinstance(receiver, partial), f"another endpoint has the path /v1/{path}"
        assert receiver.keywords == {"type_": event_type.name}, f"another type has the path /v1/{path}"
