"""A message that is not stored yet."""

from dataclasses import dataclass

from api.events.envelope import IncomingEvent


@dataclass(frozen=True, slots=True)
class NewMessage:
    """One message that is not stored yet."""

    site_id: int
    source_id: int | None
    event: IncomingEvent
