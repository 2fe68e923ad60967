"""People of a large site for the bench of segments, written by SQL: a user and a device each, with conversions."""

from datetime import datetime, timedelta
from typing import Final

from tests.bench.events import PLANS
from tests.bench.stage import Stage

CHUNK: Final = 50_000
IDENTITIES: Final = """
WITH person AS (
    SELECT n, jsonb_build_object(
        'traits', jsonb_build_object(
            'plan', jsonb_build_array(%(micros)s::bigint, 0, '', (%(plans)s::text[])[1 + n %% 4]),
            'email', jsonb_build_array(%(micros)s::bigint, 0, '', 'large-' || n || '@example.com'),
            'seats', jsonb_build_array(%(micros)s::bigint, 0, '', n %% 97),
            'country', jsonb_build_array(%(micros)s::bigint, 0, '', (ARRAY['FR', 'DE', 'IT', 'ES'])[1 + n %% 4]),
            'is_trial', jsonb_build_array(%(micros)s::bigint, 0, '', n %% 3 = 0),
            'created', CASE WHEN n < %(leaving)s THEN jsonb_build_array(%(micros)s::bigint, 0, '', %(created)s::text)
                       ELSE jsonb_build_array(%(micros)s::bigint, 0, '', '2020-01-01') END),
        'personas', jsonb_build_object('audience_' || n %% 6, jsonb_build_array(%(micros)s::bigint, 0, '', true))
    ) AS registers FROM generate_series(%(first)s::int, %(last)s::int) AS n
), users AS (
    INSERT INTO cohorts_identity (site_id, kind, value, registers, bytes, created_at, updated_at)
    SELECT %(site)s, 1, 'large-' || n, registers, octet_length(registers::text), now(), now() FROM person
)
INSERT INTO cohorts_identity (site_id, kind, value, registers, bytes, parent_kind, parent_value, created_at, updated_at)
SELECT %(site)s, 2, 'device-' || n,
       jsonb_build_object('user', jsonb_build_array(%(micros)s::bigint, 0, '', 'large-' || n)), 80, 1, 'large-' || n,
       now(), now() FROM generate_series(%(first)s::int, %(last)s::int) AS n
"""
CONVERSIONS: Final = """
WITH goal AS (
    SELECT id, row_number() OVER (ORDER BY id) - 1 AS place FROM goals_goal WHERE site_id = %(site)s ORDER BY id LIMIT 5
)
INSERT INTO goals_conversion (site_id, goal_id, visitor_code, keyed_by, occurred_at, revenue, currency, properties,
                              message_key, source_id)
SELECT %(site)s, goal.id, 'device-' || n, 0, now() - (n %% 40) * interval '1 day', 25.5, 'EUR', '{}',
       'large-' || n || '-' || goal.place, %(source)s
  FROM generate_series(%(first)s::int, %(last)s::int) AS n JOIN goal ON goal.place = n %% 5
"""
TOTALS: Final = """
INSERT INTO goals_goalvisitor (site_id, goal_id, visitor_code, first_at, last_at, conversions, visits, revenue)
SELECT site_id, goal_id, visitor_code, occurred_at, occurred_at, 1, 1, '{"EUR": "25.500000"}'
  FROM goals_conversion WHERE site_id = %(site)s AND visitor_code LIKE 'device-%%'
"""


def make_people(stage: Stage, people: int, *, turns_at: datetime, leaving: int = 0) -> None:
    """Insert people, of whom `leaving` have a trait `created` that is 30 days old at a time."""
    shape = {
        "site": stage.site_id,
        "source": stage.source_id,
        "micros": round(datetime.now(turns_at.tzinfo).timestamp() * 1e6),
        "created": (turns_at - timedelta(days=30)).isoformat(),
        "leaving": leaving,
        "plans": list(PLANS),
    }
    with stage.connect() as connection:
        for first in range(0, people, CHUNK):
            page = {**shape, "first": first, "last": min(people, first + CHUNK) - 1}
            connection.execute(IDENTITIES, page)
            connection.execute(CONVERSIONS, page)
        connection.execute(TOTALS, shape)
        connection.execute("VACUUM ANALYZE cohorts_identity, goals_conversion, goals_goalvisitor")
