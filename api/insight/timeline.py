"""Everything that is stored of a person with its time, newest first: events, conversions, visits, audiences, links."""

from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from itertools import product
from typing import Final, NamedTuple

from django.db import connection

from api.digest.derivation import MESSAGE_COLUMNS, SourceConfig, StoredMessage
from api.digest.mapping import glance
from api.events.effects import Effect
from api.events.types import ALL_TYPES, SDK_TYPES
from api.http.wording import shorten
from api.insight.id_search import names, spellings
from api.insight.people import MOST_CODES, MOST_FACTS, Person
from api.models import Site
from api.models.message_rows import find_by_keys
from cohorts.models import Identity
from cohorts.queries import visitor_codes
from times import EARLIEST, RESOLUTION

PAGE: Final = 50
SEARCHED_EVENTS: Final = 5_000  # of the site, for those that name the person
SEARCHED_BYTES: Final = 8_388_608  # of their bodies
MOST_SPELLED: Final = 200  # identifiers of the person, each of which every body is searched for
MOST_EVENTS: Final = 200  # of the person
MOST_SKIPPED: Final = 1_000  # moments of one time
SHOWN_NAME: Final = 200  # characters of an event's name


class MomentKind(StrEnum):
    """The kinds of moments, in the order in which equal times are listed."""

    CONVERSION = "conversion"
    EVENT = "event"  # that made no conversion
    PAGE = "page"
    EXPOSURE = "exposure"
    PERSONA = "persona"
    SEGMENT = "segment"
    LINK = "link"


class Moment(NamedTuple):
    """Something that happened to a person, and where it leads."""

    kind: MomentKind
    at: datetime
    tie: str  # orders moments of one kind and time
    name: str
    number: int | None = None  # of the goal or the segment
    has_entered: bool = False
    revenue: Decimal | None = None
    currency: str | None = None
    note: str = ""  # the address of a page, the status of an event
    message_key: str = ""  # `type:messageId` of a conversion, `type:` of another event
    message_id: str = ""
    event: int | None = None  # the number of its message, as long as it is kept

    @property
    def type(self) -> str:
        """Return the type of an event."""
        return self.message_key.partition(":")[0]


@dataclass(frozen=True, slots=True)
class TimelinePlace:
    """The beginning of a page: the time of the moment before it, and how many with this time were listed."""

    before: datetime
    skip: int


@dataclass(frozen=True, slots=True)
class TimelinePage:
    """Moments, newest first, and the place of the next page, None on the last."""

    moments: list[Moment]
    next: TimelinePlace | None
    is_cut: bool = False  # the next page leaves out moments with the time of the last one


# An index that ends with the time finds each kind. Only exposures have none, because a visitor has few.
CONVERSIONS: Final = """
SELECT 'conversion', last.occurred_at, lpad(last.id::text, 20, '0'), last.name, last.goal_id, false,
       last.revenue, last.currency, '', last.message_key, ''
  FROM unnest(%(codes)s::text[]) AS code (code) CROSS JOIN LATERAL (
    SELECT c.id, c.occurred_at, coalesce(nullif(g.display_name, ''), g.name) AS name,
           coalesce(g.counts_for_id, g.id) AS goal_id, c.revenue, c.currency, c.message_key
      FROM goals_conversion c
      JOIN goals_goal g ON g.site_id = %(site)s AND g.id = c.goal_id AND g.deleted_at IS NULL
     WHERE c.site_id = %(site)s AND c.visitor_code = code.code
       AND c.occurred_at <= coalesce(%(before)s, 'infinity'::timestamptz)
     ORDER BY c.occurred_at DESC, c.id DESC LIMIT %(limit)s
  ) AS last
"""
PAGES: Final = """
SELECT 'page', f.occurred_at, lpad(f.position::text, 10, '0') || ' ' || f.message_id,
       coalesce(f.fact ->> 'title', f.fact ->> 'href', ''), NULL::bigint, false, NULL::numeric, NULL::text,
       coalesce(f.fact ->> 'href', ''), '', f.message_id
  FROM unnest(%(holders)s::text[], %(users)s::bool[]) AS h (code, is_user) CROSS JOIN LATERAL (
    SELECT f.* FROM goals_visitfact f
     WHERE f.site_id = %(site)s AND f.visitor_code = h.code AND f.is_user = h.is_user AND f.type = 1
       AND f.occurred_at <= coalesce(%(before)s, 'infinity'::timestamptz)
     ORDER BY f.occurred_at DESC, f.position DESC, f.message_id DESC LIMIT %(limit)s
  ) AS f
"""
EXPOSURES: Final = """
SELECT 'exposure', e.first_at, lpad(e.id::text, 20, '0'),
       'Variation ' || coalesce(nullif(v.name, ''), nullif(v.event_name, ''), v.key, e.variation_id::text) || ' of '
       || coalesce(nullif(x.name, ''), nullif(x.event_name, ''),
                   'experiment ' || coalesce(x.key, e.experiment_id::text)),
       NULL::bigint, false, NULL::numeric, NULL::text, '', '', ''
  FROM unnest(%(holders)s::text[], %(users)s::bool[]) AS h (code, is_user) CROSS JOIN LATERAL (
    SELECT e.* FROM goals_exposure e
     WHERE e.site_id = %(site)s AND e.visitor_code = h.code AND e.is_user = h.is_user
       AND e.first_at <= coalesce(%(before)s, 'infinity'::timestamptz)
     ORDER BY e.first_at DESC, e.id DESC LIMIT %(limit)s
  ) AS e
  LEFT JOIN goals_experiment x ON x.site_id = %(site)s AND x.number = e.experiment_id
  LEFT JOIN goals_variation v ON v.site_id = %(site)s AND v.experiment_id = x.id AND v.number = e.variation_id
"""
PERSONAS: Final = f"""
SELECT 'persona', f.occurred_at, lpad(f.position::text, 10, '0') || ' ' || f.message_id || ' ' || f.id, p.name,
       NULL::bigint, f.is_member, NULL::numeric, NULL::text, '', '', f.message_id
  FROM (
    SELECT f.*, lag(f.is_member) OVER (
               PARTITION BY f.persona_id
               ORDER BY f.occurred_at, f.position, f.message_id COLLATE "C", f.is_member) AS was_member
      FROM (SELECT * FROM cohorts_personafact
             WHERE site_id = %(site)s AND identity_id = ANY(%(identities)s::bigint[])
             ORDER BY occurred_at DESC, position DESC, message_id COLLATE "C" DESC, is_member DESC
             LIMIT {MOST_FACTS}) AS f
  ) AS f
  JOIN cohorts_persona p ON p.site_id = %(site)s AND p.id = f.persona_id
 WHERE coalesce(f.was_member, false) <> f.is_member
   AND f.occurred_at <= coalesce(%(before)s, 'infinity'::timestamptz)
"""
SEGMENTS: Final = """
SELECT 'segment', c.at, lpad(c.id::text, 20, '0'), s.name, s.id, c.is_member, NULL::numeric, NULL::text, '', '', ''
  FROM (
    SELECT * FROM cohorts_segmentchange
     WHERE site_id = %(site)s AND identity_id = ANY(%(identities)s::bigint[])
       AND at <= coalesce(%(before)s, 'infinity'::timestamptz)
     ORDER BY at DESC, id DESC LIMIT %(limit)s
  ) AS c
  JOIN cohorts_segment s ON s.site_id = %(site)s AND s.id = c.segment_id
"""
STORED: Final[Mapping[MomentKind, str]] = {
    MomentKind.CONVERSION: CONVERSIONS,
    MomentKind.PAGE: PAGES,
    MomentKind.EXPOSURE: EXPOSURES,
    MomentKind.PERSONA: PERSONAS,
    MomentKind.SEGMENT: SEGMENTS,
}
# The newest events of the site that hold one of the spellings, without those that have a row of another kind.
EVENTS: Final = f"""
WITH newest AS MATERIALIZED (
    SELECT id, sum(size) OVER (ORDER BY id DESC) AS so_far FROM (
        SELECT id, size FROM api_message WHERE site_id = %(site)s ORDER BY id DESC LIMIT %(look)s
    ) AS m
)
SELECT {MESSAGE_COLUMNS}, m.status FROM newest
  JOIN api_message m ON m.site_id = %(site)s AND m.id = newest.id
  JOIN api_messagebody b ON b.site_id = %(site)s AND b.id = newest.id
 WHERE so_far <= %(bytes)s AND m.id >= (SELECT min(id) FROM newest) AND b.id >= (SELECT min(id) FROM newest)
   AND m.type <> ALL (%(others)s::text[]) AND NOT m.effects @> %(converted)s::varchar[]
   AND m.occurred_at <= coalesce(%(before)s, 'infinity'::timestamptz)
   AND EXISTS (SELECT 1 FROM unnest(%(spellings)s::bytea[]) AS n (spelling) WHERE position(n.spelling IN b.body) > 0)
 ORDER BY m.id DESC LIMIT %(most)s
"""


def load_timeline(
    site: Site, person: Person, *, kinds: AbstractSet[MomentKind], place: TimelinePlace | None, limit: int = PAGE
) -> TimelinePage:
    """Return a page of the moments of these kinds. Four queries at most.

    Events are those among the site's newest SEARCHED_EVENTS, because no index leads from a person to its events.
    """
    skip, before = (place.skip, place.before) if place is not None else (0, None)
    wanted = skip + limit + 1
    # An event that says a persona is listed as that.
    stored = (kinds | {MomentKind.PERSONA} if MomentKind.EVENT in kinds else kinds) & STORED.keys()
    moments = list(_load_stored(site, person, stored, before=before, limit=wanted))
    if MomentKind.LINK in kinds:
        moments += [link for link in list_links(person) if before is None or link.at <= before]
    if MomentKind.EVENT in kinds:
        known = {moment.message_id for moment in moments if moment.kind == MomentKind.PERSONA}
        moments += [event for event in _find_events(site, person, before=before) if event.message_id not in known]
    moments = [moment for moment in moments if moment.kind in kinds]
    order = {kind: place for place, kind in enumerate(MomentKind)}
    moments.sort(key=lambda moment: (moment.at, -order[moment.kind], moment.tie), reverse=True)
    first = 0
    while first < skip and first < len(moments) and moments[first].at == before:
        first += 1
    page = moments[first : first + limit]
    if len(moments) <= first + limit or not page:
        return TimelinePage(_with_events(site, page), None)
    last = page[-1].at
    listed = sum(moment.at == last for moment in moments[: first + limit])
    if listed > MOST_SKIPPED:
        following = TimelinePlace(last - RESOLUTION, 0) if last > EARLIEST else None
        return TimelinePage(_with_events(site, page), following, is_cut=True)
    return TimelinePage(_with_events(site, page), TimelinePlace(last, listed))


def list_links(person: Person) -> Iterator[Moment]:
    """Yield the links of the person's identifiers to their owners. Pure."""
    for row in person.identifiers:
        for owner in row.owners:
            yield Moment(
                MomentKind.LINK,
                owner.at,
                f"{row.identity} {owner.name}",
                f"{row.identity} belongs to {owner.name} {owner.text}",
                message_id=owner.message_id,
            )


def _load_stored(
    site: Site, person: Person, kinds: AbstractSet[MomentKind], *, before: datetime | None, limit: int
) -> Iterator[Moment]:
    """Yield the newest stored moments of each kind. One query, if any is asked for."""
    if not kinds:
        return
    holders = [identity for identity in person.identities if identity.kind != Identity.Kind.ANONYMOUS][:MOST_CODES]
    statement = " UNION ALL ".join(f"({STORED[kind]})" for kind in MomentKind if kind in kinds)
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT * FROM ({statement}) AS moment ORDER BY 2 DESC, 1, 3 DESC",
            {
                "site": site.pk,
                "codes": visitor_codes(person.identities)[:MOST_CODES],
                "holders": [holder.value for holder in holders],
                "users": [holder.kind == Identity.Kind.USER for holder in holders],
                "identities": [identity.pk for identity in person.identities],
                "before": before,
                "limit": limit,
            },
        )
        for kind, *columns in cursor.fetchall():
            yield Moment(MomentKind(kind), *columns)


def _find_events(site: Site, person: Person, *, before: datetime | None) -> Iterator[Moment]:
    """Yield those of the newest events that name one of the first MOST_SPELLED identifiers. One query."""
    ids = set(person.values[:MOST_SPELLED])
    with connection.cursor() as cursor:
        cursor.execute(
            EVENTS,
            {
                "site": site.pk,
                "look": SEARCHED_EVENTS,
                "bytes": SEARCHED_BYTES,
                "others": list(SDK_TYPES),
                "converted": [Effect.CONVERTED],
                "before": before,
                "spellings": spellings(ids),
                "most": MOST_EVENTS,
            },
        )
        rows = cursor.fetchall()
    config = SourceConfig()
    for *columns, status in rows:
        message = StoredMessage.of_row(columns)
        if names(message.body, ids):
            name = shorten(glance(message, config).name, SHOWN_NAME)
            yield Moment(
                MomentKind.EVENT,
                message.occurred_at,
                f"{message.id:020}",
                name,
                note=status,
                message_key=f"{message.type}:",
                message_id=message.message_id or "",
                event=message.id,
            )


def _with_events(site: Site, moments: Sequence[Moment]) -> list[Moment]:
    """Return the moments with the numbers of their messages, as far as these are kept. One query, if any has one."""
    keys = {moment.message_key.partition(":")[::2] for moment in moments if moment.kind == MomentKind.CONVERSION}
    ids = {moment.message_id for moment in moments if moment.message_id and moment.event is None}
    pairs = {(type_, id_) for type_, id_ in keys if id_} | set(product(ALL_TYPES, ids))
    found = find_by_keys(site.pk, pairs) if pairs else {}
    by_id = {message_id: id_ for (_, message_id), id_ in found.items()}
    by_key = {f"{type_}:{message_id}": id_ for (type_, message_id), id_ in found.items()}
    return [
        moment._replace(event=moment.event or by_key.get(moment.message_key) or by_id.get(moment.message_id))
        for moment in moments
    ]
