"""The warning that two sources send the same events, and the note of which two."""

from collections.abc import Mapping, Sequence
from typing import Final

from django.db import connection

from api.models import Source
from goals.duplicate_sources import DuplicateConversion, find_duplicates

WARNING: Final = (
    "The same event of this visitor came {seconds} s apart through the sources “{one}” and “{other}”, each with a "
    "messageId of its own, and counted twice. If both send what visitors do, switch off `takes track` at one of them."
)


def warn_of_duplicate_sources(site_id: int, event_names: Mapping[str, str]) -> dict[str, str]:
    """The warnings, by message key, about conversions just made whose events have these names.

    The pairs of sources are counted. One query, two more when there are twins.
    """
    twins = find_duplicates(site_id, list(event_names))
    if not twins:
        return {}
    ids = {id_ for twin in twins for id_ in (twin.source_id, twin.other_source_id)}
    names = dict(Source.objects.filter(pk__in=ids).values_list("pk", "name"))
    _count(site_id, [twin for twin in twins if _is_second(twin, event_names)], event_names)
    return {
        twin.message_key: WARNING.format(
            seconds=round(twin.apart.total_seconds(), 1),
            one=names.get(twin.source_id, "?"),
            other=names.get(twin.other_source_id, "?"),
        )
        for twin in twins
    }


def _is_second(twin: DuplicateConversion, event_names: Mapping[str, str]) -> bool:
    """Whether this is the one of two that completes the pair; both may be of one batch."""
    return twin.other_key not in event_names or twin.message_key > twin.other_key


def _count(site_id: int, twins: Sequence[DuplicateConversion], event_names: Mapping[str, str]) -> None:
    pairs: dict[tuple[int, int], list[str]] = {}
    for twin in twins:
        one, other = sorted((twin.source_id, twin.other_source_id))
        pairs.setdefault((one, other), []).append(event_names[twin.message_key])
    rows = sorted(pairs.items())  # two workers take the rows in one order
    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO api_twin AS t (site_id, one_id, other_id, event_name, count, last_seen_at)
            SELECT %s, n.one, n.other, n.name, n.count, now()
              FROM unnest(%b::bigint[], %b::bigint[], %b::text[], %b::bigint[]) AS n (one, other, name, count)
              JOIN api_source a ON a.id = n.one
              JOIN api_source b ON b.id = n.other
            ON CONFLICT (one_id, other_id) DO UPDATE
               SET event_name = excluded.event_name, count = t.count + excluded.count, last_seen_at = now()
            """,
            [
                site_id,
                [one for (one, _), _ in rows],
                [other for (_, other), _ in rows],
                [names[-1] for _, names in rows],
                [len(names) for _, names in rows],
            ],
        )
