"""Drops events that name an erased person, so that a late retry does not bring the person back (promise N-13)."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from django.conf import settings
from django.db import connection

from api.digest.derivation import Derivation, StoredMessage
from api.ingest.erased import find_ids, hash_id
from api.models import Suppression
from api.models.message_rows import free_keys


def suppress(site_id: int, messages: Sequence[StoredMessage], derived: Sequence[Derivation]) -> list[Derivation]:
    """Return the derivations without those of erased people, and empty the bodies of these messages.

    A messageId goes too if an erased id is part of it: a retry is then dropped again instead of being a duplicate.
    Call it inside the transaction that applies them. One query, two if the site has erased people, five if a message
    names one.
    """
    suppressed = find_suppressed(site_id, messages, derived)
    if suppressed:
        telling = [message.id for message in messages if _tells(message.message_id, suppressed.get(message.id, ()))]
        free_keys(site_id, telling)
        parameters: dict[str, Any] = {"site": site_id, "ids": sorted(suppressed), "telling": telling}
        with connection.cursor() as cursor:
            cursor.execute(
                """
                UPDATE api_message
                   SET size = 0, message_id = CASE WHEN id <> ALL(%(telling)s::bigint[]) THEN message_id END
                 WHERE site_id = %(site)s AND id = ANY(%(ids)s)
                """,
                parameters,
            )
            cursor.execute(
                "UPDATE api_messagebody SET body = '' WHERE site_id = %(site)s AND id = ANY(%(ids)s)", parameters
            )
    return [
        Derivation(idle_reason="suppressed") if message.id in suppressed else effects
        for message, effects in zip(messages, derived, strict=True)
    ]


def _tells(message_id: str | None, erased: Collection[str]) -> bool:
    """Return True if an erased id is part of a messageId, plain or percent-encoded."""
    return message_id is not None and any(id_ in message_id or quote(id_, safe="") in message_id for id_ in erased)


def find_suppressed(
    site_id: int, messages: Sequence[StoredMessage], derived: Sequence[Derivation]
) -> Mapping[int, Collection[str]]:
    """Return the erased ids that messages name, by message id, without messages that name none.

    One query, two where the site has erased anybody.
    """
    if not Suppression.objects.filter(site_id=site_id).exists():
        return {}
    named = [
        {hash_id(site_id, id_): id_ for id_ in _named_by(message, effects)}
        for message, effects in zip(messages, derived, strict=True)
    ]
    hashes = sorted(set().union(*named))
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT s.hash FROM unnest(%(hashes)s::text[]) AS named (hash)
              JOIN api_suppression s ON s.site_id = %(site)s AND s.hash = named.hash
            """,
            {"site": site_id, "hashes": hashes},
        )
        erased = {row[0] for row in cursor.fetchall()}
    return {
        message.id: [hashes[id_] for id_ in hashes.keys() & erased]
        for message, hashes in zip(messages, named, strict=True)
        if hashes.keys() & erased
    }


def _named_by(message: StoredMessage, effects: Derivation) -> set[str]:
    """Return the ids of the derived change. Pure.

    Add the ids of the raw body if the message was dropped or a transform hook is installed, because the hook may have
    removed some. Reading every body again would cost a tenth of the digest.
    """
    change = effects.change
    ids = [message.message_id]  # a retry may have the id as its messageId, which a pseudonym replaced
    ids += [change.user, change.anonymous, change.visitor, change.previous_user] if change else []
    if change is None or settings.HOOKS:
        ids += find_ids(message.body)
    return {id_.strip() for id_ in ids if id_ is not None}
