"""Lists of segments for people: numbers of members, members page by page, entries and exits."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Final

from django.db import connection

from cohorts.changes import IdentityKey
from cohorts.identities import as_columns
from cohorts.models import Identity
from cohorts.segment_tables import Segment
from cohorts.segments import membership
from cohorts.segments.persons import find_keys_of, find_roots

PAGE: Final = 50
MOST_COUNTED: Final = 1_000_000  # memberships of a segment, some 0.3 s
MOST_CHANGES: Final = 1_000_000  # entries and exits of a segment, some 0.3 s
MOST_SCANNED: Final = 20_000  # memberships that a page examines: of people who will enter by time, too
IS_IN: Final = "m.is_member <> coalesce(m.until <= %(now)b, false)"  # also if time has turned it since it was stored


@dataclass(frozen=True, slots=True)
class ListedMember:
    """A person who is in a segment, by the identifier that all others of the person lead to."""

    identity_id: int
    kind: Identity.Kind
    value: str
    since: datetime
    until: datetime | None  # when time alone ends it


@dataclass(frozen=True, slots=True)
class SegmentMemberPage:
    """Members in the order of their rows, and the identity after which the next page begins, None on the last."""

    members: Sequence[ListedMember]
    next: int | None


@dataclass(frozen=True, slots=True)
class EntryOrExit:
    """An entry of a person into a segment, or an exit."""

    id: int
    at: datetime
    has_entered: bool
    kind: Identity.Kind
    value: str


@dataclass(frozen=True, slots=True)
class ChangesOfDay:
    """The number of entries and exits on a day."""

    day: date
    entered: int
    left: int


@dataclass(frozen=True, slots=True)
class MemberCount:
    """A number of members, a lower bound unless all memberships were examined."""

    members: int
    is_complete: bool


def count_members(
    site_id: int, segments: Iterable[Segment], *, now: datetime, most: int = MOST_COUNTED
) -> dict[int, MemberCount]:
    """Return the number of members of each segment under its present version. One query.

    Of each segment `most` memberships are examined, also of earlier versions and of people who will enter by time.
    """
    versions = {segment.pk: segment.version for segment in segments}
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            SELECT asked.id, its.members, its.examined
              FROM unnest(%(ids)b::bigint[], %(versions)b::int[]) AS asked (id, version)
             CROSS JOIN LATERAL (
                SELECT count(*) FILTER (WHERE m.version = asked.version AND {IS_IN}) AS members, count(*) AS examined
                  FROM (
                    SELECT its.version, its.is_member, its.until FROM cohorts_segmentmember its
                     WHERE its.site_id = %(site)b AND its.segment_id = asked.id
                     ORDER BY its.identity_id LIMIT %(most)b + 1
                  ) AS m
             ) AS its
            """,
            {
                "site": site_id,
                "ids": list(versions),
                "versions": list(versions.values()),
                "now": now,
                "most": most,
            },
        )
        return {
            id_: MemberCount(min(members, most), is_complete=examined <= most)
            for id_, members, examined in cursor.fetchall()
        }


def list_members(
    segment: Segment, *, after: int | None = None, limit: int = PAGE, now: datetime, most: int = MOST_SCANNED
) -> SegmentMemberPage:
    """Return a page of members. It may be short or empty although more follow. Two queries at most."""
    parameters: dict[str, Any] = {
        "site": segment.site_id,
        "segment": segment.pk,
        "version": segment.version,
        "after": after or 0,
        "now": now,
        "most": most,
        "limit": limit + 1,
    }
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            SELECT m.identity_id, i.kind, i.value, CASE WHEN m.is_member THEN m.since ELSE m.until END,
                   CASE WHEN m.is_member THEN m.until END
              FROM (
                SELECT * FROM cohorts_segmentmember
                 WHERE site_id = %(site)b AND segment_id = %(segment)b AND identity_id > %(after)b
                 ORDER BY identity_id LIMIT %(most)b
              ) AS m
              JOIN cohorts_identity i ON i.site_id = %(site)b AND i.id = m.identity_id
             WHERE m.version = %(version)b AND {IS_IN}
             ORDER BY m.identity_id LIMIT %(limit)b
            """,
            parameters,
        )
        members = [
            ListedMember(id_, Identity.Kind(kind), value, since, until)
            for id_, kind, value, since, until in cursor.fetchall()
        ]
        if len(members) > limit:
            return SegmentMemberPage(members[:limit], members[limit - 1].identity_id)
        cursor.execute(
            """
            SELECT identity_id FROM cohorts_segmentmember
             WHERE site_id = %(site)b AND segment_id = %(segment)b AND identity_id > %(after)b
             ORDER BY identity_id OFFSET %(most)b - 1 LIMIT 2
            """,
            parameters,
        )
        rows = cursor.fetchall()
    return SegmentMemberPage(members, rows[0][0] if len(rows) == 2 else None)  # noqa: PLR2004 - it, and one more


def find_members(segment: Segment, roots: Mapping[int, IdentityKey], *, now: datetime) -> SegmentMemberPage:
    """Return the members among some persons, by their roots. One query."""
    stored = membership.read_members(segment.site_id, list(roots))
    members = [
        ListedMember(row.identity_id, Identity.Kind(kind), value, row.at(now)[1], row.until if row.is_member else None)
        for id_, (kind, value) in roots.items()
        for row in stored.get(id_, ())
        if row.segment_id == segment.pk and row.version == segment.version and row.at(now)[0]
    ]
    return SegmentMemberPage(members, None)


def list_changes(
    segment: Segment, *, before: tuple[datetime, int] | None = None, limit: int = PAGE
) -> list[EntryOrExit]:
    """Return the newest entries and exits, before the (time, id) of one if it is given. One query."""
    at, id_ = before or (None, None)
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT c.id, c.at, c.is_member, i.kind, i.value
              FROM cohorts_segmentchange c
              JOIN cohorts_identity i ON i.site_id = %(site)b AND i.id = c.identity_id
             WHERE c.site_id = %(site)b AND c.segment_id = %(segment)b
               AND (%(at)b::timestamptz IS NULL OR (c.at, c.id) < (%(at)b::timestamptz, %(id)b::bigint))
             ORDER BY c.at DESC, c.id DESC LIMIT %(limit)b
            """,
            {"site": segment.site_id, "segment": segment.pk, "at": at, "id": id_, "limit": limit},
        )
        return [
            EntryOrExit(change_id, changed_at, has_entered, Identity.Kind(kind), value)
            for change_id, changed_at, has_entered, kind, value in cursor.fetchall()
        ]


def count_changes(segment: Segment, *, since: datetime, zone: str, most: int = MOST_CHANGES) -> list[ChangesOfDay]:
    """Return the entries and exits by day of a zone since a time, in order; days without any are left out. One query.

    The newest `most` are counted. A day that has older ones is left out, with all days before it.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT (at AT TIME ZONE %(zone)b)::date AS day, count(*) FILTER (WHERE is_member),
                   count(*) FILTER (WHERE NOT is_member)
              FROM (
                SELECT at, is_member FROM cohorts_segmentchange
                 WHERE site_id = %(site)b AND segment_id = %(segment)b AND at >= %(since)b
                 ORDER BY at DESC LIMIT %(most)b + 1
              ) AS newest
             GROUP BY day ORDER BY day
            """,
            {"site": segment.site_id, "segment": segment.pk, "since": since, "zone": zone, "most": most},
        )
        days = [ChangesOfDay(*row) for row in cursor.fetchall()]
    return days if sum(each.entered + each.left for each in days) <= most else days[1:]


def load_last_changes(site_id: int, ids: Collection[int]) -> dict[int, tuple[datetime, bool]]:
    """Return the last entry or exit of the person with these identities, by segment. One query."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT DISTINCT ON (segment_id) segment_id, at, is_member FROM cohorts_segmentchange
             WHERE site_id = %(site)b AND identity_id = ANY(%(ids)b::bigint[])
             ORDER BY segment_id, at DESC, id DESC
            """,
            {"site": site_id, "ids": list(ids)},
        )
        return {segment: (at, is_member) for segment, at, is_member in cursor.fetchall()}


def find_segments_of(site_id: int, codes: Collection[str], *, now: datetime) -> dict[str, list[str]]:
    """Return the names of the segments that the person of each id is in. Unknown ids are left out.

    An id is looked up as user, then visitor, then anonymous id, as remote data does. Three queries, some 50 µs an id.
    """
    keys = find_keys_of(site_id, codes)
    roots = find_roots(site_id, list(keys.values()))
    names = _load_names(site_id, sorted(set(roots.values())), now)
    return {value: names.get(roots[key], []) for value, key in keys.items()}


def _load_names(site_id: int, roots: Sequence[tuple[int, str]], now: datetime) -> dict[tuple[int, str], list[str]]:
    """Return the names of the segments of these roots. One query, if there are any."""
    if not roots:
        return {}
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            SELECT k.kind, k.value, array_agg(s.name ORDER BY s.name)
              FROM unnest(%(kinds)b::smallint[], %(values)b::text[]) AS k (kind, value)
             CROSS JOIN LATERAL (
                SELECT m.* FROM cohorts_identity i, cohorts_segmentmember m
                 WHERE i.site_id = %(site)b AND i.kind = k.kind AND i.value = k.value
                   AND m.site_id = %(site)b AND m.identity_id = i.id OFFSET 0
              ) AS m
              JOIN cohorts_segment s ON s.site_id = %(site)b AND s.id = m.segment_id AND s.version = m.version
             WHERE {IS_IN}
             GROUP BY k.kind, k.value
            """,
            {"site": site_id, "now": now, **as_columns(roots)},
        )
        return {(kind, value): names for kind, value, names in cursor.fetchall()}


def load_segments(site_id: int, ids: Collection[int], *, now: datetime) -> list[tuple[int, str]]:
    """Return the segments that the person with these identities is in, (id, name) by name. One query."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            SELECT DISTINCT s.id, s.name, s.sort_key FROM cohorts_segmentmember m
              JOIN cohorts_segment s ON s.site_id = %(site)b AND s.id = m.segment_id AND s.version = m.version
             WHERE m.site_id = %(site)b AND m.identity_id = ANY(%(ids)b::bigint[]) AND {IS_IN}
             ORDER BY s.sort_key, s.name
            """,
            {"site": site_id, "ids": list(ids), "now": now},
        )
        return [(id_, name) for id_, name, _ in cursor.fetchall()]
