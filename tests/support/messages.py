"""Messages in the inbox as tests make and read them: rows with their bodies."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from django.utils import timezone

from api.models import Message, MessageBody, Site
from api.models.message_rows import StoredBody, delete_messages, load_body, take_key


def store_message(*, body: bytes = b"{}", content_encoding: str = "", **fields: Any) -> Message:
    """Insert a message with its body and key."""
    message = Message.objects.create(size=len(body), **fields)
    MessageBody.objects.create(pk=message.pk, site=message.site, body=body, content_encoding=content_encoding)
    _take_key(message)
    return message


def store_received(site: Site, *, took: float | None = None, at: datetime | None = None, **fields: Any) -> Message:
    """Insert a message of a site, received at a time, now by default, and processed `took` seconds later."""
    at = at or timezone.now()
    digested_at = at + timedelta(seconds=took) if took is not None else None
    given = {"type": "track", "body": b'{"event": "Buy", "userId": "u"}', **fields}
    return store_message(site=site, received_at=at, occurred_at=at, digested_at=digested_at, **given)


def _take_key(message: Message) -> None:
    if message.message_id is not None and message.status != Message.Status.REJECTED:
        assert take_key(message.site_id, message.pk, message.type, message.message_id)


def store_messages(rows: Iterable[tuple[Message, bytes]]) -> None:
    """Insert many messages with their bodies and keys."""
    pairs = list(rows)
    for message, body in pairs:
        message.size = len(body)
    Message.objects.bulk_create([message for message, _ in pairs], batch_size=1_000)
    bodies = (MessageBody(pk=message.pk, site_id=message.site_id, body=body) for message, body in pairs)
    MessageBody.objects.bulk_create(bodies, batch_size=20)
    for message, _ in pairs:
        _take_key(message)


def replace_bodies(body: bytes) -> None:
    """Give all messages this body."""
    Message.objects.update(size=len(body))
    MessageBody.objects.update(body=body)


def stored_body(message: Message) -> StoredBody:
    return load_body(message.site_id, message.pk)


def body_of(message: Message) -> bytes:
    return stored_body(message).body


def bodies_of(messages: Iterable[Message]) -> list[bytes]:
    """Return the bodies of messages in their order."""
    return [body_of(message) for message in messages]


def all_bodies() -> list[bytes]:
    """Return the bodies of all messages."""
    return bodies_of(Message.objects.order_by("pk"))


def forget_messages(**of: Any) -> None:
    """Delete messages as pruning does in the end."""
    for site_id, id_ in list(Message.objects.filter(**of).values_list("site_id", "pk")):
        delete_messages(site_id, [id_])
