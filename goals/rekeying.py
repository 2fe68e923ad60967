"""Re-keying of conversions: late links give them the visitor codes that they count for (promise K-51)."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Final

from django.db import connection

from goals.models import Conversion
from goals.totals import MovedConversion
from goals.visitor_totals import CountedConversion
from locks import Lock, waits_for

KeyedBy = Conversion.KeyedBy

# A rule of a late link moves a conversion if it comes before the rule that keyed the conversion.
UPDATE_VISITOR_CODES: Final = """
    UPDATE goals_conversion AS conversion
       SET visitor_code = late.visitor_code, keyed_by = late.keyed_by
      FROM (
        SELECT c.id, c.visitor_code AS before, reached.visitor_code, reached.keyed_by
          FROM (
            SELECT DISTINCT ON (id) id, visitor_code, keyed_by, rank
              FROM (
                SELECT c.id, l.visitor_code, l.keyed_by, l.rank
                  FROM unnest(%(ids)b::text[], %(codes)b::text[], %(keyed_by)b::smallint[], %(ranks)b::int[])
                       AS l (id, visitor_code, keyed_by, rank)
                  JOIN goals_conversion c ON c.site_id = %(site)s AND c.user_id = l.id AND c.keyed_by >= 1
                   AND (%(until)s::bigint IS NULL OR (c.id > %(after)s AND c.id <= %(until)s))
                 WHERE l.keyed_by <> %(anonymous_link)s
                 UNION ALL
                SELECT c.id, l.visitor_code, l.keyed_by, l.rank
                  FROM unnest(%(ids)b::text[], %(codes)b::text[], %(keyed_by)b::smallint[], %(ranks)b::int[])
                       AS l (id, visitor_code, keyed_by, rank)
                  JOIN goals_conversion c ON c.site_id = %(site)s AND c.anonymous_id = l.id AND c.keyed_by >= 1
                   AND (%(until)s::bigint IS NULL OR (c.id > %(after)s AND c.id <= %(until)s))
                 WHERE l.keyed_by = %(anonymous_link)s
              ) AS link
             ORDER BY id, rank
          ) AS reached
          -- Compared only here, after waiting for a worker that may have re-keyed the row.
          JOIN goals_conversion c
            ON c.site_id = %(site)s AND c.id = reached.id
               AND array_position(%(order)b::smallint[], c.keyed_by) >= reached.rank
               AND (c.visitor_code, c.keyed_by) <> (reached.visitor_code, reached.keyed_by)
         ORDER BY c.id
           FOR UPDATE OF c
      ) AS late
     WHERE conversion.site_id = %(site)s AND conversion.id = late.id
    RETURNING conversion.occurred_at, conversion.goal_id, late.before, late.visitor_code,
              conversion.revenue, conversion.currency
"""


@dataclass(frozen=True, slots=True)
class FirstVisitor:
    """The visitor code that an id's conversions count for from now on, unless a rule before this one applies."""

    keyed_by: KeyedBy  # one of Conversion.LINKED; it says of which kind the id is
    id: str
    visitor_code: str

    @property
    def is_device(self) -> bool:
        """Return True for an anonymous id, False for a user."""
        return self.keyed_by == KeyedBy.ANONYMOUS_LINK


@dataclass(frozen=True, slots=True)
class RekeyResult:
    """The result of `rekey`."""

    moved: list[MovedConversion]  # pass it to `record`, which counts it
    postponed: list[FirstVisitor]  # ids with too many conversions: call `rekey_next` for each, step by step


def rekey(site_id: int, links: Collection[FirstVisitor], *, most: int) -> RekeyResult:
    """Re-key the conversions of these ids to their visitor codes, and return the conversions that moved.

    Only conversions whose event carried no code move. Of several links the first in the order of `KeyedBy` wins
    (promises K-51, N-09). The rows are locked in the order of their ids, so that two links cannot deadlock.

    At most `most` conversions of all ids together are touched; ids that have more are returned. Two queries.
    """
    if not links:
        return RekeyResult([], [])
    counts = _count_rekeyable(site_id, {(link.is_device, link.id) for link in links}, most=most)
    fits, so_far = set[tuple[bool, str]](), 0
    for key, count in sorted(counts.items(), key=lambda item: item[1]):
        so_far += count
        if so_far <= most:
            fits.add(key)
    now = [link for link in links if (link.is_device, link.id) in fits]
    return RekeyResult(
        _update_visitor_codes(site_id, now) if now else [],
        [link for link in links if (link.is_device, link.id) not in fits],
    )


def rekey_next(site_id: int, link: FirstVisitor, *, after: int, limit: int) -> tuple[list[MovedConversion], int | None]:
    """Re-key the next conversions of one id as `rekey` does. Return the moved ones and the number of the last one.

    The number is None at their end. Call it inside a transaction that has locked the identity, so that no worker adds
    conversions of it meanwhile. Two queries, which read `limit` conversions.
    """
    column = "anonymous_id" if link.is_device else "user_id"
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            SELECT id FROM goals_conversion WHERE site_id = %s AND {column} = %s AND keyed_by >= 1 AND id > %s
             ORDER BY id LIMIT %s
            """,
            [site_id, link.id, after, limit],
        )
        ids = [id_ for (id_,) in cursor.fetchall()]
    moved = _update_visitor_codes(site_id, [link], after=after, until=ids[-1]) if ids else []
    return moved, ids[-1] if len(ids) == limit else None


def _count_rekeyable(site_id: int, ids: Collection[tuple[bool, str]], *, most: int) -> dict[tuple[bool, str], int]:
    """Return how many conversions without a code of their own each id has, more than `most` as one more. One query."""
    keys = sorted(ids)
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT l.is_device, l.id, (
                SELECT count(*) FROM (
                    SELECT 1 FROM goals_conversion c
                     WHERE NOT l.is_device AND c.site_id = %(site)s AND c.user_id = l.id AND c.keyed_by >= 1
                     UNION ALL
                    SELECT 1 FROM goals_conversion c
                     WHERE l.is_device AND c.site_id = %(site)s AND c.anonymous_id = l.id AND c.keyed_by >= 1
                     LIMIT %(enough)s
                ) AS rekeyable)
              FROM unnest(%(are_devices)b::bool[], %(ids)b::text[]) AS l (is_device, id)
            """,
            {
                "site": site_id,
                "enough": most + 1,
                "are_devices": [is_device for is_device, _ in keys],
                "ids": [id_ for _, id_ in keys],
            },
        )
        return {(is_device, id_): count for is_device, id_, count in cursor.fetchall()}


def _update_visitor_codes(
    site_id: int, links: Collection[FirstVisitor], *, after: int = 0, until: int | None = None
) -> list[MovedConversion]:
    """Re-key the conversions of these ids, all of them or those with numbers in a range. One query."""
    order = list(KeyedBy)
    parameters: dict[str, Any] = {
        "site": site_id,
        "ids": [link.id for link in links],
        "codes": [link.visitor_code for link in links],
        "keyed_by": [int(link.keyed_by) for link in links],
        "ranks": [order.index(link.keyed_by) + 1 for link in links],
        "order": [int(rule) for rule in order],
        "anonymous_link": int(KeyedBy.ANONYMOUS_LINK),
        "after": after,
        "until": until,
    }
    with waits_for(Lock.IDENTITY), connection.cursor() as cursor:
        cursor.execute(UPDATE_VISITOR_CODES, parameters)
        return [
            MovedConversion(CountedConversion((goal_id, code), at, revenue, currency), (goal_id, before))
            for at, goal_id, before, code, revenue, currency in cursor.fetchall()
            if before != code
        ]
