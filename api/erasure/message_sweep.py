"""The sweep of events: those of the erased person are deleted, others get pseudonyms."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import chain
from typing import Any, Final

from django.db import connection
from msgspec import structs

from api.digest.derivation import (
    MESSAGE_COLUMNS,
    MESSAGE_TABLES,
    THESE,
    Derivation,
    SourceConfig,
    StoredMessage,
    choose_messages,
)
from api.digest.mapping import derive
from api.digest.site_config import SiteConfig, load_site_config
from api.digest.suppression import find_suppressed
from api.erasure.conversions import count_replaced, forget_conversions, pseudonyms_of
from api.erasure.pseudonyms import Pseudonyms
from api.events.encodings import decode
from api.events.envelope import MESSAGE_ID_LENGTH
from api.http.chunks import iter_chunks
from api.insight.id_search import in_other_encodings, names
from api.models import Erasure, Message, MessageBody
from api.models.message_rows import delete_messages, load_bodies, take_key
from goals.models import Conversion

LEFT_EVENTS: Final = "left"  # in `Erasure.replaced`: events that keep the id, because an amount in them equals it
EMPTIED: Final = "emptied"  # also there: rejected bodies that cannot be searched
MOST_DECODED: Final = 4 * 2**20  # bytes of a body, as much as a request may have
UNSEARCHABLE: Final = "Its body was removed when a person was erased, because its Content-Encoding cannot be searched."


def sweep_messages(erasure: Erasure, begin: int, end: int) -> None:
    """Delete events of the person and erase their conversions. Pseudonymise the events of others."""
    _sweep_encoded_bodies(erasure, begin, end)
    pseudonyms = pseudonyms_of(erasure)
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            SELECT m.id, m.size FROM {MESSAGE_TABLES}
             WHERE m.id BETWEEN %(first)s AND %(last)s AND m.site_id = %(site)s
               AND (EXISTS (SELECT 1 FROM unnest(%(bytes)s::bytea[]) AS n (s) WHERE position(n.s IN b.body) > 0)
                    OR EXISTS (SELECT 1 FROM unnest(%(texts)s::text[]) AS n (s)
                                WHERE position(n.s IN concat_ws(' ', m.message_id, m.detail)) > 0)
                    OR encode(b.body, 'escape') ~ %(odd)s)
             ORDER BY m.id
            """,
            {
                "first": begin + 1,
                "last": end,
                "site": erasure.site_id,
                "bytes": [
                    *(spelling.encode() for spelling in pseudonyms.spellings),
                    *in_other_encodings(pseudonyms.spellings),
                ],
                "texts": pseudonyms.spellings,
                "odd": pseudonyms.odd_spellings,
            },
        )
        sizes = cursor.fetchall()
    if not sizes:
        return
    config = load_site_config(erasure.site)
    for chunk in iter_chunks(sizes):
        _sweep_bodies(erasure, chunk, config, pseudonyms)


def _sweep_bodies(erasure: Erasure, message_ids: Sequence[int], config: SiteConfig, pseudonyms: Pseudonyms) -> None:
    """Delete or pseudonymise these events, which may name the person."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            SELECT {MESSAGE_COLUMNS}, m.detail, m.status <> 'rejected' FROM {MESSAGE_TABLES}
             WHERE {THESE} ORDER BY m.id FOR UPDATE OF m
            """,
            choose_messages(erasure.site_id, message_ids),
        )
        rows = [(StoredMessage.of_row(row), *row[-2:]) for row in cursor.fetchall()]
    messages = [message for message, *_ in rows]
    derived = [_derive(message, config) for message in messages]
    about = find_suppressed(erasure.site_id, messages, derived)
    for (message, detail, is_keyed), effects in zip(rows, derived, strict=True):
        is_unreadable = effects.rejected == "unreadable_body" and names(message.body, set(erasure.sought))
        if message.id in about or is_unreadable:
            _delete_message(erasure, message)
        else:
            _pseudonymise_message(
                erasure, message, effects, detail=detail, is_keyed=is_keyed, config=config, pseudonyms=pseudonyms
            )


def _sweep_encoded_bodies(erasure: Erasure, begin: int, end: int) -> None:
    """Delete rejected requests that name the person under a Content-Encoding. Empty those that cannot be searched."""
    site_id = erasure.site_id
    encoded = MessageBody.objects.filter(site_id=site_id, pk__gt=begin, pk__lte=end).exclude(content_encoding="")
    messages = Message.objects.filter(site_id=site_id, pk__in=list(encoded.values_list("pk", flat=True)))
    sizes = list(messages.order_by("pk").select_for_update().values_list("pk", "size"))
    for id_, kept in chain.from_iterable(load_bodies(site_id, chunk).items() for chunk in iter_chunks(sizes)):
        body = decode(kept.body, kept.content_encoding, most=MOST_DECODED)
        if body is None:
            Message.objects.filter(site_id=site_id, pk=id_).update(size=0, detail=UNSEARCHABLE)
            MessageBody.objects.filter(site_id=site_id, pk=id_).update(body=b"", content_encoding="")
            count_replaced(erasure, EMPTIED)
        elif names(body, set(erasure.sought)):
            erasure.messages += delete_messages(site_id, [id_])


def _delete_message(erasure: Erasure, message: StoredMessage) -> None:
    conversions = Conversion.objects.filter(site_id=erasure.site_id, message_key=message.key)
    forget_conversions(erasure, list(conversions.values_list("pk", flat=True)))
    erasure.messages += delete_messages(erasure.site_id, [message.id])


def _pseudonymise_message(
    erasure: Erasure,
    message: StoredMessage,
    effects: Derivation,
    *,
    detail: str,
    is_keyed: bool,
    config: SiteConfig,
    pseudonyms: Pseudonyms,
) -> None:
    """Pseudonymise another person's event and its conversion, unless its effects would change."""
    then = _with_pseudonyms(config, pseudonyms)
    for variant in (pseudonyms, pseudonyms.strict):
        message_id = None if message.message_id is None else variant.message_id(message.message_id)
        freed = structs.replace(message, body=variant.json(message.body), message_id=message_id)
        if freed == message and pseudonyms.prose(detail) == detail:
            return
        if _has_same_effects(effects, _derive(freed, then)):
            break
    else:
        count_replaced(erasure, LEFT_EVENTS)
        return
    freed = _write_message(erasure.site_id, freed, detail=pseudonyms.prose(detail), is_keyed=is_keyed)
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT id, properties::text FROM goals_conversion WHERE site_id = %s AND message_key = %s FOR UPDATE",
            [erasure.site_id, message.key],
        )
        for id_, properties in cursor.fetchall():
            cursor.execute(
                "UPDATE goals_conversion SET properties = %s::jsonb, message_key = %s WHERE site_id = %s AND id = %s",
                [variant.json(properties.encode()).decode(), freed.key, erasure.site_id, id_],
            )
            count_replaced(erasure, Erasure.Stage.CONVERSIONS.name)
    count_replaced(erasure, Erasure.Stage.MESSAGES.name)


def _write_message(site_id: int, message: StoredMessage, *, detail: str, is_keyed: bool) -> StoredMessage:
    """Write an event with its pseudonyms and return it. A messageId that another event has gets the row's number."""
    name = message.message_id
    if is_keyed and name is not None and not take_key(site_id, message.id, message.type, name):
        name = f"{name}:{message.id}"[-MESSAGE_ID_LENGTH:]
        take_key(site_id, message.id, message.type, name)
        message = structs.replace(message, message_id=name)
    Message.objects.filter(site_id=site_id, pk=message.id).update(
        message_id=message.message_id, detail=detail, size=len(message.body)
    )
    MessageBody.objects.filter(site_id=site_id, pk=message.id).update(body=message.body)
    return message


def _derive(message: StoredMessage, config: SiteConfig) -> Derivation:
    try:
        return derive(message, config.for_message(message))
    except Exception as error:  # noqa: BLE001 - a failure here fails in the digest too
        return Derivation(failed="digest_failed", detail=repr(error))


def _with_pseudonyms(config: SiteConfig, pseudonyms: Pseudonyms) -> SiteConfig:
    """Return the configuration with pseudonyms in its rules."""

    def free(rules: SourceConfig) -> SourceConfig:
        return replace(
            rules,
            rules=tuple(
                replace(
                    rule,
                    name_value=pseudonyms.text(rule.name_value),
                    path_value=pseudonyms.text(rule.path_value),
                    argument=pseudonyms.text(rule.argument),
                )
                for rule in rules.rules
            ),
        )

    return replace(config, by_source={source: free(rules) for source, rules in config.by_source.items()})


def _has_same_effects(before: Derivation, after: Derivation) -> bool:
    """Return True if both derivations name the same people and the same conversion. Pure."""

    def figures(effects: Derivation) -> Any:
        change, goal, cancelled = effects.change, effects.goal, effects.cancellation
        return (
            change and (change.user, change.anonymous, change.visitor, change.previous_user),
            goal and (goal.event.type, goal.revenue, goal.currency, goal.value),
            cancelled and (cancelled.event, cancelled.revenue, cancelled.currency),
            (effects.rejected, effects.failed, effects.idle_reason),
        )

    return bool(figures(before) == figures(after))
