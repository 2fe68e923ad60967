"""Warning that two sources send the same events, and the count of each pair."""

from collections.abc import Mapping, Sequence
from typing import Final

from django.db import connection

from api.models import Source
from goals.duplicate_sources import DuplicateConversion, find_duplicates

WARNING: Final = (
    "The same event of this visitor came {seconds} s apart through the sources “{one}” and “{other}”, with different "
    "messageIds, and counted twice. If both send the events of visitors, switch off “Count track events” at one of "
    "them."
)


def warn_of_duplicate_sources(site_id: int, event_names: Mapping[str, str]) -> dict[str, str]:
    """Return the warnings by message key about new conversions whose events have these names, and count the pairs.

    One query, two more if there are duplicates.
    """
    duplicates = find_duplicates(site_id, list(event_names))
    if not duplicates:
        return {}
    ids = {id_ for duplicate in duplicates for id_ in (duplicate.source_id, duplicate.other_source_id)}
    names = dict(Source.objects.filter(site_id=site_id, pk__in=ids).values_list("pk", "name"))
    _count(site_id, [duplicate for duplicate in duplicates if _is_second(duplicate, event_names)], event_names)
    return {
        duplicate.message_key: WARNING.format(
            seconds=round(duplicate.apart.total_seconds(), 1),
            one=names.get(duplicate.source_id, "?"),
            other=names.get(duplicate.other_source_id, "?"),
        )
        for duplicate in duplicates
    }


def _is_second(duplicate: DuplicateConversion, event_names: Mapping[str, str]) -> bool:
    """Return True for the conversion that completes a pair; both may be of one batch."""
    return duplicate.other_key not in event_names or duplicate.message_key > duplicate.other_key


def _count(site_id: int, duplicates: Sequence[DuplicateConversion], event_names: Mapping[str, str]) -> None:
    pairs: dict[tuple[int, int], list[str]] = {}
    for duplicate in duplicates:
        one, other = sorted((duplicate.source_id, duplicate.other_source_id))
        pairs.setdefault((one, other), []).append(event_names[duplicate.message_key])
    rows = sorted(pairs.items())  # in one order, so that two workers cannot deadlock
    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO api_twin AS t (site_id, one_id, other_id, event_name, count, last_seen_at)
            SELECT %(site)s, n.one, n.other, n.name, n.count, now()
              FROM unnest(%(ones)b::bigint[], %(others)b::bigint[], %(names)b::text[], %(counts)b::bigint[])
                   AS n (one, other, name, count)
              JOIN api_source a ON a.site_id = %(site)s AND a.id = n.one
              JOIN api_source b ON b.site_id = %(site)s AND b.id = n.other
            ON CONFLICT (site_id, one_id, other_id) DO UPDATE
               SET event_name = excluded.event_name, count = t.count + excluded.count,
                   last_seen_at = excluded.last_seen_at
            """,
            {
                "site": site_id,
                "ones": [one for (one, _), _ in rows],
                "others": [other for (_, other), _ in rows],
                "names": [names[-1] for _, names in rows],
                "counts": [len(names) for _, names in rows],
            },
        )
