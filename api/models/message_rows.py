"""Rows that belong to a message beside its own: its body and its key.

A message that is not rejected and has a messageId holds the key of its type and messageId. A refused event holds its
refusal key. The messages that hold no key may be stored again.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any, Final

from django.db import connection

from api.models.message import MessageBody


def key_of(type_: str, message_id: str) -> str:
    """Return the SQL of the key of a type and a messageId, given as SQL. It is NULL without a messageId."""
    return f"encode(substr(sha256(convert_to({type_} || ':' || {message_id}, 'UTF8')), 1, 16), 'hex')::uuid"


@dataclass(frozen=True, slots=True)
class StoredBody:
    """The body of a message as received; a missing one is empty."""

    body: bytes = b""
    content_encoding: str = ""


def load_body(site_id: int, message_id: int) -> StoredBody:
    """Return the body of a message of a site. One query."""
    return load_bodies(site_id, [message_id])[message_id]


def load_bodies(site_id: int, message_ids: Collection[int]) -> dict[int, StoredBody]:
    """Return the bodies of messages of a site by message id. One query."""
    rows = MessageBody.objects.filter(site_id=site_id, pk__in=message_ids)
    found = {
        id_: StoredBody(bytes(body), encoding)
        for id_, body, encoding in rows.values_list("pk", "body", "content_encoding")
    }
    return {id_: found.get(id_, StoredBody()) for id_ in message_ids}


def find_by_keys(site_id: int, names: Iterable[tuple[str, str]]) -> dict[tuple[str, str], int]:
    """Return the ids of a site's messages by type and messageId, without rejected ones. One query by keys."""
    pairs = list(names)
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            SELECT n.type, n.message_id, k.id FROM unnest(%(types)s::text[], %(names)s::text[]) AS n (type, message_id)
              JOIN api_messagekey k ON k.site_id = %(site)s AND k.key = {key_of("n.type", "n.message_id")}
            """,
            {"site": site_id, "types": [type_ for type_, _ in pairs], "names": [name for _, name in pairs]},
        )
        return {(type_, name): id_ for type_, name, id_ in cursor.fetchall()}


PARTITIONS: Final = r"""
SELECT c.relname, coalesce(substring(pg_get_expr(c.relpartbound, c.oid) FROM 'FROM \(''?(\d+)')::bigint, 0)
  FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = 'api_message'::regclass
"""


def find_first_pending(session: Any = connection) -> int | None:
    """Return an id before which no message of any site is pending, or None if none is at all. Two queries.

    A probe of each partition. Without this id, each site would be looked for in each partition.
    """
    with session.cursor() as cursor:
        cursor.execute(PARTITIONS)
        probes = (
            f"SELECT {begin} AS begin WHERE EXISTS (SELECT FROM {name} WHERE status = 'pending')"
            for name, begin in cursor.fetchall()
        )
        cursor.execute(f"SELECT min(begin) FROM ({' UNION ALL '.join(probes)}) AS found")
        begin: int | None = cursor.fetchone()[0]
        return begin


def take_key(site_id: int, message_id: int, type_: str, name: str) -> bool:
    """Give a message the key of its type and messageId in place of its own one. One query.

    Return False if another message has it. Wait for a transaction that is storing the same key.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            WITH taken AS (
                INSERT INTO api_messagekey AS k (site_id, key, id)
                VALUES (%(site)s, {key_of("%(type)s", "%(name)s")}, %(id)s)
                ON CONFLICT (site_id, key) DO UPDATE SET id = excluded.id WHERE k.id = excluded.id
                RETURNING key
            ), freed AS (
                DELETE FROM api_messagekey k USING taken
                 WHERE k.site_id = %(site)s AND k.id = %(id)s AND k.key <> taken.key
            )
            SELECT count(*) FROM taken
            """,
            {"site": site_id, "type": type_, "name": name, "id": message_id},
        )
        return bool(cursor.fetchone()[0])


def free_keys(site_id: int, message_ids: Collection[int]) -> int:
    """Delete the keys of messages, so that their events may be stored again. Return how many. One query."""
    with connection.cursor() as cursor:
        cursor.execute(
            "DELETE FROM api_messagekey WHERE site_id = %s AND id = ANY(%s::bigint[])", [site_id, sorted(message_ids)]
        )
        return int(cursor.rowcount)


def delete_messages(site_id: int, message_ids: Collection[int]) -> int:
    """Delete messages of a site with their bodies and keys, and return how many. One query."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            WITH bodies AS (DELETE FROM api_messagebody WHERE site_id = %(site)s AND id = ANY(%(ids)s::bigint[])),
                 keys AS (DELETE FROM api_messagekey WHERE site_id = %(site)s AND id = ANY(%(ids)s::bigint[]))
            DELETE FROM api_message WHERE site_id = %(site)s AND id = ANY(%(ids)s::bigint[])
            """,
            {"site": site_id, "ids": sorted(message_ids)},
        )
        return int(cursor.rowcount)
