"""`/visit/visitor`: visits of a visitor, for Kameleoon's SDKs on servers and in browsers."""

from collections.abc import Sequence
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, Final, NamedTuple

import msgspec

from api.events.refusal import Refusal
from api.events.sdk_lines import split_line
from api.http.access import AccessCheck
from api.http.batching import PendingCall, RequestBatcher
from api.http.credentials import SiteAccess, unauthorized
from api.http.database import fetch_all, once
from api.http.endpoint import Request, Response
from api.http.threads import LIGHT_ROWS, compute_for
from api.models import Scope
from api.remote_data.derived_values import Values, read_derived
from api.remote_data.map_reads import answer_document, open_site
from api.remote_data.visitor_document import LISTS, VisitorQuery, VisitorRow, describe_visitor
from cohorts import ids
from cohorts.segments.facts import FilledCustomData

READERS: Final = 2  # threads
MOST_VISITORS: Final = 100  # a statement
MOST_VISITS: Final = 25  # before the current one
ROWS_OF_VISIT: Final = 50  # of each kind that are read for each visit
PATIENCE: Final = 5.0  # seconds
FLAGS: Final = frozenset({*LISTS, "currentVisit", "staticData"})
FIRST_VISITOR: Final = "coalesce(i.registers #>> '{visitor,3}', i.registers #>> '{device_visitor,3}')"
# The goal that shows a conversion or cancellation `c`; none after its deletion.
SHOWN_GOAL: Final = """
    SELECT coalesce(g.counts_for_id, g.id) AS goal_id FROM goals_goal g
     WHERE g.site_id = %(site)b AND g.id = c.goal_id AND g.deleted_at IS NULL OFFSET 0
"""

# A visitor's rows are those of its code, and those of its user if this is the user's first code. Such a user's lines
# belong to this code (promise K-51). Each kind is read newest first, by an index, and no further than the limit.
READ: Final = f"""
WITH asked AS (
    SELECT * FROM unnest(%(codes)b::text[], %(users)b::bool[]) WITH ORDINALITY AS asked (code, is_user, place)
), found AS MATERIALIZED (
    SELECT a.place, coalesce(first.code, a.code) AS code,
           CASE WHEN a.is_user THEN a.code ELSE owner.value END AS user_id
      FROM asked a
      LEFT JOIN LATERAL (
        SELECT {FIRST_VISITOR} AS code FROM cohorts_identity i
         WHERE i.site_id = %(site)b AND i.kind = 1 AND i.value = CASE WHEN a.is_user THEN a.code END OFFSET 0
      ) AS first ON true
      LEFT JOIN LATERAL (
        SELECT i.registers #>> '{{user,3}}' AS value FROM cohorts_identity i
         WHERE i.site_id = %(site)b AND i.kind = 2 AND i.value = CASE WHEN NOT a.is_user THEN a.code END OFFSET 0
      ) AS latest ON true
      LEFT JOIN LATERAL (
        SELECT i.value FROM cohorts_identity i
         WHERE i.site_id = %(site)b AND i.kind = 1 AND i.value = latest.value AND {FIRST_VISITOR} = a.code OFFSET 0
      ) AS owner ON true
), holder AS MATERIALIZED (
    SELECT place, code, false AS is_user FROM found
     UNION ALL
    SELECT place, user_id, true FROM found WHERE user_id IS NOT NULL
)
SELECT place, NULL::int AS kind, NULL::timestamptz, NULL::timestamptz, 0, code FROM found
 UNION ALL
SELECT 0, 0, NULL, NULL, d.index, json_build_array(d.filled_from, coalesce(s.name, d.filling))::text
  FROM cohorts_customdata d
  LEFT JOIN cohorts_segment s ON s.site_id = %(site)b
   AND s.id = CASE WHEN d.filled_from = 'segment' THEN d.filling::bigint END
 WHERE d.site_id = %(site)b AND d.filled_from <> 'sdk'
 UNION ALL
SELECT h.place, f.type, f.occurred_at, f.occurred_at, f.position, f.fact::text
  FROM holder h CROSS JOIN unnest(ARRAY[1, 2, 3, 4]::smallint[]) AS t (type)
 CROSS JOIN LATERAL (
    SELECT f.type, f.occurred_at, f.position, f.fact FROM goals_visitfact f
     WHERE f.site_id = %(site)b AND f.visitor_code = h.code AND f.is_user = h.is_user AND f.type = t.type
     ORDER BY f.occurred_at DESC, f.position DESC, f.message_id DESC LIMIT %(most)b
 ) AS f
 UNION ALL
SELECT h.place, 5, v.started_at, v.last_at, 0, ''
  FROM holder h CROSS JOIN LATERAL (
    SELECT v.started_at, v.last_at FROM goals_visitactivity v
     WHERE v.site_id = %(site)b AND v.visitor_code = h.code AND v.is_user = h.is_user
     ORDER BY v.started_at DESC LIMIT %(most)b
 ) AS v
 UNION ALL
SELECT h.place, 6, e.first_at, e.first_at, 0,
       json_build_object('id', e.experiment_id, 'variationId', e.variation_id)::text
  FROM holder h CROSS JOIN LATERAL (
    SELECT e.experiment_id, e.variation_id, e.first_at FROM goals_exposure e
     WHERE e.site_id = %(site)b AND e.visitor_code = h.code AND e.is_user = h.is_user LIMIT %(most)b
 ) AS e
 UNION ALL
SELECT h.place, 7, c.occurred_at, c.occurred_at, 0,
       json_build_object('goalId', c.goal_id, 'revenue', coalesce(trim_scale(c.revenue), 0), 'negative', true)::text
  FROM holder h CROSS JOIN LATERAL (
    SELECT c.occurred_at, c.revenue, its.goal_id
      FROM (SELECT c.occurred_at, c.revenue, c.goal_id FROM goals_cancellation c
             WHERE c.site_id = %(site)b AND c.visitor_code = h.code AND c.is_user = h.is_user
             ORDER BY c.occurred_at DESC LIMIT %(most)b) AS c
     CROSS JOIN LATERAL ({SHOWN_GOAL}) AS its
 ) AS c
 UNION ALL
SELECT h.place, 7, c.occurred_at, c.occurred_at, 0,
       json_build_object('goalId', c.goal_id, 'revenue', coalesce(trim_scale(c.revenue), 0), 'negative', false)::text
  FROM found h CROSS JOIN LATERAL (
    SELECT c.occurred_at, c.revenue, its.goal_id
      FROM (SELECT c.occurred_at, c.id, c.revenue, c.goal_id FROM goals_conversion c
             WHERE c.site_id = %(site)b AND c.visitor_code = h.code
             ORDER BY c.occurred_at DESC, c.id DESC LIMIT %(most)b) AS c
     CROSS JOIN LATERAL ({SHOWN_GOAL}) AS its
 ) AS c
"""


class AskedVisitor(NamedTuple):
    """A visitor code, or the unique identifier of a user, of a site, and how many rows of each kind are read."""

    site_id: int
    code: str
    is_user: bool
    most: int


class FoundVisitor(NamedTuple):
    """The visitor code to which the rows belong, the rows by time, and the custom data that Goalpost fills."""

    code: str
    rows: Sequence[VisitorRow]
    filled: Sequence[FilledCustomData]


async def get_visitor(request: Request) -> Response:
    """Return the visits of a visitor, `{}` for an unknown one.

    The latest visit has the custom data that Goalpost fills, so that a page needs no code to target by it. One SQL
    statement, two or three more for such custom data. Raises Refusal: 400 invalid_request, 401 unauthorized,
    403 insufficient_scope, forbidden_site, 404 unknown_site.
    """
    parameters, _ = split_line(request.query_string)
    site = await READERS_OF_VISITS.find((parameters.get("siteCode", ""), request.headers.get("authorization")))
    query = read_query(parameters)
    mapping = ids.read_id(parameters.get("mappingValue"))[0]
    if mapping is not None and site.identified_visits_require_token and "authorization" not in request.headers:
        raise unauthorized(
            "This site requires an access token to read visits by a mappingValue. Get one at /oauth/token, or let the "
            "site's settings allow it without."
        )
    code = mapping or ids.read_id(parameters.get("visitorCode"))[0]
    if code is None:
        raise Refusal(
            HTTPStatus.BAD_REQUEST, "invalid_request", "Send a visitorCode or a mappingValue of at most 255 characters."
        )
    asked = AskedVisitor(site.id, code, mapping is not None, ROWS_OF_VISIT * (1 + query.previous_visits))
    found = await batcher().call(asked, timeout=PATIENCE)
    derived: Values = {}
    if found.filled and "customData" in query.flags:
        derived = await read_derived(site, code, found.filled, is_anonymous="authorization" not in request.headers)
    return answer_document(request, await _describe(site, found, query, derived))


async def _describe(site: SiteAccess, found: FoundVisitor, query: VisitorQuery, derived: Values) -> dict[str, Any]:
    arguments = (site.sitecode, found.code, found.rows, query, derived)
    if len(found.rows) > LIGHT_ROWS:
        return await compute_for(site.id, describe_visitor, *arguments, now=datetime.now(UTC))
    return describe_visitor(*arguments, now=datetime.now(UTC))


def read_query(parameters: dict[str, str]) -> VisitorQuery:
    """Return the flags that are true, and the number of earlier visits, from 1 to 25. Pure."""
    given = {name for name, value in parameters.items() if value.lower() == "true"}
    number = parameters.get("maxNumberPreviousVisits", "")
    previous = int(number) if number.isascii() and number.isdigit() and len(number) <= len(str(MOST_VISITS)) else 1
    return VisitorQuery(FLAGS if "all" in given else FLAGS & given, min(max(previous, 1), MOST_VISITS))


def check_reader_of_visits(shown: tuple[str, str | None]) -> SiteAccess:
    """Return the site with this sitecode. Raises Refusal (401, 403, 404).

    `shown` also has the Authorization header. A reader with an empty one is not anonymous.
    """
    sitecode, authorization = shown
    site = open_site(sitecode, authorization, Scope.READ)
    if authorization is None and site.visits_require_token:
        raise unauthorized("This site requires an access token to read visits. Get one at /oauth/token.")
    return site


READERS_OF_VISITS: Final = AccessCheck(check_reader_of_visits)


def _fetch(calls: Sequence[PendingCall[AskedVisitor, FoundVisitor]]) -> None:
    """Read for all these requests, in one statement for each site."""
    by_site: dict[int, list[AskedVisitor]] = {}
    for asked in dict.fromkeys(call.argument for call in calls):
        by_site.setdefault(asked.site_id, []).append(asked)
    found: dict[AskedVisitor, FoundVisitor] = {}
    for site_id, asked_of_site in by_site.items():
        found |= _read(site_id, asked_of_site)
    for call in calls:
        call.resolve(found[call.argument])


def _read(site_id: int, asked: Sequence[AskedVisitor]) -> dict[AskedVisitor, FoundVisitor]:
    parameters = {
        "site": site_id,
        "codes": [each.code for each in asked],
        "users": [each.is_user for each in asked],
        "most": max(each.most for each in asked),
    }
    codes: dict[int, str] = {}
    rows: dict[int, list[VisitorRow]] = {}
    filled: list[FilledCustomData] = []
    for place, kind, started_at, last_at, position, fields in fetch_all(READ, parameters):
        if kind is None:
            codes[place] = fields
        elif not place:
            filled.append(FilledCustomData(position, *msgspec.json.decode(fields)))
        else:
            rows.setdefault(place, []).append(VisitorRow(started_at, position, kind, last_at, fields))
    return {
        each: FoundVisitor(codes[place], sorted(rows.get(place, ())), filled) for place, each in enumerate(asked, 1)
    }


@once
def batcher() -> RequestBatcher[AskedVisitor, FoundVisitor]:
    """Return this process's threads for visitors, started by the first request."""
    return RequestBatcher(_fetch, name="visitors", max_size=MOST_VISITORS, size=lambda _: 1, threads=READERS)
