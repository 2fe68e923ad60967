"""Events that name somebody who was erased are dropped, so that a late retry brings nobody back (promises N-13)."""

import hmac
from collections.abc import Sequence

from django.conf import settings
from django.db import connection

from api.digest.mapping import VISITOR_FIELDS, Effects, Stored
from api.ingest.reading import UnreadableBodyError, read_body, read_object
from api.models import Suppression
from cohorts import ids


def hash_id(site_id: int, id_: str) -> str:
    """What stands for an erased id: only who holds the secret key can tell whether it is a given one."""
    return hmac.digest(settings.SECRET_KEY.encode(), f"erased\0{site_id}\0{id_}".encode(), "sha256").hex()


def suppress(site_id: int, messages: Sequence[Stored], derived: Sequence[Effects]) -> list[Effects]:
    """The effects of messages without those of whoever was erased, whose bodies are emptied.

    Inside the transaction that applies them. One query, two where the site has erased somebody, three where one of
    them is named.
    """
    suppressed = find_suppressed(site_id, messages, derived)
    if suppressed:
        with connection.cursor() as cursor:
            cursor.execute("UPDATE api_message SET body = '' WHERE id = ANY(%s)", [sorted(suppressed)])
    return [
        Effects(idle_reason="suppressed") if message.id in suppressed else effects
        for message, effects in zip(messages, derived, strict=True)
    ]


def find_suppressed(site_id: int, messages: Sequence[Stored], derived: Sequence[Effects]) -> set[int]:
    """The ids of those messages that name somebody who was erased. One query, two where the site has erased anybody."""
    if not Suppression.objects.filter(site_id=site_id).exists():
        return set()
    named = [
        {hash_id(site_id, each) for each in _named_by(message, effects)}
        for message, effects in zip(messages, derived, strict=True)
    ]
    hashes = sorted(set().union(*named))
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT hash FROM unnest(%s::bigint[], %s::text[]) AS named (site_id, hash)
              JOIN api_suppression USING (site_id, hash)
            """,
            [[site_id] * len(hashes), hashes],
        )
        erased = {row[0] for row in cursor.fetchall()}
    return {message.id for message, its in zip(messages, named, strict=True) if its & erased}


def _named_by(message: Stored, effects: Effects) -> set[str]:
    """The ids that a message names, as rules and the transform hook left them; and as it was sent, where these made
    nothing of it, or may have taken some away. To read every body again would cost a tenth of the digest. Pure.
    """
    change = effects.change
    found = [message.message_id]  # of a retry of an event whose messageId was the id: a stand-in is in its place
    found += [change.user, change.anonymous, change.visitor, change.previous_user] if change else []
    if change is None or settings.HOOKS:
        found += _sent_by(message)
    return {each for each in found if each is not None}


def _sent_by(message: Stored) -> list[str | None]:
    try:
        fields = read_body(message.body, set())
    except UnreadableBodyError:
        return []
    context = read_object(fields.get("context"), set())
    places = [fields, context, *(read_object(each, set()) for each in (fields.get("properties"), fields.get("traits")))]
    places.append(read_object(context.get("traits"), set()))
    sent = [fields.get(name) for name in ("userId", "anonymousId", "previousId")]
    sent += [place.get(name) for place in places for name in VISITOR_FIELDS]
    # As text: what names nobody under the newest reading may have named whoever was erased.
    return [(ids.spell(value) or "").strip() or None for value in sent]
