"""A message that is not stored yet."""

import msgspec

from api.events.envelope import IncomingEvent


class NewMessage(msgspec.Struct, frozen=True):
    """One message that is not stored yet."""

    site_id: int
    source_id: int | None
    event: IncomingEvent
