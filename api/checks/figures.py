"""Check of the figures of goals: the kept ones equal a recount."""

from collections.abc import Iterator
from typing import Final

from api.checks.base import Counts, Difference, fetch_row, of_site, stream
from goals.visits import VISIT_GAP

# Each figure is a row: its goal, its owner (a visitor, a day or the goal itself), and its value as text.
FIND: Final = f"""
    WITH live AS (
        SELECT id AS goal_id, day_zone FROM goals_goal WHERE deleted_at IS NULL AND {of_site("site_id")}
    ), hit AS (
        SELECT goal_id, visitor_code, occurred_at, (occurred_at AT TIME ZONE day_zone)::date AS day, revenue, currency,
               coalesce(occurred_at >= lag(occurred_at) OVER mine + %(visit_gap)s, true)::int AS visit
          FROM goals_conversion JOIN live USING (goal_id)
        WINDOW mine AS (PARTITION BY goal_id, visitor_code ORDER BY occurred_at)
    ), cancelled AS (
        SELECT goal_id, (occurred_at AT TIME ZONE day_zone)::date AS day, revenue, currency
          FROM goals_cancellation JOIN live USING (goal_id)
    ), counted (goal_id, kind, whose, figures) AS (
        SELECT goal_id, 'visitor', visitor_code,
               concat_ws(' ', count(*), sum(visit), min(occurred_at), max(occurred_at)) FROM hit GROUP BY 1, 3
         UNION ALL
        SELECT goal_id, 'day', day::text, concat_ws(' ', count(*), sum(visit)) FROM hit GROUP BY 1, 3
         UNION ALL
        SELECT goal_id, 'total', '', concat_ws(' ', count(*), sum(visit), count(DISTINCT visitor_code))
          FROM hit GROUP BY 1
         UNION ALL
        SELECT goal_id, kind, whose, concat('cancelled ', count(*))
          FROM cancelled, LATERAL (VALUES ('day', day::text), ('total', '')) AS each (kind, whose) GROUP BY 1, 2, 3
         UNION ALL
        SELECT goal_id, kind, whose, concat_ws(' ', currency, trim_scale(sum(revenue)))
          FROM (SELECT goal_id, kind, whose, coalesce(currency, '') AS currency, revenue
                  FROM hit, LATERAL (VALUES ('visitor', visitor_code), ('day', day::text), ('total', ''))
                            AS each (kind, whose)
                 UNION ALL
                SELECT goal_id, kind, whose, coalesce(currency, ''), -revenue
                  FROM cancelled, LATERAL (VALUES ('day', day::text), ('total', '')) AS each (kind, whose)) AS amount
         WHERE revenue IS NOT NULL GROUP BY 1, 2, 3, currency HAVING sum(revenue) <> 0
    ), kept (goal_id, kind, whose, figures) AS (
        SELECT goal_id, 'visitor', visitor_code, concat_ws(' ', conversions, visits, first_at, last_at)
          FROM goals_goalvisitor JOIN live USING (goal_id)
         UNION ALL
        SELECT goal_id, 'day', day::text, concat_ws(' ', sum(conversions), sum(visits))
          FROM goals_goalday JOIN live USING (goal_id) GROUP BY 1, 3 HAVING sum(conversions) <> 0 OR sum(visits) <> 0
         UNION ALL
        SELECT goal_id, 'total', '', concat_ws(' ', sum(conversions), sum(visits), sum(visitors))
          FROM goals_goaltotal JOIN live USING (goal_id) GROUP BY 1
        HAVING sum(conversions) <> 0 OR sum(visits) <> 0 OR sum(visitors) <> 0
         UNION ALL
        SELECT goal_id, kind, whose, concat('cancelled ', sum(cancellations))
          FROM (SELECT goal_id, 'day' AS kind, day::text AS whose, cancellations FROM goals_goalday
                 UNION ALL
                SELECT goal_id, 'total', '', cancellations FROM goals_goaltotal) AS part
          JOIN live USING (goal_id) GROUP BY 1, 2, 3 HAVING sum(cancellations) <> 0
         UNION ALL
        SELECT goal_id, kind, whose, concat_ws(' ', money.key, trim_scale(sum(money.value::numeric)))
          FROM (SELECT goal_id, 'visitor' AS kind, visitor_code AS whose, revenue FROM goals_goalvisitor
                 UNION ALL
                SELECT goal_id, 'day', day::text, revenue FROM goals_goalday
                 UNION ALL
                SELECT goal_id, 'total', '', revenue FROM goals_goaltotal) AS part
          JOIN live USING (goal_id), LATERAL jsonb_each_text(part.revenue) AS money
         GROUP BY 1, 2, 3, money.key HAVING sum(money.value::numeric) <> 0  -- 0 is the same as no row
    )
    SELECT goal_id, kind, CASE kind WHEN 'day' THEN whose END, count(DISTINCT whose)
      FROM ((TABLE counted EXCEPT TABLE kept) UNION ALL (TABLE kept EXCEPT TABLE counted)) AS either
     GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
"""


def check_figures(site_id: int | None, counts: Counts) -> Iterator[Difference]:
    """Yield live goals whose kept figures by visitor, by day or in total differ from conversions and cancellations."""
    for name, table in (("visitors", "goals_goalvisitor"), ("days", "goals_goalday"), ("goals", "goals_goaltotal")):
        (counts[f"kept_{name}"],) = fetch_row(
            f"SELECT count(*) FROM {table} JOIN goals_goal g ON g.id = goal_id WHERE {of_site('g.site_id')}",
            {"site": site_id},
        )
    meaning = (
        "Kept figures of a goal contradict its conversions or cancellations: rows were changed by hand. To count them "
        "again, while everything runs: python manage.py recount"
    )
    for goal_id, kind, day, many in stream(FIND, {"site": site_id, "visit_gap": VISIT_GAP}):
        subject = {"visitor": f"{many} visitors", "day": f"the day {day}", "total": "its totals"}[kind]
        yield Difference(meaning, f"goal {goal_id}: {subject}")
