"""People of a site page by page: those last seen first, those that a text finds, or all that pass a filter.

No index has the order of last seen, because each event would write to it. The newest events have it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Self

from django.db import connection

from api.digest.derivation import COLUMNS, SourceConfig, StoredMessage
from api.digest.mapping import glance
from api.insight.messages import LIST_BYTES
from api.insight.person_rows import PersonRow, load_person_rows, load_root_rows
from api.models import Site
from cohorts import members, search
from cohorts.changes import IdentityKey
from cohorts.segment_tables import Segment
from cohorts.segments import listing
from cohorts.segments.facts import as_texts
from cohorts.segments.persons import find_keys_of, find_roots
from times import EPOCH

PAGE: Final = 50
LOOK: Final = 1_000  # events that are read at a time
MOST_SEARCHED: Final = 6_000  # events
NEWEST: Final = f"""
SELECT {COLUMNS}, CASE WHEN m.size <= {LIST_BYTES}
                       THEN (SELECT b.body FROM api_messagebody b WHERE b.site_id = %(site)s AND b.id = m.id) END
  FROM (
    SELECT * FROM api_message WHERE site_id = %(site)s AND (%(before)s::bigint IS NULL OR id < %(before)s)
     ORDER BY id DESC LIMIT {LOOK}
  ) AS m
 ORDER BY m.id DESC
"""


@dataclass(frozen=True, slots=True)
class PeopleFilter:
    """Filter of people; empty fields do not filter."""

    text: str = ""
    segment: Segment | None = None
    persona: str = ""
    group: str = ""
    trait: str = ""
    value: str = ""  # of the trait, as text

    @property
    def is_empty(self) -> bool:
        return not (self.text or self.segment or self.persona or self.group or self.trait)

    def passes(self, row: PersonRow) -> bool:
        """Return True if a person passes, of the segment and the text apart. Pure.

        A large person passes, because its facts were not read.
        """
        return row.is_large or (
            (not self.persona or self.persona in row.personas)
            and (not self.group or self.group == row.group)
            and (not self.trait or self.value in as_texts(row.traits.get(self.trait)))
        )


@dataclass(frozen=True, slots=True)
class PeoplePlace:
    """The beginning of a page: behind persons of the newest events, an identity, or a member of a segment."""

    skip: int = 0
    after: members.Key | None = None
    member: int | None = None
    by_id: bool = False  # all people by identifier, not those of the newest events

    @classmethod
    def of(cls, query: Mapping[str, Any]) -> Self:
        """Return the place that the fields of a link name."""
        after = (query["kind"], query["after"]) if query.get("kind") else None
        return cls(query.get("skip") or 0, after, query.get("member"), query.get("by") == "id")

    @property
    def query(self) -> dict[str, str]:
        """Return the fields of a link to this place."""
        fields = {"skip": self.skip or "", "member": "" if self.member is None else self.member}
        fields |= {"kind": self.after[0], "after": self.after[1]} if self.after is not None else {}
        return {name: str(value) for name, value in fields.items() if value != ""} | (
            {"by": "id"} if self.by_id else {}
        )


@dataclass(frozen=True, slots=True)
class PeoplePage:
    """Persons, and the place of the next page, None on the last. A page may be short although more follow."""

    rows: list[PersonRow]
    next: PeoplePlace | None
    is_recent: bool = False  # in the order in which they were last seen
    is_cut: bool = False  # a text finds more identifiers than search.MOST_FOUND, which were not read


def find_page(site: Site, wanted: PeopleFilter, place: PeoplePlace, *, now: datetime, limit: int = PAGE) -> PeoplePage:
    """Return a page of people. Some ten queries.

    A text finds 50 at most. Another filter reads people in the order of identifiers, because no index has more.
    """
    if wanted.is_empty and not place.by_id and place.after is None:
        recent = find_recent(site, most=place.skip + limit + 1)
        if roots := recent[place.skip : place.skip + limit]:
            is_last = len(recent) <= place.skip + limit
            following = PeoplePlace(by_id=True) if is_last else PeoplePlace(skip=place.skip + limit)
            rows = load_root_rows(site, roots)
            rows.sort(key=lambda row: row.last_seen or EPOCH, reverse=True)  # an event may arrive late
            return PeoplePage(rows, following, is_recent=True)
    if wanted.text:
        return _search(site, wanted, now=now)
    keys, more = _find_candidates(site, wanted, place, now=now, limit=limit)
    return PeoplePage([row for row in load_person_rows(site, keys) if wanted.passes(row)], more)


def find_recent(site: Site, *, most: int) -> list[IdentityKey]:
    """Return the roots of the people whom the newest events name, each once, the last one first.

    Of a site's newest MOST_SEARCHED events. Three queries for each LOOK of them.
    """
    roots: dict[IdentityKey, None] = {}
    for ids in _read_ids(site):
        keys = find_keys_of(site.pk, ids)
        found = find_roots(site.pk, list(keys.values())) if keys else {}
        roots |= dict.fromkeys(found[keys[id_]] for id_ in ids if id_ in keys and keys[id_] in found)
        if len(roots) >= most:
            break
    return list(roots)[:most]


def _read_ids(site: Site) -> Iterator[list[str]]:
    """Yield the ids that the newest events name, each once, in lots of LOOK events."""
    config = SourceConfig(user_id_is_visitor_code=site.user_id_is_visitor_code)
    before: int | None = None
    for _ in range(MOST_SEARCHED // LOOK):
        with connection.cursor() as cursor:
            cursor.execute(NEWEST, {"site": site.pk, "before": before})
            rows = cursor.fetchall()
        seen = [glance(StoredMessage.of_row(row), config) for row in rows if row[-1] is not None]
        yield list(dict.fromkeys(each.id for each in seen if each.id and each.id_field != "groupId"))
        if len(rows) < LOOK:
            return
        before = rows[-1][0]


def _search(site: Site, wanted: PeopleFilter, *, now: datetime) -> PeoplePage:
    keys = search.find_keys(site.pk, wanted.text, limit=search.MOST_FOUND + 1)
    rows = [row for row in load_person_rows(site, keys[: search.MOST_FOUND]) if wanted.passes(row)]
    if wanted.segment is not None:
        page = listing.find_members(wanted.segment, {row.id: (row.kind, row.value) for row in rows}, now=now)
        found = {member.identity_id for member in page.members}
        rows = [row for row in rows if row.id in found]
    return PeoplePage(rows, None, is_cut=len(keys) > search.MOST_FOUND)


def _find_candidates(
    site: Site, wanted: PeopleFilter, place: PeoplePlace, *, now: datetime, limit: int
) -> tuple[Sequence[IdentityKey], PeoplePlace | None]:
    """Return identities of persons who pass one of the conditions, and the next place."""
    if wanted.segment is not None:
        listed = listing.list_members(wanted.segment, after=place.member, now=now, limit=limit)
        more = None if listed.next is None else PeoplePlace(member=listed.next)
        return [(each.kind, each.value) for each in listed.members], more
    if wanted.is_empty:
        keys, after = members.list_roots(site.pk, after=place.after, limit=limit)
    else:
        of: members.Of = "personas" if wanted.persona else "group" if wanted.group else "traits"
        name = wanted.persona or wanted.group or wanted.trait
        page = members.find_members(
            site.pk,
            of,
            name,
            value=wanted.value,
            after=place.after,
            limit=limit,
            company_is_group=of == "group" and site.company_is_group,
        )
        keys, after = [(each.kind, each.value) for each in page.members], page.next
    return keys, None if after is None else PeoplePlace(after=after, by_id=wanted.is_empty)
