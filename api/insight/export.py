"""Export of a person as one JSON file, which is sent while it is read, so that little of it is in memory."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any, Final

import msgspec
from django.db import connection

from api.http.chunks import CHUNK_ROWS, iter_chunks
from api.insight.people import (
    CHANGES,
    MOST_CODES,
    Person,
    message_ids_of,
    newest_conversions,
    remote_documents,
    with_messages,
)
from api.insight.person_visits import export_visits
from api.models import Message, Site
from api.models.message_rows import load_bodies
from cohorts import own_keys
from cohorts.models import Identity, Link
from cohorts.queries import visitor_codes
from cohorts.segment_tables import SegmentChange, SegmentMember
from goals.models import Conversion
from goals.queries import estimate_properties_bytes

PIECE: Final = 65_536  # bytes that are sent at a time


def export(site: Site, person: Person, *, now: datetime) -> Iterator[bytes]:
    """Yield everything stored about a person: identities with registers, history, conversions and their messages.

    However much that is, some 4 MiB of bodies are in memory. Four queries for each 500 conversions, one more for each
    4 MiB of properties and of messages. Messages that made no conversion are found by no index: those that name the
    person elsewhere are not in it.
    """
    parts = (
        _fields({"site": site.sitecode, "exportedAt": now, "askedFor": person.asked, "usernames": person.usernames}),
        _fields({"remoteData": remote_documents(site, person.asked)[1]}),
        _list("ownKeys", _own_keys(site, person.identities)),
        _list("identities", map(_identity, person.identities)),
        _list("devices", _devices(site, person.identities)),
        _list("personaHistory", _changes(site, person.identities)),
        _list("segments", _segments(site, person.identities)),
        _list("segmentHistory", _segment_changes(site, person.identities)),
        _list("conversions", _conversions(site, person.identities)),
        _list("visits", export_visits(site, person.identities)),
        _list("messages", _messages(site, person.identities)),
    )
    yield from _in_pieces(_object(parts))


def _in_pieces(bits: Iterable[bytes]) -> Iterator[bytes]:
    """Join small pieces, because each one that is yielded is a write to the network."""
    piece = bytearray()
    for bit in bits:
        piece += bit
        if len(piece) >= PIECE:
            yield bytes(piece)
            piece.clear()
    yield bytes(piece)


def _object(parts: Iterable[Iterable[bytes]]) -> Iterator[bytes]:
    for number, part in enumerate(parts):
        yield b",\n" if number else b"{\n"
        yield from part
    yield b"\n}\n"


def _fields(fields: dict[str, Any]) -> Iterator[bytes]:
    yield b",\n".join(msgspec.json.encode(name) + b": " + msgspec.json.encode(value) for name, value in fields.items())


def _list(name: str, items: Iterable[Any]) -> Iterator[bytes]:
    """Yield a list with a line for each item."""
    yield msgspec.json.encode(name) + b": ["
    for number, item in enumerate(items):
        yield b",\n" if number else b"\n"
        yield msgspec.json.encode(item)
    yield b"\n]"


def _identity(identity: Identity) -> dict[str, Any]:
    return {
        "kind": identity.get_kind_display(),
        "id": identity.value,
        "registers": _registers(identity),
        "createdAt": identity.created_at,
        "updatedAt": identity.updated_at,
    }


def _registers(identity: Identity) -> Any:
    """Return the registers of an identity. One query if the page has left them out."""
    if not getattr(identity, "is_unread", False):
        return identity.registers
    return Identity.objects.values_list("registers", flat=True).get(site_id=identity.site_id, pk=identity.pk)


def _devices(site: Site, person: Sequence[Identity]) -> Iterator[dict[str, Any]]:
    """Yield the devices and former ids that were ever linked to the users of a person."""
    users = [identity.value for identity in person if identity.kind == Identity.Kind.USER]
    kinds = [Identity.Kind.USER, Identity.Kind.ANONYMOUS]  # visitor codes are no devices
    owned = Identity.objects.filter(site=site, parent_kind=Identity.Kind.USER, parent_value__in=users, kind__in=kinds)
    former = Link.objects.filter(site=site, user_value__in=users).values_list("kind", "value", "user_value")
    links = owned.values_list("kind", "value", "parent_value").union(former)
    for kind, value, user in links.order_by("kind", "value", "parent_value").iterator(chunk_size=CHUNK_ROWS):
        yield {"kind": Identity.Kind(kind).label, "id": value, "user": user}


def _own_keys(site: Site, person: Sequence[Identity]) -> Iterator[dict[str, Any]]:
    """Yield the remote data that the operator stored under keys named after the person."""
    keys = own_keys.named_after(site.pk, {identity.value for identity in person}).order_by("key")
    for key in keys.iterator(chunk_size=1):  # each may have 1 MB
        yield {"key": key.key, "expiresAt": key.expires_at, "data": msgspec.Raw(key.document.encode())}


def _changes(site: Site, person: Sequence[Identity]) -> Iterator[dict[str, Any]]:
    """Yield the times at which the person entered and left personas, the newest first."""
    with connection.chunked_cursor() as cursor:
        ids = [identity.pk for identity in person]
        cursor.execute(CHANGES, {"site": site.pk, "identities": ids})
        while rows := cursor.fetchmany(CHUNK_ROWS):
            for change in with_messages(site, rows):
                yield {
                    "persona": change.persona,
                    "change": "entered" if change.has_entered else "left",
                    "occurredAt": change.at,
                    "messageId": change.message_id,
                    "source": change.message.source.name if change.message and change.message.source else None,
                }


def _segments(site: Site, person: Sequence[Identity]) -> Iterator[dict[str, Any]]:
    """Yield the stored memberships of segments, also of those that time alone will let the person enter."""
    rows = SegmentMember.objects.filter(site=site, identity__in=[identity.pk for identity in person])
    for row in rows.select_related("segment").order_by("segment__sort_key", "identity_id"):
        yield {"segment": row.segment.name, "isMember": row.is_member, "since": row.since, "until": row.until}


def _segment_changes(site: Site, person: Sequence[Identity]) -> Iterator[dict[str, Any]]:
    """Yield the times at which the person entered and left segments, the newest first."""
    rows = SegmentChange.objects.filter(site=site, identity__in=[identity.pk for identity in person])
    for row in rows.select_related("segment").order_by("-at", "-pk").iterator(chunk_size=CHUNK_ROWS):
        yield {"segment": row.segment.name, "change": "entered" if row.is_member else "left", "at": row.at}


def _pages(site: Site, person: Sequence[Identity]) -> Iterator[list[int]]:
    """Yield the ids of the person's conversions, the newest first among MOST_CODES visitor codes."""
    codes = visitor_codes(person)
    for start in range(0, len(codes), MOST_CODES):
        part, after = codes[start : start + MOST_CODES], None
        while page := newest_conversions(site.pk, part, limit=CHUNK_ROWS, after=after):
            if page[-1] == after:  # rows with a time that Python cannot hold, set by hand, would come again and again
                break
            yield [id_ for id_, _ in page]
            after = page[-1]
            if len(page) < CHUNK_ROWS:
                break


def _conversions(site: Site, person: Sequence[Identity]) -> Iterator[dict[str, Any]]:
    for page in _pages(site, person):
        for chunk in iter_chunks(estimate_properties_bytes(site.pk, page)):
            yield from _load_conversions(site.pk, chunk)


def _load_conversions(site_id: int, ids: Sequence[int]) -> Iterator[dict[str, Any]]:
    """Yield conversions in the order of their ids. One query."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT g.name, c.visitor_code, c.user_id, c.anonymous_id, c.occurred_at, c.revenue, c.currency, c.value,
                   c.properties::text, c.message_key
              FROM unnest(%(ids)s::bigint[]) WITH ORDINALITY AS wanted (id, place)
              JOIN goals_conversion c ON c.site_id = %(site)s AND c.id = wanted.id
              JOIN goals_goal g ON g.site_id = %(site)s AND g.id = c.goal_id
             ORDER BY wanted.place
            """,
            {"site": site_id, "ids": list(ids)},
        )
        for goal, code, user, anonymous, at, revenue, currency, value, properties, key in cursor.fetchall():
            yield {
                "goal": goal,
                "visitorCode": code,
                "userId": user,
                "anonymousId": anonymous,
                "occurredAt": at,
                "revenue": revenue,
                "currency": currency,
                "value": value,
                "properties": msgspec.Raw(properties.encode()),  # as PostgreSQL wrote it
                "message": key,
            }


def _messages(site: Site, person: Sequence[Identity]) -> Iterator[dict[str, Any]]:
    """Yield the messages that made the conversions, as received, in the order of these."""
    for page in _pages(site, person):
        keys = list(Conversion.objects.filter(site=site, pk__in=page).values_list("message_key", flat=True))
        kept = Message.objects.filter(site=site, pk__in=message_ids_of(site.pk, keys)).order_by("pk")
        for chunk in iter_chunks(kept.values_list("pk", "size")):
            bodies = load_bodies(site.pk, chunk)
            for message in kept.filter(pk__in=chunk):
                yield {
                    "type": message.type,
                    "messageId": message.message_id,
                    "receivedAt": message.received_at,
                    "occurredAt": message.occurred_at,
                    "status": message.status,
                    "body": bodies[message.pk].body.decode(errors="replace"),
                }
