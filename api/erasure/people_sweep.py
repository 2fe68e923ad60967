"""The sweep of conversions and identities, whose rows may belong to the erased person or name its ids."""

from collections.abc import Sequence
from typing import Final

import msgspec
from django.db import connection

from api.digest import segments
from api.erasure.conversions import (
    count_replaced,
    forget_cancellations,
    forget_conversions,
    forget_exposures,
    move_totals,
    pseudonyms_of,
    remove_links,
    remove_visits,
)
from api.erasure.pseudonyms import Pseudonyms
from api.erasure.text_sweep import replace_texts
from api.http.chunks import iter_chunks
from api.models import Erasure
from cohorts import identities, merge, search
from cohorts.models import Identity
from goals.models import Conversion

LINKS: Final = ("user", "anonymous", "visitor", "device_visitor")  # registers that name another identity


def sweep_conversions(erasure: Erasure, begin: int, end: int) -> None:
    """Erase conversions that name the person under any visitor code. Pseudonymise properties of others."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT id FROM goals_conversion
             WHERE id > %(begin)s AND id <= %(end)s AND site_id = %(site)s
               AND (user_id = ANY(%(ids)s) OR anonymous_id = ANY(%(ids)s)
                    OR (visitor_code = ANY(%(ids)s) AND keyed_by <> ALL(%(linked)s)))
            """,
            {
                "begin": begin,
                "end": end,
                "site": erasure.site_id,
                "ids": erasure.sought,
                "linked": list(Conversion.LINKED),
            },
        )
        found = [row[0] for row in cursor.fetchall()]
    forget_conversions(erasure, found)
    replace_texts(Erasure.Stage.CONVERSIONS, erasure, begin, end)


def sweep_visit_facts(erasure: Erasure, begin: int, end: int) -> None:
    """Delete visits and forget exposures that were recorded during the erasure. Pseudonymise the facts of others."""
    remove_visits(erasure)
    forget_exposures(erasure)
    replace_texts(Erasure.Stage.VISIT_FACTS, erasure, begin, end)


def sweep_cancellations(erasure: Erasure, begin: int, end: int) -> None:
    """Forget cancellations that were recorded during the erasure. Pseudonymise those of others."""
    forget_cancellations(erasure)
    replace_texts(Erasure.Stage.CANCELLATIONS, erasure, begin, end)


def sweep_identities(erasure: Erasure, begin: int, end: int) -> None:
    """Delete identities that were created during the erasure. Pseudonymise the registers of others.

    Registers keep their stamps, so that their order stays.
    """
    remove_links(erasure)  # added during the erasure; nothing adds any now
    pseudonyms = pseudonyms_of(erasure)
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT id, octet_length(registers::text) FROM cohorts_identity t
             WHERE id > %(begin)s AND id <= %(end)s AND site_id = %(site)s
               AND (value = ANY(%(ids)s) OR EXISTS (
                   SELECT 1 FROM unnest(%(spellings)s::text[]) AS n (s) WHERE position(n.s IN t.registers::text) > 0))
             ORDER BY kind, value COLLATE "C" FOR UPDATE
            """,
            {
                "begin": begin,
                "end": end,
                "site": erasure.site_id,
                "ids": erasure.sought,
                "spellings": pseudonyms.spellings,
            },
        )
        sizes = cursor.fetchall()
    for chunk in iter_chunks(sizes):
        for id_, kind, value, text in _load_identities(erasure.site_id, chunk):
            if value in pseudonyms.of:
                erasure.identities += identities.delete(erasure.site_id, [id_])
            else:
                _pseudonymise_identity(erasure, id_, (kind, value), text, pseudonyms)


def _load_identities(site_id: int, ids: Sequence[int]) -> list[tuple[int, int, str, str]]:
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT id, kind, value, registers::text FROM cohorts_identity
             WHERE site_id = %s AND id = ANY(%s) ORDER BY kind, value COLLATE "C"
            """,
            [site_id, list(ids)],
        )
        return list(cursor.fetchall())


def _pseudonymise_identity(erasure: Erasure, id_: int, key: tuple[int, str], text: str, pseudonyms: Pseudonyms) -> None:
    before: merge.Registers = msgspec.json.decode(text)
    after: merge.Registers = msgspec.json.decode(pseudonyms.json(text.encode()))
    for name in LINKS:  # an id within a longer one stays, because that is another id
        if name in before:
            *stamp, owner = before[name]
            after[name] = [*stamp[:2], pseudonyms.message_id(stamp[2]), pseudonyms.of.get(owner, owner)]
            if name in merge.EARLIEST and owner in pseudonyms.of:
                _forget_link(erasure, key, owner, after[name][3])
    if after != before:
        parent = merge.parent_of(after)
        found = Identity.objects.filter(site_id=erasure.site_id, pk=id_)
        found.update(registers=after, parent_value=parent[1] if parent else None)
        search.write(erasure.site_id, {id_: search.search_texts(after)})
        segments.note_people(erasure.site_id, [id_])
        count_replaced(erasure, Erasure.Stage.IDENTITIES.name)


def _forget_link(erasure: Erasure, key: tuple[int, str], visitor_code: str, pseudonym: str) -> None:
    """Re-key other people's conversions from an erased visitor code to its pseudonym."""
    column = {Identity.Kind.USER: "user_id", Identity.Kind.ANONYMOUS: "anonymous_id"}[Identity.Kind(key[0])]
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            UPDATE goals_conversion AS c SET visitor_code = %s
             WHERE site_id = %s AND visitor_code = %s AND keyed_by = ANY(%s) AND {column} = %s
            RETURNING c.occurred_at, c.goal_id, %s, c.visitor_code, c.revenue, c.currency
            """,
            [pseudonym, erasure.site_id, visitor_code, list(Conversion.LINKED), key[1], visitor_code],
        )
        move_totals(erasure, cursor.fetchall())
