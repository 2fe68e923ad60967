"""Cursors of lists by time, newest first: the time and the id of the last row of a page, opaque to clients."""

import base64
import binascii
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec
from rest_framework import serializers

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
RESOLUTION: Final = timedelta(microseconds=1)
LARGEST_ID: Final = 2**63 - 1


class TimeCursorField(serializers.CharField):
    """The `next` of a page, read as a time and an id."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"required": False, "help_text": "`next` of the page before, unchanged.", **options})

    def to_internal_value(self, data: Any) -> Any:
        """Return the place. Raises ValidationError."""
        try:
            return read_cursor(super().to_internal_value(data))
        except ValueError as error:
            raise serializers.ValidationError("This is no cursor. Send `next` of the page before.") from error


def write_cursor(at: datetime, id_: int) -> str:
    """Return the end of a page as URL-safe text."""
    micros = (at - EPOCH) // RESOLUTION
    return base64.urlsafe_b64encode(msgspec.json.encode([micros, id_])).decode().rstrip("=")


def read_cursor(cursor: str) -> tuple[datetime, int]:
    """Return the place that `write_cursor` wrote. Raises ValueError for anything else."""
    try:
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars="-_", validate=True)
        micros, id_ = msgspec.json.decode(text, type=tuple[int, int])
        at = EPOCH + micros * RESOLUTION
    except (binascii.Error, msgspec.DecodeError, OverflowError) as error:
        raise ValueError(cursor) from error
    if abs(id_) > LARGEST_ID:
        raise ValueError(cursor)
    return at, id_
