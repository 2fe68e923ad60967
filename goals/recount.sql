-- Sums of a goal's conversions by visitor, and with its cancellations in all. recount_days.sql has those by day.
-- A currency has a row of its own until the last step.
--
-- conversions
WITH hit AS MATERIALIZED (
    SELECT visitor_code, occurred_at, revenue, coalesce(currency, '') AS currency,
           coalesce(occurred_at >= lag(occurred_at) OVER visitor + :visit_gap::interval, true)::int AS visit
      FROM goals_conversion WHERE site_id = :site AND goal_id = :goal
    WINDOW visitor AS (PARTITION BY visitor_code ORDER BY occurred_at)
), visitors AS (
    INSERT INTO goals_goalvisitor (site_id, goal_id, visitor_code, conversions, visits, first_at, last_at, revenue)
    SELECT :site, :goal, visitor_code, sum(conversions), sum(visits), min(first_at), max(last_at),
           coalesce(jsonb_object_agg(currency, total) FILTER (WHERE total IS NOT NULL), '{}')
      FROM (SELECT visitor_code, currency, count(*) AS conversions, sum(visit) AS visits,
                   min(occurred_at) AS first_at, max(occurred_at) AS last_at, sum(revenue)::text AS total
              FROM hit GROUP BY 1, 2) AS amount
     GROUP BY visitor_code
), counted AS MATERIALIZED (
    SELECT currency, count(*) AS conversions, sum(visit) AS visits, 0 AS cancellations, sum(revenue) AS total
      FROM hit GROUP BY 1
     UNION ALL
    SELECT coalesce(currency, ''), 0, 0, count(*), -sum(revenue)
      FROM goals_cancellation WHERE site_id = :site AND goal_id = :goal GROUP BY 1
)
INSERT INTO goals_goaltotal (site_id, goal_id, part, conversions, visits, visitors, cancellations, revenue)
SELECT :site, :goal, 0, sum(conversions), sum(visits), (SELECT count(DISTINCT visitor_code) FROM hit),
       sum(cancellations), coalesce(jsonb_object_agg(currency, total::text) FILTER (WHERE total IS NOT NULL), '{}')
  FROM (SELECT currency, sum(conversions) AS conversions, sum(visits) AS visits,
               sum(cancellations) AS cancellations, sum(total) AS total
          FROM counted GROUP BY 1) AS amount
HAVING count(*) > 0
RETURNING conversions
