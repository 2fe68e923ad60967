"""Flags that use a segment."""

from collections import defaultdict

from django.db import connection


def find_flags_by_segment(site_id: int) -> dict[int, list[str]]:
    """Return the keys of the flags whose rules name a segment, by its id, in their order. One query."""
    found = defaultdict[int, list[str]](list)
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT DISTINCT f.key, (rule ->> 'segmentId')::bigint
              FROM goals_featureflag f, jsonb_array_elements(f.document -> 'rules') AS rule
             WHERE f.site_id = %s AND jsonb_typeof(rule -> 'segmentId') = 'number'
             ORDER BY f.key
            """,
            [site_id],
        )
        for key, segment_id in cursor.fetchall():
            found[segment_id].append(key)
    return dict(found)
