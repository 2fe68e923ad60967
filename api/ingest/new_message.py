"""A message on its way into the inbox."""

from dataclasses import dataclass

from api.events.envelope import IncomingEvent


@dataclass(frozen=True, slots=True)
class NewMessage:
    """One message on its way into the inbox."""

    site_id: int
    source_id: int | None
    event: IncomingEvent
