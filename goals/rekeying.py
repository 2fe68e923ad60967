"""Re-keying of conversions and exposures: late links give them the visitor codes that they count for (promise K-51)."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

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


# The same rules for exposures. Their key stays, so that rows that count for one visitor need not be joined.
LINK_EXPOSURES: Final = """
    UPDATE goals_exposure AS exposure
       SET linked_code = late.visitor_code, linked_by = late.keyed_by
      FROM (
        SELECT e.id, reached.visitor_code, reached.keyed_by
          FROM (
            SELECT DISTINCT ON (id) id, visitor_code, keyed_by, rank
              FROM (
                SELECT e.id, l.visitor_code, l.keyed_by, l.rank
                  FROM unnest(%(ids)b::text[], %(codes)b::text[], %(keyed_by)b::smallint[], %(ranks)b::int[])
                       AS l (id, visitor_code, keyed_by, rank)
                  JOIN goals_exposure e ON e.site_id = %(site)s AND e.visitor_code = l.id AND e.is_user
                   AND (%(until)s::bigint IS NULL OR (e.id > %(after)s AND e.id <= %(until)s))
                 WHERE l.keyed_by <> %(anonymous_link)s
                 UNION ALL
                SELECT e.id, l.visitor_code, l.keyed_by, l.rank
                  FROM unnest(%(ids)b::text[], %(codes)b::text[], %(keyed_by)b::smallint[], %(ranks)b::int[])
                       AS l (id, visitor_code, keyed_by, rank)
                  JOIN goals_exposure e ON e.site_id = %(site)s AND e.anonymous_id = l.id AND e.anonymous_id <> ''
                   AND (%(until)s::bigint IS NULL OR (e.id > %(after)s AND e.id <= %(until)s))
                 WHERE l.keyed_by = %(anonymous_link)s
              ) AS link
             ORDER BY id, rank
          ) AS reached
          JOIN goals_exposure e
            ON e.site_id = %(site)s AND e.id = reached.id
               AND (e.linked_by IS NULL OR array_position(%(order)b::smallint[], e.linked_by) >= reached.rank)
               AND (e.linked_code, e.linked_by) IS DISTINCT FROM (reached.visitor_code, reached.keyed_by)
         ORDER BY e.id
           FOR UPDATE OF e
      ) AS late
     WHERE exposure.site_id = %(site)s AND exposure.id = late.id
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
    """Re-key the conversions and exposures of these ids to their visitor codes. Return the conversions that moved.

    Only rows whose event carried no code move. Of several links the first in the order of `KeyedBy` wins
    (promises K-51, N-09). The rows are locked in the order of their ids, so that two links cannot deadlock.

    At most `most` rows of all ids together are touched; ids that have more are returned. Two queries, three if an id
    has exposures.
    """
    if not links:
        return RekeyResult([], [])
    counts = _count_rekeyable(site_id, {(link.is_device, link.id) for link in links}, most=most)
    fits, so_far = set[tuple[bool, str]](), 0
    for key, count in sorted(counts.items(), key=lambda item: sum(item[1])):
        so_far += sum(count)
        if so_far <= most:
            fits.add(key)
    now = [link for link in links if (link.is_device, link.id) in fits]
    if exposed := [link for link in now if counts[link.is_device, link.id].exposures]:
        _link_exposures(site_id, exposed)
    return RekeyResult(
        _update_visitor_codes(site_id, now) if now else [],
        [link for link in links if (link.is_device, link.id) not in fits],
    )


def rekey_next(site_id: int, link: FirstVisitor, *, after: int, limit: int) -> tuple[list[MovedConversion], int | None]:
    """Re-key the next rows of one id as `rekey` does. Return the moved conversions and the number of the last row.

    The number is None at their end. Call it inside a transaction that has locked the identity, so that no worker adds
    rows of it meanwhile. Three queries, which read `limit` conversions and as many exposures at most.
    """
    if link.is_device:
        of_conversion, of_exposure = "anonymous_id = %(id)s", "anonymous_id = %(id)s AND anonymous_id <> ''"
    else:
        of_conversion, of_exposure = "user_id = %(id)s", "visitor_code = %(id)s AND is_user"
    with connection.cursor() as cursor:
        # The numbers of the two tables have one order here, so that one number says how far both are.
        cursor.execute(
            f"""
            SELECT id FROM (
                (SELECT id FROM goals_conversion
                  WHERE site_id = %(site)s AND {of_conversion} AND keyed_by >= 1 AND id > %(after)s
                  ORDER BY id LIMIT %(limit)s)
                 UNION ALL
                (SELECT id FROM goals_exposure WHERE site_id = %(site)s AND {of_exposure} AND id > %(after)s
                  ORDER BY id LIMIT %(limit)s)
            ) AS either ORDER BY id LIMIT %(limit)s
            """,
            {"site": site_id, "id": link.id, "after": after, "limit": limit},
        )
        ids = [id_ for (id_,) in cursor.fetchall()]
    if not ids:
        return [], None
    _link_exposures(site_id, [link], after=after, until=ids[-1])
    moved = _update_visitor_codes(site_id, [link], after=after, until=ids[-1])
    return moved, ids[-1] if len(ids) == limit else None


class _Rekeyable(NamedTuple):
    """Rows without a visitor code of their own that an id has."""

    conversions: int
    exposures: int


def _count_rekeyable(
    site_id: int, ids: Collection[tuple[bool, str]], *, most: int
) -> dict[tuple[bool, str], _Rekeyable]:
    """Return how many rows without a code of their own each id has, more than `most` as one more. One query."""
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
                ) AS rekeyable), (
                SELECT count(*) FROM (
                    SELECT 1 FROM goals_exposure e
                     WHERE NOT l.is_device AND e.site_id = %(site)s AND e.visitor_code = l.id AND e.is_user
                     UNION ALL
                    SELECT 1 FROM goals_exposure e
                     WHERE l.is_device AND e.site_id = %(site)s AND e.anonymous_id = l.id AND e.anonymous_id <> ''
                     LIMIT %(enough)s
                ) AS exposed)
              FROM unnest(%(are_devices)b::bool[], %(ids)b::text[]) AS l (is_device, id)
            """,
            {
                "site": site_id,
                "enough": most + 1,
                "are_devices": [is_device for is_device, _ in keys],
                "ids": [id_ for _, id_ in keys],
            },
        )
        return {(is_device, id_): _Rekeyable(*counts) for is_device, id_, *counts in cursor.fetchall()}


def _link_exposures(site_id: int, links: Collection[FirstVisitor], *, after: int = 0, until: int | None = None) -> None:
    """Link the exposures of these ids, all of them or those with numbers in a range. One query."""
    with waits_for(Lock.IDENTITY), connection.cursor() as cursor:
        cursor.execute(LINK_EXPOSURES, _parameters_of(site_id, links, after=after, until=until))


def _update_visitor_codes(
    site_id: int, links: Collection[FirstVisitor], *, after: int = 0, until: int | None = None
) -> list[MovedConversion]:
    """Re-key the conversions of these ids, all of them or those with numbers in a range. One query."""
    with waits_for(Lock.IDENTITY), connection.cursor() as cursor:
        cursor.execute(UPDATE_VISITOR_CODES, _parameters_of(site_id, links, after=after, until=until))
        return [
            MovedConversion(CountedConversion((goal_id, code), at, revenue, currency), (goal_id, before))
            for at, goal_id, before, code, revenue, currency in cursor.fetchall()
            if before != code
        ]


def _parameters_of(site_id: int, links: Collection[FirstVisitor], *, after: int, until: int | None) -> dict[str, Any]:
    order = list(KeyedBy)
    return {
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
