"""Recording of facts of visits and of exposures: sets that grow in any order."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from django.db import connection

from goals.experiments.catalogue import SaidVariation
from goals.visit_models import VisitFact


class VisitHolder(NamedTuple):
    """The visitor code to which facts belong, or the id of a user whose visitor code the sender does not know."""

    visitor_code: str
    is_user: bool


@dataclass(frozen=True, slots=True)
class NewFact:
    """A fact of a visit that one message says."""

    holder: VisitHolder
    type: VisitFact.Type
    occurred_at: datetime
    position: int
    message_id: str
    fact: str  # JSON

    @property
    def key(self) -> tuple[str, bool, int, datetime, int, str]:
        return *self.holder, int(self.type), self.occurred_at, self.position, self.message_id


@dataclass(frozen=True, slots=True)
class NewExposure:
    """A variation that a visitor saw at a moment."""

    holder: VisitHolder  # its code is empty if only the anonymous id is known
    said: SaidVariation
    anonymous_id: str = ""  # if the event has no visitor code

    @property
    def at(self) -> datetime:
        return self.said.at

    @property
    def key(self) -> "ExposureKey":
        return *self.holder, self.said.experiment_id, self.said.variation_id, self.anonymous_id


ExposureKey = tuple[str, bool, int, int, str]
ExposureLink = tuple[str, int]  # the visitor code that a link gives, and the number of its rule


def record_facts(site_id: int, facts: Sequence[NewFact]) -> set[str]:
    """Insert facts and return the messageIds of the new ones. Call it inside a transaction. One query, if any."""
    rows = sorted({fact.key: fact for fact in facts}.items())
    if not rows:
        return set()
    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO goals_visitfact (site_id, visitor_code, is_user, type, occurred_at, position, message_id, fact)
            SELECT %(site)s, n.*
              FROM unnest(%(codes)b::text[], %(users)b::bool[], %(types)b::smallint[], %(times)b::timestamptz[],
                          %(positions)b::int[], %(messages)b::text[], %(facts)b::jsonb[]) AS n
            ON CONFLICT DO NOTHING
            RETURNING message_id
            """,
            {
                "site": site_id,
                "codes": [fact.holder.visitor_code for _, fact in rows],
                "users": [fact.holder.is_user for _, fact in rows],
                "types": [int(fact.type) for _, fact in rows],
                "times": [fact.occurred_at for _, fact in rows],
                "positions": [fact.position for _, fact in rows],
                "messages": [fact.message_id for _, fact in rows],
                "facts": [fact.fact for _, fact in rows],
            },
        )
        return {message_id for (message_id,) in cursor.fetchall()}


def record_exposures(
    site_id: int, exposures: Collection[NewExposure], links: Mapping[ExposureKey, ExposureLink]
) -> set[ExposureKey]:
    """Keep the first time of each exposure, and return those that are new or earlier than before.

    `links` are those of exposures without a visitor code, as far as they are known. Rows that are there have been
    re-keyed. Call it inside a transaction. One query, if any.
    """
    first: dict[ExposureKey, NewExposure] = {}
    for exposure in sorted(exposures, key=lambda exposure: exposure.at, reverse=True):
        first[exposure.key] = exposure
    rows = [first[key] for key in sorted(first)]
    if not rows:
        return set()
    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO goals_exposure AS e (
                site_id, visitor_code, is_user, experiment_id, variation_id, anonymous_id, first_at,
                linked_code, linked_by)
            SELECT %(site)s, n.*
              FROM unnest(%(codes)b::text[], %(users)b::bool[], %(experiments)b::bigint[], %(variations)b::bigint[],
                          %(devices)b::text[], %(times)b::timestamptz[], %(linked)b::text[], %(rules)b::smallint[]) AS n
            ON CONFLICT (site_id, visitor_code, is_user, experiment_id, variation_id, anonymous_id) DO UPDATE
               SET first_at = excluded.first_at WHERE excluded.first_at < e.first_at
            RETURNING visitor_code, is_user, experiment_id, variation_id, anonymous_id
            """,
            {
                "site": site_id,
                "codes": [exposure.holder.visitor_code for exposure in rows],
                "users": [exposure.holder.is_user for exposure in rows],
                "experiments": [exposure.said.experiment_id for exposure in rows],
                "variations": [exposure.said.variation_id for exposure in rows],
                "devices": [exposure.anonymous_id for exposure in rows],
                "times": [exposure.at for exposure in rows],
                "linked": [links.get(exposure.key, (None, None))[0] for exposure in rows],
                "rules": [links.get(exposure.key, (None, None))[1] for exposure in rows],
            },
        )
        return set(cursor.fetchall())
